"""What encoders that are neural networks share: device, precision, preparation."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from weno.errors import FeatureError, OutOfMemory, import_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt
    import torch

    from weno.features.encoders.models import Precision, Preparation

Result = TypeVar("Result")

_TYPES: Final = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class NeuralEncoder:
    """Encode tiles by a network.

    Parameters
    ----------
    name : str
        What `get_encoder` knows it by.
    network : torch.nn.Module
        Turns prepared pixels, (N, 3, H, W), into features, (N, F). It is changed:
        moved to the device and, unless in fp32, rounded.
    preparation : Preparation
        What is done to the pixels of a tile before.
    dim : int
        Number of features of a tile, F.
    device : str
        A torch device; ``"auto"`` takes a GPU if there is one.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of matrix products and convolutions; what is added up from layer to layer
        stays in fp32. ``"auto"`` is `preferred` on a GPU, else fp32.
    preferred : {"fp32", "bf16", "fp16"}

    Raises
    ------
    FeatureError
        If there is no such device or precision.
    OutOfMemory
        If the network does not fit into the device's memory.
    """

    def __init__(
        self,
        name: str,
        network: torch.nn.Module,
        preparation: Preparation,
        *,
        dim: int,
        device: str = "auto",
        precision: str = "auto",
        preferred: Precision = "bf16",
    ) -> None:
        import_extra("torch", "torch")
        import torch

        self.name = name
        self.dim = dim
        self.preparation = preparation
        self._device: torch.device = _device(device)
        self.device = str(self._device)
        self.precision = _precision(precision, preferred, self._device)
        self._type: torch.dtype = getattr(torch, _TYPES[self.precision])
        mean, std = (torch.tensor(part) for part in preparation.normalisation)
        self._mean = mean.view(3, 1, 1).to(self._device)
        self._std = std.view(3, 1, 1).to(self._device)
        network.eval().requires_grad_(False)
        _round_weights(network, self._type)
        self._network = self._in_memory(lambda: network.to(self._device), "its weights")
        if self._device.type == "cpu":
            # A third faster in convolutions: the colours of a pixel lie together.
            self._network.to(memory_format=torch.channels_last)

    def encode(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Turn RGB tiles of shape (N, H, W, 3) into features of shape (N, F).

        Raises
        ------
        OutOfMemory
            If so many tiles do not fit into the device's memory.
        FeatureError
            If a feature is not a finite number, or the array is not one of tiles.
        """
        return self.start(tiles)()

    def start(
        self, tiles: npt.NDArray[np.uint8]
    ) -> Callable[[], npt.NDArray[np.float32]]:
        """Begin to encode, and return what waits for the features; see `Encoder`."""
        if tiles.ndim != 4 or tiles.shape[3] != 3 or tiles.dtype != np.uint8:
            raise FeatureError(
                "tiles must be uint8 of shape (N, H, W, 3), not "
                f"{tiles.dtype} of shape {tiles.shape}"
            )
        what = f"a batch of {len(tiles)} tiles"
        features, arrived = self._in_memory(lambda: self._begin(tiles), what)

        def finish() -> npt.NDArray[np.float32]:
            if arrived is not None:
                self._in_memory(arrived.synchronize, what)
            return self._checked(features.numpy())

        return finish

    def prepared(self, tiles: torch.Tensor) -> torch.Tensor:
        """Resize, crop and normalise: bytes (N, H, W, 3) to (N, 3, side, side)."""
        import torch

        wanted = self.preparation
        scaled = tiles.permute(0, 3, 1, 2).float() / 255  # (N, 3, H, W)
        size = (wanted.resize, wanted.resize)
        if scaled.shape[2:] != size:
            scaled = torch.nn.functional.interpolate(
                scaled, size, mode=wanted.interpolation, antialias=True
            ).clamp(0, 1)
        border = (wanted.resize - wanted.side) // 2
        seen = slice(border, border + wanted.side)
        normalised: torch.Tensor = (scaled[..., seen, seen] - self._mean) / self._std
        return normalised

    def _begin(
        self, tiles: npt.NDArray[np.uint8]
    ) -> tuple[torch.Tensor, torch.Event | None]:
        """Queue all work; return features, and what happens once they are there."""
        import torch

        on_cuda = self._device.type == "cuda"
        with torch.inference_mode(), self._arithmetic():
            host = _pinned(tiles) if on_cuda else None
            if host is None:
                # Only page-locked memory is copied while the processor goes on.
                host = torch.empty(tiles.shape, dtype=torch.uint8, pin_memory=on_cuda)
                host.numpy()[:] = tiles
            pixels = host.to(self._device, non_blocking=on_cuda)
            found: torch.Tensor = self._network(self.prepared(pixels)).float()  # (N, F)
            features = torch.empty(found.shape, pin_memory=on_cuda)
            features.copy_(found, non_blocking=on_cuda)
            if not on_cuda:
                return features, None
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(torch.cuda.current_stream(self._device))
            return features, arrived

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Compute in the precision asked for, whatever others have set."""
        import torch

        kind, cudnn = self._device.type, torch.backends.cudnn
        with torch.autocast(kind, self._type, enabled=self.precision != "fp32"):
            if kind != "cuda":
                yield
                return
            before = torch.get_float32_matmul_precision(), cudnn.allow_tf32
            torch.set_float32_matmul_precision("highest")
            cudnn.allow_tf32 = False
            try:
                yield
            finally:
                torch.set_float32_matmul_precision(before[0])
                cudnn.allow_tf32 = before[1]

    def _checked(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if not len(wrong):
            return features
        cure = (
            "its weights are damaged: get them again"
            if self.precision == "fp32"
            else f"{self.precision} is too small for it: use fp32"
        )
        raise FeatureError(
            f"the encoder {self.name} gave features that are not finite for "
            f"{len(wrong)} of {len(features)} tiles, first for tile {wrong[0]} of the "
            f"batch; {cure}"
        )

    def _in_memory(self, compute: Callable[[], Result], what: str) -> Result:
        """Compute; say it in our words if the device's memory does not suffice."""
        try:
            return compute()
        except RuntimeError as error:
            if not _lacks_memory(error):
                raise
        # Raised out here, as the frames of that error hold on to what fills the memory.
        raise OutOfMemory(
            f"{what} for the encoder {self.name} does not fit into the memory of "
            f"{self.device}: use fewer tiles at once, another device or precision"
        )


def _lacks_memory(error: RuntimeError) -> bool:
    text = str(error)
    return "out of memory" in text or "can't allocate memory" in text


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise FeatureError(f"there is no device {name!r} here: {reason}") from error
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _precision(asked: str, preferred: Precision, device: torch.device) -> str:
    if asked == "auto":
        return "fp32" if device.type == "cpu" else preferred
    if asked not in _TYPES:
        known = ", ".join(("auto", *_TYPES))
        raise FeatureError(f"no precision {asked!r}; there are: {known}")
    return asked


def _pinned(tiles: npt.NDArray[np.uint8]) -> torch.Tensor | None:
    """Return tiles that are in page-locked memory as they are, None for others."""
    import torch

    if not tiles.flags.writeable or not tiles.flags.c_contiguous:
        return None
    given = torch.from_numpy(tiles)
    return given if given.is_pinned() else None


def _round_weights(network: torch.nn.Module, kind: torch.dtype) -> None:
    """Round once what autocast would round again for every batch."""
    import torch

    for module in network.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            module.to(kind)
