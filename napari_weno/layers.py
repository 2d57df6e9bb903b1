"""What slides and predictions look like as napari layers.

The only module that knows layer keywords. It makes layer data; adding layers to a
viewer is up to `napari_weno.session`.

World coordinates are µm, and (0, 0) is the centre of the slide's first level-0
pixel, as napari has it. A slide whose pixel size is not known is in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.utils.colormaps import Colormap, ensure_colormap

from napari_weno.streaming import screen_arrays
from weno.review import VERDICT_COLORS
from weno.tiles import IGNORE, TISSUE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from weno.geojson import Region
    from weno.prediction import Prediction
    from weno.slides import Slide
    from weno.tiles import TileGrid

    LayerData = tuple[Any, dict[str, Any], str]

Display = Literal["percentile", "log", "raw"]

#: Key under which our layers say in ``layer.metadata`` what they are.
METADATA_KEY = "weno"

# A cell without a tile lies below every lower contrast limit, where the colormap is
# transparent. NaN will not do: napari draws it in the colour of the low end.
_NO_TILE = -1e6
_DIVERGING = ("PiYG",)
_FAINTEST = 0.3  # opacity at the low end of a colormap, at the high end it is 1

#: Of the edges of shapes in the tissue layer, by their class.
TISSUE_COLORS = {TISSUE: "#00a81c", IGNORE: "#d55e00"}
_GRID_COLOR = "#0072b2"

_UNANSWERED = (0.0, 0.9, 1.0)


def slide_layer(slide: Slide, name: str | None = None) -> LayerData:
    """Make the layer data of a slide.

    Parameters
    ----------
    slide : Slide
        Stays open as long as the layer reads from it.
    name : str, optional
        Name of the layer; the file's name if not given.
    """
    mpp = slide.mpp or (1.0, 1.0)
    return (
        screen_arrays(slide),
        {
            "name": name or slide.path.stem,
            "rgb": True,
            "multiscale": True,
            "scale": mpp,
            "units": ("um", "um") if slide.mpp else ("pixel", "pixel"),
            # What is on screen is kept within a bound already; dask's cache would
            # take a quarter of the memory on top.
            "cache": False,
            "metadata": {
                METADATA_KEY: {
                    "kind": "slide",
                    "slide": slide,
                    "path": str(slide.path),
                    "mpp": slide.mpp,
                    "mpp_source": slide.mpp_source,
                },
                # For other plugins. The file's own words are left out: they may
                # carry names.
                "path": str(slide.path),
                "vendor": slide.vendor,
                "objective_power": slide.objective_power,
                "mpp": slide.mpp,
                "level_shapes": slide.level_shapes,
                "level_downsamples": slide.downsamples,
            },
        },
        "image",
    )


def overlay_layers(
    prediction: Prediction,
    display: Display = "log",
    verdicts: Mapping[int, str] | None = None,
) -> list[LayerData]:
    """Make the layers that show a prediction, the lowest first.

    Parameters
    ----------
    prediction : Prediction
    display : {"percentile", "log", "raw"}
        How attention is shown: its rank in the slide, the logarithm of its ratio
        to an even share, or the weight itself.
    verdicts : mapping of tile index to verdict, optional
        Shown in the candidates' table.
    """
    attention, limits = attention_values(prediction.attention, display)
    focus, focus_limits = attention_values(prediction.re_attention, display)
    unsure = float(np.abs(prediction.disagreement).max(initial=0.0)) or 1.0
    far = float(prediction.familiarity.max(initial=0.0)) or 1.0
    return [
        _heatmap(
            "familiarity", prediction, prediction.familiarity, (0, far), "gray", False
        ),
        _heatmap(
            "disagreement",
            prediction,
            prediction.disagreement,
            (-unsure, unsure),
            "PiYG",
            False,
        ),
        _heatmap("re-attention", prediction, focus, focus_limits, "viridis", False),
        _heatmap("attention", prediction, attention, limits, "viridis", False),
        _heatmap(
            f"P({prediction.class_name})",
            prediction,
            prediction.probability,
            (0.5, 1.0),
            "plasma",
            True,
        ),
        _candidates(prediction, verdicts or {}),
    ]


def attention_values(
    weights: npt.NDArray[np.float32], display: Display
) -> tuple[npt.NDArray[np.float32], tuple[float, float]]:
    """Turn attention into what the chosen display shows, with contrast limits.

    Parameters
    ----------
    weights : ndarray of shape (N,)
        Attention or re-attention; sums to 1.
    display : {"percentile", "log", "raw"}

    Returns
    -------
    values : ndarray of shape (N,), float32
        For ``"log"``: 0 where a tile has an even share, 1 where it has ten times as
        much.
    limits : (float, float)
        Lower and upper contrast limit.
    """
    if len(weights) == 0:
        return weights, (0.0, 1.0)
    if display == "percentile":
        ranks = weights.argsort(kind="stable").argsort(kind="stable")
        return (ranks / max(1, len(weights) - 1)).astype(np.float32), (0.75, 1.0)
    if display == "raw":
        return weights, (0.0, float(weights.max()) or 1.0)
    share = np.log10(np.maximum(weights * len(weights), 1e-6)).astype(np.float32)
    return share, (0.0, max(0.1, float(share.max())))


def _heatmap(
    name: str,
    prediction: Prediction,
    values: npt.NDArray[np.float32],
    limits: tuple[float, float],
    colormap: str,
    visible: bool,
) -> LayerData:
    low = min(float(values.min(initial=limits[0])), limits[0])
    high = max(float(values.max(initial=limits[1])), limits[1])
    return (
        prediction.grid.to_image(values, fill=_NO_TILE),
        {
            "name": name,
            **heatmap_place(prediction),
            "contrast_limits": limits,
            "colormap": _with_clear_low_end(colormap),
            "interpolation2d": "nearest",
            "blending": "translucent_no_depth",
            "opacity": 0.7,
            "visible": visible,
            "metadata": {
                METADATA_KEY: {
                    "kind": "heatmap",
                    "slide_id": prediction.slide_id,
                    "range": (low, high),
                }
            },
        },
        "image",
    )


def heatmap_place(prediction: Prediction) -> dict[str, Any]:
    """Return where an image with one pixel a tile lies."""
    grid = prediction.grid
    first = np.add(grid.start, (np.array(grid.tile_l0) - 1) / 2)
    return {
        "scale": tuple(np.multiply(grid.stride_l0, prediction.mpp)),
        "translate": tuple(first * prediction.mpp),
        "units": ("um", "um"),
    }


def _with_clear_low_end(name: str) -> Colormap:
    """Return a colormap that is clear below its limit and dense at its ends.

    Low values of a sequential map, and the middle of a diverging one, let the tissue
    through: what matters stands out and its cells can still be seen.
    """
    base = ensure_colormap(name)
    colours = base.colors.copy()  # (N, 4)
    place = np.linspace(0, 1, len(colours))
    strength = np.abs(2 * place - 1) if name in _DIVERGING else place
    colours[:, 3] = _FAINTEST + (1 - _FAINTEST) * strength
    return Colormap(
        colours,
        controls=base.controls,
        name=f"{name} above limit",
        low_color=(0, 0, 0, 0),
    )


def _candidates(prediction: Prediction, verdicts: Mapping[int, str]) -> LayerData:
    tiles = np.flatnonzero(prediction.candidate_rank > 0)
    tiles = tiles[np.argsort(prediction.candidate_rank[tiles])]
    marked, colors = verdict_marks(tiles, verdicts)
    return (
        tile_centres(prediction, tiles),
        {
            "name": "candidates",
            "symbol": "square",
            "size": prediction.spec.tile_um,
            "face_color": "transparent",
            "border_color": colors,
            "border_width": 0.04,
            "border_width_is_relative": True,
            "units": ("um", "um"),
            "features": {
                "rank": prediction.candidate_rank[tiles],
                "tile": tiles,
                "probability": prediction.probability[tiles],
                "attention": prediction.attention[tiles],
                "verdict": marked,
            },
            "metadata": {
                METADATA_KEY: {"kind": "candidates", "slide_id": prediction.slide_id}
            },
        },
        "points",
    )


def verdict_marks(
    tiles: npt.NDArray[np.int64], verdicts: Mapping[int, str]
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Return what the candidates layer says of tiles, and in which colour.

    Returns
    -------
    marked : list of str
        Verdict of each tile, empty where there is none.
    colors : ndarray of shape (len(tiles), 4)
        RGBA in [0, 1].
    """
    marked = [str(verdicts.get(tile, "")) for tile in tiles.tolist()]
    known = {str(name): np.array(rgb) / 255 for name, rgb in VERDICT_COLORS.items()}
    colors = np.ones((len(tiles), 4))
    for k, verdict in enumerate(marked):
        colors[k, :3] = known.get(verdict, _UNANSWERED)
    return marked, colors


def outline_layer(
    origin: tuple[int, int], size: tuple[int, int], mpp: tuple[float, float]
) -> LayerData:
    """Make the layer that frames the one tile a person is asked about.

    Parameters
    ----------
    origin, size : (int, int)
        ``(y, x)`` corner and ``(height, width)`` in level-0 pixels.
    mpp : (float, float)
        ``(y, x)`` size of a level-0 pixel in µm.
    """
    centre = (np.array(origin) + (np.array(size) - 1) / 2) * mpp
    return (
        centre[None],
        {
            "name": "tile asked about",
            "symbol": "square",
            # The frame lies around the tile, not on it.
            "size": size[0] * mpp[0] * 1.08,
            "face_color": "transparent",
            "border_color": "#39ff14",
            "border_width": 0.035,
            "border_width_is_relative": True,
            "units": ("um", "um"),
            "metadata": {METADATA_KEY: {"kind": "outline"}},
        },
        "points",
    )


def tissue_layer(regions: Sequence[Region], slide: Slide) -> LayerData:
    """Make the layer in which a person edits the tissue outline.

    Later shapes lie over earlier ones: a hole is a shape that takes away, what lies in
    the hole one that adds again.

    Parameters
    ----------
    regions : sequence of Region
    slide : Slide
    """
    # The largest first, so that an island comes after the hole it lies in.
    rings = [
        (ring, IGNORE if number or region.name == IGNORE else TISSUE)
        for region in sorted(regions, key=_extent, reverse=True)
        for number, ring in enumerate(region.rings)
    ]
    classes = [name for _, name in rings]
    return (
        [ring - 0.5 for ring, _ in rings] or None,
        {
            "name": "tissue",
            "ndim": 2,
            "shape_type": "polygon",
            "scale": slide.mpp or (1.0, 1.0),
            "units": ("um", "um") if slide.mpp else ("pixel", "pixel"),
            "face_color": "transparent",
            "edge_color": [TISSUE_COLORS[name] for name in classes] or "transparent",
            "opacity": 1.0,
            # Of an empty list napari would make a column of numbers.
            "features": {"class": np.array(classes, object)},
            "metadata": {METADATA_KEY: {"kind": "tissue", "path": str(slide.path)}},
        },
        "shapes",
    )


def _extent(region: Region) -> float:
    return float(np.prod(np.ptp(region.rings[0], axis=0)))


def grid_layer(grid: TileGrid, mpp: tuple[float, float]) -> LayerData:
    """Make the layer that shows the tiles that a slide is going to be cut into.

    Parameters
    ----------
    grid : TileGrid
    mpp : (float, float)
        ``(y, x)`` size of a level-0 pixel in µm.
    """
    return (
        (grid.origins + (np.array(grid.tile_l0) - 1) / 2) * mpp,
        {
            "name": "tiles",
            "ndim": 2,
            "symbol": "square",
            "size": grid.tile_l0[0] * mpp[0],
            "face_color": "transparent",
            "border_color": _GRID_COLOR,
            "border_width": 0.03,
            "border_width_is_relative": True,
            "opacity": 0.8,
            "units": ("um", "um"),
            "metadata": {METADATA_KEY: {"kind": "grid"}},
        },
        "points",
    )


def tile_centres(
    prediction: Prediction, tiles: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the centres of tiles in world coordinates.

    Returns
    -------
    ndarray of shape (len(tiles), 2)
        ``(y, x)`` in µm.
    """
    corner = prediction.origins[tiles] + (np.array(prediction.grid.tile_l0) - 1) / 2
    centres: npt.NDArray[np.float64] = corner * prediction.mpp
    return centres
