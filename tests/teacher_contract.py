"""What every teacher must keep to: see `weno.mil.teachers.Teacher`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from weno.mil.teachers import TeacherOutput

DIM = 12


def settled(teacher: nn.Module, seed: int = 0) -> nn.Module:
    """A teacher without dropout whose weights are all random.

    New ones begin with even attention, of which every claim about attention is true.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in teacher.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator) * 0.4)
    return teacher.eval()


def bag(size: int, seed: int = 1, dim: int = DIM) -> Tensor:
    return torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))


def hiding(size: int, *hidden: int) -> Tensor:
    keep = torch.ones(size, dtype=torch.bool)
    keep[list(hidden)] = False
    return keep


def loss_of(
    teacher: nn.Module, output: TeacherOutput, label: float, keep: Tensor | None = None
) -> Tensor:
    """The loss that a teacher is trained by, its own or the common one."""
    labels = torch.full_like(output.logits, label).detach()
    if own := getattr(teacher, "loss", None):
        return own(output, labels, keep)
    return functional.binary_cross_entropy_with_logits(output.logits, labels)


def check_shapes(teacher: nn.Module) -> None:
    for keep in (None, hiding(7, 2, 5)):
        output = teacher(bag(7), keep)
        assert output.logits.shape == (1,)
        assert output.scores.shape == output.attention.shape == (7,)
        assert output.evidence is None or output.evidence.shape == (7,)
        for values in (output.logits, output.scores, output.attention):
            assert values.isfinite().all()
        assert (output.attention >= 0).all()
        torch.testing.assert_close(output.attention.sum(), torch.tensor(1.0))


def check_hidden_is_not_seen(teacher: nn.Module) -> None:
    z, keep = bag(9), hiding(9, 0, 4)
    other = z.clone()
    other[~keep] = bag(2, seed=5) * 10
    one, two = teacher(z, keep), teacher(other, keep)
    assert (one.attention[~keep] == 0).all()
    torch.testing.assert_close(one.logits, two.logits)
    torch.testing.assert_close(one.attention, two.attention)
    torch.testing.assert_close(one.scores[keep], two.scores[keep])
    whole = teacher(z)
    without = teacher(z, hiding(9, int(whole.attention.argmax())))
    assert not torch.allclose(without.logits, whole.logits), "hiding must matter"


def check_hidden_has_a_score(teacher: nn.Module) -> None:
    z, keep = bag(9), hiding(9, 0, 4)
    other = z.clone()
    other[0] = bag(1, seed=5)
    one, two = teacher(z, keep), teacher(other, keep)
    assert not torch.isclose(one.scores[0], two.scores[0])


def check_order(teacher: nn.Module) -> None:
    z, order = bag(8), torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    keep = hiding(8, 1)
    one, two = teacher(z, keep), teacher(z[order], keep[order])
    assert one.scores.std() > 1e-3, "equal scores prove nothing"
    torch.testing.assert_close(one.scores[order], two.scores)
    torch.testing.assert_close(one.attention[order], two.attention)
    torch.testing.assert_close(one.logits, two.logits)


def check_left_out_like_hidden(teacher: nn.Module) -> None:
    z, keep = bag(8), hiding(8, 2, 3)
    one, two = teacher(z, keep), teacher(z[keep])
    torch.testing.assert_close(one.logits, two.logits)
    torch.testing.assert_close(one.attention[keep], two.attention)


def check_bag_of_one(teacher: nn.Module) -> None:
    for mode in (True, False):
        output = teacher.train(mode)(bag(1))
        torch.testing.assert_close(output.attention, torch.ones(1))
        assert output.logits.isfinite().all() and output.scores.isfinite().all()
    alone = teacher(bag(4), hiding(4, 0, 1, 3))
    torch.testing.assert_close(alone.attention, torch.tensor([0.0, 0.0, 1.0, 0.0]))


def check_equals_attract_equally(teacher: nn.Module) -> None:
    z = bag(6)
    z[4] = z[1]
    attention = teacher(z).attention
    torch.testing.assert_close(attention[4], attention[1])
    even = teacher(bag(1).expand(5, -1)).attention
    torch.testing.assert_close(even, torch.full((5,), 0.2))


def check_evidence(teacher: nn.Module) -> None:
    z = bag(5)
    output = teacher(z)
    alone = torch.cat([teacher(one).logits for one in torch.split(z, 1)])
    torch.testing.assert_close(output.evidence, alone)


def check_packing(teacher: nn.Module) -> None:
    sizes = [3, 1, 5]
    z, keep = bag(9), hiding(9, 0, 5)
    for mask in (None, keep):
        parts = [None] * 3 if mask is None else torch.split(mask, sizes)
        singles = [
            teacher(*one) for one in zip(torch.split(z, sizes), parts, strict=True)
        ]
        packed = teacher(z, mask, sizes)
        for name in ("logits", "scores", "attention", "evidence"):
            joined = torch.cat([getattr(single, name) for single in singles])
            torch.testing.assert_close(getattr(packed, name), joined)
        for label in (0.0, 1.0):
            losses = [
                loss_of(teacher, *pair)
                for pair in zip(singles, [label] * 3, parts, strict=True)
            ]
            mean = torch.stack(losses).mean()
            torch.testing.assert_close(loss_of(teacher, packed, label, mask), mean)


def check_reattention(teacher: nn.Module) -> None:
    z = bag(7)
    output = teacher(z)
    torch.testing.assert_close(teacher.reattend(z, output.scores), output.logits)
    one_hot = torch.full((7,), -50.0)
    one_hot[3] = 50.0
    alone = teacher(z[3:4]).logits
    torch.testing.assert_close(teacher.reattend(z, one_hot), alone)


def check_loss(teacher: nn.Module) -> None:
    for size, keep in ((1, None), (7, None), (7, hiding(7, 1)), (40, hiding(40, 3))):
        output = teacher(bag(size), keep)
        for label in (0.0, 1.0):
            loss = loss_of(teacher, output, label, keep)
            assert loss.shape == () and loss.isfinite()
            assert loss > 0


def without_gradient(teacher: nn.Module) -> set[str]:
    """Names of the parameters that the loss of bags of both classes does not reach."""
    teacher = teacher.double()  # what is zero by symmetry is 1e-7 in single precision
    losses = [
        loss_of(teacher, teacher(bag(20, seed).double()), label)
        for seed, label in ((1, 0.0), (2, 1.0))
    ]
    torch.autograd.backward(torch.stack(losses).sum())
    return {
        name
        for name, weights in teacher.named_parameters()
        if weights.grad is None or weights.grad.abs().max() < 1e-7
    }
