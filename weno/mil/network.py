"""WENO: an attention teacher and an instance student that teach each other.

Qu, Luo, Wang, Song: "Bi-directional Weakly Supervised Knowledge Distillation for
Whole Slide Image Classification", NeurIPS 2022, arXiv:2210.03664.

A teacher sees bags and knows their labels. What it attends to becomes soft labels
for a student that sees single instances. Both learn on one shared projector, and
the student hides from the teacher the positives that are too easy. This file is
the whole network and the whole joint step; shapes stand at the end of the lines:
B bags, N instances, n of them in a batch, F features, D dimensions of the projector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from weno.errors import RunError
from weno.mil.bags import UNSURE
from weno.mil.mining import MiningRule, keep_mask
from weno.mil.standardise import Standardiser

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from torch.optim import Optimizer

    from weno.mil.bags import PackedBags
    from weno.mil.config import TrainConfig

_EPSILON = 1e-5  # of the paper: keeps logarithms and pseudo-labels off 0 and 1


class TeacherOutput(NamedTuple):
    """What a teacher says of one bag.

    Parameters
    ----------
    logits : Tensor of shape (1,)
        Before the sigmoid: that the bag is positive.
    scores : Tensor of shape (N,)
        Raw value of every instance, hidden or not. With evidence it makes
        pseudo-labels.
    attention : Tensor of shape (N,)
        Weight in the pooling; sums to 1 and is 0 where an instance is hidden.
    evidence : Tensor of shape (N,)
        Logit of a bag that held this instance alone. Unlike a score it has a sign:
        attention may look where a negative bag is told by.
    """

    logits: Tensor
    scores: Tensor
    attention: Tensor
    evidence: Tensor


class Teacher(Protocol):
    """Anything that maps projected features of one bag, and a mask, to its output."""

    def __call__(self, z: Tensor, keep: Tensor | None = None) -> TeacherOutput: ...


class Projector(nn.Module):
    """The trainable layer that teacher and student share."""

    def __init__(self, width: int, dim: int, *, normalise: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, dim)
        # Not a batch norm: a tile must look the same in a bag and in a mixed batch.
        self.norm = nn.LayerNorm(dim) if normalise else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.norm(self.linear(x))  # (N, D)
        return z


class AttentionTeacher(nn.Module):
    """ABMIL: s = w tanh(V h) (times a gate, if `gated`), a = softmax s, Z = a h."""

    def __init__(
        self, dim: int, hidden: int, attention: int, dropout: float, *, gated: bool
    ) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout)
        )
        self.v = nn.Linear(hidden, attention)
        self.u = nn.Linear(hidden, attention) if gated else None
        self.w = nn.Linear(attention, 1)
        self.head = nn.Linear(hidden, 1)
        # Attention begins even, so that bags and not the seed decide where it goes.
        nn.init.zeros_(self.w.weight)
        nn.init.zeros_(self.w.bias)

    def forward(self, z: Tensor, keep: Tensor | None = None) -> TeacherOutput:
        h = self.embed(z)  # (N, H)
        gate = torch.tanh(self.v(h))  # (N, A)
        if self.u is not None:
            gate = gate * torch.sigmoid(self.u(h))
        scores = self.w(gate).squeeze(1)  # (N,)
        visible = scores if keep is None else scores.masked_fill(~keep, -torch.inf)
        attention = torch.softmax(visible, 0)  # (N,)
        logits = self.head(attention @ h)  # (1,)
        return TeacherOutput(logits, scores, attention, self.head(h).squeeze(1))


class Student(nn.Module):
    """Says of one instance, seen alone, how positive it is."""

    def __init__(self, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(dim, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        logits: Tensor = self.layers(z).squeeze(1)  # (N,)
        return logits


class Weno(nn.Module):
    """Projector, teacher and student, with what the run has learnt beside weights.

    Parameters
    ----------
    width : int
        Features of a tile, F.
    config : TrainConfig
    """

    label_limits: Tensor  # (2, 2) score, evidence that stand for pseudo-label 0 and 1
    threshold: Tensor  # () on the teacher's probability, chosen on validation

    def __init__(self, width: int, config: TrainConfig) -> None:
        super().__init__()
        self.standardise = Standardiser(width, relative=config.slide_relative)
        self.projector = Projector(
            width, config.projector_dim, normalise=config.layer_norm
        )
        self.teacher = make_teacher(config)
        self.student = Student(
            config.projector_dim, config.student_width, config.student_dropout
        )
        self.negative_weight = config.negative_weight
        self.evidence_share = config.evidence_share
        self.register_buffer("label_limits", torch.full((2, 2), torch.nan))
        self.register_buffer("threshold", torch.tensor(0.5))

    def teach(self, x: Tensor, keep: Tensor | None = None) -> TeacherOutput:
        """Return the teacher's view of one bag of standardised features, (N, F)."""
        output: TeacherOutput = self.teacher(self.projector(x), keep)
        return output

    def probability(self, x: Tensor) -> Tensor:
        """Return the student's probability of each instance, of shape (N,)."""
        return torch.sigmoid(self.student(self.projector(x)))

    def calibrated(self, probability: Tensor) -> Tensor:
        """Undo the bias of the student's loss: the pseudo-label it stands for.

        The loss weighs negatives by w and positives by 1 - w, so its optimum for a
        pseudo-label y has odds p / (1 - p) = (1 - w) / w * y / (1 - y).
        """
        w = self.negative_weight
        return w * probability / (w * probability + (1 - w) * (1 - probability))

    def pseudo_labels(self, output: TeacherOutput) -> Tensor:
        """Map what the teacher says of instances onto [0, 1] by the run's limits.

        A mean of score and evidence, weighed by `TrainConfig.evidence_share`. Where
        the limits are equal nothing is said: one half.

        Returns
        -------
        Tensor of shape (N,)
        """
        values = torch.stack([output.scores, output.evidence])  # (2, N)
        low, high = self.label_limits.T[..., None]  # (2, 1) each
        shares = torch.where(high > low, (values - low) / (high - low), 0.5)
        score, evidence = shares.clamp(_EPSILON, 1 - _EPSILON)  # (N,) each
        return torch.lerp(score, evidence, self.evidence_share)


TEACHERS: dict[str, Callable[[TrainConfig], nn.Module]] = {
    "abmil": lambda config: _attention_teacher(config, gated=False),
    "gated_abmil": lambda config: _attention_teacher(config, gated=True),
}


def _attention_teacher(config: TrainConfig, *, gated: bool) -> nn.Module:
    return AttentionTeacher(
        config.projector_dim,
        config.teacher_dim,
        config.attention_dim,
        config.teacher_dropout,
        gated=gated,
    )


def make_teacher(config: TrainConfig) -> nn.Module:
    """Build the teacher that a config names."""
    if config.teacher not in TEACHERS:
        known = ", ".join(sorted(TEACHERS))
        raise RunError(f"unknown teacher {config.teacher!r}; there are: {known}")
    teacher: nn.Module = TEACHERS[config.teacher](config)
    return teacher


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage of an epoch has come."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch did.

    Parameters
    ----------
    teacher_loss : float
        Mean over bags.
    student_loss : float or None
        Mean over batches; None while the student has not begun.
    mined : float
        Share of the tiles of positive bags that was hidden from the teacher.
    labels : Tensor of shape (N,)
        Pseudo-labels of all tiles, 0 in negative bags.
    """

    teacher_loss: float
    student_loss: float | None
    mined: float
    labels: Tensor


def train_epoch(
    model: Weno,
    optimisers: Mapping[str, Optimizer],
    bags: PackedBags,
    config: TrainConfig,
    epoch: int,
) -> Generator[Progress, None, EpochResult]:
    """Train one epoch: the teacher on every bag, then the student on every tile.

    Parameters
    ----------
    model : Weno
    optimisers : mapping
        By part: "projector", "teacher", "student". Both stages move the projector.
    bags : PackedBags
    config : TrainConfig
    epoch : int
        1-based.
    """
    order = torch.randperm(len(bags.slices)).tolist()
    losses, hidden = 0.0, 0
    for done, b in enumerate(order):
        x, label = bags.x[bags.slices[b]], bags.labels[b]  # (N, F), ()
        keep = mine(model, x, config, epoch) if label else None
        losses += teacher_step(model, optimisers, x, label, keep, config)
        hidden += 0 if keep is None else int((~keep).sum())
        yield Progress("teacher", done + 1, len(order))

    labels = relabel(model, bags, config)  # (N,)
    seen = sum(
        bags.slices[b].stop - bags.slices[b].start for b in order if bags.labels[b]
    )
    student_loss = None
    if epoch > config.teacher_epochs:
        student_loss = yield from _student_stage(
            model, optimisers, bags, labels, config
        )
    return EpochResult(losses / len(order), student_loss, hidden / max(1, seen), labels)


def mine(
    model: Weno, x: Tensor, config: TrainConfig, epoch: int | None
) -> Tensor | None:
    """Return which tiles of a positive bag are kept, None where mining is off.

    The student decides in evaluation mode and without gradient.
    """
    rule = MiningRule.of(config)
    if not rule.ceiling(epoch):
        return None
    model.eval()
    with torch.no_grad():
        probability = model.probability(x)  # (N,)
    if config.mining_calibrated:
        probability = model.calibrated(probability)
    return keep_mask(probability, rule, epoch)


def teacher_step(
    model: Weno,
    optimisers: Mapping[str, Optimizer],
    x: Tensor,
    label: Tensor,
    keep: Tensor | None,
    config: TrainConfig,
) -> float:
    """Move projector and teacher towards a bag's label; return the loss."""
    model.train()
    z = model.projector(_blurred(x, config))  # (N, D)
    views = (
        [None] if keep is None else [None, keep] if config.mining_full_view else [keep]
    )
    logits = torch.cat([model.teacher(z, view).logits for view in views])  # (V,)
    loss = functional.binary_cross_entropy_with_logits(logits, label.expand(len(views)))
    _descend(loss, optimisers["projector"], optimisers["teacher"])
    return loss.item()


@torch.no_grad()
def relabel(model: Weno, bags: PackedBags, config: TrainConfig) -> Tensor:
    """Refresh the label limits and label every tile from a clean pass.

    The teacher scores in evaluation mode, so that neither dropout nor the drift of
    the weights within an epoch gets into the labels.

    Returns
    -------
    Tensor of shape (N,)
        Pseudo-labels in [0, 1], exactly 0 in negative bags: no tile there can be
        positive, whatever the attention says.
    """
    model.eval()
    said = [model.teach(bags.x[s]) for s in bags.slices]
    output = TeacherOutput(*(torch.cat(parts) for parts in zip(*said, strict=True)))
    tail = [config.label_tail, 100 - config.label_tail]
    values = torch.stack([output.scores, output.evidence])  # (2, N)
    limits = np.percentile(values.cpu().numpy(), tail, axis=1).T  # (2, 2)
    new = model.label_limits.new_tensor(limits)
    if not model.label_limits.isnan().any():
        new.lerp_(model.label_limits, config.label_memory)
    model.label_limits.copy_(new)
    labels = model.pseudo_labels(output)  # (N,)
    return torch.where(bags.positive, labels, 0.0)


def _student_stage(
    model: Weno,
    optimisers: Mapping[str, Optimizer],
    bags: PackedBags,
    labels: Tensor,
    config: TrainConfig,
) -> Generator[Progress, None, float]:
    """Train the student on all tiles in random order; return its mean loss."""
    answered = (bags.verdicts == 0) | (bags.verdicts == 1)  # (N,)
    targets = torch.where(answered, bags.verdicts.to(labels.dtype), labels)
    weights = torch.where(answered, config.verdict_weight, 1.0)  # (N,)
    weights[bags.verdicts == UNSURE] = 0
    order = torch.randperm(len(targets)).to(targets.device)
    size = config.batch_size
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    total = 0.0
    for done, batch in enumerate(batches):
        total += student_step(
            model,
            optimisers,
            bags.x[batch],
            targets[batch],
            weights[batch],
            config,
        )
        yield Progress("student", done + 1, len(batches))
    return total / max(1, len(batches))


def student_step(
    model: Weno,
    optimisers: Mapping[str, Optimizer],
    x: Tensor,
    targets: Tensor,
    weights: Tensor,
    config: TrainConfig,
) -> float:
    """Move projector and student towards the labels of a batch; return the loss."""
    model.train()
    logits = model.student(model.projector(_blurred(x, config)))  # (n,)
    losses = student_loss(logits, targets, config.negative_weight)  # (n,)
    loss = (losses * weights).mean()
    _descend(loss, optimisers["projector"], optimisers["student"])
    return loss.item()


def student_loss(logits: Tensor, targets: Tensor, negative_weight: float) -> Tensor:
    """Weigh the two halves of a cross-entropy with soft targets.

    Parameters
    ----------
    logits, targets : Tensor of shape (n,)
    negative_weight : float
        w of the negative half; the positive half has 1 - w.

    Returns
    -------
    Tensor of shape (n,)
    """
    positive = (1 - negative_weight) * targets * functional.logsigmoid(logits)
    negative = negative_weight * (1 - targets) * functional.logsigmoid(-logits)
    return -(positive + negative)


def _blurred(x: Tensor, config: TrainConfig) -> Tensor:
    if not config.input_noise:
        return x
    return x + config.input_noise * torch.randn_like(x)  # (N, F)


def _descend(loss: Tensor, *optimisers: Optimizer) -> None:
    for optimiser in optimisers:
        optimiser.zero_grad()
    torch.autograd.backward(loss)
    for optimiser in optimisers:
        optimiser.step()


def make_optimisers(model: Weno, config: TrainConfig) -> dict[str, Optimizer]:
    """Return one AdamW for each part."""
    return {
        name: torch.optim.AdamW(
            getattr(model, name).parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        for name in ("projector", "teacher", "student")
    }
