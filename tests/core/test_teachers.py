from __future__ import annotations

from importlib.util import find_spec

import pytest
import teacher_contract as contract
import torch
from torch import nn

from weno.mil.config import TrainConfig
from weno.mil.plugins import BUILT_IN, PUBLISHED, TORCHMIL, make_teacher
from weno.mil.teachers import divided, joined

OURS = [*BUILT_IN, *PUBLISHED]
needs_torchmil = pytest.mark.skipif(
    not find_spec("torchmil"), reason="torchmil is not installed"
)
ALL = [
    *OURS,
    *(pytest.param(f"torchmil:{name}", marks=needs_torchmil) for name in TORCHMIL),
]
#: Its convolutions see in which order instances come: they lie in a square.
POSITIONAL = {"transmil"}
#: Its evidence is what its instance stream says, whose sign its loss trains.
EVIDENCE_OF_ITS_OWN = {"dsmil"}
#: Shifting all scores of a bag does not change their softmax.
UNREACHED = {
    name: {"w.bias"} for name in ("abmil", "gated_abmil", "clam_sb", "published_clam")
}


def settled(name: str) -> nn.Module:
    config = TrainConfig(teacher=name, teacher_dim=16, attention_dim=8)
    return contract.settled(make_teacher(contract.DIM, config))


@pytest.fixture(params=ALL)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def teacher(name: str) -> nn.Module:
    return settled(name)


def test_output_has_its_shapes_and_attention_sums_to_one(teacher: nn.Module) -> None:
    contract.check_shapes(teacher)


def test_hidden_instance_changes_nothing(teacher: nn.Module) -> None:
    contract.check_hidden_is_not_seen(teacher)


def test_hidden_instance_has_a_score_of_its_own(teacher: nn.Module) -> None:
    contract.check_hidden_has_a_score(teacher)


def test_order_of_instances_means_nothing(name: str, teacher: nn.Module) -> None:
    if name in POSITIONAL:
        with pytest.raises(AssertionError):
            contract.check_order(teacher)
    else:
        contract.check_order(teacher)
        contract.check_left_out_like_hidden(teacher)


def test_equal_instances_get_equal_attention(name: str, teacher: nn.Module) -> None:
    if name in POSITIONAL:
        with pytest.raises(AssertionError):
            contract.check_equals_attract_equally(teacher)
    else:
        contract.check_equals_attract_equally(teacher)


def test_bag_of_one(teacher: nn.Module) -> None:
    contract.check_bag_of_one(teacher)


def test_evidence_is_the_logit_of_an_instance_alone(
    name: str, teacher: nn.Module
) -> None:
    if teacher(contract.bag(3)).evidence is None:
        assert name == "transmil"
    elif name not in EVIDENCE_OF_ITS_OWN:
        contract.check_evidence(teacher)


def test_packed_bags_equal_single_ones(name: str, teacher: nn.Module) -> None:
    if getattr(teacher, "packs", False):
        contract.check_packing(teacher)
    else:
        assert name in {"dsmil", "transmil", "published_dsmil"}


def test_reattention_to_own_scores_changes_nothing(
    name: str, teacher: nn.Module
) -> None:
    if hasattr(teacher, "reattend"):
        contract.check_reattention(teacher)
    else:
        assert "dsmil" in name or name == "transmil" or ":" in name


def test_loss_is_finite(teacher: nn.Module) -> None:
    contract.check_loss(teacher)


def test_gradient_reaches_every_parameter(name: str, teacher: nn.Module) -> None:
    assert contract.without_gradient(teacher) == UNREACHED.get(name, set())


def test_training_lowers_the_loss(teacher: nn.Module) -> None:
    bags = [(contract.bag(6, seed) + seed % 2, float(seed % 2)) for seed in range(6)]

    def total() -> torch.Tensor:
        losses = [contract.loss_of(teacher, teacher(z), label) for z, label in bags]
        return torch.stack(losses).mean()

    descent = torch.optim.Adam(teacher.parameters(), lr=0.01)
    before = total().item()
    teacher.train()
    for _ in range(20):
        descent.zero_grad()
        torch.autograd.backward(total())
        descent.step()
    teacher.eval()
    assert total().item() < 0.7 * before


@pytest.mark.parametrize("name", OURS)
def test_teacher_computes_in_half_precision(name: str) -> None:
    teacher = settled(name)
    sizes = [3, 4]
    z, keep = contract.bag(7), contract.hiding(7, 1)
    exact = teacher(z, keep)
    with torch.autocast("cpu", torch.bfloat16):
        rough = teacher(z, keep)
        if getattr(teacher, "packs", False):
            packed = teacher(z, keep, sizes)
            assert contract.loss_of(teacher, packed, 1.0, keep).isfinite()
        assert contract.loss_of(teacher, rough, 1.0, keep).isfinite()
    torch.testing.assert_close(
        rough.logits.float(), exact.logits, atol=0.3, rtol=0.1, check_dtype=False
    )


@pytest.mark.parametrize("name", OURS)
def test_what_is_joined_can_be_divided(name: str) -> None:
    teacher = settled(name)
    singles = [teacher(contract.bag(size)) for size in (2, 5)]
    for one, two in zip(singles, divided(joined(singles), [2, 5]), strict=True):
        torch.testing.assert_close(one.logits, two.logits)
        torch.testing.assert_close(one.scores, two.scores)
        torch.testing.assert_close(one.attention, two.attention)
        assert (one.evidence is None) == (two.evidence is None)


@pytest.mark.parametrize(
    ("name", "dim", "count"),
    [
        ("abmil", 512, 2_102_275),
        ("abmil", 1728, 3_347_459),
        # Published with a layer of 2,050 parameters that nothing reads.
        ("dsmil", 512, 3_682_310 - 2_050),
        ("dsmil", 1728, 4_927_494 - 2_050),
    ],
)
def test_published_sizes(name: str, dim: int, count: int) -> None:
    config = TrainConfig(
        teacher=name, teacher_dim=1024, attention_dim=512, teacher_depth=2
    )
    teacher = make_teacher(dim, config)
    assert sum(weights.numel() for weights in teacher.parameters()) == count
