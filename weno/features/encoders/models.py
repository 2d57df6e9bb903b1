"""Pathology foundation models by short name, and what a network must be told of tiles.

Nothing is loaded here; the modules `pretrained` and `hub` build them.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Precision = Literal["fp32", "bf16", "fp16"]
Pooling = Literal["class", "class+mean"]
Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]


#: Mean and deviation of R, G, B in [0, 1] that networks are fed with by default.
IMAGENET: Normalisation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done to the pixels of a tile before a network sees them.

    Parameters
    ----------
    normalisation : (tuple of float, tuple of float)
        Mean and deviation of R, G, B in [0, 1].
    side : int
        Pixels the network sees, of a square.
    interpolation : {"bilinear", "bicubic"}
        Always with antialiasing.
    resize : int, optional
        Side the tile is resized to, of which the middle is seen; `side` if not given.
    """

    normalisation: Normalisation = IMAGENET
    side: int = 224
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    resize: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "resize", self.resize or self.side)


@dataclass(frozen=True, slots=True)
class PathologyModel:
    """A published model by its short name.

    Parameters
    ----------
    name : str
        What `get_encoder` and ``weno init --encoder`` take.
    source : str
        Repository on the Hugging Face hub, or the address of another page.
    architecture : str
        Name of a model of timm, ``"hf-hub:…"`` where the repository alone says it,
        or one of the module `towers`; class of transformers, or ``"AutoModel"``.
    dim : int
        Number of features.
    tile_px : int
        Side of the tiles it was trained on.
    mpp : tuple of float
        µm per pixel that it was trained at, the best first.
    licence : str
    library : {"timm", "hf"}
        The extra that runs it.
    arguments : mapping of str to object
        For the architecture, as the model's card gives them.
    swiglu : bool
        The architecture has gated MLPs with SiLU.
    pooling : {"class", "class+mean"}
        The class token, or with it the mean of the patches' tokens.
    file : str
        Weights in the repository; empty if the library finds them, or there is none.
    preparation : Preparation or None
        None: as the image processor in the repository says.
    precision : {"fp32", "bf16", "fp16"}
        What it is commonly run in on a GPU.
    gated : bool
        Its page has terms to accept before weights can be had.
    aliases : tuple of str
        What other programs call it.
    """

    name: str
    source: str
    architecture: str
    dim: int
    tile_px: int
    mpp: tuple[float, ...]
    licence: str
    _: KW_ONLY
    library: Literal["timm", "hf"] = "timm"
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    swiglu: bool = False
    pooling: Pooling = "class"
    file: str = ""
    preparation: Preparation | None = Preparation()
    precision: Precision = "fp16"
    gated: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def on_hub(self) -> bool:
        """Whether its weights can be fetched."""
        return "://" not in self.source

    @property
    def page(self) -> str:
        """Where people read about it and accept its terms."""
        return f"https://huggingface.co/{self.source}" if self.on_hub else self.source

    @property
    def tile_um(self) -> float:
        """Side of the tiles it was trained on, in µm, at its best resolution."""
        return self.tile_px * self.mpp[0]
