"""Whether a slide looks like the slides that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from weno.prediction import Prediction

#: Beyond it a tile is strange where a run has not kept its own limit.
USUAL_LIMIT = 2.0
#: From this share of strange tiles on a slide is unlike the training; of the training
#: tiles themselves it is 0.01.
STRANGE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How much of a slide is unlike the training.

    Parameters
    ----------
    strange : float
        Share of the tiles that lie farther from the training than `limit`.
    limit : float
        99 of 100 training tiles lie nearer.
    is_measured : bool
        Whether the run has measured the limit; else it is the rule of thumb 2.
    """

    strange: float
    limit: float
    is_measured: bool

    @property
    def is_unlike(self) -> bool:
        """Whether what the model says of the slide is to be taken with care."""
        return self.strange >= STRANGE_SHARE


def familiarity_of(prediction: Prediction) -> Familiarity:
    """Tell how much of a slide is unlike the training.

    The rule is plain: a tile is strange if it lies farther from the training tiles
    than 99 of 100 of them do; a slide is unlike the training if a tenth of its tiles
    are strange.

    Parameters
    ----------
    prediction : Prediction
    """
    limit = prediction.familiarity_limit
    used = USUAL_LIMIT if limit is None else limit
    beyond = prediction.familiarity > used
    strange = float(np.mean(beyond)) if len(beyond) else 0.0
    return Familiarity(strange, used, limit is not None)
