"""Teachers whose weights others have published: CLAM-SB and DSMIL.

They compute what the published code computes, so that its checkpoints can be used, or
trained on. Shapes: B bags, N instances, D dimensions of z, C classes of a checkpoint,
H hidden units, Q of a query. Of several classes one is the positive one.
"""

from __future__ import annotations

import math
import pickle
import re
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from weno.errors import RunError
from weno.mil.teachers import AttentionTeacher, ClamTeacher, TeacherOutput, pool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from weno.mil.config import TrainConfig

Kind = Literal["clam", "dsmil"]
Weights = dict[str, Tensor]


class PublishedClam(nn.Module):
    """CLAM-SB as its authors have it, for any number of classes.

    Lu et al., Nature Biomedical Engineering 2021, arXiv:2004.09666. The logit is that
    of the positive class against all others together, so its sigmoid is the published
    probability. The classifiers of instances, which only a loss looks at, are left out;
    to train with that loss, load into the built-in ``clam_sb``.

    Parameters
    ----------
    dim, hidden, attention : int
        1024, 512 and 256 in the published "small", 384 instead of 256 in "big".
    classes : int
    gated : bool
    dropout : float
        Of h, and in the attention.
    positive : int, optional
        Which class is positive; the second of two.
    """

    packs = True

    def __init__(
        self,
        dim: int,
        hidden: int = 512,
        attention: int = 256,
        classes: int = 2,
        *,
        gated: bool = True,
        dropout: float = 0.25,
        positive: int | None = None,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise RunError(f"CLAM tells two classes and more apart, not {classes}")
        self.positive = _positive(positive, classes)
        self.embed = nn.Linear(dim, hidden)
        self.v = nn.Linear(hidden, attention)
        self.u = nn.Linear(hidden, attention) if gated else None
        self.w = nn.Linear(attention, 1)
        self.head = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, z: Tensor, keep: Tensor | None = None, sizes: Sequence[int] | None = None
    ) -> TeacherOutput:
        h = self._embed(z)  # (N, H)
        gate = self.dropout(torch.tanh(self.v(h)))  # (N, A)
        if self.u is not None:
            gate = gate * self.dropout(torch.sigmoid(self.u(h)))
        scores = self.w(gate).squeeze(1)  # (N,)
        attention, pooled = pool(h, scores, keep, sizes)  # (N,), (B, H)
        return TeacherOutput(self._logit(pooled), scores, attention, self._logit(h))

    def reattend(self, z: Tensor, scores: Tensor) -> Tensor:
        """Return bag logits, (1,), with the softmax of other scores as attention."""
        return self._logit(pool(self._embed(z), scores)[1])

    def _embed(self, z: Tensor) -> Tensor:
        h: Tensor = self.dropout(functional.relu(self.embed(z)))
        return h

    def _logit(self, pooled: Tensor) -> Tensor:
        classes = self.head(pooled)  # (…, C)
        one = classes[..., self.positive]
        rest = [c for c in range(classes.shape[-1]) if c != self.positive]
        logit: Tensor = one - torch.logsumexp(classes[..., rest], -1)
        return logit


class PublishedDsmil(nn.Module):
    """The aggregator of DSMIL as its authors have it.

    Li, Li, Eliceiri, CVPR 2021, arXiv:2011.08939. Classes are told apart by a sigmoid
    each, but the bag's logit of one class reads the streams of all.

    Parameters
    ----------
    dim : int
    classes : int
    query : int
        Width of a query.
    deep_query : bool
        Two layers with ReLU and tanh, as published last, or a single one.
    value : {"none", "linear", "relu"}
        What is pooled: the instances, or one layer of them.
    dropout : float
        Before that layer.
    positive : int, optional
        Which class is positive; the only one, or the second of two.
    """

    def __init__(
        self,
        dim: int,
        classes: int = 1,
        query: int = 128,
        *,
        deep_query: bool = True,
        value: Literal["none", "linear", "relu"] = "none",
        dropout: float = 0.0,
        positive: int | None = None,
    ) -> None:
        super().__init__()
        self.positive = _positive(positive, classes)
        self.instance = nn.Linear(dim, classes)
        layers: list[nn.Module] = [nn.Linear(dim, query)]
        if deep_query:
            layers += [nn.ReLU(), nn.Linear(query, query), nn.Tanh()]
        self.query = nn.Sequential(*layers)
        self.value = nn.Sequential()
        if value != "none":
            self.value += nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, dim))
        if value == "relu":
            self.value.append(nn.ReLU())
        self.bag = nn.Conv1d(classes, classes, kernel_size=dim)

    def forward(self, z: Tensor, keep: Tensor | None = None) -> TeacherOutput:
        classes = self.instance(z)  # (N, C)
        queries = self.query(z)  # (N, Q)
        critical = queries[_seen(classes, keep).argmax(0)]  # (C, Q)
        likeness = queries @ critical.T / math.sqrt(queries.shape[1])  # (N, C)
        attention = torch.softmax(_seen(likeness, keep), 0)  # (N, C)
        values = self.value(z)  # (N, D)
        logits = self.bag(attention.T @ values)[self.positive]  # (1,)
        # Of one instance alone, every class pools the same.
        alone = self.bag.weight[self.positive].sum(0)  # (D,)
        evidence = values @ alone + self.bag.bias[self.positive]  # type: ignore[index]
        scores = classes[:, self.positive]  # (N,)
        return TeacherOutput(logits, scores, attention[:, self.positive], evidence)

    def loss(
        self, output: TeacherOutput, labels: Tensor, keep: Tensor | None
    ) -> Tensor:
        """Return the mean of the losses of the bag and of its critical instance."""
        seen = output.scores if keep is None else output.scores[keep]
        logits = torch.cat([output.logits, seen.amax(0, keepdim=True)])  # (2,)
        return functional.binary_cross_entropy_with_logits(logits, labels.expand(2))


PUBLISHED: dict[str, Callable[[int, TrainConfig], nn.Module]] = {
    "published_clam": lambda dim, config: PublishedClam(
        dim, config.teacher_dim, config.attention_dim, dropout=config.teacher_dropout
    ),
    "published_dsmil": lambda dim, config: PublishedDsmil(
        dim, query=config.attention_dim
    ),
}


def published_teacher(
    path: Path,
    *,
    positive: int | None = None,
    relu: bool | None = None,
) -> PublishedClam | PublishedDsmil:
    """Make a teacher of a checkpoint, in evaluation mode.

    Parameters
    ----------
    path : Path
        State dict of CLAM-SB or of DSMIL's aggregator, as their code saves it; which
        of the two, and of what size, its keys and shapes tell.
    positive : int, optional
        Index of the positive class; needed where there are more than two.
    relu : bool, optional
        Of DSMIL: whether a ReLU follows the values' layer, which the file does not
        tell. If not given, it does after deep queries, as in the code of that time.

    Raises
    ------
    RunError
        If the file is missing, damaged, or of another model.
    """
    kind, weights = _read(path)
    teacher = (
        _clam_of(weights, positive)
        if kind == "clam"
        else _dsmil_of(weights, positive, relu)
    )
    _fill(teacher, weights, path)
    return teacher.eval()


def load_teacher(teacher: nn.Module, path: Path, kind: Kind | None = None) -> None:
    """Load a checkpoint into a teacher that is there already.

    Parameters
    ----------
    teacher : nn.Module
        `PublishedClam`, `PublishedDsmil`, or, for CLAM of two classes, the built-in
        ``clam_sb``, ``gated_abmil`` or ``abmil`` with a `TrainConfig.teacher_depth`
        of 1.
    path : Path
        As of `published_teacher`.
    kind : {"clam", "dsmil"}, optional
        What the file must be; any if not given.

    Raises
    ------
    RunError
        If the file is missing, damaged, or does not fit.
    """
    found, weights = _read(path)
    if kind and kind != found:
        raise RunError(f"{path} is a checkpoint of {found}, not of {kind}")
    if found == "clam" and isinstance(teacher, AttentionTeacher):
        weights = {_built_in_name(name): value for name, value in weights.items()}
    elif not isinstance(teacher, PublishedClam if found == "clam" else PublishedDsmil):
        raise RunError(
            f"{path} is a checkpoint of {found}, which a {type(teacher).__name__} "
            f"cannot hold; the teacher published_{found} can"
        )
    _fill(teacher, weights, path)


#: Published names, as patterns, and ours.
_LAYOUTS: dict[Kind, list[tuple[str, str]]] = {
    "clam": [
        (r"attention_net\.0\.", "embed."),
        (r"attention_net\.[23]\.(?:attention_a|module)\.0\.", "v."),
        (r"attention_net\.[23]\.attention_b\.0\.", "u."),
        (r"attention_net\.[23]\.(?:attention_c|module\.[23])\.", "w."),
        (r"classifiers\.(?!\d)", "head."),
        (r"instance_classifiers\.(\d+)\.", r"instance_heads.\1."),
    ],
    "dsmil": [
        (r"i_classifier\.fc\.(?:0\.)?", "instance."),
        (r"b_classifier\.q\.(?!\d)", "query.0."),
        (r"b_classifier\.q\.(\d+)\.", r"query.\1."),
        (r"b_classifier\.v\.1\.", "value.1."),
        (r"b_classifier\.fcc\.", "bag."),
    ],
}


#: What torch raises for files that are not its own.
_DAMAGED = (
    pickle.UnpicklingError, EOFError, RuntimeError, LookupError, ValueError, TypeError,
    AttributeError,
)  # fmt: skip


def _read(path: Path) -> tuple[Kind, Weights]:
    """Return what a checkpoint is of, and its weights by our names."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RunError(f"{path}: not readable: {error}") from error
    except _DAMAGED as error:
        # What torch says here is how to load it without protection.
        raise RunError(f"{path}: damaged, or not a checkpoint of tensors") from error
    tensors = isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor)
        for name, value in state.items()
    )
    if not tensors:
        raise RunError(f"{path}: not a state dict of tensors")
    plain = {_unwrapped(name): value for name, value in state.items()}
    if any(name.startswith("classifiers.0.") for name in plain):
        raise RunError(f"{path}: of CLAM-MB, whose classes attend apart; SB is known")
    kind: Kind = "dsmil" if any(n.startswith("b_class") for n in plain) else "clam"
    weights, strange = {}, []
    for name, value in plain.items():
        if name.startswith(("instance_loss_fn.", "i_classifier.feature_extractor.")):
            continue
        if own := _renamed(name, kind):
            weights[own] = value.float()
        else:
            strange.append(name)
    if strange or not weights:
        raise RunError(
            f"{path}: neither CLAM-SB nor an aggregator of DSMIL; unknown there: "
            f"{', '.join(strange[:5]) or 'everything, it is empty'}"
        )
    return kind, weights


def _unwrapped(name: str) -> str:
    """Take out what `nn.DataParallel` put in, around the whole or CLAM's attention."""
    return re.sub(r"^(attention_net\.)module\.", r"\1", name.removeprefix("module."))


def _renamed(name: str, kind: Kind) -> str | None:
    for pattern, own in _LAYOUTS[kind]:
        renamed, count = re.subn(f"^{pattern}(weight|bias)$", _with_tail(own), name)
        if count:
            return renamed
    return None


def _with_tail(own: str) -> str:
    return own + (r"\2" if r"\1" in own else r"\1")


def _built_in_name(name: str) -> str:
    return re.sub(r"^embed\.", "embed.1.", name)


def _clam_of(weights: Weights, positive: int | None) -> PublishedClam:
    hidden, dim = _shape(weights, "embed.weight", 2)
    attention, _ = _shape(weights, "v.weight", 2)
    classes, _ = _shape(weights, "head.weight", 2)
    gated = "u.weight" in weights
    return PublishedClam(
        dim, hidden, attention, classes, gated=gated, positive=positive
    )


def _dsmil_of(
    weights: Weights, positive: int | None, relu: bool | None
) -> PublishedDsmil:
    classes, dim = _shape(weights, "instance.weight", 2)
    query, _ = _shape(weights, "query.0.weight", 2)
    deep = "query.2.weight" in weights
    value: Literal["none", "linear", "relu"] = "none"
    if "value.1.weight" in weights:
        value = "relu" if (deep if relu is None else relu) else "linear"
    return PublishedDsmil(
        dim, classes, query, deep_query=deep, value=value, positive=positive
    )


def _shape(weights: Weights, name: str, dimensions: int) -> tuple[int, ...]:
    shape = tuple(weights[name].shape) if name in weights else ()
    if len(shape) != dimensions:
        raise RunError(f"the checkpoint has no {name} of {dimensions} dimensions")
    return shape


def _fill(teacher: nn.Module, weights: Weights, path: Path) -> None:
    """Load weights into a teacher, which both must fit exactly."""
    if not isinstance(teacher, ClamTeacher):
        weights = {
            name: value
            for name, value in weights.items()
            if not name.startswith("instance_heads.")
        }
    own = {name: tuple(value.shape) for name, value in teacher.state_dict().items()}
    file = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = [
        f"{name} is {file.get(name, 'missing')} in the file, "
        f"{own.get(name, 'missing')} in the teacher"
        for name in sorted(own.keys() | file.keys())
        if own.get(name) != file.get(name)
    ]
    if wrong:
        raise RunError(f"{path} does not fit the teacher: {'; '.join(wrong)}")
    teacher.load_state_dict(weights)


def _positive(positive: int | None, classes: int) -> int:
    if positive is None:
        if classes > 2:
            raise RunError(f"{classes} classes: say by its index which one is positive")
        return classes - 1
    if not 0 <= positive < classes:
        raise RunError(f"no class {positive}: there are {classes}, from 0")
    return positive


def _seen(values: Tensor, keep: Tensor | None) -> Tensor:
    return values if keep is None else values.masked_fill(~keep[:, None], -torch.inf)
