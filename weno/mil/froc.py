"""Lesions found against false alarms: the free-response ROC (FROC).

After CAMELYON16, whose score is the mean sensitivity at 1/4, 1/2, 1, 2, 4 and 8 false
positives per slide. As in its evaluation code,

- a detection is a point with a value;
- a lesion is found at a threshold if a detection within it reaches it, once, however
  many do;
- a detection outside of all lesions is a false positive, on whichever slide;
- sensitivity is over all lesions of all slides, false positives are averaged over all
  slides.

Ours is on the grid of tiles, where

- a lesion is a set of positive tiles that touch, by a side or a corner;
- a detection is a tile whose value none of the tiles that touch it exceeds. Equal
  neighbours make one detection, at the tile nearest to their middle;
- a tile without truth is neither lesion nor false positive, and a slide without any
  truth is left out.

CAMELYON16 leaves the detections to who takes part, joins lesions less than 75 µm apart
and passes over those under 200 µm; here every positive tile counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from weno.tiles import TileGrid

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.intp]

#: False positives per slide at which CAMELYON16 takes the sensitivity.
RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)

_TOUCHING = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """What the detections on one slide hit.

    Parameters
    ----------
    lesions : ndarray of shape (L,)
        Of each lesion, the highest value of a detection in it; -inf where there is
        none.
    false : ndarray of shape (D,)
        Values of the detections on negative tiles.
    """

    lesions: Floats
    false: Floats


def find_marks(grid: TileGrid, known: Floats, values: npt.ArrayLike) -> Marks:
    """Find the detections on a slide and what they hit.

    Parameters
    ----------
    grid : TileGrid
    known : ndarray of shape (N,)
        1 and 0 for positive and negative tiles, NaN where not known.
    values : array_like of shape (N,)
        High where a lesion is suspected.
    """
    from scipy import ndimage

    truth = grid.to_image(known)  # (rows, columns)
    image = grid.to_image(values, -np.inf)
    lesion, count = ndimage.label(truth == 1, _TOUCHING)
    # Tiles may overlap: those of a few cells away then touch as well.
    steps = zip(grid.tile_l0, grid.stride_l0, strict=True)
    reach = [max(1, int(tile / stride + 1e-6)) for tile, stride in steps]
    at = _peaks(image, reach)
    height, hit = image[at].astype(np.float64), lesion[at]  # (K,)
    best = np.full(count, -np.inf)
    np.maximum.at(best, hit[hit > 0] - 1, height[hit > 0])
    return Marks(best, height[truth[at] == 0])


def _peaks(image: npt.NDArray[np.float32], reach: list[int]) -> tuple[Ints, Ints]:
    """Return row and column of the highest cells around, one of each plateau."""
    from scipy import ndimage

    size = [2 * cells + 1 for cells in reach]
    highest = ndimage.maximum_filter(image, size, mode="constant", cval=-np.inf)
    is_peak = (image == highest) & (image > -np.inf)
    plateau, count = ndimage.label(is_peak, _TOUCHING)
    rows, columns = np.nonzero(is_peak)
    of = plateau[rows, columns] - 1  # (K,) which plateau a cell is of
    cells = np.bincount(of, minlength=count)
    away = np.zeros(len(of))
    for axis in (rows, columns):
        away += (axis - (np.bincount(of, axis, count) / cells)[of]) ** 2
    order = np.lexsort((away, of))
    _, first = np.unique(of[order], return_index=True)
    chosen = order[first]
    return rows[chosen], columns[chosen]


def froc(marks: Sequence[Marks], counts: Floats) -> Floats:
    """Return the sensitivity at each of `RATES`.

    At a rate the threshold is the lowest that brings no more false positives than
    that; nothing is interpolated.

    Parameters
    ----------
    marks : sequence of Marks
        Of S slides.
    counts : ndarray of shape (R, S)
        How often each slide counts: once, or as a resample has it.

    Returns
    -------
    ndarray of shape (R, 6)
        NaN where no lesion counts.
    """
    slides = np.arange(len(marks))
    lesion_of = np.repeat(slides, [len(one.lesions) for one in marks])  # (L,)
    false_of = np.repeat(slides, [len(one.false) for one in marks])  # (D,)
    lesions = np.concatenate([[], *(one.lesions for one in marks)])
    false = np.concatenate([[], *(one.false for one in marks)])
    order = np.argsort(-false, kind="stable")
    # Where no further false positive comes, every detection is admitted.
    thresholds, false_of = np.append(false[order], -np.inf), false_of[order]
    out = np.full((len(counts), len(RATES)), np.nan)
    for row, count in zip(out, counts, strict=True):
        weights = count[lesion_of]
        if total := weights.sum():
            alarms = np.cumsum(count[false_of])  # (D,)
            allowed = np.array(RATES) * count.sum()
            limit = thresholds[np.searchsorted(alarms, allowed, "right")]  # (6,)
            row[:] = weights @ (lesions[:, None] > limit) / total
    return out
