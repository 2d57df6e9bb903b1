"""Hard positive mining: which tiles of a positive bag the teacher must do without.

The student scores the tiles of a positive bag; those it already calls positive
with ease are hidden from the teacher, which then has to find the others. All
functions speak in masks over the whole bag, so that no value ever leaves its tile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from weno.mil.config import TrainConfig
    from weno.mil.network import Weno
    from weno.mil.packed import Group

Mode = Literal["off", "threshold", "top_fraction", "top_k"]


@dataclass(frozen=True, slots=True)
class MiningRule:
    """When a tile of a positive bag counts as easy, and how many may be hidden.

    Parameters
    ----------
    mode : "off", "threshold", "top_fraction" or "top_k"
    threshold : float
        Mode "threshold" hides tiles whose probability is above it.
    fraction : float
        Mode "top_fraction" hides this share of the tiles.
    rest : int
        Mode "top_k" hides all but so many.
    spare : float
        Share of the tiles above `threshold` that stays, whatever the mode, so that what
        is left of the bag still deserves its label; nothing else is hidden then. 0 is
        the published rule: all of them may go, and others with them.
    max_drop : float
        Ceiling on the share of a bag that is hidden.
    min_keep : int
        Floor on the number of tiles kept. 0 is the published rule: if nothing
        would be left, the single easiest tile is kept.
    start, ramp : int
        Mining begins after epoch `start`; its ceiling grows over `ramp` epochs.
    """

    mode: Mode = "off"
    threshold: float = 0.5
    fraction: float = 0.1
    rest: int = 100
    spare: float = 0.0
    max_drop: float = 0.1
    min_keep: int = 1
    start: int = 0
    ramp: int = 0

    @classmethod
    def of(cls, config: TrainConfig) -> MiningRule:
        """Return the rule that a config asks for."""
        return cls(
            mode=config.mining,
            threshold=config.mining_threshold,
            fraction=config.mining_fraction,
            rest=config.mining_keep,
            spare=config.mining_spare,
            max_drop=config.mining_max_drop,
            min_keep=config.mining_min_keep,
            start=max(config.mining_start, config.teacher_epochs),
            ramp=config.mining_ramp,
        )

    def at(self, epoch: int) -> MiningRule | None:
        """Return the rule as it stands in an epoch, 1-based; None if it hides none."""
        strength = min(1.0, max(0, epoch - self.start) / max(1, self.ramp))
        if self.mode == "off" or not self.max_drop * strength:
            return None
        return replace(self, max_drop=self.max_drop * strength)


def keep_mask(probability: Tensor, rule: MiningRule) -> Tensor:
    """Tell which tiles of a positive bag stay in the teacher's sight.

    Parameters
    ----------
    probability : Tensor of shape (N,)
        The student's, raw or calibrated: the rule's threshold is on the same scale.
    rule : MiningRule
        At full strength; `MiningRule.at` weakens it.

    Returns
    -------
    Tensor of shape (N,), bool
        True where the tile is kept. At least one tile is, unless N is 0.
    """
    count = len(probability)
    keep = torch.ones_like(probability, dtype=torch.bool)
    easy = int((probability > rule.threshold).sum())
    wanted = {
        "off": 0,
        "threshold": easy,
        "top_fraction": int(rule.fraction * count),
        "top_k": max(0, count - rule.rest),
    }[rule.mode]
    ceiling = int(rule.max_drop * count + 1e-9)
    if rule.spare:
        ceiling = min(ceiling, int((1 - rule.spare) * easy + 1e-9))
    dropped = min(wanted, ceiling, count - min(rule.min_keep, count))
    easiest_first = torch.argsort(probability, descending=True, stable=True)  # (N,)
    if dropped == count:
        keep[easiest_first[1:]] = False
    else:
        keep[easiest_first[:dropped]] = False
    return keep


@torch.no_grad()
def mine(
    model: Weno, group: Group, z: Tensor, config: TrainConfig, rule: MiningRule | None
) -> Tensor | None:
    """Return which tiles of a group are kept, (N,); None if nothing is mined.

    Paper, section 3.3: in positive bags the student, in evaluation mode, says what is
    too easy, on the very z that the teacher is about to see.
    """
    if rule is None or not config.distillation or not any(group.classes):
        return None
    model.student.eval()
    probability = torch.sigmoid(model.student(group.x, z).float())  # (N,)
    if config.mining_calibrated:
        probability = model.calibrated(probability)
    masks = [
        keep_mask(p, rule) if label else torch.ones_like(p, dtype=torch.bool)
        for p, label in zip(
            torch.split(probability, group.sizes), group.classes, strict=True
        )
    ]
    return torch.cat(masks)
