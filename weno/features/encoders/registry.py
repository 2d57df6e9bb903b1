"""What turns tiles into features, by name."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Protocol

from weno.errors import FeatureError
from weno.features.encoders.hub import HfEncoder
from weno.features.encoders.model_table import MODELS, find_model
from weno.features.encoders.pathology import PathologyEncoder
from weno.features.encoders.pretrained import TimmEncoder
from weno.features.encoders.texture import TextureEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt


class Encoder(Protocol):
    """Turns tiles into features; a tile's features depend on that tile alone.

    On the processor several threads may encode at a time, on other devices one.
    """

    @property
    def name(self) -> str:
        """The name that `get_encoder` takes; written into every features file."""

    @property
    def dim(self) -> int:
        """Number of features of a tile."""

    @property
    def device(self) -> str:
        """Where it computes: ``"cpu"``, or a torch device such as ``"cuda:0"``."""

    @property
    def precision(self) -> str:
        """What it multiplies in: ``"fp32"``, ``"bf16"`` or ``"fp16"``."""

    def encode(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Turn RGB tiles of shape (N, H, W, 3) into features of shape (N, F).

        Raises
        ------
        OutOfMemory
            If so many tiles do not fit into the device's memory. Nothing is lost:
            fewer may be tried next.
        FeatureError
            If a feature is not a finite number.
        """

    def start(
        self, tiles: npt.NDArray[np.uint8]
    ) -> Callable[[], npt.NDArray[np.float32]]:
        """Begin to encode, and return what waits for the features.

        On a GPU the next tiles can be decoded or begun meanwhile; on a CPU all is
        done when it returns. Tiles may be overwritten as soon as it has returned, but
        for those in page-locked memory, which the GPU fetches by itself: leave them
        alone until the features are there.
        Raises what `encode` raises, here or when the features are asked for.
        """


def get_encoder(name: str, *, device: str = "auto", precision: str = "auto") -> Encoder:
    """Make an encoder.

    Parameters
    ----------
    name : str
        ``"texture"``, the built-in one; a pathology model by its short name, such as
        ``"uni2-h"`` (``weno encoders`` lists them); ``"timm:NAME"`` for any model of
        timm; ``"hf:NAME"`` or ``"hf:FOLDER"`` for one of transformers. ``@FILE`` after
        a short name or a name of timm says where its weights are.
    device : str
        ``"auto"`` or a torch device such as ``"cuda:0"``; of no effect on the
        built-in encoder.
    precision : {"auto", "fp32", "bf16", "fp16"}
        ``"auto"`` is fp32 on a processor, and on a GPU what the model is commonly run
        in, or bf16; of no effect on the built-in encoder.

    Raises
    ------
    FeatureError
        If there is no such encoder or its weights cannot be had.
    MissingExtra
        If it needs a library that is not installed.
    """
    check_name(name)
    if name == TextureEncoder.name:
        return TextureEncoder()
    library, _, rest = name.partition(":")
    if library == "hf":
        return HfEncoder(rest, device=device, precision=precision)
    bare, _, file = (rest or name).partition("@")
    if library == "timm":
        return TimmEncoder(bare, device=device, precision=precision, weights=file)
    return PathologyEncoder(
        MODELS[bare], device=device, precision=precision, weights=file
    )


def quick_encoder(name: str) -> Encoder | None:
    """Return the built-in encoder if it is that, else None.

    For trying it out beforehand: to load a network may take minutes.
    """
    return TextureEncoder() if name == TextureEncoder.name else None


def check_name(name: str) -> None:
    """Refuse what is not the name of an encoder; nothing is loaded.

    Raises
    ------
    FeatureError
    """
    library, colon, rest = name.partition(":")
    bare = name.partition("@")[0]
    if name == TextureEncoder.name or bare in MODELS:
        return
    if library in ("timm", "hf") and rest:
        return
    if library == "trident":
        same = find_model(rest)
        raise FeatureError(
            f"{name} is what TRIDENT has made its features by: extract new slides there"
            + (f", or in a project of the encoder {same.name}" if same else "")
        )
    other = find_model(bare)
    like = [other.name] if other else get_close_matches(bare, ["texture", *MODELS])
    raise FeatureError(
        f"unknown encoder {name!r}: "
        + (f"did you mean {' or '.join(like)}? " if like and not colon else "")
        + "There are texture, timm:NAME, hf:NAME and the names that `weno encoders` "
        "lists"
    )
