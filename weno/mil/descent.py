"""Steps downhill: optimisers, precision, and gradients that several processes share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from weno.mil.crew import ALONE, Crew

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor
    from torch.optim import Optimizer

    from weno.mil.config import TrainConfig
    from weno.mil.network import Weno


def make_optimisers(model: Weno, config: TrainConfig) -> dict[str, Optimizer]:
    """Return one optimiser for each part that has weights."""
    kinds = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    parts = {
        name: list(getattr(model, name).parameters())
        for name in ("projector", "teacher", "student")
    }
    return {
        name: kinds[config.optimiser](
            weights,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        for name, weights in parts.items()
        if weights
    }


@contextmanager
def matrix_precision(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Let CUDA multiply in TF32 or not, as the config asks; then as it was before."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    faster = config.precision in ("auto", "tf32")
    torch.set_float32_matmul_precision("high" if faster else "highest")
    torch.backends.cudnn.allow_tf32 = faster
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    """Return the context that computes in bf16 where the config asks for it."""
    enabled = config.precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def descend(
    loss: Tensor | None,
    optimisers: Mapping[str, Optimizer],
    *parts: str,
    crew: Crew = ALONE,
) -> None:
    """Move the weights of some parts down the slope of a loss.

    Parameters
    ----------
    loss : Tensor of shape (), optional
        This process's share; None if a step leaves it nothing.
    optimisers : mapping
    *parts : str
        Those without weights are passed over.
    crew : Crew
        Adds up the gradients.
    """
    moved = [optimisers[part] for part in parts if part in optimisers]
    for optimiser in moved:
        optimiser.zero_grad()
    if loss is not None:
        torch.autograd.backward(loss)
    if crew.size > 1:
        weights = [
            w for o in moved for group in o.param_groups for w in group["params"]
        ]
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        crew.add([weight.grad for weight in weights])
    for optimiser in moved:
        optimiser.step()
