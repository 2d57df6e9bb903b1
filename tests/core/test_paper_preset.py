"""The preset `paper` does what Qu et al. and their code do, step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from weno.mil.bags import Bag
from weno.mil.config import PRESETS, TrainConfig
from weno.mil.descent import make_optimisers
from weno.mil.instance_labels import UNKNOWN
from weno.mil.losses import bag_loss, student_loss
from weno.mil.network import Weno, student_step, train_epoch
from weno.mil.packed import Batch, PackedBags
from weno.mil.standardise import Moments

PAPER = PRESETS["paper"]
# The same path on widths that a test can afford.
SMALL = replace(
    PAPER, projector_dim=8, teacher_dim=16, attention_dim=8, student_width=16
)


def parameters(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def random_bags(sizes: tuple[int, ...] = (9, 12, 7, 10)) -> list[Bag]:
    rng = np.random.default_rng(0)
    return [
        Bag(f"s{i}", f"p{i}", i % 2, rng.standard_normal((size, 6)).astype(np.float32))
        for i, size in enumerate(sizes)
    ]


def prepared(config: TrainConfig) -> tuple[Weno, PackedBags]:
    torch.manual_seed(0)
    model = Weno(6, config)
    return model, PackedBags.pack(random_bags(), torch.device("cpu"), model.standardise)


def test_parameter_counts_are_the_published_ones() -> None:
    model = Weno(512, PAPER)
    assert parameters(model.projector) == 263_680
    assert parameters(model.teacher) == 2_102_275
    assert parameters(model.student) == 18_890_754


def test_parameter_counts_of_cifar_are_the_published_ones() -> None:
    config = replace(PAPER, encoder="alexnet_cifar", projector_dim=0, norm="none")
    model = Weno(32, config)
    assert model.projector.dim == 1728
    assert parameters(model.projector) == 2_826_432
    assert parameters(model.teacher) == 3_347_459
    assert parameters(model.student) == 23_871_490


@pytest.mark.parametrize(("dim", "count"), [(512, 3_682_310), (1728, 4_927_494)])
def test_parameter_counts_of_dsmil_are_the_published_ones(dim: int, count: int) -> None:
    config = replace(PAPER, teacher="dsmil", projector_dim=dim)
    unused = 1024 * 2 + 2  # the published module holds a layer that it never calls
    assert parameters(Weno(4, config).teacher) == count - unused


def test_features_reach_the_projector_as_they_are() -> None:
    model = Weno(6, PAPER)
    model.standardise.adapt(Moments.of(random_bags()))
    x = torch.randn(5, 6)
    assert model.standardise(x) is x


def test_teacher_weights_are_normal_of_deviation_a_hundredth() -> None:
    torch.manual_seed(0)
    teacher = Weno(512, PAPER).teacher
    for layer in teacher.modules():
        if isinstance(layer, nn.Linear):
            assert layer.bias.abs().max() == 0
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.15)


def test_optimisers_are_plain_gradient_descent_on_three_parts() -> None:
    model, _ = prepared(SMALL)
    optimisers = make_optimisers(model, SMALL)
    assert set(optimisers) == {"projector", "teacher", "student"}
    for optimiser in optimisers.values():
        (group,) = optimiser.param_groups
        assert isinstance(optimiser, torch.optim.SGD)
        chosen = {key: group[key] for key in ("lr", "momentum", "weight_decay")}
        assert chosen == {"lr": 1e-3, "momentum": 0, "weight_decay": 0}


def test_limits_are_the_extremes_of_what_the_teacher_said_in_training() -> None:
    model, bags = prepared(SMALL)
    said: list[Tensor] = []
    modes: list[bool] = []

    def listen(teacher: nn.Module, inputs: object, output: object) -> None:
        said.append(output.scores.detach())  # type: ignore[attr-defined]
        modes.append(teacher.training)

    model.teacher.register_forward_hook(listen)
    job = train_epoch(model, make_optimisers(model, SMALL), bags, SMALL, epoch=1)
    for progress in job:
        if progress.stage == "teacher" and progress.done == progress.total:
            break
    in_training = torch.cat(said)
    assert len(said) == len(bags), "one bag a step"
    assert all(modes), "dropout is active while scores are recorded"
    next(job)
    low, high = model.label_limits[0].tolist()
    assert (low, high) == (in_training.min().item(), in_training.max().item())


def test_the_student_is_taught_in_training_mode_by_clamped_scores() -> None:
    model, bags = prepared(SMALL)
    model.label_limits.copy_(torch.tensor([[-1e-4, 1e-4]]).expand(2, 2))
    said: list[Tensor] = []

    def listen(teacher: nn.Module, inputs: object, output: object) -> None:
        assert teacher.training
        said.append(output.scores)  # type: ignore[attr-defined]

    model.teacher.register_forward_hook(listen)
    before = [weights.clone() for weights in model.teacher.parameters()]
    x = torch.cat([bags.bag(b) for b in range(len(bags))])
    batch = Batch(x, bags.positive, bags.verdicts, None)
    _, labels = student_step(model, make_optimisers(model, SMALL), batch, SMALL)
    normalised = ((said[0] + 1e-4) / 2e-4).clamp(1e-5, 1 - 1e-5)
    torch.testing.assert_close(labels, torch.where(bags.positive, normalised, 0.0))
    assert (bags.verdicts == UNKNOWN).all()
    for weights, old in zip(model.teacher.parameters(), before, strict=True):
        assert torch.equal(weights, old), "the student's stage leaves the teacher alone"


def test_losses_have_the_published_epsilon() -> None:
    logits = torch.tensor([-30.0, 0.3, 30.0], dtype=torch.float64)
    p = torch.sigmoid(logits)
    labels = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    expected = -(
        labels * torch.log(p + 1e-5) + (1 - labels) * torch.log(1 - p + 1e-5)
    ).mean()
    torch.testing.assert_close(bag_loss(logits, labels, 1e-5), expected)
    y = torch.tensor([0.2, 0.0, 1.0], dtype=torch.float64)
    weighed = -(0.1 * (1 - y) * torch.log(1 - p + 1e-5) + 0.9 * y * torch.log(p + 1e-5))
    torch.testing.assert_close(student_loss(logits, y, 0.1, 1e-5), weighed)


@pytest.mark.parametrize(("epoch", "mined"), [(11, False), (12, True)])
def test_mining_begins_in_the_twelfth_epoch_and_keeps_one_tile(
    epoch: int, mined: bool
) -> None:
    config = replace(SMALL, mining_threshold=0.0)
    model, bags = prepared(config)
    optimisers = make_optimisers(model, config)
    job = train_epoch(model, optimisers, bags, config, epoch)
    while True:
        try:
            next(job)
        except StopIteration as stop:
            result = stop.value
            break
    positive = int(bags.positive.sum())
    hidden = (positive - 2) / positive  # of both positive bags the easiest is left
    assert result.mined == pytest.approx(hidden if mined else 0)


def test_a_bag_of_one_tile_passes_the_batch_norm() -> None:
    model, _ = prepared(SMALL)
    model.train()
    assert model.projector(torch.randn(1, 6)).isfinite().all()
