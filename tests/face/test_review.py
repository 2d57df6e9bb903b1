from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from napari import Viewer
from napari import settings as napari_settings
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import QApplication, QLineEdit, QMainWindow, QPushButton, QWidget
from review_files import SLIDES, ask_of_three, events

from napari_weno.curtain import Curtain
from napari_weno.key_editor import KeyHelp, chosen_keys
from napari_weno.preferences import keep_review_keys, preferences
from napari_weno.review import ReviewWidget
from napari_weno.review_keys import KEYS, ReviewKeys, remapped
from napari_weno.session import session_of, show_dock
from napari_weno.zooms import read_views
from weno.errors import ReviewError
from weno.mil.config import TrainConfig
from weno.project import Project
from weno.review import ReviewStore, ReviewTile, Verdict

LEFT = Qt.MouseButton.LeftButton
ROOT = Path(__file__).parents[2]


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
    assert "Explain (WENO)" in viewer.window.dock_widgets


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
    assert not any(layer.thumbnail[..., :3].any() for layer in session.overlays())
    assert page.values.isHidden()
    assert session.tile is None
    frame = viewer.layers["tile asked about"]
    np.testing.assert_allclose(
        frame.data[0],
        (np.array(first.tile.origin) + (np.array(first.tile.size) - 1) / 2)
        * session.opened.slide.mpp,
    )
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], frame.data[0])

    place = page.history.geometry()
    assert preferences("review").reviewer == "ada", "kept for the next time"

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
    assert page.history.geometry() == place

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


KINDS = {
    "points": lambda viewer: viewer.add_points(np.zeros((1, 2))),
    "shapes": lambda viewer: viewer.add_shapes(np.array([[0, 0], [9, 9]])),
    "labels": lambda viewer: viewer.add_labels(np.zeros((9, 9), int)),
    "image": lambda viewer: session_of(viewer).opened.layer,
}


@pytest.mark.parametrize("kind", KINDS)
def test_review_mode_takes_the_canvas_keys_and_gives_them_back(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project, kind: str
) -> None:
    session_of(viewer).open_project(predicted.root)
    begin(qtbot, review)
    canvas = canvas_of(viewer, review)
    layer = KINDS[kind](viewer)

    def modes() -> list[str]:
        """Press the review's keys and napari's own with the layer active."""
        found = []
        viewer.layers.selection.active = layer
        for key in "psznu123456":
            layer.mode = "pan_zoom"
            if key in "psznu":
                seen(qtbot, review)
                viewer.layers.selection.active = layer
            qtbot.keyClick(canvas, key)
            found.append(str(layer.mode))
        return found

    # What the review leaves alone must go on doing something while it has the keys.
    napari_does = modes()
    assert len(set(napari_does)) > 1
    assert review.round.counts().total() == 0

    qtbot.mouseClick(review.page.on_canvas, LEFT)
    assert modes() == ["pan_zoom"] * 5 + napari_does[5:]
    actions = [event["action"] for event in events(predicted)]
    assert actions == ["answer", "answer", "undo", "answer", "answer"]

    qtbot.mouseClick(review.page.on_canvas, LEFT)
    assert modes() == napari_does
    qtbot.mouseClick(review.page.on_canvas, LEFT)
    qtbot.mouseClick(review.page.end, LEFT)
    found = []
    for key in "psznu123456":
        layer.mode = "pan_zoom"
        viewer.layers.selection.active = layer
        qtbot.keyClick(canvas, key)
        found.append(str(layer.mode))
    assert found == napari_does
    assert len(events(predicted)) == 5


def test_the_page_says_when_keys_go_elsewhere(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session_of(viewer).open_project(predicted.root)
    begin(qtbot, review)
    page, app = review.page, QApplication.instance()
    app.focusChanged.emit(None, page.buttons["positive"])
    assert not page.progress.isTextVisible()
    app.focusChanged.emit(page, viewer.window._qt_window.centralWidget())
    assert page.progress.isTextVisible()
    assert "Click here" in page.progress.text()
    qtbot.mouseClick(page.on_canvas, LEFT)
    assert not page.progress.isTextVisible()


def type_keys(qtbot, help_box: KeyHelp, **chosen: str) -> None:
    qtbot.mouseClick(help_box.change, LEFT)
    for action, key in chosen.items():
        help_box.edits[action].setKeySequence(QKeySequence(key))
    qtbot.mouseClick(help_box.save, LEFT)


def test_keys_are_changed_kept_and_never_given_twice(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session_of(viewer).open_project(predicted.root)
    begin(qtbot, review)
    page = review.page
    type_keys(qtbot, page.help, positive="J", negative="J")
    assert "'positive' and 'negative'" in page.help.problem.text()
    qtbot.mouseClick(page.help.cancel, LEFT)
    assert page.window().focusWidget() is page, "else no key would be heard"
    answer(qtbot, review, "j")
    assert review.round.counts().total() == 0

    type_keys(qtbot, page.help, positive="J")
    assert page.window().focusWidget() is page
    assert page.help.editor.isHidden()
    assert "<b>J</b>" in page.help.help.text()
    assert page.buttons["positive"].text().endswith("J")
    answer(qtbot, review, "p")
    assert review.round.counts().total() == 0
    answer(qtbot, review, "j")
    assert [e["verdict"] for e in events(predicted)] == ["positive"]
    assert chosen_keys()[0].keys == "J"

    # They are the user's, not the project's; a file that gives a key twice is told.
    napari_settings._clear_plugin_settings_cache()
    assert chosen_keys()[0].keys == "J"
    keep_review_keys({"negative": "J"})
    assert chosen_keys() == KEYS
    assert "usual keys" in notification_manager.records[-1].message


@pytest.mark.parametrize("bad", ["", "Tab", "Esc", "Return", "Ctrl+K, Ctrl+C"])
def test_what_cannot_be_a_key_is_refused(bad: str) -> None:
    with pytest.raises(ReviewError, match="cannot be the key"):
        remapped({"positive": bad})


def test_the_manifest_has_the_keys_of_the_table() -> None:
    manifest = yaml.safe_load((ROOT / "napari.yaml").read_text("utf-8"))
    given = manifest["contributions"]["configurations"]["review_keys"]["properties"]
    assert {name: one["default"] for name, one in given.items()} == {
        key.action: key.keys for key in KEYS
    }


def test_a_tile_is_shown_at_three_zooms_and_the_next_is_read_ahead(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session_of(viewer).open_project(predicted.root)
    begin(qtbot, review)
    view = review.page.crop
    places = [view.place_of(zoom) for zoom in range(3)]
    assert places[0].width() > 1.8 * places[1].width()
    assert all(place.width() > 80 for place in places)
    middle = places[2].center().toPoint()
    qtbot.mouseClick(view, LEFT, pos=middle)
    assert view.place_of(2).width() == pytest.approx(places[0].width())
    qtbot.keyClick(review.page, "v")
    assert view.large == 0
    following = review.round.upcoming(1)[0]
    qtbot.waitUntil(lambda: following in view._kept, timeout=20_000)
    qtbot.keyClick(review.page, "n")
    # At once, while the canvas is still on its way.
    assert view.shown == following
    assert not review.settled


def test_a_tile_that_has_not_come_yet_cannot_be_answered(
    qtbot,
    viewer: Viewer,
    review: ReviewWidget,
    predicted: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    come = threading.Event()

    def slow(*args: object) -> Iterator[object]:
        come.wait(20)
        yield from read_views(*args)

    monkeypatch.setattr("napari_weno.zooms.read_views", slow)
    session_of(viewer).open_project(predicted.root)
    review.setup.reviewer.setText("ada")
    qtbot.mouseClick(review.setup.job.button, LEFT)
    qtbot.waitUntil(lambda: review.round is not None, timeout=20_000)
    review._canvas.start()
    qtbot.keyClick(review.page, "p")
    assert review.round.counts().total() == 0
    come.set()
    answer(qtbot, review, "p")
    assert review.round.counts().total() == 1


def test_the_views_of_a_tile_are_the_slides_pixels(predicted: Project) -> None:
    with predicted.open_slide(SLIDES[0]) as slide:
        tile = ReviewTile(SLIDES[0], slide.content_hash, (256, 384), (128, 128))
        wanted = slide.read(0, 256, 384, 128, 128)
        around = slide.read(0, 0, 128, 640, 640)
    (views,) = read_views(predicted, [tile], {})
    np.testing.assert_array_equal(views.pictures[0], wanted)
    assert views.pictures[1].shape[0] in (640, 320)
    factor = 640 // views.pictures[1].shape[0]
    near = around[::factor, ::factor].astype(int) - views.pictures[1]
    assert abs(near).mean() < 12
    assert views.frames[2].left() == pytest.approx(384 / 1024)
    assert views.frames[2].top() == pytest.approx(256 / 1024)


def test_the_whole_of_a_slide_is_read_once(predicted: Project) -> None:
    with predicted.open_slide(SLIDES[0]) as slide:
        tile = ReviewTile(SLIDES[0], slide.content_hash, (256, 384), (128, 128))
    known: dict[str, np.ndarray] = {}
    (first,) = read_views(predicted, [tile], known)
    (again,) = read_views(predicted, [tile], known)
    assert again.pictures[2] is first.pictures[2]


def test_answers_are_counted_and_compared(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    for name, verdicts in (("ada", "pppn"), ("bob", "ppnn")):
        with ReviewStore(predicted.review_dir, name) as store:
            for k, letter in enumerate(verdicts):
                tile = ReviewTile("x", "hash", (0, 128 * k), (128, 128))
                verdict = {"p": "positive", "n": "negative"}[letter]
                store.answer(tile, Verdict(verdict), blind=True)
            seen_first = ReviewTile("x", "hash", (512, 0), (128, 128))
            store.answer(seen_first, Verdict.POSITIVE, blind=name == "ada")
    session_of(viewer).open_project(predicted.root)
    box = review.answers
    qtbot.waitUntil(lambda: "train" in box.standing.text(), timeout=20_000)
    assert "4 answers train the next model: 3 tumour, 1 normal" in box.standing.text()
    assert "1 unsure or contradictory" in box.standing.text()
    assert box.agreement.text() == (
        "ada and bob: kappa 0.50, the same answer for 3 of 4 tiles that both answered "
        "blind"
    )
    assert box.retrain.isEnabled()


def test_answers_on_slides_held_out_are_not_said_to_train(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    predicted.table.edit({SLIDES[0]: {"split": "test"}, SLIDES[1]: {"split": "train"}})
    with ReviewStore(predicted.review_dir, "ada") as store:
        for slide_id in SLIDES[:2]:
            tile = ReviewTile(slide_id, slide_id, (0, 0), (128, 128))
            store.answer(tile, Verdict.POSITIVE, blind=True)
    session_of(viewer).open_project(predicted.root)
    told = review.answers.standing
    qtbot.waitUntil(lambda: "1 answers train" in told.text(), timeout=20_000)
    assert "1 on slides that it is not trained on" in told.text()
    # In a fit with folds every slide trains some of the models.
    config = TrainConfig(folds=2)
    config.write(predicted.run_dir("demo") / "config.json")
    session_of(viewer).files_changed.emit()
    qtbot.waitUntil(lambda: "2 answers train" in told.text(), timeout=20_000)


def test_without_answers_there_is_nothing_to_retrain_with(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session_of(viewer).open_project(predicted.root)
    box = review.answers
    qtbot.waitUntil(lambda: "Nothing answered yet" in box.standing.text())
    assert not box.retrain.isEnabled()
    assert box.agreement.isHidden()


def test_a_tile_answered_anew_shows_what_was_said_before(
    qtbot, viewer: Viewer, review: ReviewWidget, predicted: Project
) -> None:
    session_of(viewer).open_project(predicted.root)
    begin(qtbot, review)
    answer(qtbot, review, "p")
    qtbot.keyClick(review.page, Qt.Key.Key_Left)
    answer(qtbot, review, "u")
    qtbot.keyClick(review.page, Qt.Key.Key_Left)
    assert "your answer: unsure (before: tumour)" in review.page.tile.text()


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
