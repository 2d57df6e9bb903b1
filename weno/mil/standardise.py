"""Features in the learner's units: relative to their slide, scaled by the cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weno.mil.bags import Bag

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
    identity : bool
        True leaves everything as it is: for pixels, and as published.
    """

    mean: Tensor  # (F,) of the cohort
    spread: Tensor  # (F,) of the cohort's tiles around `mean`
    deviation: Tensor  # (F,) of the cohort's tiles around their centre

    def __init__(self, width: int, *, relative: bool, identity: bool = False) -> None:
        super().__init__()
        self.relative, self.identity = relative, identity
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("deviation", torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """Return the tiles of one whole slide, (N, F), in the learner's units."""
        return self.apply_centre(features, self.centre(features))

    def apply_centre(self, features: Tensor, centre: Tensor) -> Tensor:
        """Return tiles, (n, F), of slides whose centre, (n, F) or (F,), is known."""
        return features if self.identity else (features - centre) / self.deviation

    def centre(self, features: Tensor) -> Tensor:
        """Return the centre of one whole slide, of shape (F,)."""
        if self.identity or not self.relative:
            return self.mean
        trust = len(features) / (len(features) + _PRIOR_TILES)
        return self.mean.lerp(features.median(dim=0).values, trust)  # (F,)

    def familiarity(self, features: Tensor) -> Tensor:
        """Return the root mean square distance to the cohort, in its spread, (N,).

        The slide's own centre stays in: a new stain or scanner is to be seen here. Of
        pixels, the mean colours of the tiles are compared.
        """
        values = _told(features)  # (N, F)
        return ((values - self.mean) / self.spread).square().mean(1).sqrt()

    def adapt(self, bags: Sequence[Bag]) -> None:
        """Take the statistics of the training bags, one in memory at a time."""
        self.mean.copy_(_mean(_read(bag) for bag in bags))
        spread = _mean((_read(bag) - self.mean).square() for bag in bags)
        self.spread.copy_(_deviation(spread))
        centred = (_read(bag) - self.centre(_read(bag).float()) for bag in bags)
        variance = _mean(values.square() for values in centred)
        self.deviation.copy_(_deviation(variance))


def _told(instances: Tensor) -> Tensor:
    """Return features as they are, (N, F); of pixels, (N, H, W, 3), mean colours."""
    return instances if instances.ndim == 2 else instances.double().mean((1, 2))


def _read(bag: Bag) -> Tensor:
    return _told(torch.from_numpy(bag.read())).double()


def _mean(parts: Iterable[Tensor]) -> Tensor:
    """Return the mean of rows that come in parts."""
    count, total = 0, torch.zeros(())
    for part in parts:
        count, total = count + len(part), total + part.sum(0)
    return total / count


def _deviation(variance: Tensor) -> Tensor:
    # A feature that is constant in training must not blow up elsewhere.
    return torch.where(variance > 1e-12, variance.sqrt(), 1.0)
