"""Architectures of pathology models that neither timm nor transformers has."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch import nn

from weno.errors import import_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    State = dict[str, Tensor]


def _of_timm(name: str, **arguments: Any) -> Any:
    return import_extra("timm", "timm").create_model(name, num_classes=0, **arguments)


class _ConvStem(nn.Module):
    """CTransPath's convolutions in place of Swin's patch embedding."""

    def __init__(
        self,
        img_size: int | tuple[int, int],
        patch_size: int,
        in_chans: int,
        embed_dim: int,
        norm_layer: Callable[[int], nn.Module],
        **others: Any,
    ) -> None:
        super().__init__()
        height, width = (img_size,) * 2 if isinstance(img_size, int) else img_size
        self.grid_size = (height // patch_size, width // patch_size)
        layers: list[nn.Module] = []
        width = embed_dim // 8
        for inside in (in_chans, width):
            layers += [
                nn.Conv2d(inside, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            width *= 2
        layers.append(nn.Conv2d(width // 2, embed_dim, 1))
        self.proj = nn.Sequential(*layers)
        self.norm = norm_layer(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Turn pixels, (N, 3, H, W), into tokens, (N, H / 4, W / 4, C)."""
        tokens: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return tokens


def ctranspath() -> nn.Module:
    """Return a Swin-T with a stem of convolutions: 768 features."""
    network: nn.Module = _of_timm("swin_tiny_patch4_window7_224", embed_layer=_ConvStem)
    return network


def _ctranspath_state(state: Mapping[str, Tensor], network: Any) -> State:
    """Rename as timm has renamed since: a stage halves at its start, not its end."""
    renamed = {}
    for key, value in state.items():
        if key.endswith(("attn_mask", "relative_position_index")) or "head." in key:
            continue
        key = re.sub(
            r"layers\.(\d)\.downsample",
            lambda found: f"layers.{int(found[1]) + 1}.downsample",
            key,
        )
        renamed[key] = value
    return renamed


class _Pooler(nn.Module):
    """One learned query that attends to all tokens; CONCH's.

    Parameters
    ----------
    width, dim : int
        Of a token, and of the result.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, dim))
        self.ln_q = nn.LayerNorm(dim)
        self.ln_k = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(
            dim, 8, kdim=width, vdim=width, batch_first=True
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool tokens, (N, L, width), to (N, dim)."""
        keys = self.ln_k(tokens)
        query = self.ln_q(self.query).expand(len(tokens), -1, -1)  # (N, 1, dim)
        pooled: Tensor = self.attn(query, keys, keys, need_weights=False)[0]
        return pooled[:, 0]


class _PlainPooler(nn.Module):
    """The same as CONCH v1.5 has it: projections without offsets, by other names."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, dim))
        self.ln_q = nn.LayerNorm(dim)
        self.ln_k = nn.LayerNorm(width)
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_kv = nn.Linear(width, 2 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool tokens, (N, L, width), to (N, dim)."""
        query = self.to_q(self.ln_q(self.query)).expand(len(tokens), -1, -1)
        keys, values = self.to_kv(self.ln_k(tokens)).chunk(2, dim=-1)  # (N, L, dim)
        query, keys, values = (
            part.unflatten(-1, (8, -1)).transpose(1, 2)  # (N, 8, L, dim / 8)
            for part in (query, keys, values)
        )
        pooled = nn.functional.scaled_dot_product_attention(query, keys, values)
        found: Tensor = self.to_out(pooled.transpose(1, 2).flatten(2))[:, 0]
        return found


class _Conch(nn.Module):
    """A vision transformer and a pooler, before the projection to text."""

    def __init__(self, trunk: Any, pooler: nn.Module, dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.attn_pool_contrast = pooler
        self.ln_contrast = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Turn pixels, (N, 3, 448, 448), into features, (N, dim)."""
        tokens = self.trunk.forward_features(x)
        found: Tensor = self.ln_contrast(self.attn_pool_contrast(tokens))
        return found


def conch() -> nn.Module:
    """Return CONCH's image tower: ViT-B/16, 512 features."""
    trunk = _of_timm("vit_base_patch16_224", img_size=448)
    return _Conch(trunk, _Pooler(768, 512), 512)


def conch_v1_5() -> nn.Module:
    """Return the image tower of CONCH v1.5: ViT-L/16, 768 features."""
    trunk = _of_timm("vit_large_patch16_224", img_size=448, init_values=1.0)
    return _Conch(trunk, _PlainPooler(1024, 768), 768)


def _conch_state(state: Mapping[str, Tensor], network: Any) -> State:
    """Leave the image tower alone of all that is in the file."""
    unused = ("attn_pool_caption.", "ln_caption.", "proj_contrast")
    inside = any(key.startswith("visual.") for key in state)
    renamed = {
        key.removeprefix("visual."): value
        for key, value in state.items()
        if key.startswith("visual.") or not inside
    }
    kept = {k: v for k, v in renamed.items() if not k.startswith(unused)}
    positions = kept.get("trunk.pos_embed")
    if positions is not None:
        side = network.trunk.patch_embed.grid_size[0]
        kept["trunk.pos_embed"] = _enlarged(positions, side)
    return kept


def _enlarged(positions: Tensor, side: int) -> Tensor:
    """Turn the positions of a square of patches, (1, 1 + L, C), into those of another.

    The published network does so for every tile, and a tenth of a patch too far.
    """
    old = math.isqrt(positions.shape[1] - 1)
    if old == side or old**2 != positions.shape[1] - 1:
        return positions
    grid = positions[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(
        grid.float(), scale_factor=(side + 0.1) / old, mode="bicubic"
    )
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


class Tower(NamedTuple):
    """How a network is made, and what turns a published file into its weights."""

    make: Callable[[], nn.Module]
    adapt: Callable[[Mapping[str, Tensor], Any], State]


TOWERS: Final = {
    "ctranspath": Tower(ctranspath, _ctranspath_state),
    "conch": Tower(conch, _conch_state),
    "conch-v1.5": Tower(conch_v1_5, _conch_state),
}
