"""Another slide is opened while a job works on this one: each keeps what is its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from napari import Viewer
from qtpy.QtCore import Qt

from napari_weno.canvas import of_kind
from napari_weno.session import Session, session_of, show_dock
from weno.project import Project

LEFT = Qt.MouseButton.LeftButton
WAIT_MS = 120_000
HERE, THERE = "synthetic_001", "synthetic_003"


@pytest.fixture
def session(viewer: Viewer, demo_project: Project) -> Session:
    """A project whose two slides the model has not predicted yet, one of them open."""
    for slide_id in (HERE, THERE):
        demo_project.prediction_path("demo", slide_id).unlink()
    session = session_of(viewer)
    session.open_project(demo_project.root)
    session.open_slide(HERE)
    return session


@pytest.fixture
def dock(viewer: Viewer, session: Session, demo_project: Project) -> Any:
    """The Cohort dock, with both slides still to be prepared."""
    for slide_id in (HERE, THERE):
        demo_project.features_path(slide_id).unlink()
    return show_dock(viewer, "Cohort")


def prepared(dock: Any) -> set[str]:
    """Return which of the two slides the table shows as prepared."""
    shown = {one.row.slide_id for one in dock.table.slides.states if one.has_features}
    return shown & {HERE, THERE}


@pytest.fixture
def meanwhile(qtbot, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something while a job, once started, is in its middle; then let it go on."""

    def do(
        job: str,
        start: Callable[[], Any],
        something: Callable[[], Any],
        middle: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        module, _, name = job.rpartition(".")
        real = getattr(import_module(module), name)
        reached, go_on = threading.Event(), threading.Event()

        def gated(*args: Any, **kwargs: Any) -> Generator[Any, None, Any]:
            generator = real(*args, **kwargs)
            while not middle(report := next(generator)):
                yield report
            yield report
            reached.set()
            go_on.wait(WAIT_MS / 1000)
            return (yield from generator)

        with monkeypatch.context() as patched:
            patched.setattr(job, gated)
            start()
            qtbot.waitUntil(reached.is_set, timeout=WAIT_MS)
            something()
        go_on.set()

    return do


def test_a_prediction_is_of_the_slide_it_was_asked_for(
    qtbot,
    viewer: Viewer,
    session: Session,
    demo_project: Project,
    meanwhile: Callable[..., None],
) -> None:
    job = show_dock(viewer, "Explain").model.job
    assert session.prediction is None
    meanwhile(
        "napari_weno.model_box.predict_in_project",
        job.button.click,
        lambda: session.open_slide(THERE),
    )
    qtbot.waitUntil(lambda: not job.running, timeout=WAIT_MS)
    assert "1 slide predicted" in job.text.text()
    assert demo_project.prediction_path("demo", HERE).is_file()
    assert not demo_project.prediction_path("demo", THERE).is_file()
    assert session.prediction is None
    assert not of_kind(viewer, "heatmap")
    session.open_slide(HERE)
    assert session.prediction.slide_id == HERE


def test_what_a_loaded_model_says_waits_for_its_slide(
    qtbot,
    viewer: Viewer,
    session: Session,
    demo_project: Project,
    meanwhile: Callable[..., None],
) -> None:
    model = show_dock(viewer, "Explain").model
    model.load_model(demo_project.run_dir("demo"))
    assert session.run is None
    meanwhile(
        "napari_weno.model_box.predict_with_model",
        model.job.button.click,
        lambda: session.open_slide(THERE),
    )
    qtbot.waitUntil(lambda: not model.job.running, timeout=WAIT_MS)
    assert session.prediction is None
    session.open_slide(HERE)
    assert session.prediction.slide_id == HERE


def test_another_slide_is_opened_while_one_is_prepared(
    qtbot,
    session: Session,
    dock: Any,
    demo_project: Project,
    meanwhile: Callable[..., None],
) -> None:
    prepare = dock.prepare
    qtbot.waitUntil(prepare.job.button.isEnabled, timeout=WAIT_MS)
    meanwhile(
        "weno.features.extract",
        prepare.job.button.click,
        lambda: session.open_slide(THERE),
    )
    qtbot.waitUntil(lambda: not prepare.job.running, timeout=WAIT_MS)
    assert demo_project.features_path(HERE).is_file()
    assert not demo_project.features_path(THERE).is_file()
    qtbot.waitUntil(lambda: prepared(dock) == {HERE}, timeout=WAIT_MS)
    # The button is for the slide that is open now.
    qtbot.waitUntil(prepare.job.button.isEnabled, timeout=WAIT_MS)
    assert prepare.choice.which == "open"


def test_a_slide_counts_as_prepared_while_the_others_are_still_at_it(
    qtbot, dock: Any, meanwhile: Callable[..., None]
) -> None:
    prepare = dock.prepare
    prepare.choice.setCurrentIndex(2)
    qtbot.waitUntil(prepare.job.button.isEnabled, timeout=WAIT_MS)

    def look() -> None:
        qtbot.waitUntil(lambda: len(prepared(dock)) == 1, timeout=WAIT_MS)
        assert prepare.job.running

    meanwhile(
        "weno.features.extract",
        prepare.job.button.click,
        look,
        lambda report: report is not None and report.finished,
    )
    qtbot.waitUntil(lambda: prepared(dock) == {HERE, THERE}, timeout=WAIT_MS)


def test_regions_are_not_counted_for_another_slide(
    qtbot, viewer: Viewer, session: Session, meanwhile: Callable[..., None]
) -> None:
    regions = show_dock(viewer, "Review").regions
    qtbot.mouseClick(regions.draw, LEFT)
    qtbot.waitUntil(lambda: regions.layer() is not None, timeout=WAIT_MS)
    ring = np.array([(0, 0), (0, 400), (400, 400), (400, 0)])
    meanwhile(
        "napari_weno.regions_box.count_tiles",
        lambda: regions.layer().add(ring, shape_type="polygon"),
        lambda: session.open_slide(THERE),
    )
    qtbot.mouseClick(regions.draw, LEFT)
    qtbot.waitUntil(lambda: regions.layer() is not None, timeout=WAIT_MS)
    assert len(regions.layer().data) == 0
    qtbot.waitUntil(lambda: "Looking" not in regions.text.text(), timeout=WAIT_MS)
    assert regions.table.rowCount() == 0
    session.open_slide(HERE)
    qtbot.waitUntil(lambda: regions.table.rowCount() == 1, timeout=WAIT_MS)
