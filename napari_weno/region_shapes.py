"""Labelled regions as napari's shapes, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_weno.layers import METADATA_KEY
from napari_weno.tissue_box import drawn_in
from weno.geojson import Region
from weno.review import VERDICT_COLORS, verdict_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.layers import Shapes

    from napari_weno.layers import LayerData
    from weno.slides import Slide

_LINE_PX = 2.5  # width on screen


def regions_layer(regions: Sequence[Region], slide: Slide, positive: str) -> LayerData:
    """Make the layer in which a person draws labelled regions.

    Parameters
    ----------
    regions : sequence of Region
    slide : Slide
    positive : str
        The class that is asked about.
    """
    return (
        [single_ring(region) - 0.5 for region in regions] or None,
        {
            "name": "regions",
            "ndim": 2,
            "shape_type": "polygon",
            "scale": slide.mpp or (1.0, 1.0),
            "units": ("um", "um") if slide.mpp else ("pixel", "pixel"),
            "face_color": "transparent",
            "edge_color": [rgba_of(r.name, positive) for r in regions] or "transparent",
            "opacity": 1.0,
            # Of an empty list napari would make a column of numbers.
            "features": {"class": np.array([r.name for r in regions], object)},
            "metadata": {METADATA_KEY: {"kind": "regions", "path": str(slide.path)}},
        },
        "shapes",
    )


def regions_in(layer: Shapes) -> list[Region]:
    """Return the shapes of a regions layer that have an area, the lowest first."""
    return [Region(rings_of(r.rings[0]), r.name) for r in drawn_in(layer)]


def rgba_of(name: str, positive: str) -> npt.NDArray[np.float64]:
    """Return the colour of a class, of shape (4,): the same as that of the verdicts."""
    rgb = VERDICT_COLORS[verdict_of(Region((), name), positive)]
    return np.array([*rgb, 255]) / 255


def single_ring(region: Region) -> npt.NDArray[np.float64]:
    """Return a region as one ring (M, 2): its holes hang on by two equal lines.

    napari's polygons have no holes; what is inside stays the same.
    """
    outer, *holes = region.rings
    parts = [outer]
    for hole in holes:
        parts += [outer[:1], hole, hole[:1]]
    return np.concatenate(parts)


def rings_of(ring: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the outer ring and the holes of what `single_ring` has made one."""
    joints = np.flatnonzero((ring == ring[0]).all(axis=1))
    outer, *rest = np.split(ring, joints[1:])
    holes = [part[1:] for part in rest]
    if all(len(hole) > 3 and (hole[0] == hole[-1]).all() for hole in holes):
        return outer, *(hole[:-1] for hole in holes)
    return (ring,)  # a person has drawn it so, or has moved a corner


def keep_width(layer: Shapes, zoom: float) -> None:
    """Keep lines equally thin on screen: shapes know only data units.

    Parameters
    ----------
    layer : Shapes
    zoom : float
        Of the camera.
    """
    width = _LINE_PX / (zoom * layer.scale[0])
    if not 0.6 < layer.current_edge_width / width < 1.6:
        chosen = set(layer.selected_data)
        layer.selected_data = set()
        layer.edge_width = width
        layer.current_edge_width = width
        layer.selected_data = chosen
