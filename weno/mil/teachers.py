"""Teachers: what looks at a bag, says whether it is positive, and where it looked.

A teacher maps the projected features of a bag to a `TeacherOutput`. The built-in ones
are here; any other comes by the entry point ``weno.teachers`` or from torchmil by name,
see `weno.mil.plugins`. Shapes at the end of the lines: B bags, N instances of all of
them, D dimensions of z, H hidden units, A of the attention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weno.mil.config import TrainConfig


@dataclass(frozen=True, slots=True)
class TeacherOutput:
    """What a teacher says of bags.

    Parameters
    ----------
    logits : Tensor of shape (B,)
        Before the sigmoid: that the bag is positive.
    scores : Tensor of shape (N,)
        Raw value of every instance, hidden or not: the source of pseudo-labels.
    attention : Tensor of shape (N,)
        Weight in the pooling; sums to 1 in a bag and is 0 where an instance is hidden.
    evidence : Tensor of shape (N,), optional
        Logit of the instance by itself: of a bag that held nothing else, or of a
        stream of instances. Unlike a score it has a sign: attention may look where a
        negative bag is told by. None where the teacher cannot say it cheaply.
    """

    logits: Tensor
    scores: Tensor
    attention: Tensor
    evidence: Tensor | None = None


class Teacher(Protocol):
    """A module that can teach.

    Its forward takes the projected features of one bag, of shape (N, D), and, if
    instances are hidden, which are kept: a mask of shape (N,). Beside it there may be

    - ``loss(output, labels, keep)``: a loss of its own, a scalar, instead of the
      cross-entropy of the bag;
    - ``packs = True``: forward takes ``sizes`` as third argument, the numbers of
      instances of several bags that lie end to end in z;
    - ``reattend(z, scores)``: bag logits, of shape (1,), with the attention replaced by
      the softmax of other scores.
    """

    def __call__(self, z: Tensor, keep: Tensor | None = None) -> TeacherOutput: ...


class PairHead(nn.Linear):
    """A head of two outputs, negative and positive, whose difference is the logit."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        negative, positive = super().forward(x).unbind(-1)
        return positive - negative  # x's shape less the last dimension


def embedding(dim: int, hidden: int, dropout: float, depth: int) -> nn.Sequential:
    """Return the layers that come before the attention: z to h."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [
            nn.Dropout(dropout), nn.Linear(hidden if i else dim, hidden), nn.ReLU()
        ]  # fmt: skip
    return nn.Sequential(*layers)


class AttentionTeacher(nn.Module):
    """ABMIL: s = w tanh(V h) (times a gate, if `gated`), a = softmax s, Z = a h.

    Ilse, Tomczak, Welling, ICML 2018, arXiv:1802.04712, equations 7 to 9. As WENO's
    authors have it, h is pooled, two linear layers with dropout after z.
    """

    packs = True

    def __init__(self, dim: int, config: TrainConfig, *, gated: bool = False) -> None:
        super().__init__()
        hidden, attention = config.teacher_dim, config.attention_dim
        self.embed = embedding(
            dim, hidden, config.teacher_dropout, config.teacher_depth
        )
        self.dropout = nn.Dropout(config.pooling_dropout)
        self.v = nn.Linear(hidden, attention)
        self.u = nn.Linear(hidden, attention) if gated else None
        self.w = nn.Linear(attention, 1)
        self.head = PairHead(hidden)
        # Attention begins even, so that bags and not the seed decide where it goes.
        nn.init.zeros_(self.w.weight)
        nn.init.zeros_(self.w.bias)

    def forward(
        self, z: Tensor, keep: Tensor | None = None, sizes: Sequence[int] | None = None
    ) -> TeacherOutput:
        h = self.dropout(self.embed(z))  # (N, H)
        scores = self.score(h)  # (N,)
        attention, pooled = pool(h, scores, keep, sizes)  # (N,), (B, H)
        return TeacherOutput(self.head(pooled), scores, attention, self.head(h))

    def score(self, h: Tensor) -> Tensor:
        gate = torch.tanh(self.v(h))  # (N, A)
        if self.u is not None:
            gate = gate * torch.sigmoid(self.u(h))
        scores: Tensor = self.w(gate).squeeze(1)  # (N,)
        return scores

    def reattend(self, z: Tensor, scores: Tensor) -> Tensor:
        _, pooled = pool(self.embed(z), scores)  # (1, H)
        logits: Tensor = self.head(pooled)  # (1,)
        return logits


class ClamTeacher(AttentionTeacher):
    """CLAM-SB: gated attention whose extremes are clustered.

    Lu et al., Nature Biomedical Engineering 2021, arXiv:2004.09666: the instances with
    the highest and the lowest attention train a classifier of instances, one for each
    bag class, and its loss is mixed with the bag's.
    """

    instances = 8  # of either end, as published
    bag_weight = 0.7

    def __init__(self, dim: int, config: TrainConfig) -> None:
        super().__init__(dim, config, gated=True)
        heads = [PairHead(config.teacher_dim) for _ in range(2)]
        self.instance_heads = nn.ModuleList(heads)

    def forward(
        self, z: Tensor, keep: Tensor | None = None, sizes: Sequence[int] | None = None
    ) -> ClamOutput:
        h = self.dropout(self.embed(z))  # (N, H)
        scores = self.score(h)  # (N,)
        attention, pooled = pool(h, scores, keep, sizes)  # (N,), (B, H)
        sizes = sizes or [len(z)]
        return ClamOutput(
            self.head(pooled), scores, attention, self.head(h), h=h, sizes=sizes
        )

    def loss(self, output: ClamOutput, labels: Tensor, keep: Tensor | None) -> Tensor:
        bag = functional.binary_cross_entropy_with_logits(output.logits, labels)
        seen = output.attention if keep is None else output.attention[keep]
        h = output.h if keep is None else output.h[keep]
        sizes = list(output.sizes)
        if keep is not None:
            sizes = [int(mask.sum()) for mask in torch.split(keep, sizes)]
        losses = [
            self._cluster(*bag)
            for bag in zip(
                torch.split(h, sizes), torch.split(seen, sizes), labels, strict=True
            )
        ]
        weight = self.bag_weight
        return weight * bag + (1 - weight) * torch.stack(losses).mean()

    def _cluster(self, h: Tensor, attention: Tensor, label: Tensor) -> Tensor:
        count = min(self.instances, len(h))
        ends = [attention.topk(count, largest=largest)[1] for largest in (True, False)]
        chosen = h[torch.cat(ends)]  # (2K, H)
        negative, positive = (head(chosen) for head in self.instance_heads)
        logits = torch.lerp(negative, positive, label)  # (2K,)
        targets = torch.cat([torch.ones(count), torch.zeros(count)]).to(logits)
        return functional.binary_cross_entropy_with_logits(logits, targets)


@dataclass(frozen=True, slots=True)
class ClamOutput(TeacherOutput):
    """What CLAM says, with what its loss looks at again: h of shape (N, H)."""

    h: Tensor = field(kw_only=True)
    sizes: Sequence[int] = field(kw_only=True)


class DualStreamTeacher(nn.Module):
    """DSMIL: the most positive instance, and the others by their likeness to it.

    Li, Li, Eliceiri, CVPR 2021, arXiv:2011.08939, with the losses of WENO's authors.
    The score is the positive logit of the instance stream; what pools is the attention
    of the bag stream to the critical instance.
    """

    def __init__(self, dim: int, config: TrainConfig) -> None:
        super().__init__()
        hidden = config.teacher_dim
        self.embed = embedding(
            dim, hidden, config.teacher_dropout, config.teacher_depth
        )
        self.instance_head = nn.Linear(hidden, 2)
        self.query = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.bag_head = nn.Conv1d(2, 2, kernel_size=hidden)

    def forward(self, z: Tensor, keep: Tensor | None = None) -> TeacherOutput:
        h = self.embed(z)  # (N, H)
        classes = self.instance_head(h)  # (N, 2)
        seen = _hide(classes, keep)
        queries = self.query(h)  # (N, H)
        critical = queries[seen.argmax(0)]  # (2, H)
        likeness = queries @ critical.T / math.sqrt(h.shape[1])  # (N, 2)
        attention = torch.softmax(_hide(likeness, keep), 0)  # (N, 2)
        pooled = attention.T @ self.value(h)  # (2, H)
        pair = self.bag_head(pooled).squeeze(1)  # (2,)
        return TeacherOutput(
            (pair[1] - pair[0]).unsqueeze(0),
            classes[:, 1],
            attention[:, 1],
            classes[:, 1] - classes[:, 0],
        )

    def loss(
        self, output: TeacherOutput, labels: Tensor, keep: Tensor | None
    ) -> Tensor:
        evidence = output.evidence
        assert evidence is not None
        critical = evidence[_hide(output.scores, keep).argmax()]  # ()
        logits = torch.cat([output.logits, critical.unsqueeze(0)])  # (2,)
        return functional.binary_cross_entropy_with_logits(logits, labels.expand(2))


class TransformerTeacher(nn.Module):
    """TransMIL: instances look at each other, and a class token looks at them.

    Shao et al., NeurIPS 2021, arXiv:2106.00908. Its attention is exact where the
    published code approximates it (Nyström), so hiding an instance hides it everywhere.
    The score is what the class token of the last layer asks of an instance, mean over
    the heads.
    """

    heads = 8

    def __init__(self, dim: int, config: TrainConfig) -> None:
        super().__init__()
        hidden = -(-config.teacher_dim // self.heads) * self.heads
        self.embed = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU())
        self.token = nn.Parameter(torch.randn(hidden))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(3))
        self.qkv = nn.ModuleList(nn.Linear(hidden, 3 * hidden) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2))
        self.position = nn.ModuleList(
            nn.Conv2d(hidden, hidden, size, padding=size // 2, groups=hidden)
            for size in (7, 5, 3)
        )
        self.dropout = nn.Dropout(config.teacher_dropout)
        self.head = PairHead(hidden)

    def forward(self, z: Tensor, keep: Tensor | None = None) -> TeacherOutput:
        t = torch.cat([self.token[None], self.embed(z)])  # (1 + N, H)
        seen = torch.cat([keep.new_ones(1), keep]) if keep is not None else None
        t = t + self._mix(t, 0, seen)[0]
        t = self._place(t, keep)
        mixed, asked = self._mix(t, 1, seen)
        scores = asked[:, 1:].mean(0)  # (N,)
        attention = torch.softmax(_hide(asked[:, 1:].T, keep), 0).mean(1)  # (N,)
        logits = self.head(self.norms[2](t + mixed)[:1])  # (1,)
        return TeacherOutput(logits, scores, attention)

    def _mix(self, t: Tensor, layer: int, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the attention's output, and what the class token asks of each."""
        parts = self.qkv[layer](self.norms[layer](t))  # (1 + N, 3 H)
        q, k, v = parts.reshape(len(t), 3, self.heads, -1).permute(1, 2, 0, 3)
        mask = None if seen is None else seen[None, None, :]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        asked = (k @ q[:, 0, :, None]).squeeze(2) / math.sqrt(q.shape[2])
        flat = mixed.transpose(0, 1).reshape(len(t), -1)  # (1 + N, H)
        return self.dropout(self.out[layer](flat)), asked  # asked: (heads, 1 + N)

    def _place(self, t: Tensor, keep: Tensor | None) -> Tensor:
        """Add convolutions over the instances laid out in a square."""
        token, rest = t[:1], t[1:]
        seen = rest if keep is None else rest * keep[:, None]
        side = math.isqrt(max(0, len(rest) - 1)) + 1
        padded = functional.pad(seen, (0, 0, 0, side * side - len(rest)))
        square = padded.T.reshape(1, -1, side, side)  # (1, H, side, side)
        around = torch.zeros_like(square)
        for conv in self.position:
            around = around + conv(square)
        return torch.cat([token, rest + around.flatten(2)[0].T[: len(rest)]])


def joined(outputs: Sequence[TeacherOutput]) -> TeacherOutput:
    """Lay what was said of single bags end to end."""
    evidence = [output.evidence for output in outputs if output.evidence is not None]
    return TeacherOutput(
        torch.cat([output.logits for output in outputs]),
        torch.cat([output.scores for output in outputs]),
        torch.cat([output.attention for output in outputs]),
        torch.cat(evidence) if evidence else None,
    )


def divided(output: TeacherOutput, sizes: Sequence[int]) -> list[TeacherOutput]:
    """Undo `joined`: bag by bag."""
    parts = list(sizes)
    nothing = [None] * len(parts)
    evidence = (
        nothing if output.evidence is None else torch.split(output.evidence, parts)
    )
    bags = zip(
        torch.split(output.logits, 1),
        torch.split(output.scores, parts),
        torch.split(output.attention, parts),
        evidence,
        strict=True,
    )
    return [TeacherOutput(*bag) for bag in bags]


def pool(
    h: Tensor,
    scores: Tensor,
    keep: Tensor | None = None,
    sizes: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Pool instances by the softmax of their scores, bag by bag.

    Parameters
    ----------
    h : Tensor of shape (N, H)
    scores : Tensor of shape (N,)
    keep : Tensor of shape (N,), bool, optional
        False hides an instance.
    sizes : sequence of int, optional
        Instances of each bag, which lie end to end; one bag if not given.

    Returns
    -------
    attention : Tensor of shape (N,)
    pooled : Tensor of shape (B, H)
    """
    visible = _hide(scores, keep)  # (N,)
    if sizes is None or len(sizes) == 1:
        attention = torch.softmax(visible, 0)  # (N,)
        return attention, (attention @ h).unsqueeze(0)
    count = len(sizes)
    bag = torch.repeat_interleave(
        torch.arange(count, device=h.device),
        torch.tensor(sizes, device=h.device),
        output_size=len(h),
    )  # (N,)
    lowest = visible.new_full((count,), -torch.inf)
    highest = lowest.scatter_reduce(0, bag, visible.detach(), "amax")  # (B,)
    power = torch.exp(visible - highest[bag])  # (N,)
    total = power.new_zeros(count).index_add(0, bag, power)  # (B,)
    attention = power / total[bag]  # (N,)
    empty = h.new_zeros(count, h.shape[1])
    return attention, empty.index_add(0, bag, attention[:, None] * h)


def _hide(values: Tensor, keep: Tensor | None) -> Tensor:
    if keep is None:
        return values
    hidden = ~keep if values.ndim == 1 else ~keep[:, None]
    return values.masked_fill(hidden, -torch.inf)


TEACHERS: dict[str, Callable[[int, TrainConfig], nn.Module]] = {
    "abmil": AttentionTeacher,
    "gated_abmil": lambda dim, config: AttentionTeacher(dim, config, gated=True),
    "dsmil": DualStreamTeacher,
    "clam_sb": ClamTeacher,
    "transmil": TransformerTeacher,
}
