"""Features in the learner's units: relative to their slide, scaled by the cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weno.mil.bags import Bag

# Tiles' worth of trust in the cohort's centre: the median of a handful of tiles is
# mostly these tiles themselves.
_PRIOR_TILES = 10
_USUAL_SHARE = 0.99  # of the training tiles
_ASKED = 64  # training bags; to read more, of a large cohort, tells it no better


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What the features of bags are like; of pixels, the mean colours of the tiles.

    Parameters
    ----------
    counts : Tensor of shape (B,), float64
        Instances of each bag.
    table : Tensor of shape (3, B, F), float64
        Variance, mean and median.
    """

    counts: Tensor
    table: Tensor

    @classmethod
    def empty(cls, bags: Sequence[Bag]) -> Self:
        """Make room for bags, none of which has been looked at."""
        pixels = len(bags[0].instances.shape) > 2
        counts = torch.tensor([len(bag) for bag in bags], dtype=torch.float64)
        # One block for all: small tensors that stay, made between large ones that go,
        # would keep the heap from being used again.
        shape = (3, len(bags), 3 if pixels else bags[0].width)
        return cls(counts, torch.zeros(shape, dtype=torch.float64))

    @classmethod
    def of(cls, bags: Sequence[Bag]) -> Self:
        """Read bags, one after the other."""
        moments = cls.empty(bags)
        for b, bag in enumerate(bags):
            moments.look(b, torch.from_numpy(bag.read()))
        return moments

    def look(self, b: int, instances: Tensor) -> None:
        """Fill in one bag, given all its instances as `Bag.read` returns them."""
        values = _told(instances)  # (N, F)
        torch.stack(
            [
                *torch.var_mean(values.double(), 0, correction=0),
                values.median(0).values.double(),
            ],
            out=self.table[:, b],
        )

    def __getitem__(self, chosen: Sequence[int]) -> Self:
        return type(self)(self.counts[chosen], self.table[:, chosen])


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
    identity : bool
        True leaves everything as it is: for pixels, and as published.
    limit : float
        In the learner's units: what lies beyond, to either side, is put on it. Fat,
        ink and folds are few and far from all else; without a limit a handful of them
        tells the slides of a small cohort apart. 0 for none.
    """

    mean: Tensor  # (F,) of the cohort
    spread: Tensor  # (F,) of the cohort's tiles around `mean`
    deviation: Tensor  # (F,) of the cohort's tiles around their centre

    def __init__(
        self,
        width: int,
        *,
        relative: bool,
        identity: bool = False,
        limit: float = 0.0,
    ) -> None:
        super().__init__()
        self.relative, self.identity, self.limit = relative, identity, limit
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """Return the tiles of one whole slide, (N, F), in the learner's units."""
        return self.apply_centre(features, self.centre(features))

    def apply_centre(self, features: Tensor, centre: Tensor) -> Tensor:
        """Return tiles, (n, F), of slides whose centre, (n, F) or (F,), is known."""
        if self.identity:
            return features
        units = (features - centre) / self.deviation
        return units.clamp(-self.limit, self.limit) if self.limit else units

    def centre(self, features: Tensor) -> Tensor:
        """Return the centre of one whole slide, of shape (F,)."""
        if self.identity or not self.relative:
            return self.mean
        count = torch.tensor(
            len(features), dtype=features.dtype, device=features.device
        )
        return self._centres(count, features.median(0).values)

    def centres(self, moments: Moments) -> Tensor:
        """Return the centres of whole slides, (B, F), that have been looked at."""
        medians = moments.table[2].to(self.mean)  # (B, F)
        return self._centres(moments.counts.to(medians)[:, None], medians)

    def familiarity(self, features: Tensor) -> Tensor:
        """Return the root mean square distance to the cohort, in its spread, (N,).

        The slide's own centre stays in: a new stain or scanner is to be seen here. Of
        pixels, the mean colours of the tiles are compared.
        """
        values = _told(features)  # (N, F)
        return ((values - self.mean) / self.spread).square().mean(1).sqrt()

    def familiarity_limit(self, bags: Sequence[Bag]) -> float:
        """Return the distance below which 99 of 100 tiles of training bags lie.

        Of many bags some are read, spread evenly over them.
        """
        device = self.mean.device
        distances = [
            self.familiarity(torch.from_numpy(bag.read()).to(device)).cpu().numpy()
            for bag in bags[:: -(-len(bags) // _ASKED)]
        ]
        return float(np.quantile(np.concatenate(distances), _USUAL_SHARE))

    def adapt(self, moments: Moments) -> None:
        """Take over the statistics of the training bags."""
        counts = moments.counts
        variances, means, medians = moments.table  # (B, F) each
        share = (counts / counts.sum())[:, None]  # (B, 1)
        mean = (share * means).sum(0)  # (F,)
        self.mean.copy_(mean)
        spread = (share * (variances + (means - mean).square())).sum(0)
        self.spread.copy_(_deviation(spread, mean))
        centres = self._centres(counts[:, None], medians)  # (B, F)
        around = (share * (variances + (means - centres).square())).sum(0)
        self.deviation.copy_(_deviation(around, mean))

    def _centres(self, counts: Tensor, medians: Tensor) -> Tensor:
        """Return centres of slides from their numbers of tiles and medians, (B, F)."""
        if self.identity or not self.relative:
            return self.mean.expand_as(medians)
        trust = counts / (counts + _PRIOR_TILES)
        return torch.lerp(self.mean.to(medians), medians, trust)


def _told(instances: Tensor) -> Tensor:
    """Return features as they are, (N, F); of pixels, (N, H, W, 3), mean colours."""
    return instances if instances.ndim == 2 else instances.double().mean((1, 2))


def _deviation(variance: Tensor, mean: Tensor) -> Tensor:
    # A feature that is constant in training must not blow up elsewhere.
    constant = variance <= 1e-12 * (1 + mean.square())
    return torch.where(constant, 1.0, variance.sqrt())
