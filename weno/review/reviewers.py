"""What several reviewers say together."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weno.review.events import Kind, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weno.review.events import ReviewTile
    from weno.review.verdicts import ReviewLog

_OPINIONS = (Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.UNSURE)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of two reviewers.

    Parameters
    ----------
    kappa : float
        Cohen's kappa; 1 is full agreement, 0 what chance would give, NaN if there
        is nothing to compare or all answers are the same.
    observed : float
        Share of tiles with the same answer.
    n_tiles : int
        Tiles that both answered blind.
    """

    kappa: float
    observed: float
    n_tiles: int


def agreement(first: ReviewLog, second: ReviewLog) -> Agreement:
    r"""Compare two reviewers on the tiles that both answered blind.

    Cohen's kappa is

    .. math:: \kappa = \frac{p_o - p_e}{1 - p_e}, \quad p_e = \sum_v p_v q_v

    where :math:`p_o` is the share of equal answers and :math:`p_v`, :math:`q_v` are
    the shares of answer `v`, one of positive, negative and unsure, that each reviewer
    gave. Skipped tiles do not count. Of several blind answers for a tile the newest
    counts; one given after the model's values were seen never does.
    """
    ours, theirs = _blind(first), _blind(second)
    common = ours.keys() & theirs.keys()
    if not common:
        return Agreement(math.nan, math.nan, 0)
    counts = np.zeros((len(_OPINIONS), len(_OPINIONS)))
    for tile in common:
        counts[_OPINIONS.index(ours[tile]), _OPINIONS.index(theirs[tile])] += 1
    shares = counts / len(common)
    observed = float(np.trace(shares))
    expected = float(shares.sum(axis=1) @ shares.sum(axis=0))
    kappa = (observed - expected) / (1 - expected) if expected < 1 else math.nan
    return Agreement(kappa, observed, len(common))


def _blind(log: ReviewLog) -> dict[ReviewTile, Verdict]:
    newest = {}
    for tile in log.answers():
        blind = [event.verdict for event in log.history(tile) if event.blind]
        if blind and blind[-1] in _OPINIONS:
            newest[tile] = blind[-1]
    return newest


def training_verdicts(logs: Iterable[ReviewLog]) -> dict[ReviewTile, Verdict]:
    """Join the verdicts of reviewers into those that a fit may learn from.

    Skipped tiles are left out, and so is every tile that anybody answered as part of
    an audit: it measures the model and must stay unseen. Where reviewers contradict
    each other, and where nobody is sure, the verdict is unsure.

    Parameters
    ----------
    logs : iterable of ReviewLog

    Returns
    -------
    dict of ReviewTile to Verdict
        Positive, negative or unsure.
    """
    logs = list(logs)
    audited = audited_tiles(logs)
    joined = _joined(
        {tile: event.verdict for tile, event in log.answers().items()} for log in logs
    )
    return {tile: verdict for tile, verdict in joined.items() if tile not in audited}


def audit_verdicts(logs: Iterable[ReviewLog]) -> dict[ReviewTile, Verdict]:
    """Join what reviewers answered blind on the tiles of an audit.

    Parameters
    ----------
    logs : iterable of ReviewLog

    Returns
    -------
    dict of ReviewTile to Verdict
        Positive, negative, or unsure where they contradict each other or nobody is
        sure.
    """
    logs = list(logs)
    audited = audited_tiles(logs)
    joined = _joined(_blind(log) for log in logs)
    return {tile: verdict for tile, verdict in joined.items() if tile in audited}


def _joined(
    answers: Iterable[Mapping[ReviewTile, Verdict]],
) -> dict[ReviewTile, Verdict]:
    given: defaultdict[ReviewTile, set[Verdict]] = defaultdict(set)
    for of_one in answers:
        for tile, verdict in of_one.items():
            given[tile].add(verdict)
    joined = {}
    for tile, verdicts in given.items():
        sure = verdicts & {Verdict.POSITIVE, Verdict.NEGATIVE}
        if verdicts != {Verdict.SKIP}:
            joined[tile] = sure.pop() if len(sure) == 1 else Verdict.UNSURE
    return joined


def audited_tiles(logs: Iterable[ReviewLog]) -> set[ReviewTile]:
    """Return the tiles that anybody answered as part of an audit."""
    return {
        tile
        for log in logs
        for tile in log.answers()
        if any(answer.kind is Kind.AUDIT for answer in log.history(tile))
    }
