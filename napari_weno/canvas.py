"""Our layers in a viewer: finding them, and updating them in place.

A layer that is updated keeps the visibility, opacity, colormap and order that the user
gave it; one that is removed and added anew does not. Main thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_weno.layers import METADATA_KEY, outline_layer, verdict_marks
from napari_weno.preferences import preferences
from napari_weno.streaming import show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_weno.layers import LayerData
    from weno.review import ReviewTile


#: Kinds of layers that a prediction is drawn as.
DRAWN = ("heatmap", "candidates")
#: Kinds of layers that show what a model says, or give the truth away.
OVERLAYS = (*DRAWN, "truth", "compared")


def noted_on(layer: Layer) -> dict[str, Any]:
    """Return what we noted on a layer, an empty dict for layers of others."""
    noted: dict[str, Any] = layer.metadata.get(METADATA_KEY, {})
    return noted


def of_kind(viewer: Viewer, *kinds: str) -> list[Layer]:
    """Return our layers of some kinds, the lowest first."""
    return [layer for layer in viewer.layers if noted_on(layer).get("kind") in kinds]


def update_slide(layer: Image, data: Any, keywords: Mapping[str, Any]) -> None:
    """Show another slide in the layer of the one shown now.

    Taking a layer away costs napari half a second, and takes with it what the user has
    set on the overlays.
    """
    show(layer, data)
    if not np.array_equal(layer.scale, keywords["scale"]):
        layer.scale = keywords["scale"]
    layer.units = keywords["units"]
    layer.name, layer.metadata = keywords["name"], keywords["metadata"]


def show_overlays(viewer: Viewer, wanted: Sequence[LayerData]) -> None:
    """Show these overlays of a prediction, the lowest first, and no others."""
    names = [keywords["name"] for _, keywords, _ in wanted]
    for layer in of_kind(viewer, *DRAWN):
        if layer.name not in names:
            viewer.layers.remove(layer)
    for data in wanted:
        put(viewer, data)


def start_afresh(viewer: Viewer, *names: str) -> None:
    """Note on heatmaps that their values will mean something else."""
    for layer in of_kind(viewer, "heatmap"):
        if layer.name in names:
            layer.metadata = {METADATA_KEY: noted_on(layer) | {"afresh": True}}


def put(viewer: Viewer, layer_data: LayerData) -> None:
    """Add an overlay, or update the one of that name."""
    data, keywords, kind = layer_data
    noted = keywords["metadata"][METADATA_KEY]
    for layer in of_kind(viewer, *OVERLAYS):
        if layer.name == keywords["name"]:
            _update(layer, data, keywords, kind)
            return
    if kind == "points":
        viewer.add_points(data, **keywords)
    else:
        if noted["kind"] == "heatmap":
            keywords = keywords | {"opacity": preferences("overlays").opacity / 100}
        layer = viewer.add_image(data, **keywords)
        layer.contrast_limits_range = noted["range"]


def _update(layer: Layer, data: Any, keywords: dict[str, Any], kind: str) -> None:
    layer.data = data
    for name in ("scale", "translate"):
        value = keywords.get(name)
        # napari works out the whole scene anew, even for what stays as it is.
        if value is not None and not np.array_equal(value, getattr(layer, name)):
            setattr(layer, name, value)
    if kind == "image":
        _set_limits(layer, keywords)
    layer.metadata = keywords["metadata"]
    if kind == "points":
        layer.features = keywords["features"]
        if len(data):  # napari warns of a colour for no points
            layer.size = keywords["size"]
            layer.border_color = keywords["border_color"]


def _set_limits(layer: Image, keywords: Mapping[str, Any]) -> None:
    """Fit the contrast limits to new values; the threshold that was chosen stays."""
    start, stop = keywords["contrast_limits"]
    chosen = layer.contrast_limits[0]
    afresh = noted_on(layer).get("afresh", False)
    layer.contrast_limits_range = keywords["metadata"][METADATA_KEY]["range"]
    layer.contrast_limits = (start if afresh or chosen >= stop else chosen, stop)


def mark_verdicts(viewer: Viewer, verdicts: Mapping[int, str]) -> None:
    """Mark the candidates that a person has answered, by tile index."""
    for layer in of_kind(viewer, "candidates"):
        tiles = layer.features["tile"].to_numpy()
        marked, colors = verdict_marks(tiles, verdicts)
        layer.features = layer.features.assign(verdict=marked)
        layer.border_color = colors


def frame_tile(
    viewer: Viewer, tile: ReviewTile | None, mpp: tuple[float, float]
) -> None:
    """Frame a tile of the slide shown; None hides the frame.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    tile : ReviewTile or None
    mpp : (float, float)
        ``(y, x)`` size of a level-0 pixel in world units.
    """
    shown = of_kind(viewer, "outline")
    if tile is None:
        for layer in shown:
            _show(layer, False)
        return
    data, keywords, _ = outline_layer(tile.origin, tile.size, mpp)
    if shown:
        shown[0].data = data
        if not np.allclose(shown[0].size, keywords["size"]):
            shown[0].size = keywords["size"]
        _show(shown[0], True)
        return
    active = viewer.layers.selection.active
    viewer.add_points(data, **keywords)
    viewer.layers.selection.active = active


def _show(layer: Layer, visible: bool) -> None:
    # napari puts the whole scene together anew, even where nothing changes.
    if layer.visible != visible:
        layer.visible = visible
