from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from napari.layers import Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt

from napari_weno.camera import centre_of, look_at, turn
from napari_weno.layers import slide_layer
from napari_weno.measure import distance_text
from napari_weno.session import Session, session_of
from weno.slides import Slide, open_slide

LEFT = Qt.MouseButton.LeftButton


class Hand:
    """Moves, drags and clicks at places relative to the middle of the canvas."""

    def __init__(self, viewer: Viewer, qtbot: QtBot) -> None:
        self.canvas = viewer.window._qt_viewer.canvas.native
        self.middle = QPoint(self.canvas.width() // 2, self.canvas.height() // 2)
        self.qtbot = qtbot

    def move(self, x: int, y: int) -> QPoint:
        place = self.middle + QPoint(x, y)
        self.qtbot.mouseMove(self.canvas, place)
        return place

    def click(self, x: int, y: int) -> None:
        self.qtbot.mouseClick(self.canvas, LEFT, pos=self.move(x, y))

    def drag(self, start: tuple[int, int], stop: tuple[int, int]) -> None:
        self.qtbot.mousePress(self.canvas, LEFT, pos=self.move(*start))
        self.qtbot.mouseRelease(self.canvas, LEFT, pos=self.move(*stop))

    def press_key(self, key: Qt.Key) -> None:
        self.qtbot.keyClick(self.canvas, key)


@pytest.fixture
def hand(viewer: Viewer, qtbot: QtBot) -> Hand:
    return Hand(viewer, qtbot)


@pytest.fixture
def session(viewer: Viewer, corners_slide: Slide) -> Session:
    """A slide of 0.5 µm/px shown at 10x: a screen pixel is one µm."""
    show(viewer, corners_slide)
    look_at(viewer, 384, 256, 1.0)
    return session_of(viewer)


def show(viewer: Viewer, slide: Slide) -> None:
    data, keywords, _ = slide_layer(slide)
    viewer.add_image(data, **keywords)


def distances(viewer: Viewer) -> Shapes:
    return viewer.layers["distances"]


def told(viewer: Viewer) -> list[str]:
    return list(distances(viewer).features["distance"])


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_drag_draws_a_distance(
    viewer: Viewer, session: Session, hand: Hand, quarters: int
) -> None:
    turn(viewer, quarters)
    centre = centre_of(viewer)
    session.ruler.start()
    assert not viewer.scene.camera.mouse_pan, "measuring must not move the slide"
    hand.drag((-150, -20), (150, -20))
    hand.drag((0, 0), (30, 40))
    assert told(viewer) == ["300 µm", "50.0 µm"]
    start = distances(viewer).data[1][0] * distances(viewer).scale
    np.testing.assert_allclose(start, centre, atol=1.5)


def test_two_clicks_draw_a_distance(
    viewer: Viewer, session: Session, hand: Hand
) -> None:
    heard: list[str] = []
    session.ruler.measured.connect(heard.append)
    session.ruler.start()
    hand.click(-60, 0)
    hand.move(0, 0)
    assert heard[-1] == "60.0 µm", "said while it is drawn"
    hand.click(60, 0)
    hand.move(100, 100)
    assert told(viewer) == ["120 µm"]


def test_escape_leaves_the_mode_and_the_distances(
    viewer: Viewer, session: Session, hand: Hand
) -> None:
    modes: list[bool] = []
    session.ruler.toggled.connect(modes.append)
    session.ruler.start()
    hand.drag((0, 0), (100, 0))
    hand.click(10, 50)
    hand.press_key(Qt.Key.Key_Escape)
    assert modes == [True, False]
    assert told(viewer) == ["100 µm"], "one that was only begun goes"
    assert viewer.scene.camera.mouse_pan
    assert viewer.layers.selection.active is session.opened.layer
    hand.drag((0, 0), (80, 0))
    assert told(viewer) == ["100 µm"]


def test_delete_takes_the_last_distance_away(
    viewer: Viewer, session: Session, hand: Hand
) -> None:
    session.ruler.start()
    hand.drag((0, 0), (100, 0))
    hand.drag((0, 50), (0, 250))
    hand.press_key(Qt.Key.Key_Delete)
    assert told(viewer) == ["100 µm"]
    hand.drag((0, 0), (40, 0))
    assert told(viewer) == ["100 µm", "40.0 µm"]


def test_choosing_another_layer_leaves_the_mode(
    viewer: Viewer, session: Session
) -> None:
    session.ruler.start()
    viewer.layers.selection.active = session.opened.layer
    assert not session.ruler.measuring
    session.ruler.start()
    assert session.ruler.measuring
    viewer.layers.remove(session.opened.layer)
    assert not session.ruler.measuring


def test_distances_belong_to_their_slide(
    viewer: Viewer, session: Session, hand: Hand, odd_slide: Slide
) -> None:
    session.ruler.start()
    hand.drag((0, 0), (100, 0))
    first = distances(viewer)
    show(viewer, odd_slide)
    assert not session.ruler.measuring
    assert not first.visible
    session.ruler.start()
    assert len([layer for layer in viewer.layers if isinstance(layer, Shapes)]) == 2


def test_distances_follow_the_pixel_size(
    viewer: Viewer, slide_without_mpp: Path, hand: Hand
) -> None:
    with open_slide(slide_without_mpp) as slide:
        show(viewer, slide)
        session = session_of(viewer)
        look_at(viewer, 500, 700, 0.5)
        session.ruler.start()
        hand.drag((0, 0), (100, 0))
        assert told(viewer) == ["200 px"]
        session.set_mpp(0.25)
    assert told(viewer) == ["50.0 µm"]
    session.set_mpp(25.0)
    assert told(viewer) == ["5.00 mm"]


def test_lines_stay_thin_at_every_zoom(
    viewer: Viewer, session: Session, hand: Hand
) -> None:
    session.ruler.start()
    hand.drag((0, 0), (100, 0))
    for zoom in (0.1, 1.0, 8.0):
        look_at(viewer, 384, 256, zoom)
        layer = distances(viewer)
        (width,) = layer.edge_width
        assert 2 <= width * layer.scale[0] * zoom <= 4


@pytest.mark.parametrize(
    ("length", "in_um", "text"),
    [
        (12.34, True, "12.3 µm"),
        (999.6, True, "1000 µm"),
        (1234.0, True, "1.23 mm"),
        (1234.0, False, "1,234 px"),
    ],
)
def test_lengths_are_said_in_fitting_units(
    length: float, in_um: bool, text: str
) -> None:
    assert distance_text(length, in_um) == text
