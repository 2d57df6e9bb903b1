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
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from weno.mil.bags import UNSURE
from weno.mil.crew import ALONE, Crew
from weno.mil.descent import autocast, descend
from weno.mil.encoders import Projector
from weno.mil.losses import bag_loss, student_loss
from weno.mil.mining import MiningRule, mine
from weno.mil.packed import Batch
from weno.mil.plugins import make_teacher
from weno.mil.scores import top_mean
from weno.mil.standardise import Standardiser
from weno.mil.teachers import PairHead, TeacherOutput, divided, joined

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from torch.optim import Optimizer

    from weno.mil.config import TrainConfig
    from weno.mil.packed import Group, PackedBags

_EPSILON = 1e-5  # of the paper: keeps pseudo-labels off 0 and 1


class Student(nn.Module):
    """Says of one instance, seen alone, how positive it is.

    Parameters
    ----------
    dim, width : int
        Of z, and of the hidden layers.
    dropout : float
    projector : Projector, optional
        Its own, where the teacher's is not shared.
    """

    def __init__(
        self, dim: int, width: int, dropout: float, projector: Projector | None = None
    ) -> None:
        super().__init__()
        self.projector = projector
        self.layers = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(dim, width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            PairHead(width),
        )

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return logits, (N,), of instances x, (N, F), of which z is (N, D)."""
        logits: Tensor = self.layers(self.projector(x) if self.projector else z)
        return logits


class Judgement(NamedTuple):
    """What a model says of bags.

    Parameters
    ----------
    teacher : TeacherOutput
    probability : Tensor of shape (N,)
        The student's; of a teacher without student, its pseudo-labels.
    mixed : Tensor of shape (B,), optional
        The teacher's bag logits with the student's logits in place of its scores, as in
        the published evaluation; None where the teacher cannot.
    """

    teacher: TeacherOutput
    probability: Tensor
    mixed: Tensor | None


class Weno(nn.Module):
    """Projector, teacher and student, with what the run has learnt beside weights.

    Parameters
    ----------
    width : int
        Features of a tile, F; with a trained encoder, the side of a tile in pixels.
    config : TrainConfig
    """

    label_limits: Tensor  # (2, 2) score, evidence that stand for pseudo-label 0 and 1
    threshold: Tensor  # () on the teacher's probability, chosen on validation

    def __init__(self, width: int, config: TrainConfig) -> None:
        super().__init__()
        self.standardise = Standardiser(
            3 if config.encoder else width,
            relative=config.slide_relative,
            identity=bool(config.encoder) or not config.standardise,
            limit=config.feature_limit,
        )
        self.projector = Projector(width, config)
        dim = self.projector.dim
        self.teacher = make_teacher(dim, config)
        if config.initial == "normal":
            self.teacher.apply(_init_normal)
        self.shared = config.shared_projector
        own = None if self.shared else Projector(width, config)
        self.student = Student(dim, config.student_width, config.student_dropout, own)
        self.distilled = config.distillation
        self.negative_weight = config.negative_weight
        self.evidence_share = config.evidence_share
        self.register_buffer("label_limits", torch.full((2, 2), torch.nan))
        self.register_buffer("threshold", torch.tensor(0.5))

    def see(
        self, z: Tensor, keep: Tensor | None = None, sizes: Sequence[int] | None = None
    ) -> TeacherOutput:
        """Return the teacher's view of bags that lie end to end.

        Parameters
        ----------
        z : Tensor of shape (N, D)
        keep : Tensor of shape (N,), bool, optional
            False hides an instance.
        sizes : sequence of int, optional
            Instances of each bag; one bag if not given.
        """
        if sizes is None or len(sizes) == 1:
            output: TeacherOutput = self.teacher(z, keep)
            return output
        if getattr(self.teacher, "packs", False):
            output = self.teacher(z, keep, sizes)
            return output
        keeps = [None] * len(sizes) if keep is None else torch.split(keep, list(sizes))
        views = zip(torch.split(z, list(sizes)), keeps, strict=True)
        return joined([self.teacher(*view) for view in views])

    def teach(self, x: Tensor, keep: Tensor | None = None) -> TeacherOutput:
        """Return the teacher's view of one bag of standardised features, (N, F)."""
        return self.see(self.projector(x), keep)

    def judge(self, x: Tensor, sizes: Sequence[int] | None = None) -> Judgement:
        """Return what teacher and student say of bags, x of shape (N, F)."""
        z = self.projector(x)  # (N, D)
        output = self.see(z, None, sizes)
        if not self.distilled:
            return Judgement(output, self.pseudo_labels(output), None)
        logits = self.student(x, z)  # (N,)
        mixed = None
        if reattend := getattr(self.teacher, "reattend", None):
            parts = list(sizes or [len(x)])
            pairs = zip(torch.split(z, parts), torch.split(logits, parts), strict=True)
            mixed = torch.cat([reattend(*pair) for pair in pairs])
        return Judgement(output, torch.sigmoid(logits.float()), mixed)

    def probability(self, x: Tensor) -> Tensor:
        """Return the probability of each instance of one bag, of shape (N,)."""
        return self.judge(x).probability

    def calibrated(self, probability: Tensor) -> Tensor:
        """Undo the bias of the student's loss: the pseudo-label it stands for.

        The loss weighs negatives by w and positives by 1 - w, so its optimum for a
        pseudo-label y has odds p / (1 - p) = (1 - w) / w * y / (1 - y).
        """
        if not self.distilled:
            return probability
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
        return self.labels_of(values_of(output))

    def labels_of(self, values: Tensor) -> Tensor:
        """Return pseudo-labels, (N,), of scores and evidences, (2, N)."""
        low, high = self.label_limits.T[..., None]  # (2, 1) each
        shares = torch.where(high > low, (values - low) / (high - low), 0.5)
        score, evidence = shares.clamp(_EPSILON, 1 - _EPSILON)  # (N,) each
        return torch.lerp(score, evidence, self.evidence_share)


def values_of(output: TeacherOutput) -> Tensor:
    """Return what makes pseudo-labels, score and evidence, of shape (2, N)."""
    evidence = output.scores if output.evidence is None else output.evidence
    return torch.stack([output.scores, evidence]).float()


def _init_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


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
        Pseudo-labels of all tiles.
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
    *,
    mining: bool = True,
    crew: Crew = ALONE,
) -> Generator[Progress, None, EpochResult]:
    """Train one epoch: the teacher on every bag, then the student on every tile.

    Parameters
    ----------
    model : Weno
    optimisers : mapping
        By part: "projector", "teacher", "student", where it has weights. Both stages
        move the projector.
    bags : PackedBags
    config : TrainConfig
    epoch : int
        1-based.
    mining : bool
        False switches mining off, whatever the config says.
    crew : Crew
        Processes that share every step.
    """
    rule = MiningRule.of(config).at(epoch) if mining else None
    order = crew.agree(torch.randperm(len(bags))).tolist()
    size = config.bags_per_step
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    steps = []
    for done, group in enumerate(groups):
        own = crew.share(group)
        one = bags.group(own) if own else None
        share = len(own) / len(group)
        steps.append(teacher_step(model, optimisers, one, config, rule, share, crew))
        yield Progress("teacher", done + 1, len(groups))
    losses, hidden, low, high = map(torch.stack, zip(*steps, strict=True))
    crew.add([losses, hidden])
    _average_buffers(model, crew)

    labels = None
    if config.clean_labels:
        labels = relabel(model, bags, config, crew)  # (N,)
    else:
        limits = [crew.gather(low).amin((0, 1)), crew.gather(high).amax((0, 1))]
        model.label_limits.copy_(torch.stack(limits, 1))
    student_loss = None
    if config.distillation and epoch > config.teacher_epochs:
        stage = _student_stage(model, optimisers, bags, labels, config, crew)
        student_loss, labels = yield from stage
        _average_buffers(model, crew)
    elif labels is None:
        labels = torch.zeros(len(bags.positive), device=bags.positive.device)
    shown = max(1, sum(n for n, c in zip(bags.sizes, bags.classes, strict=True) if c))
    weights = losses.new_tensor([len(group) for group in groups])
    loss = (losses * weights).sum().item() / len(order)
    return EpochResult(loss, student_loss, hidden.sum().item() / shown, labels)


def _average_buffers(model: Weno, crew: Crew) -> None:
    """Give all processes the same running statistics, where norms keep any."""
    parts = (model.projector, model.teacher, model.student)
    buffers = [b for part in parts for b in part.buffers() if b.is_floating_point()]
    if buffers and crew.size > 1:
        crew.add(buffers)
        for buffer in buffers:
            buffer /= crew.size


class TeacherStep(NamedTuple):
    """What a step of the teacher did; on the device, so that nothing waits for it."""

    loss: Tensor  # ()
    hidden: Tensor  # () instances
    low: Tensor  # (2,) of the visible scores and evidences
    high: Tensor  # (2,)

    @classmethod
    def without_bags(cls, device: torch.device) -> TeacherStep:
        """Return what a process did whose crew had fewer bags than members."""
        none, far = torch.zeros((), device=device), torch.full((2,), torch.inf)
        return cls(none, none, far.to(device), -far.to(device))


def teacher_step(
    model: Weno,
    optimisers: Mapping[str, Optimizer],
    group: Group | None,
    config: TrainConfig,
    rule: MiningRule | None,
    share: float = 1.0,
    crew: Crew = ALONE,
) -> TeacherStep:
    """Move projector and teacher towards the labels of bags.

    Parameters
    ----------
    model : Weno
    optimisers : mapping
    group : Group, optional
        This process's bags; None if there is none for it.
    config : TrainConfig
    rule : MiningRule, optional
    share : float
        Of the step's bags that are in the group.
    crew : Crew
    """
    model.train()
    if group is None:
        descend(None, optimisers, "projector", "teacher", crew=crew)
        return TeacherStep.without_bags(model.threshold.device)
    with autocast(config, group.x.device):
        z = model.projector(_blurred(group.x, config))  # (N, D)
        keep = mine(model, group, z.detach(), config, rule)
        view = None if config.mining_full_view else keep
        output = model.see(z, view, group.sizes)
        loss = teacher_loss(model, output, view, group, config)
        if keep is not None and config.mining_full_view:
            mined = model.see(z, keep, group.sizes)
            loss = (loss + teacher_loss(model, mined, keep, group, config)) / 2
    loss = loss * share
    descend(loss, optimisers, "projector", "teacher", crew=crew)
    values = values_of(output).detach()  # (2, N)
    hidden = torch.zeros((), device=z.device)
    if keep is not None:
        values, hidden = values[:, keep], (~keep).sum().float()
    return TeacherStep(loss.detach(), hidden, values.amin(1), values.amax(1))


def teacher_loss(
    model: Weno,
    output: TeacherOutput,
    keep: Tensor | None,
    group: Group,
    config: TrainConfig,
) -> Tensor:
    """Return the mean loss of a group of bags: the teacher's own, or cross-entropy.

    `TrainConfig.critical_share` of it is that of the instances with the most evidence,
    as in the stream of instances of DSMIL: attention may tell a bag by what only
    negative ones have, the highest evidence may not.
    """
    own = getattr(model.teacher, "loss", None)
    labels, sizes = group.labels, group.sizes
    keeps = [None] * len(sizes) if keep is None else torch.split(keep, sizes)
    if own is None:
        loss = bag_loss(output.logits.float(), labels, config.loss_epsilon)
    elif len(sizes) == 1 or getattr(model.teacher, "packs", False):
        loss = own(output, labels, keep)
    else:
        each = zip(divided(output, sizes), torch.split(labels, 1), keeps, strict=True)
        loss = torch.stack([own(*bag) for bag in each]).mean()
    if config.critical_share and output.evidence is not None:
        bags = zip(torch.split(output.evidence.float(), sizes), keeps, strict=True)
        seen = [e if kept is None else e[kept] for e, kept in bags]
        critical = torch.stack([top_mean(e, config.critical_tiles) for e in seen])
        instances = bag_loss(critical, labels, config.loss_epsilon)
        loss = torch.lerp(loss, instances, config.critical_share)
    return loss


@torch.no_grad()
def relabel(
    model: Weno, bags: PackedBags, config: TrainConfig, crew: Crew = ALONE
) -> Tensor:
    """Refresh the label limits and label every tile from a clean pass.

    The teacher scores in evaluation mode, so that neither dropout nor the drift of
    the weights within an epoch gets into the labels.

    Returns
    -------
    Tensor of shape (N,)
        Pseudo-labels in [0, 1], exactly 0 in negative bags: no tile there can be
        positive, whatever the attention says (unless `TrainConfig.true_negatives` is
        switched off).
    """
    model.eval()
    values = torch.zeros(2, len(bags.positive), device=bags.device)  # score, evidence
    for chosen in crew.share(bags.portions()):
        group = bags.group(chosen)
        with autocast(config, bags.device):
            output = model.see(model.projector(group.x), None, group.sizes)
        values[:, bags.span(chosen)] = values_of(output)
    crew.add([values])
    tail = [config.label_tail, 100 - config.label_tail]
    limits = np.percentile(values.cpu().numpy(), tail, axis=1).T  # (2, 2)
    new = model.label_limits.new_tensor(limits)
    if not model.label_limits.isnan().any():
        new.lerp_(model.label_limits, config.label_memory)
    model.label_limits.copy_(new)
    return _true_negatives(model.labels_of(values), bags.positive, config)


def _true_negatives(labels: Tensor, positive: Tensor, config: TrainConfig) -> Tensor:
    return torch.where(positive, labels, 0.0) if config.true_negatives else labels


def _student_stage(
    model: Weno,
    optimisers: Mapping[str, Optimizer],
    bags: PackedBags,
    labels: Tensor | None,
    config: TrainConfig,
    crew: Crew,
) -> Generator[Progress, None, tuple[float, Tensor]]:
    """Train the student on all tiles in random order; return mean loss and labels."""
    kept = torch.zeros(len(bags.positive), device=bags.device)  # (N,)
    count = -(-len(kept) // config.batch_size)
    losses = []
    for done, (index, x) in enumerate(bags.shuffled(config.batch_size, crew)):
        own = crew.share(index)
        if not len(own):
            descend(None, optimisers, *_moved(model), crew=crew)
            losses.append(torch.zeros((), device=bags.device))
            continue
        batch = Batch(
            crew.share(x),
            bags.positive[own],
            bags.verdicts[own],
            None if labels is None else labels[own],
        )
        share = len(own) / len(index)
        loss, kept[own] = student_step(model, optimisers, batch, config, share, crew)
        losses.append(loss)
        yield Progress("student", done + 1, count)
    each = torch.stack(losses)
    crew.add([each, kept])
    return each.mean().item(), kept if labels is None else labels


def student_step(
    model: Weno,
    optimisers: Mapping[str, Optimizer],
    batch: Batch,
    config: TrainConfig,
    share: float = 1.0,
    crew: Crew = ALONE,
) -> tuple[Tensor, Tensor]:
    """Move projector and student towards the labels of a batch.

    Parameters
    ----------
    model : Weno
    optimisers : mapping
    batch : Batch
        This process's tiles.
    config : TrainConfig
    share : float
        Of the step's tiles that are in the batch.
    crew : Crew

    Returns
    -------
    loss : Tensor of shape ()
    labels : Tensor of shape (n,)
    """
    model.train()
    with autocast(config, batch.x.device):
        x = _blurred(batch.x, config)
        z = model.projector(x)  # (n, D)
        labels = batch.labels
        if labels is None:
            with torch.no_grad():
                labels = model.pseudo_labels(model.see(z))  # (n,)
            labels = _true_negatives(labels, batch.positive, config)
        logits = model.student(x, z)  # (n,)
    answered = (batch.verdicts == 0) | (batch.verdicts == 1)  # (n,)
    targets = torch.where(answered, batch.verdicts.to(labels.dtype), labels)
    weights = torch.where(answered, config.verdict_weight, 1.0)  # (n,)
    weights = torch.where(batch.verdicts == UNSURE, 0.0, weights)
    losses = student_loss(
        logits.float(), targets, config.negative_weight, config.loss_epsilon
    )  # (n,)
    loss = (losses * weights).mean() * share
    descend(loss, optimisers, *_moved(model), crew=crew)
    return loss.detach(), labels


def _moved(model: Weno) -> list[str]:
    return ["projector", "student"] if model.shared else ["student"]


def _blurred(x: Tensor, config: TrainConfig) -> Tensor:
    if not config.input_noise or config.encoder:
        return x
    return x + config.input_noise * torch.randn_like(x)  # (N, F)
