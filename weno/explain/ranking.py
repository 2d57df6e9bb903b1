"""Which tiles to look at first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from weno.prediction import Prediction

    Floats = npt.NDArray[np.float32]
    Tiles = npt.NDArray[np.int64]

Column = Literal[
    "probability", "attention", "re_attention", "disagreement", "familiarity"
]
Which = Literal["candidates", "highest", "lowest", "disagreeing"]

#: What tiles can be ranked by, and what it says.
COLUMNS: dict[Column, str] = {
    "probability": "the student's probability of the tile",
    "attention": "the weight with which the teacher pools the tile",
    "re_attention": "the teacher's attention once the easy positives are hidden",
    "disagreement": "percentile of attention minus percentile of the probability",
    "familiarity": "distance from the tiles of the training; 2 and more is strange",
}


def column_of(prediction: Prediction, column: Column) -> Floats:
    """Return one value of all tiles, of shape (N,)."""
    values: Floats = getattr(prediction, column)
    return values


def picked(
    prediction: Prediction, which: Which, column: Column, count: int = 60
) -> Tiles:
    """Return the tiles to look at, the first to look at first.

    Parameters
    ----------
    prediction : Prediction
    which : {"candidates", "highest", "lowest", "disagreeing"}
        The mined candidates by their rank; the tiles with most or least of a value;
        those on which teacher and student disagree most, whoever sees more.
    column : str
        One of `COLUMNS`; says nothing about candidates and disagreeing tiles.
    count : int
        At most so many.

    Returns
    -------
    ndarray of shape (n,), int64
    """
    if which == "candidates":
        rank = prediction.candidate_rank
        found = np.flatnonzero(rank > 0)
        return found[np.argsort(rank[found], kind="stable")][:count]
    if which == "disagreeing":
        return first(np.abs(prediction.disagreement), count)
    values = column_of(prediction, column)
    return first(values if which == "highest" else -values, count)


def first(values: npt.NDArray[np.floating], count: int) -> Tiles:
    """Return the places of the largest values, equal ones in their order."""
    return np.argsort(-values, kind="stable")[:count].astype(np.int64)
