from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from napari import Viewer
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt

from napari_weno.camera import (
    axes_on_screen,
    centre_of,
    grow_world,
    look_at,
    scale_text,
    turn,
    turn_back,
)
from napari_weno.layers import slide_layer
from napari_weno.session import Session, session_of
from weno.prediction import Prediction
from weno.slides import Slide
from weno.tiles import TileSpec

CLOCKWISE = ("top left", "top right", "bottom right", "bottom left")


def show(viewer: Viewer | ViewerModel, slide: Slide) -> Session:
    data, keywords, _ = slide_layer(slide)
    viewer.add_image(data, **keywords)
    return session_of(viewer)


def corner_colours(viewer: Viewer) -> dict[str, np.ndarray]:
    """What the canvas shows a little off its middle, in each direction."""
    shown = viewer.screenshot(canvas_only=True, flash=False)
    middle = np.array(shown.shape[:2]) // 2
    ways = {"top": -60, "bottom": 60, "left": -60, "right": 60}
    return {
        name: shown[tuple(middle + [ways[word] for word in name.split()])][:3]
        for name in CLOCKWISE
    }


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_the_view_turns(
    viewer: Viewer,
    corners_slide: Slide,
    corners: dict[str, tuple[int, int, int]],
    quarters: int,
) -> None:
    show(viewer, corners_slide)
    look_at(viewer, 384, 256, 1.0)
    turn(viewer, quarters)
    shown = corner_colours(viewer)
    for place, name in enumerate(CLOCKWISE):
        there = CLOCKWISE[(place + quarters) % 4]
        assert np.abs(shown[there] - np.array(corners[name], float)).max() < 12, name


@pytest.mark.parametrize("quarters", [1, 2, 3, -1, 6])
def test_what_is_in_the_middle_stays_there(
    viewer: Viewer, corners_slide: Slide, quarters: int
) -> None:
    show(viewer, corners_slide)
    look_at(viewer, 300, 100, 1.7)
    turn(viewer, quarters)
    assert centre_of(viewer) == pytest.approx((300, 100))
    assert viewer.scene.camera.zoom == pytest.approx(1.7)
    turn(viewer, 1)
    turn_back(viewer)
    assert centre_of(viewer) == pytest.approx((300, 100))
    np.testing.assert_array_equal(axes_on_screen(viewer), np.eye(2))


def test_turns_add_up(viewer: Viewer, corners_slide: Slide) -> None:
    show(viewer, corners_slide)
    # On screen, after a quarter to the right, y points left and x points down.
    turn(viewer, 1)
    np.testing.assert_array_equal(axes_on_screen(viewer), [[0, 1], [-1, 0]])
    turn(viewer, 2)
    turn(viewer, 1)
    np.testing.assert_array_equal(axes_on_screen(viewer), np.eye(2))
    assert viewer.layers[0].translate == pytest.approx((0, 0))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_click_chooses_the_tile_that_is_seen(
    viewer: Viewer,
    odd_slide: Slide,
    predict_by_hand: Callable[..., Prediction],
    quarters: int,
    qtbot: QtBot,
) -> None:
    session = show(viewer, odd_slide)
    session.show_prediction(
        predict_by_hand(odd_slide, TileSpec(40.0, 0.5, min_tissue=0.0))
    )
    turn(viewer, quarters)
    session.centre_on(30)
    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    qtbot.mouseMove(canvas, middle)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=middle)
    assert session.tile == 30


def test_a_world_that_grows_shows_the_same_tissue() -> None:
    viewer = ViewerModel()
    turn(viewer, 1)
    look_at(viewer, 100, 60, 2.0)
    grow_world(viewer, np.array([0.5, 0.5]))
    assert centre_of(viewer) == pytest.approx((50, 30))
    assert viewer.scene.camera.zoom == pytest.approx(4)


@pytest.mark.parametrize(
    ("zoom", "options", "text"),
    [
        (4.0, {"in_um": True}, "40x · 0.25 µm/px"),
        (1.234, {"in_um": True}, "12.3x · 0.81 µm/px"),
        (1.0, {"in_um": True, "guess": True}, "10x · 1 µm/px (guess)"),
        (0.5, {"in_um": False}, "50 % of full size, pixel size not known"),
        (123.4, {"in_um": True}, "1,234x · 0.0081 µm/px"),
    ],
)
def test_the_scale_is_said_in_words(
    zoom: float, options: dict[str, bool], text: str
) -> None:
    assert scale_text(zoom, **options) == text
