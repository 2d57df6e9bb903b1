"""The layers that teacher and student share, from features or from pixels to z.

An encoder maps tiles, (n, 3, H, W) in [0, 1], to features, (n, F).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from weno.errors import RunError, import_extra

if TYPE_CHECKING:
    from collections.abc import Callable

    from weno.mil.config import TrainConfig


class Projector(nn.Module):
    """The trainable layers that teacher and student share: x to z."""

    def __init__(self, width: int, config: TrainConfig) -> None:
        super().__init__()
        self.chunk = config.chunk
        self.encoder = (
            PixelEncoder(config.encoder, width, augment=config.augment)
            if config.encoder
            else None
        )
        inside = self.encoder.width if self.encoder else width
        self.dim = config.projector_dim or inside
        self.linear = nn.Linear(inside, self.dim) if config.projector_dim else None
        norms = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
        self.norm = norms[config.norm](self.dim)

    def forward(self, x: Tensor) -> Tensor:
        if self.encoder:
            x = self._encode(x)  # (N, F)
        if self.linear:
            x = self.linear(x)  # (N, D)
        if isinstance(self.norm, nn.BatchNorm1d) and self.training and len(x) == 1:
            return functional.batch_norm(  # one instance has no deviation of its own
                x, self.norm.running_mean, self.norm.running_var,
                self.norm.weight, self.norm.bias,
            )  # fmt: skip
        z: Tensor = self.norm(x)  # (N, D)
        return z

    def _encode(self, tiles: Tensor) -> Tensor:
        """Encode tiles (N, H, W, 3), in turns where they are many.

        Of a turn only its tiles are kept for the way back, on which it is encoded once
        more: a bag of any length trains in the memory of one chunk.
        """
        assert self.encoder is not None
        turns = torch.split(tiles, self.chunk)
        if len(turns) == 1 or not torch.is_grad_enabled():
            return torch.cat([self.encoder(turn) for turn in turns])  # (N, F)
        encoded = [
            checkpoint(self.encoder, turn, use_reentrant=False) for turn in turns
        ]
        return torch.cat(encoded)  # (N, F)


class PixelEncoder(nn.Module):
    """Tiles as they are stored, to features; augmented while it trains.

    Parameters
    ----------
    name : str
        "cnn", "alexnet_cifar", "resnet18" or "timm:NAME".
    side : int
        Height and width of a tile in pixels.
    augment : bool
        Whether training turns and mirrors tiles and varies their colours.

    Raises
    ------
    RunError
        If there is no such encoder, or tiles are too small for it.
    """

    def __init__(self, name: str, side: int, *, augment: bool) -> None:
        super().__init__()
        self.layers = _make(name)
        self.augment = augment
        try:
            with torch.no_grad():
                features = self.layers.eval()(torch.zeros(1, 3, side, side))
        except RuntimeError as error:
            raise RunError(
                f"encoder {name!r} cannot see tiles of {side} px: {error}"
            ) from error
        self.width = int(features.shape[1])
        self.train()

    def forward(self, tiles: Tensor) -> Tensor:
        """Encode tiles of shape (n, H, W, 3), uint8."""
        x = tiles.permute(0, 3, 1, 2).float() / 255  # (n, 3, H, W)
        if self.augment and self.training:
            x = _vary(x)
        features: Tensor = self.layers(x.contiguous(memory_format=torch.channels_last))
        return features  # (n, F)


def _vary(x: Tensor) -> Tensor:
    """Turn, mirror and recolour each tile on its own."""
    choice = torch.randint(8, (len(x),), device=x.device)
    mirrored = torch.where((choice < 4)[:, None, None, None], x, x.flip(3))
    turns = [mirrored.rot90(k, (2, 3)) for k in range(4)]
    x = torch.stack(turns)[choice % 4, torch.arange(len(x), device=x.device)]
    shape = (len(x), 3, 1, 1)
    gain = 1 + 0.1 * torch.randn(shape, device=x.device)
    bias = 0.05 * torch.randn(shape, device=x.device)
    return (x * gain + bias).clamp(0, 1)


class _Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 4 * x - 2


def small_cnn() -> nn.Sequential:
    """Return three convolutions for tiles of up to 64 px: 576 features.

    Without batch norm: a tile must look the same in a bag and in a mixed batch.
    """
    return nn.Sequential(
        _Centred(),
        nn.Conv2d(3, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 48, 3),
        nn.ReLU(),
        nn.Conv2d(48, 64, 3),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(3),
        nn.Flatten(),
    )


def alexnet_cifar() -> nn.Sequential:
    """Return the published encoder of CIFAR-10-MIL: 1,728 features at 32 px."""

    def block(inside: int, outside: int, *, shrink: bool) -> list[nn.Module]:
        layers = [
            nn.Conv2d(inside, outside, 3, padding=1),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
        ]
        return [*layers, nn.MaxPool2d(3, 2)] if shrink else layers

    return nn.Sequential(
        *block(3, 96, shrink=True),
        *block(96, 192, shrink=True),
        *block(192, 384, shrink=False),
        *block(384, 384, shrink=False),
        *block(384, 192, shrink=True),
        nn.Flatten(),
    )


def resnet18() -> nn.Module:
    """Return torchvision's ResNet-18 without its last layer: 512 features."""
    models = import_extra("torchvision.models", "timm")
    model: nn.Module = models.resnet18(weights=None)
    model.fc = nn.Identity()
    return model


ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "cnn": small_cnn,
    "alexnet_cifar": alexnet_cifar,
    "resnet18": resnet18,
}


def _make(name: str) -> nn.Module:
    if name in ENCODERS:
        return ENCODERS[name]()
    if name.startswith("timm:"):
        timm = import_extra("timm", "timm")
        short = name.removeprefix("timm:")
        if timm.is_model(short):
            model: nn.Module = timm.create_model(short, num_classes=0)
            return model
    known = ", ".join([*sorted(ENCODERS), "timm:NAME"])
    raise RunError(f"no trainable encoder {name!r}; there are: {known}")
