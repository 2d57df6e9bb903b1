"""Models of torchmil as teachers.

Castro-Macías et al.: "torchmil: A PyTorch-based library for deep Multiple Instance
Learning", arXiv:2509.08129. B bags, N instances of all, n seen in a bag, D of z.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from weno.errors import RunError, import_extra
from weno.mil.teachers import TeacherOutput, embedding, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weno.mil.config import TrainConfig

_HEADS = 8  # of torchmil's transformers, which their width must be a multiple of
#: What a signature does not tell.
_BROKEN = {
    "CLAM_SB": "its loss breaks off once its instance classifiers are sure, as of "
    "torchmil 1.0; there is a built-in clam_sb",
}
_LEAST = 1e-12  # attention below it has the score of it


@dataclass(frozen=True, slots=True)
class TorchmilOutput(TeacherOutput):
    """What a model says, with what its loss looks at again: z of shape (N, D)."""

    z: Tensor = field(kw_only=True)
    sizes: Sequence[int] = field(kw_only=True)


class TorchmilTeacher(nn.Module):
    """A model of torchmil, asked as a teacher.

    What the model calls attention is either raw, and then it is the score, or it sums
    to one over the bag, and then the score is the logarithm of how many times an even
    share it is, which can be compared between bags. Which of the two, the model shows
    when it is made.

    Instances that are hidden are left out, not masked: a mask keeps an instance from
    being pooled, but DSMIL would still choose it as critical.

    Parameters
    ----------
    model : nn.Module
    dim : int
        Dimensions of z.
    """

    packs = True

    def __init__(self, model: nn.Module, dim: int) -> None:
        super().__init__()
        self.model = model
        self.normalised = _is_normalised(model, dim)

    def forward(
        self, z: Tensor, keep: Tensor | None = None, sizes: Sequence[int] | None = None
    ) -> TorchmilOutput:
        parts = list(sizes or [len(z)])
        keeps = [None] * len(parts) if keep is None else torch.split(keep, parts)
        bags = zip(torch.split(z, parts), keeps, strict=True)
        all_ = joined([self._see(*bag) for bag in bags])
        return TorchmilOutput(
            all_.logits, all_.scores, all_.attention, all_.evidence, z=z, sizes=parts
        )

    def _see(self, z: Tensor, keep: Tensor | None) -> TeacherOutput:
        logits, scores, attention = self._ask(z if keep is None else z[keep])
        with torch.no_grad():
            alone, _ = self.model(z[:, None], return_att=True)  # (N,)
            if keep is not None:
                every = self._ask(z)[1]  # (N,)
        if keep is not None:
            scores = every.masked_scatter(keep, scores)
            attention = torch.zeros_like(every).masked_scatter(keep, attention)
        return TeacherOutput(logits, scores, attention, alone.float())

    def _ask(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (1,), scores (n,) and attention (n,) of what is seen."""
        logits, given = self.model(z[None], return_att=True)
        given = given.reshape(len(z)).float()  # (n,)
        if self.normalised:
            return logits, torch.log(given.clamp(_LEAST) * len(z)), given
        return logits, given, torch.softmax(given, 0)


class TorchmilOwnLoss(TorchmilTeacher):
    """The same, trained by a loss of the model's own: it sees the bags once more."""

    def loss(
        self, output: TorchmilOutput, labels: Tensor, keep: Tensor | None
    ) -> Tensor:
        parts = list(output.sizes)
        keeps = [None] * len(parts) if keep is None else torch.split(keep, parts)
        each = zip(torch.split(output.z, parts), keeps, labels, strict=True)
        losses = [
            _own_loss(self.model, z if keep is None else z[keep], label)
            for z, keep, label in each
        ]
        return torch.stack(losses).mean()


def torchmil_teacher(name: str, dim: int, config: TrainConfig) -> nn.Module:
    """Build a model of torchmil as teacher.

    The layers before its attention are those of the built-in teachers, by the same
    settings; what torchmil offers beside stays as torchmil has it.

    Parameters
    ----------
    name : str
        Class in `torchmil.models`.
    dim : int
        Dimensions of z.
    config : TrainConfig

    Raises
    ------
    RunError
        If there is no such model, or it cannot teach.
    MissingExtra
        If torchmil is not installed.
    """
    models = torchmil_models()
    if name not in models:
        raise RunError(f"torchmil has no model {name!r}; {_listed(models)}")
    if reason := models[name]:
        raise RunError(f"torchmil:{name} cannot teach: {reason}; {_listed(models)}")
    kind = getattr(import_extra("torchmil.models", "torchmil"), name)
    hidden = config.teacher_dim
    layers = embedding(dim, hidden, config.teacher_dropout, config.teacher_depth)
    layers.append(nn.Dropout(config.pooling_dropout))
    options = {
        "att_dim": config.attention_dim,
        "pool_att_dim": config.attention_dim,
        "transf_att_dim": -(-hidden // _HEADS) * _HEADS,
    }
    taken = inspect.signature(kind).parameters
    model = kind(
        in_shape=(dim,),
        feat_ext=layers,
        **{option: value for option, value in options.items() if option in taken},
    )
    return (TorchmilOwnLoss if _has_own_loss(model, dim) else TorchmilTeacher)(
        model, dim
    )


def torchmil_models() -> dict[str, str | None]:
    """Return the models of torchmil, each with why it cannot teach; None if it can."""
    module = import_extra("torchmil.models", "torchmil")
    bases = {module.MILModel, module.MILModelWrapper}
    return {
        name: _BROKEN.get(name) or _refusal(value)
        for name, value in sorted(vars(module).items())
        if inspect.isclass(value)
        and issubclass(value, nn.Module)
        and value not in bases
    }


def _refusal(kind: type[nn.Module]) -> str | None:
    takes = inspect.signature(kind.forward).parameters
    made_of = _needed(kind.__init__) - {"in_shape"}
    asked = _needed(kind.forward) - {"X"}
    learns = _needed(kind.compute_loss) - {"X", "Y"}  # type: ignore[attr-defined]
    if made_of:
        return f"it is made of more than a number of dimensions: {_names(made_of)}"
    if asked:
        return f"it needs more than a bag's instances: {_names(asked)}"
    if learns:
        return f"its loss needs more than a bag's instances: {_names(learns)}"
    if "return_att" not in takes:
        return "it gives no attention"
    if "mask" not in takes:
        return "it takes no mask, and its attention is no share of the bag"
    return None


def _needed(function: Any) -> set[str]:
    parameters = inspect.signature(function).parameters
    return {
        name for name, item in parameters.items()
        if item.default is item.empty and name != "self"
    }  # fmt: skip


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _listed(models: dict[str, str | None]) -> str:
    able = [name for name, reason in models.items() if not reason]
    return f"these can teach: {', '.join(able)}"


def _probes(dim: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, n, dim, generator=generator) for n in (5, 9)]


def _is_normalised(model: nn.Module, dim: int) -> bool:
    """Tell whether the attention that a model gives sums to one over a bag."""
    model.eval()
    normalised = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for bag in _probes(dim):
            _, given = model(bag, return_att=True)
            if given.numel() != bag.shape[1]:
                raise RunError(
                    f"{type(model).__name__} gives attention of shape "
                    f"{tuple(given.shape)} for a bag of {bag.shape[1]} instances"
                )
            whole = torch.isclose(given.sum(), torch.tensor(1.0), atol=1e-5)
            normalised.append(bool(whole) and bool((given >= 0).all()))
    model.train()
    return all(normalised)


def _has_own_loss(model: nn.Module, dim: int) -> bool:
    """Tell whether a model is trained by more than the cross-entropy of the bag."""
    model.eval()
    bag, label = _probes(dim)[0], torch.ones(())
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        own = _own_loss(model, bag[0], label)
        logits, _ = model(bag, return_att=True)
    model.train()
    plain = functional.binary_cross_entropy_with_logits(logits[0], label)
    return not torch.isclose(own, plain)


def _own_loss(model: nn.Module, z: Tensor, label: Tensor) -> Tensor:
    _, terms = model.compute_loss(label[None], z[None])  # type: ignore[operator]
    return torch.stack([term.reshape(()) for term in terms.values()]).sum()
