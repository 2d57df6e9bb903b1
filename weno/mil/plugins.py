"""Teachers by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weno.errors import RunError
from weno.mil.teachers import TEACHERS

if TYPE_CHECKING:
    from torch import nn

    from weno.mil.config import TrainConfig


def make_teacher(dim: int, config: TrainConfig) -> nn.Module:
    """Build the teacher that a config names, for z of `dim` dimensions."""
    if config.teacher not in TEACHERS:
        known = ", ".join(sorted(TEACHERS))
        raise RunError(f"unknown teacher {config.teacher!r}; there are: {known}")
    return TEACHERS[config.teacher](dim, config)
