"""How two runs differ on one slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weno.errors import RunError
from weno.explain.ranking import first

if TYPE_CHECKING:
    import numpy.typing as npt

    from weno.prediction import Prediction

    Floats = npt.NDArray[np.float32]
    Tiles = npt.NDArray[np.int64]

_CALLED = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Two predictions of the same slide, tile by tile where both have the tile.

    Parameters
    ----------
    one, other : Prediction
    difference : ndarray of shape (N,), float32
        Of each tile of `one`: the student's probability by `other` minus that by
        `one`, NaN for a tile that `other` does not have.
    shared_tiles : int
        Tiles that both have.
    shared_candidates : int
        Candidates of `one` that are candidates of `other` too.
    attention_agreement : float or None
        Spearman's rank correlation of the attention over the shared tiles, None where
        there is none to compute.
    calls_agreement : float or None
        Share of the shared tiles that both call, or both do not.
    """

    one: Prediction
    other: Prediction
    difference: Floats
    shared_tiles: int
    shared_candidates: int
    attention_agreement: float | None
    calls_agreement: float | None

    def most_different(self, count: int = 60) -> Tiles:
        """Return the tiles of `one` on which the runs differ most, the first first."""
        known = int(np.isfinite(self.difference).sum())
        away = np.nan_to_num(np.abs(self.difference), nan=-1.0)
        return first(away, min(count, known))


def compare(one: Prediction, other: Prediction) -> Comparison:
    """Compare what two runs say of a slide.

    Tiles are matched by where they lie; runs of other tiles than these share none,
    and only the slide's own values can be compared.

    Parameters
    ----------
    one, other : Prediction

    Raises
    ------
    RunError
        If they are of different slides.
    """
    if one.content_hash != other.content_hash:
        raise RunError(
            f"{one.slide_id} and {other.slide_id} are different slides: only what two "
            "runs say of the same slide can be compared"
        )
    same = one.spec.tile_um == other.spec.tile_um
    places = {} if not same else dict(zip(_keys(other), range(len(other)), strict=True))
    match = np.array([places.get(key, -1) for key in _keys(one)], np.int64)
    here = np.flatnonzero(match >= 0)
    there = match[here]
    difference = np.full(len(one), np.nan, np.float32)
    difference[here] = other.probability[there] - one.probability[here]
    both = (one.candidate_rank[here] > 0) & (other.candidate_rank[there] > 0)
    calls = one.probability[here] >= _CALLED, other.probability[there] >= _CALLED
    return Comparison(
        one=one,
        other=other,
        difference=difference,
        shared_tiles=len(here),
        shared_candidates=int(both.sum()),
        attention_agreement=_spearman(one.attention[here], other.attention[there]),
        calls_agreement=float(np.mean(calls[0] == calls[1])) if len(here) else None,
    )


def _keys(prediction: Prediction) -> list[tuple[int, int]]:
    return [(y, x) for y, x in prediction.origins.tolist()]


def _spearman(one: Floats, other: Floats) -> float | None:
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    # Takes longer to import than a window may keep one waiting.
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
