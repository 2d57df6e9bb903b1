"""A fit on disk: all that resuming needs, in one file by one rename."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from weno.atomic import replacing
from weno.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor
    from torch.optim import Optimizer

    from weno.mil.config import TrainConfig
    from weno.mil.network import Weno


@dataclass(frozen=True, slots=True)
class FitState:
    """Where a fit stands between two epochs.

    Parameters
    ----------
    epoch : int
        Epochs done.
    best_epoch : int
        Epoch with the best validation, 0 while there is none.
    best_value : float
        Its value; smaller is better.
    loss_before_mining : float
        The best loss of the teacher in validation before anything was hidden.
    worse_with_mining : int
        Epochs in a row with a loss above that.
    has_mined : bool
        Whether anything has been hidden in any epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = float("inf")
    loss_before_mining: float = float("inf")
    worse_with_mining: int = 0
    has_mined: bool = False

    def after(self, value: float, loss: float | None = None, mined: float = 0) -> Self:
        """Return the state one epoch on.

        Parameters
        ----------
        value : float
            Of the validation; smaller is better.
        loss : float, optional
            Of the teacher in validation.
        mined : float
            Share of the tiles of positive bags that was hidden in the epoch.
        """
        state = replace(self, epoch=self.epoch + 1)
        if value < self.best_value:
            state = replace(state, best_epoch=state.epoch, best_value=value)
        if loss is None:
            return state
        if not mined:
            before = min(loss, self.loss_before_mining)
            return (
                state if self.has_mined else replace(state, loss_before_mining=before)
            )
        state = replace(state, has_mined=True)
        worse = self.worse_with_mining + 1 if loss > self.loss_before_mining else 0
        return replace(state, worse_with_mining=worse)

    def may_mine(self, config: TrainConfig) -> bool:
        """Whether validation has not long been worse than before mining began."""
        patience = config.mining_patience
        return not patience or self.worse_with_mining < patience

    def is_finished(self, config: TrainConfig) -> bool:
        """Whether all epochs are done, or validation has long been no better."""
        waited = self.epoch - self.best_epoch if self.best_epoch else 0
        return self.epoch >= config.epochs or waited >= config.patience


def save_checkpoint(
    path: Path, model: Weno, optimisers: Mapping[str, Optimizer], state: FitState
) -> None:
    """Write model, optimisers, random state, thread count and state of the fit."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for part, optimiser in optimisers.items():
        for index, values in optimiser.state_dict()["state"].items():
            for name, value in values.items():
                tensors[f"optimiser.{part}.{index}.{name}"] = value
    tensors |= random_state(model.threshold.device)
    tensors["threads"] = torch.tensor(torch.get_num_threads())
    numbers = [float(getattr(state, item.name)) for item in fields(state)]
    tensors["state"] = torch.tensor(numbers, dtype=torch.float64)
    save_tensors(path, tensors)


def restore_checkpoint(
    path: Path, model: Weno, optimisers: Mapping[str, Optimizer]
) -> FitState:
    """Bring model, optimisers, random state and thread count back from a file.

    Raises
    ------
    RunError
        If the file is damaged or of another model.
    """
    tensors = load_tensors(path)
    try:
        load_model(model, tensors)
        for part, optimiser in optimisers.items():
            _restore_optimiser(optimiser, _under(tensors, f"optimiser.{part}."))
        torch.set_num_threads(int(tensors["threads"]))
        set_random_state(tensors, model.threshold.device)
        epoch, best_epoch, value, before, worse, mined = tensors["state"].tolist()
    except (KeyError, ValueError, RuntimeError) as error:
        raise RunError(f"{path}: checkpoint does not fit: {error}") from error
    return FitState(int(epoch), int(best_epoch), value, before, int(worse), bool(mined))


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the generators that training on a device draws from."""
    state = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["random.cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the generators to a `random_state`, of whatever device it was."""
    torch.set_rng_state(state["random.cpu"])
    if device.type == "cuda" and "random.cuda" in state:
        torch.cuda.set_rng_state(state["random.cuda"], device)


def load_model(model: Weno, tensors: Mapping[str, Tensor]) -> None:
    """Fill a model from the tensors of a checkpoint."""
    model.load_state_dict(_under(tensors, "model."))


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a safetensors file, whole or not at all."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        save_file(plain, temporary)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises
    ------
    RunError
        If it is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: not a readable checkpoint: {error}") from error


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }


def _restore_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
