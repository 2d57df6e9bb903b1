"""Encoders with pretrained weights: any model of the timm library."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from weno.errors import FeatureError, import_extra

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt
    import torch


class TimmEncoder:
    """Encode tiles by a model of timm, without its classifier.

    Tiles are resized to the model's input and normalised as its own training was.

    Parameters
    ----------
    model : str
        Name as timm knows it, such as ``"resnet50.a1_in1k"`` or ``"hf-hub:ID"``.
    device : str
        A torch device; ``"auto"`` takes a GPU if there is one.
    pretrained : bool
        False leaves the weights random, which is of use in tests only.

    Raises
    ------
    MissingExtra
        If timm is not installed.
    FeatureError
        If timm has no such model, or its weights cannot be had.
    """

    def __init__(
        self, model: str, *, device: str = "auto", pretrained: bool = True
    ) -> None:
        timm = import_extra("timm", "timm")
        torch = import_extra("torch", "torch")
        if not model.startswith("hf-hub:") and not timm.is_model(model.split(".")[0]):
            raise FeatureError(
                f"timm has no model {model!r}; list them with: "
                "python -c 'import timm; print(*timm.list_pretrained(), sep=chr(10))'"
            )
        try:
            network = timm.create_model(model, pretrained=pretrained, num_classes=0)
        except (OSError, RuntimeError, ValueError) as error:
            raise FeatureError(
                f"the weights of timm:{model} cannot be had ({error}); connect to the "
                "network once, or copy them to this machine's Hugging Face cache "
                "(HF_HOME), or use the encoder texture, which needs none"
            ) from error
        config = timm.data.resolve_model_data_config(network)
        self.name = f"timm:{model}"
        self.dim = int(network.num_features)
        self._device = torch.device(_best_device() if device == "auto" else device)
        self.device = str(self._device)
        self.precision = "fp32"
        self._network = network.eval().to(self._device)
        self._side: tuple[int, int] = tuple(config["input_size"][1:])
        self._mode = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(config["mean"], device=self._device).view(shape)
        self._std = torch.tensor(config["std"], device=self._device).view(shape)

    def encode(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Turn RGB tiles of shape (N, H, W, 3) into features of shape (N, F)."""
        import torch

        with torch.inference_mode():
            pixels = torch.tensor(tiles, device=self._device).permute(0, 3, 1, 2)
            features: torch.Tensor = self._network(self._prepare(pixels))  # (N, F)
        return cast("npt.NDArray[np.float32]", features.float().cpu().numpy())

    def start(
        self, tiles: npt.NDArray[np.uint8]
    ) -> Callable[[], npt.NDArray[np.float32]]:
        """Begin to encode; see `weno.features.Encoder`."""
        features = self.encode(tiles)
        return lambda: features

    def _prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        scaled = pixels.float() / 255  # (N, 3, H, W)
        if scaled.shape[2:] != self._side:
            scaled = torch.nn.functional.interpolate(
                scaled, self._side, mode=self._mode, antialias=True
            ).clamp(0, 1)
        prepared: torch.Tensor = (scaled - self._mean) / self._std
        return prepared


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
