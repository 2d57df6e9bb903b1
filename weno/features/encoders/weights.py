"""Files of weights: where they are, how they are read, how they are got."""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from weno.errors import FeatureError, import_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch

    from weno.features.encoders.models import PathologyModel

    State = Mapping[str, torch.Tensor]

#: Folder of weights that lie on this machine: ``uni.safetensors``, ``uni2-h.bin``, …
FOLDER_VARIABLE: Final = "WENO_WEIGHTS"

_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
_WRAPPINGS = ("model", "state_dict")  # what training programs put weights in
_SHOWN = 3


def locate(name: str) -> Path:
    """Find a file or folder of weights that a person named.

    Parameters
    ----------
    name : str
        A path; if relative, in the folder ``WENO_WEIGHTS`` names, or in this one.

    Raises
    ------
    FeatureError
        If it is not there.
    """
    folder = Path(os.environ.get(FOLDER_VARIABLE, "."))
    path = folder / Path(name).expanduser()
    if not path.exists():
        raise FeatureError(f"there are no weights at {path.absolute()}")
    return path


def local_copy(model: PathologyModel) -> Path | None:
    """Return a model's file, or folder, in the folder ``WENO_WEIGHTS`` names."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    suffixes = _SUFFIXES if model.library == "timm" else ("",)
    paths = (Path(folder) / (model.name + suffix) for suffix in suffixes)
    return next((path for path in paths if path.exists()), None)


@contextmanager
def explained(explain: Callable[[str], str]) -> Iterator[None]:
    """Raise a `FeatureError` where a library does not get the weights.

    Parameters
    ----------
    explain : callable
        Turns the reason, a few words, into the message.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise FeatureError(explain(_reason(cause))) from error


def is_here(model: PathologyModel) -> bool:
    """Tell whether a model can be run without the network, as far as one can see."""
    if local_copy(model):
        return True
    if not model.on_hub or find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import try_to_load_from_cache

    files = [model.file] if model.file else ["model.safetensors", "pytorch_model.bin"]
    found = (try_to_load_from_cache(model.source, file) for file in files)
    return any(isinstance(path, str) for path in found)


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    if kind == "GatedRepoError":
        return "its terms have not been accepted for this account, or there is no token"
    if kind == "RepositoryNotFoundError":
        return "the hub shows no such model to this account"
    if kind in ("LocalEntryNotFoundError", "OfflineModeIsEnabled"):
        return "they are not on this machine, and the hub cannot be reached"
    return str(error).strip().partition("\n")[0] or kind


def how_to_get(model: PathologyModel, reason: str) -> str:
    """Say why the weights of a model could not be had, and how they can.

    Parameters
    ----------
    model : PathologyModel
    reason : str
    """
    told = "; ".join(f"{n}. {step}" for n, step in enumerate(steps_to(model), 1))
    return (
        f"the weights of {model.name} cannot be had: {reason}. {told}. "
        "The encoder texture needs none"
    )


def steps_to(model: PathologyModel) -> list[str]:
    """Say step by step how the weights of a model are got."""
    steps = [] if model.on_hub else [f"download them as {model.page} says"]
    if model.gated:
        steps.append(f"accept the terms on {model.page}")
        steps.append("run `hf auth login`, or set HF_TOKEN to a token that may read")
    if model.on_hub:
        steps.append(
            f"run `hf download {model.source}`; for a machine without network, on "
            "another one, and copy its cache (~/.cache/huggingface or HF_HOME)"
        )
    if model.file or not model.on_hub:
        either = f"or put {model.file} alone" if model.on_hub else "put the file"
        suffix = Path(model.file).suffix or ".pth"
        steps.append(
            f"{either}, named {model.name}{suffix}, into a folder, and set "
            f"{FOLDER_VARIABLE} to the folder"
        )
    return steps


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of weights without running anything that is in it.

    Raises
    ------
    FeatureError
        If it is no such file, or holds more than weights.
    """
    torch = import_extra("torch", "torch")
    try:
        if path.suffix == ".safetensors":
            found = import_extra("safetensors.torch", "torch").load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise FeatureError(
            f"{path} is no file of weights alone ({reason}); wanted are .safetensors, "
            "or a .pth of tensors that torch can load with weights_only"
        ) from error
    for key in _WRAPPINGS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found:
        raise FeatureError(f"{path} holds no weights by name but a {type(found)}")
    return {key: value for key, value in found.items() if torch.is_tensor(value)}


def put_in(network: torch.nn.Module, state: State, name: str, path: Path) -> None:
    """Give a network its weights, each and no other.

    Raises
    ------
    FeatureError
        If they are not those of this network: what is missing, too much or of
        another shape.
    """
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    other = [
        f"{key} {shapes[key]} instead of {wanted[key]}"
        for key in wanted
        if key in shapes and shapes[key] != wanted[key]
    ]
    problems = [
        _some("missing", [key for key in wanted if key not in shapes]),
        _some("not of this model", [key for key in shapes if key not in wanted]),
        _some("of another shape", other),
    ]
    if found := "; ".join(problem for problem in problems if problem):
        raise FeatureError(f"{path} does not hold the weights of {name}: {found}")
    network.load_state_dict(state)


def _some(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = ", …" if len(keys) > _SHOWN else ""
    return f"{len(keys)} are {what} ({', '.join(keys[:_SHOWN])}{more})"
