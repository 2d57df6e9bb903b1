"""Work that is stopped, or goes wrong, in each dock: it is said, and one can go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import pytest
from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QWidget

from napari_weno.jobs import JobBar
from napari_weno.session import Session, session_of, show_dock
from weno.errors import WenoError
from weno.project import Project
from weno.review import ReviewStore, ReviewTile, Verdict

LEFT = Qt.MouseButton.LeftButton
WAIT_MS = 120_000
SLIDE, OTHER = "synthetic_000", "synthetic_001"
PATIENT = "Jane Doe"


@pytest.fixture
def session(viewer: Viewer, demo_project: Project) -> Session:
    """A project with a model, a patient's name, an answer, and a slide to prepare."""
    demo_project.table.edit({one: {"patient_id": PATIENT} for one in (SLIDE, OTHER)})
    with demo_project.open_slide(SLIDE) as slide:
        tile = ReviewTile(SLIDE, slide.content_hash, (0, 0), (128, 128))
    with ReviewStore(demo_project.review_dir, "ada") as store:
        store.answer(tile, Verdict.POSITIVE, run="demo", blind=True)
        store.answer(
            ReviewTile(OTHER, "0123456789abcdef", (0, 0), (128, 128)),
            Verdict.POSITIVE,
            run="demo",
            blind=True,
        )
    demo_project.features_path("synthetic_005").unlink()
    session = session_of(viewer)
    session.open_project(demo_project.root)
    session.open_slide(SLIDE)
    return session


@dataclass(frozen=True)
class Work:
    """A job of a dock.

    Parameters
    ----------
    dock : str
    job : str
        Where the dock takes the job from.
    start : callable
        Starts it, given the dock and the session.
    bar : callable
        Returns the `JobBar` of the dock.
    """

    dock: str
    job: str
    start: Callable[[Any, Session], Any]
    bar: Callable[[Any], JobBar]


def press(button: QPushButton) -> None:
    """Click a button that a person could click."""
    assert button.isEnabled()
    button.click()


def prepare(dock: Any, session: Session) -> None:
    dock.prepare.choice.setCurrentIndex(2)
    press(dock.prepare.job.button)


def find(dock: Any, session: Session) -> None:
    dock.relink.show_missing({OTHER: "not there"})
    dock.relink.folder.setText(str(session.project.root / "cohort"))
    press(dock.relink.job.button)


def predict(dock: Any, session: Session) -> None:
    dock.model.choice.setCurrentIndex(2)
    press(dock.model.job.button)


def save_figure(dock: Any, session: Session) -> None:
    dock.export.save_figure(session.project.root / "figure.svg")


def save_overlay(dock: Any, session: Session) -> None:
    dock.export.save_overlay(session.project.root / "overlay.ome.tif")


WORK = {
    "prepare": Work(
        "Cohort", "weno.features.extract", prepare, lambda dock: dock.prepare.job
    ),
    "find moved slides": Work(
        "Cohort", "napari_weno.relink_box.find_moved", find, lambda d: d.relink.job
    ),
    "fit": Work(
        "Train",
        "napari_weno.train.train",
        lambda dock, _: press(dock.job.button),
        lambda dock: dock.job,
    ),
    "predict": Work(
        "Explain",
        "napari_weno.model_box.predict_in_project",
        predict,
        lambda dock: dock.model.job,
    ),
    "save a figure": Work(
        "Explain",
        "napari_weno.export_box.save_figure",
        save_figure,
        lambda dock: dock.export.figure_job,
    ),
    "save an overlay": Work(
        "Explain",
        "napari_weno.export_box.write_overlay",
        save_overlay,
        lambda dock: dock.export.overlay_job,
    ),
    "make a queue": Work(
        "Review",
        "napari_weno.review_setup.collect_queue",
        lambda dock, _: press(dock.setup.job.button),
        lambda dock: dock.setup.job,
    ),
    "export a table": Work(
        "Review",
        "napari_weno.answers_box.export_csv",
        lambda dock, _: press(dock.answers.csv),
        lambda dock: dock.answers.exports,
    ),
    "export regions": Work(
        "Review",
        "napari_weno.answers_box.export_geojson",
        lambda dock, _: press(dock.answers.geojson),
        lambda dock: dock.answers.exports,
    ),
}


def ready(qtbot, viewer: Viewer, session: Session, work: Work) -> QWidget:
    """Show the dock of a job, with all there is to do it."""
    if work.dock == "Train":
        # What is not prepared must not stand against a fit.
        session.project.table.edit({"synthetic_005": {"label": ""}})
    dock = show_dock(viewer, work.dock)
    if work.dock == "Cohort":
        qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6, timeout=WAIT_MS)
        qtbot.waitUntil(lambda: "(1)" in dock.prepare.choice.itemText(2))
    if work.dock == "Train":
        qtbot.waitUntil(dock.job.button.isEnabled, timeout=WAIT_MS)
    return dock


@pytest.mark.parametrize("name", WORK)
def test_what_goes_wrong_is_said_and_the_dock_goes_on(
    qtbot,
    viewer: Viewer,
    session: Session,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    work = WORK[name]
    dock = ready(qtbot, viewer, session, work)
    bar = work.bar(dock)
    button, text = bar.button.text(), bar.button.isHidden()

    def fail(*_: object, **__: object) -> Generator[None, None, None]:
        yield from ()
        raise errors.pop()

    errors = [WenoError("the disk is full"), OSError(5, "Input/output error")]
    monkeypatch.setattr(work.job, fail)
    for wanted in ("Input/output error", "the disk is full"):
        with qtbot.waitSignal(bar.ended, timeout=WAIT_MS):
            work.start(dock, session)
        assert wanted in bar.text.text() or wanted in dock.result.text()
        assert wanted in said[-1]
        for told in (*said, bar.text.text()):
            assert PATIENT not in told
            assert "Traceback" not in told
        assert not bar.running
        assert (bar.button.text(), bar.button.isHidden()) == (button, text)
        assert bar.progress.isHidden()
        if work.dock == "Train":
            qtbot.waitUntil(dock.job.button.isEnabled, timeout=WAIT_MS)


@dataclass(frozen=True)
class Look:
    """Something that a dock finds out in the background, without a button to stop it.

    Parameters
    ----------
    dock : str
    job : str
        Where the dock takes the job from.
    again : callable
        Makes the dock find it out, given the dock and the session.
    text : callable
        Returns what the dock says of it.
    """

    dock: str
    job: str
    again: Callable[[Any, Session], Any]
    text: Callable[[Any], str]


LOOKS = {
    "tissue": Look(
        "Cohort",
        "napari_weno.tissue_box.look_for",
        lambda dock, _: press(dock.tissue.find_button),
        lambda dock: dock.tissue.text.text(),
    ),
    "ready to fit": Look(
        "Train",
        "napari_weno.train.look",
        lambda _, session: session.files_changed.emit(),
        lambda dock: dock.hint.text(),
    ),
    "truth": Look(
        "Explain",
        "napari_weno.truth_box.read_tile_truth",
        lambda dock, _: dock.truth.refresh(),
        lambda dock: dock.truth.file.text(),
    ),
    "answers": Look(
        "Review",
        "napari_weno.answers_box.take_stock",
        lambda _, session: session.files_changed.emit(),
        lambda dock: dock.answers.standing.text(),
    ),
    "regions": Look(
        "Review",
        "napari_weno.regions_box.read_both",
        lambda dock, _: press(dock.regions.draw),
        lambda dock: dock.regions.text.text(),
    ),
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_a_dock_cannot_find_out_is_said_until_it_can(
    qtbot,
    viewer: Viewer,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    look = LOOKS[name]

    def fail(*_: object, **__: object) -> Generator[None, None, None]:
        yield from ()
        raise OSError(5, "Input/output error")

    dock = show_dock(viewer, look.dock)
    with monkeypatch.context() as patched:
        patched.setattr(look.job, fail)
        look.again(dock, session)
        qtbot.waitUntil(
            lambda: "Input/output error" in look.text(dock), timeout=WAIT_MS
        )
    assert PATIENT not in look.text(dock)
    assert "Traceback" not in look.text(dock)
    look.again(dock, session)
    qtbot.waitUntil(
        lambda: "Input/output error" not in look.text(dock), timeout=WAIT_MS
    )


def gated(module: str, started: threading.Event, go_on: threading.Event) -> Any:
    """Return a job that waits after its first report."""
    path, _, name = module.rpartition(".")
    job = getattr(__import__(path, fromlist=[name]), name)

    def wait(*args: Any, **kwargs: Any) -> Generator[Any, None, Any]:
        generator = job(*args, **kwargs)
        try:
            yield next(generator)
            started.set()
            go_on.wait(WAIT_MS / 1000)
            return (yield from generator)
        finally:
            generator.close()

    return wait


@pytest.mark.parametrize("name", [name for name in WORK if name != "fit"])
def test_a_job_stopped_in_the_middle_leaves_nothing_half(
    qtbot,
    viewer: Viewer,
    session: Session,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    work = WORK[name]
    started, go_on = threading.Event(), threading.Event()
    dock = ready(qtbot, viewer, session, work)
    bar, results = work.bar(dock), []
    bar.returned.connect(results.append)
    with monkeypatch.context() as patched:
        patched.setattr(work.job, gated(work.job, started, go_on))
        work.start(dock, session)
        qtbot.waitUntil(started.is_set, timeout=WAIT_MS)
        assert not bar.button.isHidden()
        with qtbot.waitSignal(bar.ended, timeout=WAIT_MS):
            press(bar.button)
            assert bar.button.text() == "Stopping…"
            go_on.set()
    assert not half_written(session.project)
    assert said == results == []
    assert not bar.running

    # Now to the end.
    with qtbot.waitSignal(bar.returned, timeout=WAIT_MS):
        work.start(dock, session)


def half_written(project: Project) -> set[str]:
    """Return the files that their writers have not given their names yet."""
    return {
        str(path)
        for path in project.root.rglob(".*")
        if path.is_file() and path.parent.name != ".locks"
    }
