from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QApplication, QLineEdit, QMainWindow, QPushButton, QWidget
from review_files import SLIDES, ask_of_three, events

from napari_weno.curtain import Curtain
from napari_weno.review import ReviewWidget
from napari_weno.review_keys import ReviewKeys
from napari_weno.session import session_of, show_dock
from weno.errors import ReviewError
from weno.project import Project
from weno.review import (
    ReviewStore,
)

LEFT = Qt.MouseButton.LeftButton


def press(widget: QWidget, key: Qt.Key, kind: QEvent.Type, repeat: bool) -> None:
    event = QKeyEvent(kind, key, Qt.KeyboardModifier.NoModifier, "", repeat)
    QApplication.sendEvent(widget, event)


def test_keys_are_taken_from_widgets_but_not_where_people_write(qtbot) -> None:
    box = QWidget()
    qtbot.addWidget(box)
    button, line = QPushButton(box), QLineEdit(box)
    keys = ReviewKeys(parent=box)
    taken: list[str] = []
    keys.pressed.connect(taken.append)
    keys.put_on(box)
    qtbot.keyClick(button, "p")
    qtbot.keyClick(line, "p")
    qtbot.keyClick(button, "z", Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClick(button, "z", Qt.KeyboardModifier.ControlModifier)
    assert taken == ["positive", "redo"]
    assert line.text() == "p"
    keys.take_off(box)
    qtbot.keyClick(button, "p")
    assert taken == ["positive", "redo"]


def test_a_key_held_down_answers_once_and_hides_until_let_go(qtbot) -> None:
    box = QWidget()
    qtbot.addWidget(box)
    keys = ReviewKeys(parent=box)
    told: list[str] = []
    keys.pressed.connect(told.append)
    keys.released.connect(lambda action: told.append(f"{action} over"))
    keys.put_on(box)
    for repeat in (False, True, True):
        press(box, Qt.Key.Key_P, QEvent.Type.KeyPress, repeat)
    press(box, Qt.Key.Key_H, QEvent.Type.KeyPress, False)
    press(box, Qt.Key.Key_H, QEvent.Type.KeyRelease, True)
    assert told == ["positive", "hide"]
    press(box, Qt.Key.Key_H, QEvent.Type.KeyRelease, False)
    assert told[-1] == "hide over"


def test_the_curtain_gives_back_what_was_visible(
    viewer: Viewer, predicted: Project
) -> None:
    session = session_of(viewer)
    session.open_project(predicted.root)
    session.open_slide(SLIDES[0])
    before = {layer.name: layer.visible for layer in session.overlays()}
    assert set(before.values()) == {True, False}
    curtain = Curtain(session)
    curtain.draw("blind")
    curtain.draw("held")
    assert curtain.visible() == []
    session.open_slide(SLIDES[1])
    curtain.cover()
    assert curtain.visible() == []
    assert curtain.take_seen() == set()
    viewer.layers["attention"].visible = True
    viewer.layers["attention"].visible = False
    assert curtain.take_seen() == {"attention"}
    curtain.lift("held")
    assert curtain.visible() == []
    curtain.lift("blind")
    assert {layer.name: layer.visible for layer in session.overlays()} == before


@pytest.fixture
def review(viewer: Viewer) -> ReviewWidget:
    widget = show_dock(viewer, "Review")
    assert isinstance(widget, ReviewWidget)
    return widget


def seen(qtbot, review: ReviewWidget) -> None:
    """Wait until the tile asked about is in the dock and its slide on the canvas."""
    qtbot.waitUntil(lambda: review.settled, timeout=20_000)


def answer(qtbot, review: ReviewWidget, *keys: str) -> None:
    for key in keys:
        seen(qtbot, review)
        qtbot.keyClick(review.page, key)


def begin(qtbot, review: ReviewWidget, *, tiles: int = 6, audit: int = 0) -> None:
    review.setup.reviewer.setText("ada")
    review.setup.limit.setValue(tiles)
    review.setup.audit.setValue(audit)
    qtbot.mouseClick(review.setup.job.button, LEFT)
    qtbot.waitUntil(lambda: review.round is not None, timeout=20_000)
    seen(qtbot, review)


def test_an_empty_dock_says_what_to_do(
    qtbot, viewer: Viewer, review: ReviewWidget, new_project: Project
) -> None:
    assert "No project" in review.setup.hint.text()
    assert not review.setup.job.button.isEnabled()
    session_of(viewer).open_project(new_project.root)
    assert "train" in review.setup.hint.text()
    assert review.setup.way_out.text() == "Go to Train"
    folder = new_project.run_dir("demo")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    session_of(viewer).files_changed.emit()
    assert "not predicted" in review.setup.hint.text()
    qtbot.mouseClick(review.setup.way_out, LEFT)
    assert "Explain (napari-weno)" in viewer.window.dock_widgets


def test_tiles_are_answered_by_keys_and_saved(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session = session_of(viewer)
    session.open_project(predicted.root)
    session.open_slide(SLIDES[0])
    shown = [layer.name for layer in session.overlays() if layer.visible]
    begin(qtbot, review)
    page = review.page

    # Blind: nothing of the model is on screen, the tile is.
    first = review.round.item
    assert session.opened.slide_id == first.tile.slide_id
    assert not any(layer.visible for layer in session.overlays())
    assert page.values.isHidden()
    assert session.tile is None
    frame = viewer.layers["tile asked about"]
    np.testing.assert_allclose(
        frame.data[0],
        (np.array(first.tile.origin) + (np.array(first.tile.size) - 1) / 2)
        * session.opened.slide.mpp,
    )
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], frame.data[0])

    # The answer is on disk, and only now the values are told.
    qtbot.keyClick(page, "p")
    assert [e["verdict"] for e in events(predicted)] == ["positive"]
    assert events(predicted)[0]["blind"] is True
    assert "P(tumour)" in page.last.text()
    assert page.counts.text() == "1 of 6 · 1 tumour"
    second = review.round.item
    assert second.tile.slide_id != first.tile.slide_id
    seen(qtbot, review)
    assert session.opened.slide_id == second.tile.slide_id

    # A click on the canvas, which chooses a tile, tells no dock its values.
    session.choose_tile(3)
    assert session.tile is None

    # Back across slides: undo, answer anew, redo is over.
    qtbot.keyClick(page, "n")
    qtbot.keyClick(page, "z")
    qtbot.keyClick(page, "z")
    assert review.round.item == first
    seen(qtbot, review)
    assert session.opened.slide_id == first.tile.slide_id
    assert page.counts.text() == "0 of 6"
    qtbot.keyClick(page, "z", Qt.KeyboardModifier.ShiftModifier)
    assert page.counts.text() == "1 of 6 · 1 tumour"
    answer(qtbot, review, "u")
    assert [(e["action"], e["verdict"]) for e in events(predicted)] == [
        ("answer", "positive"),
        ("answer", "negative"),
        ("undo", "negative"),
        ("undo", "positive"),
        ("redo", "positive"),
        ("answer", "unsure"),
    ]
    assert events(predicted)[-1]["blind"] is False

    # The buttons do what the keys do.
    while not review.round.finished:
        seen(qtbot, review)
        qtbot.mouseClick(page.buttons["negative"], LEFT)
    assert "All 6 tiles are answered" in page.finished.text()
    seen(qtbot, review)
    candidates = viewer.layers["candidates"]
    at = list(candidates.features["tile"]).index(review.round.item.index)
    assert candidates.features["verdict"][at] == "negative"
    np.testing.assert_allclose(
        candidates.border_color[at, :3], np.array([0, 114, 178]) / 255
    )

    # The end gives the overlays back, and the answers go out.
    qtbot.mouseClick(page.end, LEFT)
    assert [layer.name for layer in session.overlays() if layer.visible] == shown
    assert "tile asked about" not in viewer.layers
    qtbot.mouseClick(review.answers.csv, LEFT)
    csv = predicted.review_dir / "exports" / "verdicts.csv"
    qtbot.waitUntil(
        lambda: str(csv) in review.answers.exports.text.text(), timeout=10_000
    )
    assert len(csv.read_text().splitlines()) == 7


def test_of_several_classes_the_run_says_which_is_asked_about(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    project = ask_of_three(predicted)
    session = session_of(viewer)
    session.open_project(project.root)
    assert session.project.positive == "necrosis"
    review.setup.run.setCurrentText("demo")
    begin(qtbot, review)
    first = review.round.item
    assert "not tumour" in review.page.buttons["negative"].text()
    qtbot.keyClick(review.page, "p")
    assert review.page.counts.text() == "1 of 6 · 1 tumour"
    qtbot.mouseClick(review.page.end, LEFT)
    # For another class the tile is a new question.
    runs = project.asking("necrosis").runs_asking()
    with ReviewStore(predicted.review_dir, "ada", runs) as store:
        assert store.verdict(first.tile) is None


def test_open_work_shows_values_and_says_so_on_record(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session = session_of(viewer)
    session.open_project(predicted.root)
    begin(qtbot, review)
    qtbot.mouseClick(review.page.blind, LEFT)
    assert not review.page.blind.isChecked()
    assert "P(tumour)" in review.page.values.text()
    assert session.tile == review.round.item.index
    visible = [layer.name for layer in session.overlays() if layer.visible]
    assert "candidates" in visible
    # H, held, shows the tissue alone.
    press(review.page, Qt.Key.Key_H, QEvent.Type.KeyPress, False)
    assert not any(layer.visible for layer in session.overlays())
    assert not viewer.layers["tile asked about"].visible
    press(review.page, Qt.Key.Key_H, QEvent.Type.KeyRelease, False)
    assert [layer.name for layer in session.overlays() if layer.visible] == visible
    assert viewer.layers["tile asked about"].visible
    qtbot.keyClick(review.page, "n")
    (event,) = events(predicted)
    assert event["blind"] is False
    assert set(event["shown"]) == {"values", *visible}


def canvas_of(viewer: Viewer, review: ReviewWidget) -> QWidget:
    """Return the widget that napari draws on."""
    window = review.parentWidget()
    while not isinstance(window, QMainWindow):
        window = window.parentWidget()
    found = [
        widget
        for widget in window.centralWidget().findChildren(QWidget)
        if "CanvasBackend" in type(widget).__name__
    ]
    assert len(found) == 1
    return found[0]


def test_review_mode_takes_the_canvas_keys_and_gives_them_back(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session_of(viewer).open_project(predicted.root)
    begin(qtbot, review)
    canvas = canvas_of(viewer, review)
    points = viewer.add_points(np.zeros((1, 2)), name="mine")
    image = session_of(viewer).opened.layer

    def modes() -> list[str]:
        """Press P, S and Z with either layer active."""
        found = []
        for layer in (points, image):
            viewer.layers.selection.active = layer
            layer.mode = "pan_zoom"
            for key in "psz":
                qtbot.keyClick(canvas, key)
                found.append(str(layer.mode))
        return found

    napari_does = modes()
    assert napari_does == ["add", "select", *["pan_zoom"] * 4]
    assert review.round.counts().total() == 0

    qtbot.mouseClick(review.page.on_canvas, LEFT)
    assert set(modes()) == {"pan_zoom"}
    actions = [event["action"] for event in events(predicted)]
    assert actions == ["answer", "answer", "undo"] * 2

    qtbot.mouseClick(review.page.on_canvas, LEFT)
    assert modes() == napari_does
    qtbot.mouseClick(review.page.on_canvas, LEFT)
    qtbot.mouseClick(review.page.end, LEFT)
    assert modes() == napari_does
    assert len(events(predicted)) == 6


def test_the_verdict_file_is_free_after_the_dock_is_closed(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session = session_of(viewer)
    session.open_project(predicted.root)
    begin(qtbot, review)
    qtbot.keyClick(review.page, "p")
    assert session.blind
    with qtbot.waitSignal(review.destroyed):
        viewer.window.remove_dock_widget(review)
        review.deleteLater()
    with ReviewStore(predicted.review_dir, "ada") as store:
        assert len(store.answers()) == 1
    assert not session.blind
    assert any(layer.visible for layer in session.overlays())
    assert "tile asked about" not in viewer.layers


def test_the_window_may_be_closed_in_the_middle(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session_of(viewer).open_project(predicted.root)
    begin(qtbot, review)
    qtbot.keyClick(review.page, "p")
    viewer.close()
    qtbot.waitUntil(lambda: free(predicted))
    assert len(events(predicted)) == 1


def free(project: Project) -> bool:
    try:
        ReviewStore(project.review_dir, "ada").close()
    except ReviewError:
        return False
    return True


def test_a_file_that_another_window_writes_is_said(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session_of(viewer).open_project(predicted.root)
    review.setup.reviewer.setText("ada")
    with ReviewStore(predicted.review_dir, "ada"):
        qtbot.mouseClick(review.setup.job.button, LEFT)
        qtbot.waitUntil(
            lambda: "another window" in review.setup.job.text.text(), timeout=20_000
        )
    assert review.round is None


def test_the_queue_is_kept_for_others(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session_of(viewer).open_project(predicted.root)
    begin(qtbot, review, tiles=5)
    path: Path = predicted.review_dir / "queues" / "demo.json"
    assert len(json.loads(path.read_text())["items"]) == 5
