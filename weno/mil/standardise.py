"""Features in the learner's units: relative to their slide, scaled by the cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

# Tiles' worth of trust in the cohort's centre: the median of a handful of tiles is
# mostly these tiles themselves.
_PRIOR_TILES = 10


class Standardiser(nn.Module):
    """Centre the tiles of a slide on their own median and scale them by the cohort.

    Slides differ by stain and scanner more than tiles do by disease, and with few
    slides those differences are what a bag classifier learns by heart. What all tiles
    of a slide share drops out; what is left is how a tile differs from the slide's
    usual tissue. A slide of few tiles leans on the cohort's centre.

    Parameters
    ----------
    width : int
        Features of a tile, F.
    relative : bool
        False centres on the cohort's mean, as published: for cohorts in which whole
        slides are diseased, or features that stain hardly moves.
    """

    mean: Tensor  # (F,) of the cohort
    spread: Tensor  # (F,) of the cohort's tiles around `mean`
    deviation: Tensor  # (F,) of the cohort's tiles around their centre

    def __init__(self, width: int, *, relative: bool) -> None:
        super().__init__()
        self.relative = relative
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """Return the tiles of one whole slide, (N, F), in the learner's units."""
        return (features - self._centre(features)) / self.deviation  # (N, F)

    def _centre(self, features: Tensor) -> Tensor:
        if not self.relative:
            return self.mean
        trust = len(features) / (len(features) + _PRIOR_TILES)
        return self.mean.lerp(features.quantile(0.5, dim=0), trust)  # (F,)

    def familiarity(self, features: Tensor) -> Tensor:
        """Return the root mean square distance to the cohort, in its spread, (N,).

        The slide's own centre stays in: a new stain or scanner is to be seen here.
        """
        return ((features - self.mean) / self.spread).square().mean(1).sqrt()

    def adapt(self, bags: Sequence[npt.NDArray[np.float32]]) -> None:
        """Take the statistics of the training bags, each of shape (N, F)."""
        count = sum(len(bag) for bag in bags)
        mean = sum(bag.sum(0, dtype=np.float64) for bag in bags) / count  # (F,)
        self.mean.copy_(torch.from_numpy(mean))
        square = sum(np.square(bag - mean).sum(0) for bag in bags)  # (F,)
        self.spread.copy_(torch.from_numpy(_deviation(square / count)))
        centred = (
            bag - self._centre(torch.from_numpy(bag)).numpy().astype(np.float64)
            for bag in bags
        )
        square = sum(np.square(values).sum(0) for values in centred)  # (F,)
        self.deviation.copy_(torch.from_numpy(_deviation(square / count)))


def _deviation(variance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # A feature that is constant in training must not blow up elsewhere.
    deviation: npt.NDArray[np.float64] = np.where(
        variance > 1e-12, np.sqrt(variance), 1.0
    )
    return deviation
