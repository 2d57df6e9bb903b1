"""What a model says of whole bags, and where to cut it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from weno.errors import RunError
from weno.mil.crew import ALONE, Crew
from weno.mil.descent import autocast

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from weno.mil.config import TrainConfig
    from weno.mil.network import Weno
    from weno.mil.packed import PackedBags

_SCORES = ("teacher", "student", "student_top", "mixed")


@dataclass(frozen=True, slots=True)
class BagScores:
    """What a model says of bags with known labels, each of shape (B,).

    Parameters
    ----------
    labels : ndarray of int
    teacher, student, student_top : ndarray of float
        The teacher's probability; the student's maximum and mean over the top tiles.
    mixed : ndarray of float, optional
        The teacher's probability with the student's eyes, see `Judgement`.
    aucs : dict of str to float or None
        Areas under the ROC curves of the four, by the same names; None where one class
        is missing.
    loss : float
        The teacher's, mean over bags.
    """

    labels: npt.NDArray[np.int64]
    teacher: npt.NDArray[np.float64]
    student: npt.NDArray[np.float64]
    student_top: npt.NDArray[np.float64]
    mixed: npt.NDArray[np.float64] | None
    aucs: dict[str, float | None]
    loss: float

    def metrics(self) -> dict[str, float | int | None]:
        """Return the numbers that go on a run's card."""
        return {
            "slides": len(self.labels),
            "teacher_loss": self.loss,
            "teacher_bag_auc": self.aucs["teacher"],
            "student_bag_auc": self.aucs["student"],
            "student_bag_auc_top_mean": self.aucs["student_top"],
            "mixed_bag_auc": self.aucs["mixed"],
        }


@torch.no_grad()
def score_bags(
    model: Weno, bags: PackedBags, config: TrainConfig, crew: Crew = ALONE
) -> BagScores:
    """Score bags in evaluation mode."""
    model.eval()
    table = torch.zeros(4, len(bags), device=bags.device)
    for chosen in crew.share(bags.portions()):
        group = bags.group(chosen)
        with autocast(config, bags.device):
            judged = model.judge(group.x, group.sizes)
        per_bag = torch.split(judged.probability, group.sizes)
        top = torch.stack([top_mean(values, config.top_k) for values in per_bag])
        student = bag_maximum(judged.probability, group.sizes)
        logits = judged.teacher.logits.float()
        mixed = torch.nan * logits if judged.mixed is None else judged.mixed.float()
        table[:, chosen] = torch.stack([logits, student, top, mixed])  # (4, b)
    crew.add([table])
    loss = functional.binary_cross_entropy_with_logits(table[0], bags.labels)
    areas = zip(_SCORES, roc_auc(bags.labels, table).tolist(), strict=True)
    logits, student, top, mixed = table.cpu().double()  # (B,) each
    return BagScores(
        np.array(bags.classes),
        torch.sigmoid(logits).numpy(),
        student.numpy(),
        top.numpy(),
        None if mixed.isnan().any() else torch.sigmoid(mixed).numpy(),
        {name: None if math.isnan(area) else area for name, area in areas},
        loss.item(),
    )


def roc_auc(labels: Tensor, values: Tensor) -> Tensor:
    """Return areas under ROC curves, found on the device; equal values count half.

    The share of pairs of a positive and a negative that are ranked rightly (Mann and
    Whitney's U). In training only: evaluation takes scikit-learn's.

    Parameters
    ----------
    labels : Tensor of shape (B,)
        0 or 1.
    values : Tensor of shape (K, B)

    Returns
    -------
    Tensor of shape (K,)
        NaN where a value is, and where a class is missing.
    """
    negative = values[:, labels == 0].sort(1).values  # (K, n)
    positive = values[:, labels == 1].contiguous()  # (K, p)
    below = torch.searchsorted(negative, positive)
    at_most = torch.searchsorted(negative, positive, right=True)
    pairs = 2 * negative.shape[1] * positive.shape[1]
    area = (below + at_most).sum(1) / pairs
    return torch.where(values.isnan().any(1), torch.nan, area)


def bag_maximum(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the highest value of each bag, of shape (B,)."""
    counts = torch.tensor(sizes, device=values.device)
    number = torch.arange(len(sizes), device=values.device)
    bag = number.repeat_interleave(counts, output_size=len(values))  # (N,)
    lowest = values.new_full((len(sizes),), -torch.inf)
    return lowest.scatter_reduce(0, bag, values, "amax")


def top_mean(values: Tensor, k: int) -> Tensor:
    """Return the mean of the k highest values, of all where there are fewer."""
    return values.topk(min(k, len(values))).values.mean()  # ()


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
