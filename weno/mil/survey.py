"""The one reading of all bags before a fit: whether they are sound, and what they hold.

Features may be far larger than the memory and lie on a slow share, so everything that
has to look at all of them does so together.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from weno.errors import FeatureError
from weno.mil.bags import as_read
from weno.mil.crew import ALONE, Crew
from weno.mil.standardise import Moments

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from weno.mil.bags import Bag

_DIGEST = 16  # bytes
_NAMED = 10  # bags at most that an error lists


class Survey(NamedTuple):
    """What a reading of all bags has told.

    Parameters
    ----------
    digest : str
        Of ids, labels, prescribed splits, answers, and features as they are stored.
    moments : Moments
    """

    digest: str
    moments: Moments


def survey(
    bags: Sequence[Bag], crew: Crew = ALONE
) -> Generator[tuple[int, int], None, Survey]:
    """Read every bag once.

    Parameters
    ----------
    bags : sequence of Bag
        None empty, all of one width.
    crew : Crew
        Processes that each read their share.

    Yields
    ------
    done, total : int
        Bags of this process.

    Raises
    ------
    FeatureError
        If files are damaged or hold NaN or infinity; ten are named.
    """
    moments = Moments.empty(bags)
    digests = torch.zeros(len(bags), _DIGEST, dtype=torch.int64)
    bad = torch.zeros(len(bags), dtype=torch.int64)
    reasons = {}
    own = crew.share(range(len(bags)))
    for done, b in enumerate(own, 1):
        try:
            digest = _look(bags[b], moments, b)
        except FeatureError as error:
            reasons[b], bad[b] = str(error), 1
        else:
            digests[b] = torch.tensor(list(digest))
        yield done, len(own)
    crew.add([moments.table])
    crew.add([digests, bad])
    if found := bad.nonzero().flatten().tolist():
        said = [
            reasons.get(b, f"{bags[b].slide_id}: its features cannot be used")
            for b in found[:_NAMED]
        ]
        more = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
        raise FeatureError("cannot fit: " + "; ".join([*said, *more]))
    order = sorted(range(len(bags)), key=lambda b: bags[b].slide_id)
    whole = hashlib.blake2b(bytes(digests[order].flatten().tolist()), digest_size=16)
    return Survey(whole.hexdigest(), moments)


def _look(bag: Bag, moments: Moments, b: int) -> bytes:
    """Read a bag, fill in its moments, and return its digest."""
    stored = np.ascontiguousarray(bag.instances[:])
    key = [bag.slide_id, bag.patient_id, bag.label, bag.split, list(stored.shape)]
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=_DIGEST)
    digest.update(stored.data)
    digest.update(bag.verdicts.data)
    moments.look(b, torch.from_numpy(as_read(stored)))
    if not moments.table[:, b].isfinite().all():
        raise FeatureError(f"{bag.slide_id}: features hold NaN or infinity")
    return digest.digest()
