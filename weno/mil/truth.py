"""What is known of the tiles of a slide: squares of known class, and their overlap."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weno.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from weno.tiles import TileGrid

    Floats = npt.NDArray[np.float64]

_TRUTH_COLUMNS = ("y", "x", "size", "positive")


@dataclass(frozen=True, slots=True, eq=False)
class SlideTruth:
    """Rectangles of known class on one slide, level-0 pixels.

    Parameters
    ----------
    boxes : ndarray of shape (R, 4), float64
        ``(y, x, height, width)``.
    positive : ndarray of shape (R,), bool
    """

    boxes: Floats
    positive: npt.NDArray[np.bool_]


def read_truth(path: Path) -> dict[str, SlideTruth]:
    """Read tile truth: a CSV with the columns slide_id, y, x, size, positive.

    Each row is a square of known class, in level-0 pixels; squares may overlap, and
    need not be those of any grid.

    Raises
    ------
    RunError
        If the file is missing, lacks a column, or holds what is no number.
    """
    rows: dict[str, list[tuple[float, ...]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if not {"slide_id", *_TRUTH_COLUMNS} <= set(table.fieldnames or ()):
                raise ValueError(f"its columns are {table.fieldnames}")
            for row in table:
                y, x, size, positive = (float(row[name]) for name in _TRUTH_COLUMNS)
                if not (size > 0 and all(map(math.isfinite, (y, x, size, positive)))):
                    raise ValueError(f"line {table.line_num}: {row}")
                rows.setdefault(row["slide_id"], []).append((y, x, size, positive))
    except (OSError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: not tile truth ({error!r}); it needs the columns slide_id, y, x, "
            "size, positive"
        ) from error
    found = {slide_id: np.array(values) for slide_id, values in rows.items()}
    return {
        slide_id: SlideTruth(values[:, [0, 1, 2, 2]], values[:, 3] > 0)
        for slide_id, values in found.items()
    }


def tile_truth(
    grid: TileGrid, truth: SlideTruth | None, overlap: float = 0.5
) -> Floats:
    """Return the truth of each tile.

    A tile is positive if at least `overlap` of its area lies in positive truth, else
    negative if at least `overlap` of it lies in truth of any class, else unknown.

    Parameters
    ----------
    grid : TileGrid
    truth : SlideTruth or None
    overlap : float
        Share in (0, 1].

    Returns
    -------
    ndarray of shape (N,), float64
        1, 0, or NaN where not known.
    """
    values = np.full(len(grid), np.nan)
    if truth is None or not len(grid):
        return values
    order = np.argsort(truth.boxes[:, 0], kind="stable")
    boxes, positive = truth.boxes[order], truth.positive[order]
    tallest = boxes[:, 2].max(initial=0.0)
    height, width = grid.tile_l0
    needed = overlap * height * width * (1 - 1e-6)
    by_row = np.argsort(grid.origins[:, 0], kind="stable")
    rows, starts = np.unique(grid.origins[by_row, 0], return_index=True)
    for y, here in zip(rows, np.split(by_row, starts[1:]), strict=True):
        first = np.searchsorted(boxes[:, 0], y - tallest)
        last = np.searchsorted(boxes[:, 0], y + height)
        near, near_positive = boxes[first:last], positive[first:last]
        tiles = np.tile([y, 0.0, height, width], (len(here), 1))
        tiles[:, 1] = grid.origins[here, 1]
        known = _is_covered(tiles, near, needed)
        within = _is_covered(tiles, near[near_positive], needed)
        values[here[known]] = within[known]
    return values


def _is_covered(tiles: Floats, boxes: Floats, needed: float) -> npt.NDArray[np.bool_]:
    """Return whether boxes cover so much of each tile, of shape (T,).

    Mostly one box alone is enough or all together are not; only for the other tiles
    their union has to be measured.
    """
    areas = np.ones((len(tiles), len(boxes)))
    for axis in (0, 1):
        start, box_start = tiles[:, axis, None], boxes[:, axis]
        end, box_end = start + tiles[:, axis + 2, None], box_start + boxes[:, axis + 2]
        shared = np.minimum(end, box_end) - np.maximum(start, box_start)  # (T, R)
        areas *= shared.clip(min=0)
    enough = areas.max(1, initial=0.0) >= needed
    for i in np.flatnonzero(~enough & (areas.sum(1) >= needed)):
        enough[i] = _covered(tiles[i], boxes[areas[i] > 0]) >= needed
    return np.asarray(enough)


def _covered(tile: Floats, boxes: Floats) -> float:
    """Return the area of a tile that boxes cover, each spot counted once."""
    y, x, height, width = tile
    top, bottom = (
        np.clip(edge, y, y + height)
        for edge in (boxes[:, 0], boxes[:, 0] + boxes[:, 2])
    )
    left, right = (
        np.clip(edge, x, x + width) for edge in (boxes[:, 1], boxes[:, 1] + boxes[:, 3])
    )
    inside = (bottom > top) & (right > left)
    top, bottom, left, right = (side[inside] for side in (top, bottom, left, right))
    ys, xs = np.unique([*top, *bottom]), np.unique([*left, *right])
    rows = (top[:, None] <= ys[:-1]) & (bottom[:, None] >= ys[1:])  # (R, Y)
    columns = (left[:, None] <= xs[:-1]) & (right[:, None] >= xs[1:])  # (R, X)
    covered = (rows[:, :, None] & columns[:, None]).any(0)  # (Y, X)
    return float((np.outer(np.diff(ys), np.diff(xs)) * covered).sum())
