"""How much of each tile lies in polygons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weno.tiles._outline import crossings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from weno.geojson import Region

    Floats = npt.NDArray[np.float64]

_LINES = 64  # across a tile: what is off by less than one of them may be missed


def tile_cover(
    regions: Sequence[Region],
    origins: npt.NDArray[np.int64],
    tile_l0: tuple[float, float],
) -> Floats:
    """Return the share of each tile that lies in regions, each spot counted once.

    Along lines through the tiles it is exact.

    Parameters
    ----------
    regions : sequence of Region
    origins : ndarray of shape (N, 2), int64
        ``(y, x)`` of the tiles in level-0 pixels.
    tile_l0 : (float, float)
        ``(y, x)`` size of a tile in level-0 pixels.

    Returns
    -------
    ndarray of shape (N,), float64
        In [0, 1].
    """
    shares = np.zeros(len(origins))
    if not len(origins) or not regions:
        return shares
    height, width = tile_l0
    boxes = [(ring.min(0), ring.max(0)) for ring in (r.rings[0] for r in regions)]
    order = np.argsort(origins[:, 0], kind="stable")
    rows, starts = np.unique(origins[order, 0], return_index=True)
    for y, here in zip(rows.tolist(), np.split(order, starts[1:]), strict=True):
        near = [
            region
            for region, (low, high) in zip(regions, boxes, strict=True)
            if low[0] < y + height and high[0] > y
        ]
        if near:
            start, stop = _spans(near, y, height)
            left = origins[here, 1, None].astype(np.float64)
            inside = np.minimum(stop, left + width) - np.maximum(start, left)  # (T, S)
            shares[here] = inside.clip(min=0).sum(1) / (_LINES * width)
    return shares


def _spans(regions: Sequence[Region], y: float, height: float) -> tuple[Floats, Floats]:
    """Return where lines through a row of tiles are inside, overlaps joined.

    Returns
    -------
    start, stop : ndarray of shape (S,), float64
        In x; of all lines together.
    """
    scale = np.array([height / _LINES, 1.0])
    found = []
    for region in regions:
        rings = [(ring - [y, 0.0]) / scale for ring in region.rings]
        on, x = crossings(rings, _LINES)
        order = np.lexsort((x, on))
        found.append(np.stack([on[order][::2], x[order][::2], x[order][1::2]]))
    spans = np.concatenate(found, axis=1)  # (3, S)
    line, start, stop = spans[:, np.lexsort((spans[1], spans[0]))]
    # Lines laid end to end, so that one running maximum serves them all.
    apart = line * (np.abs(spans[1:]).max(initial=0.0) * 2 + 1)
    reached = np.maximum.accumulate(stop + apart)
    before = np.concatenate([[-np.inf], reached[:-1]]) - apart
    return np.maximum(start, np.minimum(before, stop)), stop
