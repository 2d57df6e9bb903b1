"""What a model says of whole bags, and where to cut it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from weno.errors import RunError
from weno.mil.evaluation import auc

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from weno.mil.bags import PackedBags
    from weno.mil.config import TrainConfig
    from weno.mil.network import Weno


@dataclass(frozen=True, slots=True)
class BagScores:
    """What a model says of bags with known labels, each of shape (B,).

    Parameters
    ----------
    labels : ndarray of int
    teacher, student, student_top : ndarray of float
        The teacher's probability; the student's maximum and mean over the top tiles.
    loss : float
        The teacher's, mean over bags.
    """

    labels: npt.NDArray[np.int64]
    teacher: npt.NDArray[np.float64]
    student: npt.NDArray[np.float64]
    student_top: npt.NDArray[np.float64]
    loss: float

    def metrics(self) -> dict[str, float | int | None]:
        """Return the numbers that go on a run's card."""
        return {
            "slides": len(self.labels),
            "teacher_loss": self.loss,
            "teacher_bag_auc": auc(self.labels, self.teacher),
            "student_bag_auc": auc(self.labels, self.student),
            "student_bag_auc_top_mean": auc(self.labels, self.student_top),
        }


@torch.no_grad()
def score_bags(model: Weno, bags: PackedBags, config: TrainConfig) -> BagScores:
    """Score bags in evaluation mode."""
    model.eval()
    logits, student, top = [], [], []
    for s in bags.slices:
        logits.append(model.teach(bags.x[s]).logits)  # (1,)
        probability = model.probability(bags.x[s])  # (N,)
        student.append(probability.max())
        top.append(top_mean(probability, config.top_k))
    logit = torch.cat(logits)  # (B,)
    loss = functional.binary_cross_entropy_with_logits(logit, bags.labels)
    return BagScores(
        bags.labels.long().cpu().numpy(),
        torch.sigmoid(logit.double()).cpu().numpy(),
        torch.stack(student).double().cpu().numpy(),
        torch.stack(top).double().cpu().numpy(),
        loss.item(),
    )


def top_mean(probability: Tensor, k: int) -> Tensor:
    """Return the mean of the k highest values, of all where there are fewer."""
    return probability.topk(min(k, len(probability))).values.mean()  # ()


def best_threshold(
    labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
) -> float:
    """Return the threshold with the best balanced accuracy.

    Candidates lie halfway between neighbouring values, and at one half; of equally
    good ones the nearest to one half is taken.
    """
    values = np.unique(probabilities)
    candidates = np.append((values[1:] + values[:-1]) / 2, 0.5)  # (K,)
    called = probabilities >= candidates[:, None]  # (K, B)
    hits = called[:, labels == 1].mean(1) - called[:, labels == 0].mean(1)  # (K,)
    best = candidates[hits >= hits.max() - 1e-12]
    return float(best[np.argmin(abs(best - 0.5))])


def choose_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"device {name!r} cannot be used: {error}") from error
    return device
