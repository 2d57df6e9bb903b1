"""The losses of teacher and student."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def bag_loss(logits: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Return -mean(Y log(P + epsilon) + (1 - Y) log(1 - P + epsilon)), a scalar."""
    positive = labels * _log_sigmoid(logits, epsilon)  # (B,)
    negative = (1 - labels) * _log_sigmoid(-logits, epsilon)  # (B,)
    return -(positive + negative).mean()


def student_loss(
    logits: Tensor, targets: Tensor, negative_weight: float, epsilon: float = 0.0
) -> Tensor:
    """Weigh the two halves of a cross-entropy with soft targets.

    Parameters
    ----------
    logits, targets : Tensor of shape (n,)
    negative_weight : float
        w of the negative half; the positive half has 1 - w. The paper's equation 14 has
        none, its code has.
    epsilon : float
        Added to the probabilities.

    Returns
    -------
    Tensor of shape (n,)
    """
    positive = (1 - negative_weight) * targets * _log_sigmoid(logits, epsilon)
    negative = negative_weight * (1 - targets) * _log_sigmoid(-logits, epsilon)
    return -(positive + negative)


def _log_sigmoid(logits: Tensor, epsilon: float) -> Tensor:
    if not epsilon:
        return functional.logsigmoid(logits)
    return torch.log(torch.sigmoid(logits) + epsilon)
