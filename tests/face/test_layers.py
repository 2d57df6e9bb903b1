from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.layers import Image

from napari_weno.canvas import of_kind
from napari_weno.layers import (
    METADATA_KEY,
    attention_values,
    overlay_layers,
    slide_layer,
)
from napari_weno.session import session_of
from weno.prediction import Prediction
from weno.slides import Slide
from weno.tiles import TileSpec

Predict = Callable[..., Prediction]

SPECS = [
    pytest.param(TileSpec(40.0, 0.5, min_tissue=0.0), id="side by side"),
    pytest.param(TileSpec(40.0, 0.5, 23.7, min_tissue=0.0), id="overlapping"),
    pytest.param(TileSpec(40.0, 0.5, 61.3, min_tissue=0.0), id="apart"),
]


def layer(prediction: Prediction, name: str) -> tuple[object, dict, str]:
    return next(data for data in overlay_layers(prediction) if data[1]["name"] == name)


def test_slide_layer_is_in_micrometres(odd_slide: Slide) -> None:
    data, keywords, kind = slide_layer(odd_slide, "mine")
    assert kind == "image"
    assert keywords["name"] == "mine"
    assert keywords["scale"] == pytest.approx((0.27, 0.27), rel=1e-3)
    assert set(keywords["units"]) == {"um"}
    assert keywords["rgb"]
    assert keywords["multiscale"]
    np.testing.assert_array_equal(data[0][:2, :2], odd_slide.read(0, 0, 0, 2, 2))
    assert max(data[-1].shape) <= 1024


@pytest.mark.parametrize("spec", SPECS)
def test_a_heatmap_pixel_lies_on_its_tile(
    odd_slide: Slide, predict_by_hand: Predict, spec: TileSpec
) -> None:
    prediction = predict_by_hand(odd_slide, spec)
    data, keywords, _ = layer(prediction, "P(tumour)")
    heatmap = Image(data, scale=keywords["scale"], translate=keywords["translate"])
    slide = Image(np.zeros(odd_slide.shape), scale=prediction.mpp)
    assert len(prediction) > 20
    for tile, (row, column) in enumerate(prediction.grid.cells):
        assert data[row, column] == prediction.probability[tile]
        world = heatmap.data_to_world((row, column))
        corner = prediction.origins[tile]
        middle = corner + (np.array(prediction.grid.tile_l0) - 1) / 2
        # Origins are whole pixels, the lattice of the heatmap is not.
        np.testing.assert_allclose(slide.world_to_data(world), middle, atol=0.51)


def test_a_heatmap_follows_tiles_that_others_have_cut(
    odd_slide: Slide, predict_by_hand: Predict
) -> None:
    ours = predict_by_hand(odd_slide, TileSpec(40.0, 0.5, min_tissue=0.0))
    shifted = replace(ours, origins=np.add(ours.origins, (37, 90)))
    data, keywords, _ = layer(shifted, "P(tumour)")
    heatmap = Image(data, scale=keywords["scale"], translate=keywords["translate"])
    middles = shifted.origins + (np.array(shifted.grid.tile_l0) - 1) / 2
    for tile, middle in enumerate(middles * shifted.mpp):
        at = tuple(np.rint(heatmap.world_to_data(middle)).astype(int))
        assert data[at] == shifted.probability[tile]
        np.testing.assert_allclose(heatmap.data_to_world(at), middle, atol=0.6)


@pytest.mark.parametrize("spec", SPECS)
def test_the_tile_under_a_tiles_centre_is_that_tile(
    odd_slide: Slide, predict_by_hand: Predict, spec: TileSpec
) -> None:
    viewer = ViewerModel()
    session = session_of(viewer)
    data, keywords, _ = slide_layer(odd_slide)
    slide = viewer.add_image(data, **keywords)
    prediction = predict_by_hand(odd_slide, spec)
    session.show_prediction(prediction)
    candidates, *_ = layer(prediction, "candidates")
    tiles = np.argsort(-prediction.candidate_rank, kind="stable")[:3][::-1]
    for centre, tile in zip(candidates, tiles, strict=True):
        assert session.tile_at(tuple(centre)) == tile
    for tile in range(len(prediction)):
        # Half a pixel outside of the corner's centre is the corner itself.
        corner = slide.data_to_world(prediction.origins[tile])
        middle = np.array(prediction.grid.tile_l0) / 2
        assert session.tile_at(corner + middle * prediction.mpp) == tile
    assert session.tile_at((-5.0, 10.0)) is None


def test_the_first_candidate_comes_first(
    odd_slide: Slide, predict_by_hand: Predict
) -> None:
    prediction = predict_by_hand(odd_slide, SPECS[0].values[0])
    points, keywords, kind = layer(prediction, "candidates")
    assert kind == "points"
    assert len(points) == 3
    assert list(keywords["features"]["rank"]) == [1, 2, 3]
    last = len(prediction) - 1
    assert list(keywords["features"]["tile"]) == [last, last - 1, last - 2]
    centre = prediction.origins[last] + (np.array(prediction.grid.tile_l0) - 1) / 2
    np.testing.assert_allclose(points[0], centre * prediction.mpp)


def test_attention_is_shown_in_three_ways() -> None:
    weights = np.array([0.05, 0.05, 0.1, 0.8], np.float32)
    log, limits = attention_values(weights, "log")
    np.testing.assert_allclose(10**log, weights * 4, rtol=1e-5)
    assert limits[0] == 0
    rank, limits = attention_values(weights, "percentile")
    assert rank[-1] == 1
    assert rank[:2].max() < rank[2]
    assert limits == (0.75, 1.0)
    raw, limits = attention_values(weights, "raw")
    np.testing.assert_array_equal(raw, weights)
    assert limits == (0, pytest.approx(0.8))


@pytest.mark.parametrize("display", ["log", "percentile", "raw"])
def test_a_slide_without_tiles_has_empty_overlays(
    odd_slide: Slide, predict_by_hand: Predict, display: str
) -> None:
    spec = SPECS[0].values[0]
    prediction = predict_by_hand(odd_slide, spec, keep=np.zeros(0, int))
    for data, keywords, kind in overlay_layers(prediction, display):
        assert len(data) == 0 or kind == "image"
        low, high = keywords.get("contrast_limits", (0, 1))
        assert low < high


def test_missing_tiles_cannot_be_seen_on_the_canvas(
    viewer: Viewer, odd_slide: Slide, predict_by_hand: Predict
) -> None:
    spec = SPECS[0].values[0]
    whole = predict_by_hand(odd_slide, spec)
    middle = whole.grid.shape[0] // 2, whole.grid.shape[1] // 2
    hole = whole.grid.index_at(*(np.array(middle) + 0.5) * whole.grid.stride_l0)
    keep = np.delete(np.arange(len(whole)), hole)
    prediction = predict_by_hand(odd_slide, spec, keep=keep)
    data, keywords, _ = slide_layer(odd_slide)
    viewer.add_image(data, **keywords)
    session_of(viewer).show_prediction(prediction)
    (overlay,) = [one for one in viewer.layers if one.name == "P(tumour)"]
    viewer.layers["candidates"].visible = False
    viewer.canvas.overlays.scale_bar.visible = False
    overlay.contrast_limits = (0.0, 1.0)
    overlay.opacity = 1.0
    viewer.scene.camera.center = (0, *overlay.data_to_world(middle))
    viewer.scene.camera.zoom = 4
    shot = viewer.screenshot(flash=False)
    centre = np.array(shot.shape[:2]) // 2
    step = round(40.0 * 4)
    assert np.abs(shot[tuple(centre)][:3].astype(int) - (190, 150, 180)).max() <= 3
    neighbour = shot[centre[0], centre[1] + step][:3].astype(int)
    assert np.abs(neighbour - (190, 150, 180)).max() > 30


def test_tiles_below_the_lower_limit_are_clear(
    viewer: Viewer, odd_slide: Slide, predict_by_hand: Predict
) -> None:
    prediction = predict_by_hand(odd_slide, SPECS[0].values[0])
    data, keywords, _ = slide_layer(odd_slide)
    viewer.add_image(data, **keywords)
    session_of(viewer).show_prediction(prediction)
    viewer.layers["candidates"].visible = False
    viewer.canvas.overlays.scale_bar.visible = False
    overlay = viewer.layers["P(tumour)"]
    tile = int(np.argmin(np.abs(prediction.probability - 0.7)))
    session_of(viewer).centre_on(tile)
    grey = (190, 150, 180)
    centres = []
    for limit in (0.6, 0.8):
        overlay.contrast_limits = (limit, 1.0)
        shot = viewer.screenshot(flash=False)
        y, x = np.array(shot.shape[:2]) // 2
        centres.append(np.abs(shot[y, x, :3].astype(int) - grey).max())
    assert centres[0] > 30
    assert centres[1] <= 3


def test_only_our_heatmaps_are_heatmaps(
    odd_slide: Slide, predict_by_hand: Predict
) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 4)), name="attention of somebody else")
    data, keywords, _ = slide_layer(odd_slide)
    viewer.add_image(data, **keywords)
    session_of(viewer).show_prediction(predict_by_hand(odd_slide, SPECS[0].values[0]))
    found = of_kind(viewer, "heatmap")
    assert {one.name for one in found} == {
        "P(tumour)",
        "attention",
        "re-attention",
        "disagreement",
        "familiarity",
    }
    assert all(one.metadata[METADATA_KEY]["kind"] == "heatmap" for one in found)
