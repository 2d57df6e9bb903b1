from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from weno.errors import RunError
from weno.mil.bags import Bag
from weno.mil.config import PRESETS, TrainConfig
from weno.mil.descent import make_optimisers
from weno.mil.evaluation import auc
from weno.mil.instance_labels import UNKNOWN, UNSURE
from weno.mil.losses import bag_loss, student_loss
from weno.mil.network import Weno, relabel, teacher_loss, train_epoch
from weno.mil.packed import Group, PackedBags
from weno.mil.plugins import make_teacher
from weno.mil.standardise import Moments, Standardiser

if TYPE_CHECKING:
    from collections.abc import Sequence

CPU = torch.device("cpu")
CONFIG = TrainConfig(student_warmup=1, batch_size=64, slide_relative=False)


def gaussian_bags(
    count: int = 20,
    tiles: int = 40,
    share: float = 0.3,
    seed: int = 0,
    shift: float = 2.5,
) -> tuple[list[Bag], list[np.ndarray]]:
    """Bags of unit Gaussians; positive tiles are moved along two of eight axes."""
    rng = np.random.default_rng(seed)
    bags, truth = [], []
    for i in range(count):
        label = i % 2
        positive = np.arange(tiles) < label * share * tiles
        features = rng.standard_normal((tiles, 8)).astype(np.float32)
        features[positive, :2] += shift
        order = rng.permutation(tiles)
        bags.append(Bag(f"s{i}", f"p{i}", label, features[order]))
        truth.append(positive[order])
    return bags, truth


def pack(bags: Sequence[Bag], model: Weno) -> PackedBags:
    return PackedBags.pack(bags, CPU, model.standardise)


def train(bags: Sequence[Bag], config: TrainConfig, epochs: int) -> Weno:
    torch.manual_seed(config.seed)
    model = Weno(bags[0].instances.shape[1], config)
    model.standardise.adapt(Moments.of(bags))
    packed = pack(bags, model)
    optimisers = make_optimisers(model, config)
    for epoch in range(1, epochs + 1):
        list(train_epoch(model, optimisers, packed, config, epoch))
    return model.eval()


def test_student_ranks_instances_better_than_attention() -> None:
    bags, _ = gaussian_bags()
    model = train(bags, CONFIG, epochs=8)
    unseen, truth = gaussian_bags(seed=1)
    with torch.no_grad():
        x = [model.standardise(torch.from_numpy(bag.instances)) for bag in unseen]
        attention = np.concatenate([model.teach(one).attention for one in x])
        probability = np.concatenate([model.probability(one) for one in x])
    teacher, student = (auc(np.concatenate(truth), v) for v in (attention, probability))
    assert teacher is not None
    assert student is not None
    assert student > 0.95
    assert student > teacher


def test_the_critical_tiles_are_those_with_the_most_visible_evidence() -> None:
    config = replace(CONFIG, critical_share=1.0, critical_tiles=2)
    model = Weno(8, config).eval()
    x = torch.randn(9, 8)
    group = Group(x, torch.tensor([1.0, 0.0]), [5, 4], [1, 0])
    keep = torch.ones(9, dtype=torch.bool)
    keep[model.teach(x).evidence.argmax()] = False  # the strongest is hidden
    output = model.see(model.projector(x), keep, group.sizes)
    parts = [
        output.evidence[s][keep[s]].topk(2).values.mean()
        for s in (slice(0, 5), slice(5, 9))
    ]
    wanted = bag_loss(torch.stack(parts), group.labels, 0.0)
    found = teacher_loss(model, output, keep, group, config)
    torch.testing.assert_close(found, wanted)
    mixed = teacher_loss(
        model, output, keep, group, replace(config, critical_share=0.25)
    )
    alone = teacher_loss(model, output, keep, group, replace(config, critical_share=0))
    torch.testing.assert_close(mixed, 0.75 * alone + 0.25 * wanted)


@pytest.mark.parametrize("label", [0.05, 0.1, 0.5, 0.9])
def test_optimum_of_the_student_loss_and_its_inverse(label: float) -> None:
    weight = 0.1
    model = Weno(3, TrainConfig(negative_weight=weight))
    grid = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
    losses = student_loss(grid, torch.full_like(grid, label), weight)
    best = torch.sigmoid(grid[losses.argmin()])
    odds = (1 - weight) / weight * label / (1 - label)
    assert best.item() == pytest.approx(odds / (1 + odds), abs=1e-3)
    assert model.calibrated(best).item() == pytest.approx(label, abs=1e-3)


def test_half_a_probability_means_a_tenth_of_a_label() -> None:
    model = Weno(3, TrainConfig())
    assert model.calibrated(torch.tensor(0.5)).item() == pytest.approx(0.1)


def test_no_tile_of_a_negative_bag_has_a_label() -> None:
    bags, _ = gaussian_bags(6)
    model = Weno(8, CONFIG)
    packed = pack(bags, model)
    labels = relabel(model, packed, CONFIG)
    assert (labels[~packed.positive] == 0).all()
    assert (labels[packed.positive] > 0).all()


def test_labels_come_from_a_clean_pass() -> None:
    bags, _ = gaussian_bags(6)
    model = Weno(8, TrainConfig(teacher_dropout=0.5))
    packed = pack(bags, model)
    config = TrainConfig(label_memory=0)
    model.train()
    first = relabel(model, packed, config)
    model.train()
    assert torch.equal(relabel(model, packed, config), first)


def test_label_limits_ignore_an_outlier_and_remember() -> None:
    bags, _ = gaussian_bags(6)
    model = Weno(8, CONFIG)
    torch.nn.init.normal_(model.teacher.w.weight)
    packed = pack(bags, model)
    relabel(model, packed, CONFIG)
    calm = model.label_limits.clone()
    model.teacher.w.bias.data += 100
    relabel(model, packed, TrainConfig(label_memory=0.75))
    moved = calm + torch.tensor([[25.0], [0.0]])
    torch.testing.assert_close(model.label_limits, moved, rtol=1e-4, atol=1e-3)


def test_constant_scores_label_all_tiles_of_positive_bags_alike() -> None:
    bags, _ = gaussian_bags(4)
    model = Weno(8, TrainConfig(evidence_share=0.0))
    torch.nn.init.zeros_(model.teacher.w.weight)
    packed = pack(bags, model)
    labels = relabel(model, packed, CONFIG)
    assert labels[packed.positive].unique().tolist() == [0.5]


def test_answers_of_people_replace_pseudo_labels() -> None:
    bags, _ = gaussian_bags(10, shift=0.0, share=0.5)
    answered = [
        Bag(b.slide_id, b.patient_id, b.label, b.instances, None, verdicts)
        for b, verdicts in zip(
            bags,
            [np.where(b.instances[:, 3] > 0, 1, 0).astype(np.int8) for b in bags],
            strict=True,
        )
    ]
    model = train(answered, TrainConfig(student_warmup=0, student_dropout=0.2), 20)
    x = torch.cat([torch.from_numpy(bag.instances) for bag in bags])
    with torch.no_grad():
        found = auc(x[:, 3] > 0, model.probability(model.standardise(x)))
    assert found is not None
    assert found > 0.9


def test_unsure_answers_do_not_train_the_student() -> None:
    bags, _ = gaussian_bags(4)
    unsure = [
        Bag(
            b.slide_id,
            b.patient_id,
            b.label,
            b.instances,
            None,
            np.full(40, UNSURE, np.int8),
        )
        for b in bags
    ]
    assert bags[0].verdicts.tolist() == [UNKNOWN] * 40
    config = TrainConfig(student_warmup=0, weight_decay=0.0)
    torch.manual_seed(0)
    before = Weno(8, config).student.layers[1].weight
    after = train(unsure, config, 1).student.layers[1].weight
    assert torch.equal(before, after)
    assert not torch.equal(before, train(bags, config, 1).student.layers[1].weight)


def test_the_student_waits_for_its_warm_up() -> None:
    bags, _ = gaussian_bags(4)
    config = TrainConfig(student_warmup=2)
    model = Weno(8, config)
    packed = pack(bags, model)
    optimisers = make_optimisers(model, config)
    losses = []
    for epoch in (1, 2, 3):
        job = train_epoch(model, optimisers, packed, config, epoch)
        while True:
            try:
                next(job)
            except StopIteration as stop:
                losses.append(stop.value.student_loss)
                break
    assert losses[:2] == [None, None]
    assert losses[2] > 0


@pytest.mark.parametrize("teacher", ["abmil", "gated_abmil"])
def test_teachers_take_a_bag_of_one_tile(teacher: str) -> None:
    output = make_teacher(64, TrainConfig(teacher=teacher))(torch.randn(1, 64))
    assert output.logits.shape == output.scores.shape == (1,)
    assert output.attention.tolist() == [1.0]


def test_unknown_teacher_is_refused_with_those_there_are() -> None:
    with pytest.raises(RunError, match=r"'abml'.*abmil.*gated_abmil"):
        make_teacher(8, TrainConfig(teacher="abml"))


def as_bags(values: Sequence[np.ndarray]) -> list[Bag]:
    return [Bag(f"s{i}", f"p{i}", 0, one) for i, one in enumerate(values)]


def test_what_all_tiles_of_a_slide_share_drops_out() -> None:
    rng = np.random.default_rng(0)
    bags = [rng.standard_normal((50, 4)).astype(np.float32) for _ in range(6)]
    stained = [bag + 3 * k for k, bag in enumerate(bags)]
    relative, plain = (Standardiser(4, relative=r) for r in (True, False))
    units = {}
    for standardise in (relative, plain):
        standardise.adapt(Moments.of(as_bags(stained)))
        units[standardise] = torch.stack(
            [standardise(torch.from_numpy(bag)).median(0).values for bag in stained]
        )
    # 50 tiles outweigh the cohort's 10: a sixth of the shift stays.
    assert units[relative].std() < 0.7 * units[plain].std()
    whole = torch.from_numpy(np.concatenate(stained))
    torch.testing.assert_close(
        plain(whole).std(0, correction=0), torch.ones(4), rtol=1e-4, atol=1e-4
    )


def test_a_slide_of_one_tile_is_compared_with_the_cohort() -> None:
    rng = np.random.default_rng(0)
    standardise = Standardiser(4, relative=True)
    bags = as_bags([rng.standard_normal((50, 4)).astype(np.float32)])
    standardise.adapt(Moments.of(bags))
    assert standardise(torch.full((1, 4), 5.0)).min() > 3


def test_a_tile_far_from_all_others_counts_no_more_than_the_limit() -> None:
    rng = np.random.default_rng(0)
    bag = rng.standard_normal((200, 4)).astype(np.float32)
    bag[0] = 1000, -1000, 0, 0
    limited, plain = (Standardiser(4, relative=True, limit=x) for x in (3.0, 0.0))
    for standardise in (limited, plain):
        standardise.adapt(Moments.of(as_bags([bag])))
    tiles = torch.from_numpy(bag)
    assert plain(tiles)[0, 0] > 10
    torch.testing.assert_close(limited(tiles)[0, :2], torch.tensor([3.0, -3.0]))
    torch.testing.assert_close(limited(tiles)[1:, :2], plain(tiles)[1:, :2])
    assert limited.familiarity(tiles)[0] == plain.familiarity(tiles)[0]


@pytest.mark.parametrize(("preset", "most"), [("default", 3.0), ("paper", 1e4)])
def test_the_presets_limit_features_or_leave_them(preset: str, most: float) -> None:
    model = Weno(4, PRESETS[preset])
    bag = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    model.standardise.adapt(Moments.of(as_bags([bag])))
    assert model.standardise(torch.full((1, 4), 1e4)).max().item() == most


def test_a_feature_that_never_changes_stays_finite() -> None:
    bags = [np.zeros((5, 2), np.float32), np.zeros((5, 2), np.float32)]
    standardise = Standardiser(2, relative=True)
    standardise.adapt(Moments.of(as_bags(bags)))
    x = torch.tensor([[3.0, 0.0]])
    assert standardise(x).isfinite().all()
    assert standardise.familiarity(x).item() == pytest.approx(3 / np.sqrt(2))
