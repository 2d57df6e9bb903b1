"""A project's folder, or its slides, that move or go while a window shows them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget
from review_files import SLIDES

from napari_weno.layers import slide_layer
from napari_weno.next_slide import open_next
from napari_weno.session import Session, session_of, show_dock
from weno.project import Project
from weno.review import Verdict
from weno.slides import Slide

LEFT = Qt.MouseButton.LeftButton
WAIT_MS = 60_000
DOCKS = ("Slide", "Cohort", "Train", "Explain", "Review")


@pytest.fixture
def session(viewer: Viewer, predicted: Project) -> Session:
    session = session_of(viewer)
    session.open_project(predicted.root)
    session.open_slide(SLIDES[0])
    return session


@pytest.fixture
def docks(qtbot, viewer: Viewer, session: Session) -> dict[str, QWidget]:
    """All docks of the window, once they have found out what there is."""
    docks = {name: show_dock(viewer, name) for name in DOCKS}
    qtbot.waitUntil(lambda: docks["Cohort"].table.model().rowCount() == 6)
    qtbot.waitUntil(lambda: docks["Train"].runs.rowCount() == 1, timeout=WAIT_MS)
    return docks


def test_a_project_that_goes_is_said_and_another_one_can_be_opened(
    qtbot,
    docks: dict[str, QWidget],
    session: Session,
    predicted: Project,
    tmp_path: Path,
    said: list[str],
) -> None:
    gone = tmp_path / "moved away"
    predicted.root.rename(gone)
    # What any dock does that has written something, or that is looked at again.
    session.files_changed.emit()
    session.select_slides([SLIDES[1]])
    qtbot.waitUntil(
        lambda: any("is not there any more" in text for text in said), timeout=WAIT_MS
    )
    docks["Cohort"].open_slide(SLIDES[1])
    assert session.opened.slide_id == SLIDES[0]
    qtbot.waitUntil(lambda: "slides.csv" in docks["Train"].hint.text())
    assert not docks["Train"].job.running
    assert not docks["Review"].setup.job.button.isEnabled()

    # Where it is now, it is whole.
    docks["Cohort"].open_project(str(gone))
    assert session.project.root == gone
    docks["Cohort"].open_slide(SLIDES[1])
    assert session.opened.slide_id == SLIDES[1]
    assert session.prediction is not None
    assert not any("Traceback" in text for text in said)


def test_a_slide_that_goes_during_a_review_can_be_skipped(
    qtbot, viewer: Viewer, session: Session, predicted: Project, said: list[str]
) -> None:
    review = show_dock(viewer, "Review")
    review.setup.reviewer.setText("ada")
    review.setup.audit.setValue(0)
    qtbot.mouseClick(review.setup.job.button, LEFT)
    qtbot.waitUntil(lambda: review.round is not None, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: review.settled, timeout=WAIT_MS)
    here = review.round.item.tile.slide_id
    other = next(one for one in SLIDES if one != here)
    predicted.slide(other).path.rename(predicted.root / "elsewhere.tif")

    # As far as a tile of the slide that is gone.
    while review.round.item.tile.slide_id != other:
        before = review.round.item
        qtbot.keyClick(review.page, "s")
        assert review.round.item != before
        qtbot.waitUntil(
            lambda: review.settled or review.round.item.tile.slide_id == other,
            timeout=WAIT_MS,
        )
    qtbot.waitUntil(lambda: bool(said), timeout=WAIT_MS)
    assert other in said[-1]
    assert session.opened.slide_id == here
    # Nobody can answer what is not seen, but one can go on, and back.
    gone = review.round.item
    qtbot.keyClick(review.page, "p")
    assert review.round.item == gone
    assert review.round.counts()[Verdict.POSITIVE] == 0
    qtbot.keyClick(review.page, "s")
    assert review.round.item != gone
    qtbot.mouseClick(review.page.end, LEFT)
    assert review.round is None
    assert not session.blind


def test_a_project_that_was_deleted_meanwhile_leaves_the_slide_shown(
    qtbot,
    viewer: Viewer,
    session: Session,
    predicted: Project,
    corners_slide: Slide,
    said: list[str],
) -> None:
    shutil.rmtree(predicted.root)
    session.choose_run("demo")
    assert session.prediction is None
    assert session.opened.slide_id == SLIDES[0]
    # A slide of no project is looked at as without one.
    data, keywords, _ = slide_layer(corners_slide)
    viewer.add_image(data, **keywords)
    assert session.opened.name == "corners"
    assert session.opened.slide_id is None
    open_next(viewer)
    assert not any("Traceback" in text for text in said)
