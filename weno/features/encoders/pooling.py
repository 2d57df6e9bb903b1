"""From what a network gives to one row of features per tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from weno.features.encoders.models import Pooling


class TokenPool(nn.Module):
    """A vision transformer of timm: its class token and the mean of its patches."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Tensor:
        """Turn pixels, (N, 3, H, W), into features, (N, 2 C)."""
        return _class_and_mean(
            self.trunk.forward_features(x), int(self.trunk.num_prefix_tokens)
        )


class HfPool(nn.Module):
    """A model of transformers.

    Parameters
    ----------
    network : torch.nn.Module
    pooling : {"class", "class+mean"}, optional
        If not given, the class token where there is one; else what the network pools
        itself; else the mean. A network of images and text gives its own embedding.
    """

    def __init__(self, network: Any, pooling: Pooling | None = None) -> None:
        super().__init__()
        self.network = network
        self.pooling = pooling or _own_pooling(network)
        self.prefix = 1 + int(getattr(network.config, "num_register_tokens", None) or 0)

    def dim(self) -> int:
        """Count the features, by encoding an empty tile."""
        config = getattr(self.network.config, "vision_config", self.network.config)
        side = getattr(config, "image_size", None) or 224
        with torch.inference_mode():
            return int(self(torch.zeros(1, 3, side, side)).shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """Turn pixels, (N, 3, H, W), into features, (N, F)."""
        if self.pooling == "embedding":
            found = self.network.get_image_features(pixel_values=x)
            embedding: Tensor = getattr(found, "pooler_output", found)
            return embedding
        found = self.network(pixel_values=x)
        tokens: Tensor = found.last_hidden_state  # (N, L, C), or (N, C, H, W)
        if self.pooling == "class":
            return tokens[:, 0]
        if self.pooling == "class+mean":
            return _class_and_mean(tokens, self.prefix)
        pooled: Tensor | None = getattr(found, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        return tokens.mean(dim=1 if tokens.ndim == 3 else (2, 3))


def _class_and_mean(tokens: Tensor, prefix: int) -> Tensor:
    """Join the first of tokens, (N, L, C), and the mean of all from `prefix` on."""
    return torch.cat([tokens[:, 0], tokens[:, prefix:].mean(dim=1)], dim=1)


def _own_pooling(network: Any) -> str:
    if hasattr(network, "get_image_features"):
        return "embedding"
    names = [name for name, _ in network.named_parameters()]
    if any(name.endswith(("cls_token", "class_embedding")) for name in names):
        return "class"
    return "pooled"
