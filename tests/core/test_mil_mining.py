from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from weno.mil.config import TrainConfig
from weno.mil.mining import MiningRule, keep_mask, mine
from weno.mil.network import Weno
from weno.mil.packed import Group
from weno.mil.plugins import make_teacher


@dataclass(frozen=True)
class Case:
    name: str
    rule: MiningRule
    probability: tuple[float, ...]
    dropped: tuple[int, ...]
    epoch: int | None = None


BAG = (0.9, 0.1, 0.6, 0.7, 0.2)

CASES = [
    Case("off", MiningRule(max_drop=1), BAG, ()),
    Case("threshold", MiningRule("threshold", 0.5, max_drop=1), BAG, (0, 2, 3)),
    Case("on the threshold", MiningRule("threshold", 0.6, max_drop=1), BAG, (0, 3)),
    Case(
        "ceiling keeps the hardest", MiningRule("threshold", max_drop=0.4), BAG, (0, 3)
    ),
    Case("floor", MiningRule("threshold", 0, max_drop=1, min_keep=2), BAG, (0, 2, 3)),
    Case(
        "floor above the bag",
        MiningRule("threshold", 0, max_drop=1, min_keep=9),
        BAG,
        (),
    ),
    Case(
        "published fallback keeps the easiest",
        MiningRule("threshold", 0, max_drop=1, min_keep=0),
        BAG,
        (1, 2, 3, 4),
    ),
    Case("fraction", MiningRule("top_fraction", fraction=0.4, max_drop=1), BAG, (0, 3)),
    Case(
        "small bag",
        MiningRule("top_fraction", fraction=0.4, max_drop=1),
        (0.9, 0.1),
        (),
    ),
    Case("all but two", MiningRule("top_k", rest=2, max_drop=1), BAG, (0, 2, 3)),
    Case("all but more than there are", MiningRule("top_k", max_drop=1), BAG, ()),
    Case(
        "half of the easy ones are spared",
        MiningRule("threshold", spare=0.5, max_drop=1),
        BAG,
        (0,),
    ),
    Case(
        "only easy ones go where some are spared",
        MiningRule("top_fraction", fraction=0.8, threshold=0.65, spare=0.5, max_drop=1),
        BAG,
        (0,),
    ),
    Case("all are spared", MiningRule("threshold", spare=1, max_drop=1), BAG, ()),
    Case("one tile", MiningRule("threshold", 0, max_drop=1), (0.9,), ()),
    Case("no tile", MiningRule("threshold", 0, max_drop=1), (), ()),
    Case("before", MiningRule("threshold", max_drop=1, start=10), BAG, (), epoch=10),
    Case(
        "after", MiningRule("threshold", max_drop=1, start=10), BAG, (0, 2, 3), epoch=11
    ),
    Case(
        "half way up the ramp",
        MiningRule("threshold", max_drop=0.8, start=10, ramp=4),
        BAG,
        (0, 3),
        epoch=12,
    ),
]


def mined(model: Weno, x: torch.Tensor, config: TrainConfig) -> torch.Tensor | None:
    positive = Group(x, torch.ones(1), [len(x)], [1])
    return mine(model, positive, model.projector(x), config, MiningRule.of(config))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_keep_sets(case: Case) -> None:
    probability = torch.tensor(case.probability)
    rule = case.rule if case.epoch is None else case.rule.at(case.epoch)
    keep = torch.ones_like(probability, dtype=torch.bool)
    if rule is not None:
        keep = keep_mask(probability, rule)
    assert torch.where(~keep)[0].tolist() == list(case.dropped)


def test_constant_probabilities_drop_no_more_than_the_ceiling() -> None:
    keep = keep_mask(torch.full((10,), 0.9), MiningRule("threshold", max_drop=0.3))
    assert int((~keep).sum()) == 3


def test_a_permuted_bag_has_its_values_permuted() -> None:
    torch.manual_seed(0)
    config = TrainConfig(
        mining="top_fraction", mining_spare=0, mining_fraction=0.3, mining_max_drop=1
    )
    model = Weno(8, config).eval()
    x, order = torch.randn(20, 8), torch.randperm(20)
    keep, moved = mined(model, x, config), mined(model, x[order], config)
    assert keep is not None
    assert moved is not None
    assert 0 < int((~keep).sum()) < 20
    assert torch.equal(moved, keep[order])
    plain, permuted = model.teach(x, keep), model.teach(x[order], moved)
    for name in ("scores", "attention", "evidence"):
        before, after = getattr(plain, name), getattr(permuted, name)
        torch.testing.assert_close(after, before[order])
    torch.testing.assert_close(permuted.logits, plain.logits)


def test_hidden_tiles_keep_their_score_and_have_no_attention() -> None:
    torch.manual_seed(0)
    config = TrainConfig(teacher="gated_abmil")
    teacher = make_teacher(4, config).eval()
    z, keep = torch.randn(6, 4), torch.tensor([True, False, True, True, False, True])
    full, mined = teacher(z), teacher(z, keep)
    assert torch.equal(mined.scores, full.scores)
    assert mined.attention[~keep].tolist() == [0, 0]
    torch.testing.assert_close(mined.attention.sum(), torch.tensor(1.0))
    torch.testing.assert_close(mined.attention[keep], teacher(z[keep]).attention)


def test_calibrated_threshold_hides_less() -> None:
    torch.manual_seed(0)
    x = torch.randn(100, 8)
    base = {"mining": "threshold", "mining_threshold": 0.4}
    base |= {"mining_max_drop": 1.0, "mining_spare": 0.0}
    hidden = {}
    for calibrated in (True, False):
        config = TrainConfig.from_dict({**base, "mining_calibrated": calibrated})
        torch.manual_seed(1)
        keep = mined(Weno(8, config), x, config)
        assert keep is not None
        hidden[calibrated] = int((~keep).sum())
    assert hidden[False] > 90
    assert hidden[True] == 0
