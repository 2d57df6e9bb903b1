"""Overlays lie where their tiles are: the screen against the slide's pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari import Viewer

from napari_weno.camera import look_at, turn
from napari_weno.layers import slide_layer
from napari_weno.session import session_of
from weno.prediction import Prediction
from weno.slides import open_slide
from weno.tiles import TileSpec

Predict = Callable[..., Prediction]

SHAPE = (1111, 1777)
PALE = (190, 150, 180)
INK = (10, 10, 200)


def box_of(mask: np.ndarray) -> np.ndarray:
    """Return first and last row and column of what is set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([rows[0], rows[-1], columns[0], columns[-1]])


def inked(shot: np.ndarray) -> np.ndarray:
    return np.abs(shot[..., :3].astype(int) - INK).max(2) < 60


@pytest.mark.parametrize("quarters", [0, 1])
@pytest.mark.parametrize(
    ("mpp", "tile_um", "stride_um"),
    [
        pytest.param((0.25, 0.25), 32.0, None, id="even"),
        pytest.param((0.2738, 0.2738), 33.3, None, id="odd mpp"),
        pytest.param((0.27, 0.41), 41.7, None, id="pixels that are not square"),
        pytest.param((0.2738, 0.2738), 41.0, 23.7, id="overlapping"),
        pytest.param((0.2738, 0.2738), 29.0, 61.3, id="apart"),
    ],
)
def test_a_tile_is_drawn_on_the_pixels_that_it_was_cut_from(
    viewer: Viewer,
    write_pyramid,
    predict_by_hand: Predict,
    tmp_path: Path,
    mpp: tuple[float, float],
    tile_um: float,
    stride_um: float | None,
    quarters: int,
) -> None:
    spec = TileSpec(tile_um, 0.5, stride_um, min_tissue=0.0)
    pixels = np.full((*SHAPE, 3), PALE, np.uint8)
    path = write_pyramid(tmp_path / "plain.tif", [pixels], None)
    with open_slide(path, mpp=mpp) as slide:
        prediction = predict_by_hand(slide, spec)
    away = np.abs(prediction.origins - np.multiply(SHAPE, 0.55)).max(1)
    tile = int(away.argmin())
    # The cell of the lattice that the tile stands for: as large as the stride, with
    # the tile in its middle; of tiles side by side it is the tile.
    size = np.array(prediction.grid.tile_l0)
    cell = np.array(prediction.grid.stride_l0)
    first = np.rint(prediction.origins[tile] + (size - cell) / 2).astype(int)
    last = np.rint(first + cell).astype(int)
    pixels[first[0] : last[0], first[1] : last[1]] = INK
    path = write_pyramid(tmp_path / "inked.tif", [pixels], None)
    with open_slide(path, mpp=mpp) as slide:
        data, keywords, _ = slide_layer(slide)
        viewer.add_image(data, **keywords)
        alone = np.zeros(len(prediction), np.float32)
        alone[tile] = 1
        session_of(viewer).show_prediction(
            dataclasses.replace(
                prediction, probability=alone, content_hash=slide.content_hash
            )
        )
        overlay, ink = viewer.layers["P(tumour)"], viewer.layers[0]
        viewer.layers["candidates"].visible = False
        viewer.canvas.overlays.scale_bar.visible = False
        viewer.canvas.overlays["weno_magnification"].visible = False
        turn(viewer, quarters)
        middle = (first + last) / 2 * mpp
        look_at(viewer, *middle, 4.0)
        overlay.opacity, overlay.visible = 1.0, False
        cut_from = box_of(inked(viewer.screenshot(flash=False)))
        overlay.visible, ink.visible = True, False
        drawn = box_of(changed_from_nothing(viewer))
    sides = cut_from[1::2] - cut_from[::2]
    assert sides.min() > 60
    # A level-0 pixel is a screen pixel here: origins are rounded to whole ones.
    np.testing.assert_allclose(drawn, cut_from, atol=4.0 * max(mpp) / 2 + 1)


def changed_from_nothing(viewer: Viewer) -> np.ndarray:
    """Return where anything is drawn on the bare canvas."""
    shot = viewer.screenshot(flash=False)[..., :3].astype(int)
    return np.abs(shot - shot[0, 0]).max(2) > 25
