"""What the tiles of the audit, drawn at random, say of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weno.review.events import ReviewTile, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weno.prediction import Prediction


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The student's calls against what reviewers said of the tiles of the audit.

    Parameters
    ----------
    found, positive : int
        Positive tiles that the student calls, and positive tiles in all.
    false_alarms, negative : int
        Negative tiles that it calls, and negative tiles in all.
    """

    found: int = 0
    positive: int = 0
    false_alarms: int = 0
    negative: int = 0

    def __add__(self, other: AuditResult) -> AuditResult:
        return AuditResult(
            self.found + other.found,
            self.positive + other.positive,
            self.false_alarms + other.false_alarms,
            self.negative + other.negative,
        )


def audit(
    said: Mapping[ReviewTile, Verdict],
    prediction: Prediction,
    *,
    threshold: float = 0.5,
) -> AuditResult:
    """Measure a run on one slide by the tiles that were drawn at random.

    Parameters
    ----------
    said : mapping of ReviewTile to Verdict
        See `audit_verdicts`; tiles of other slides, or of which nobody is sure, do not
        count.
    prediction : Prediction
    threshold : float
        From which probability of the student's on a tile counts as called.
    """
    result = AuditResult()
    for tile, verdict in said.items():
        if tile.content_hash != prediction.content_hash:
            continue
        for index in np.flatnonzero((prediction.origins == tile.origin).all(axis=1)):
            # Tiles of another size may begin there.
            if ReviewTile.of(prediction, int(index)).size != tile.size:
                continue
            called = int(prediction.probability[index] >= threshold)
            if verdict is Verdict.POSITIVE:
                result += AuditResult(found=called, positive=1)
            elif verdict is Verdict.NEGATIVE:
                result += AuditResult(false_alarms=called, negative=1)
    return result
