"""What the tiles of the audit, drawn at random, say of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weno.review.events import ReviewTile, Verdict
from weno.review.reviewers import audit_verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weno.prediction import Prediction
    from weno.review.verdicts import ReviewLog

_SURE = (Verdict.POSITIVE, Verdict.NEGATIVE)


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The student's calls against what reviewers said of the tiles of the audit.

    Parameters
    ----------
    found, missed : int
        Positive tiles that the student calls, and does not call.
    false_alarms, clear : int
        Negative tiles that it calls, and does not call.
    """

    found: int
    missed: int
    false_alarms: int
    clear: int

    @property
    def positive(self) -> int:
        """Tiles that the reviewers call positive."""
        return self.found + self.missed

    @property
    def negative(self) -> int:
        """Tiles that the reviewers call negative."""
        return self.false_alarms + self.clear


def audit(
    logs: Iterable[ReviewLog],
    predictions: Iterable[Prediction],
    *,
    threshold: float = 0.5,
) -> AuditResult:
    """Measure a run by the tiles that were drawn at random and answered blind.

    Parameters
    ----------
    logs : iterable of ReviewLog
        Tiles of which nobody is sure, or on which reviewers contradict each other, do
        not count.
    predictions : iterable of Prediction
        All of one run; tiles that are in none do not count.
    threshold : float
        From which probability of the student's on a tile counts as called.
    """
    said = {
        t: verdict for t, verdict in audit_verdicts(logs).items() if verdict in _SURE
    }
    origins = {(tile.content_hash, tile.origin) for tile in said}
    counts = {(truth, called): 0 for truth in _SURE for called in (True, False)}
    for prediction in predictions:
        for index, origin in enumerate(prediction.origins.tolist()):
            if (prediction.content_hash, tuple(origin)) not in origins:
                continue
            # Tiles of another size may begin there too.
            if truth := said.get(ReviewTile.of(prediction, index)):
                called = bool(prediction.probability[index] >= threshold)
                counts[truth, called] += 1
    return AuditResult(
        found=counts[Verdict.POSITIVE, True],
        missed=counts[Verdict.POSITIVE, False],
        false_alarms=counts[Verdict.NEGATIVE, True],
        clear=counts[Verdict.NEGATIVE, False],
    )
