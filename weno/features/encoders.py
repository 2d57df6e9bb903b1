"""What turns tiles into features, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from weno.errors import FeatureError
from weno.features.pretrained import TimmEncoder
from weno.features.texture import TextureEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt


class Encoder(Protocol):
    """Turns tiles into features; a tile's features depend on that tile alone.

    Not for two threads at a time.
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
        done when it returns. Tiles may be overwritten as soon as it has returned.
        Raises what `encode` raises, here or when the features are asked for.
        """


def get_encoder(name: str, *, device: str = "auto") -> Encoder:
    """Make an encoder.

    Parameters
    ----------
    name : str
        ``"texture"``, the built-in one, or ``"timm:NAME"`` for a pretrained model
        of the timm library.
    device : str
        ``"auto"`` or a torch device such as ``"cuda:0"``; of no effect on the
        built-in encoder.

    Raises
    ------
    FeatureError
        If there is no such encoder or its weights cannot be had.
    MissingExtra
        If it needs a library that is not installed.
    """
    if name == TextureEncoder.name:
        return TextureEncoder()
    library, _, model = name.partition(":")
    if library == "timm" and model:
        return TimmEncoder(model, device=device)
    raise FeatureError(
        f"unknown encoder {name!r}: use texture, or timm:NAME for a model of timm"
    )
