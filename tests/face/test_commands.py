"""What one does most, from napari's command palette."""

from __future__ import annotations

from pathlib import Path

import pytest
from napari import Viewer
from napari._app_model import get_app_model
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest
from review_files import SLIDES

from napari_weno.canvas import of_kind
from napari_weno.session import Session, session_of, show_dock
from weno.project import Project

WAIT_MS = 120_000


def execute(name: str) -> None:
    """Do what choosing a command in the palette does."""
    get_app_model().commands.execute_command(f"napari-weno.{name}").result()


@pytest.fixture
def session(viewer: Viewer, predicted: Project) -> Session:
    session = session_of(viewer)
    session.open_project(predicted.root)
    session.open_slide(SLIDES[0])
    return session


def test_every_command_of_the_module_is_in_the_palette() -> None:
    from napari_weno import commands

    manifest = PluginManifest.from_distribution("napari-weno")
    told = {command.python_name for command in manifest.contributions.commands}
    offered = {
        f"napari_weno.commands:{name}"
        for name, made in vars(commands).items()
        if getattr(made, "__module__", "") == commands.__name__
        and not name.startswith("_")
    }
    assert offered <= told


def test_a_distance_is_measured_and_that_is_ended(session: Session) -> None:
    execute("measure")
    assert session.ruler.measuring
    execute("measure")
    assert not session.ruler.measuring


def test_tissue_is_found_and_regions_are_drawn(
    qtbot, viewer: Viewer, session: Session
) -> None:
    execute("find_tissue")
    qtbot.waitUntil(lambda: bool(of_kind(viewer, "tissue")), timeout=WAIT_MS)
    execute("draw_regions")
    qtbot.waitUntil(lambda: bool(of_kind(viewer, "regions")), timeout=WAIT_MS)
    assert viewer.layers.selection.active in of_kind(viewer, "regions")


def test_a_review_is_started_once(qtbot, viewer: Viewer, session: Session) -> None:
    execute("start_review")
    execute("start_review")
    review = show_dock(viewer, "Review")
    qtbot.waitUntil(lambda: review.round is not None, timeout=WAIT_MS)
    current = review.round
    execute("start_review")
    assert review.round is current
    assert "Review dock" in notification_manager.records[-1].message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("find_tissue", "the Cohort dock says", id="tissue"),
        pytest.param("draw_regions", "the Review dock says", id="regions"),
        pytest.param("start_review", "the Review dock says", id="review"),
        pytest.param("predict_slide", "the Explain dock says", id="predict"),
        pytest.param("save_figure", "the Explain dock says", id="figure"),
        pytest.param("fit", "No project is open", id="fit"),
        pytest.param("retrain", "No project is open", id="retrain"),
    ],
)
def test_what_is_not_possible_is_said(viewer: Viewer, name: str, said: str) -> None:
    execute(name)
    assert said in notification_manager.records[-1].message


def test_a_figure_is_asked_for(
    viewer: Viewer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(_: object, title: str, *__: object) -> tuple[str, str]:
        asked.append(title)
        return "", ""

    monkeypatch.setattr("napari_weno.export_box.QFileDialog.getSaveFileName", ask)
    execute("save_figure")
    assert asked == ["Save figure"]


def test_a_fit_is_refused_for_what_stands_against_it(
    qtbot, viewer: Viewer, session: Session
) -> None:
    told: list[object] = []
    notification_manager.notification_ready.connect(told.append)
    execute("fit")
    qtbot.waitUntil(lambda: bool(told), timeout=WAIT_MS)
    notification_manager.notification_ready.disconnect(told.append)
    assert "no features yet" in told[-1].message
    assert not Path(session.project.run_dir("run-1")).exists()
