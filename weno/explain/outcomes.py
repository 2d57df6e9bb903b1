"""Where the model was right and where not, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Outcomes = npt.NDArray[np.int8]


class Outcome(IntEnum):
    """What became of a tile."""

    UNKNOWN = 0
    """Its class is not known."""
    CLEAR = 1
    """Negative, and not called."""
    FOUND = 2
    """Positive, and called."""
    MISSED = 3
    """Positive, and not called."""
    FALSE_ALARM = 4
    """Negative, and called."""


def outcomes_of(
    truth: npt.ArrayLike, probability: npt.ArrayLike, threshold: float
) -> Outcomes:
    """Return what became of each tile.

    Parameters
    ----------
    truth : array_like of shape (N,)
        1, 0, or NaN where the class is not known.
    probability : array_like of shape (N,)
        The student's.
    threshold : float
        From which probability on a tile counts as called.

    Returns
    -------
    ndarray of shape (N,), int8
        Values of `Outcome`.
    """
    known, called = np.asarray(truth, float), np.asarray(probability) >= threshold
    of_positive = np.where(called, Outcome.FOUND, Outcome.MISSED)
    of_negative = np.where(called, Outcome.FALSE_ALARM, Outcome.CLEAR)
    outcomes = np.where(known > 0, of_positive, of_negative)
    return np.where(np.isnan(known), Outcome.UNKNOWN, outcomes).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tiles of a slide came to what."""

    found: int
    missed: int
    false_alarms: int
    clear: int
    unknown: int


def tally(outcomes: Outcomes) -> Tally:
    """Count outcomes."""
    counts = np.bincount(outcomes, minlength=len(Outcome)).tolist()
    return Tally(
        found=counts[Outcome.FOUND],
        missed=counts[Outcome.MISSED],
        false_alarms=counts[Outcome.FALSE_ALARM],
        clear=counts[Outcome.CLEAR],
        unknown=counts[Outcome.UNKNOWN],
    )
