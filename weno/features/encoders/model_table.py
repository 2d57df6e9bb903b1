"""The table of pathology foundation models.

Facts are from the models' own cards and repositories; the magnification of some, and
the precision, from what TRIDENT and slide2vec run them with.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from weno.features.encoders.models import IMAGENET, PathologyModel, Preparation

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_OPTIMUS = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)
_HIBOU = (0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816)
_LUNIT = (0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464)

_NC = "CC-BY-NC-ND-4.0"
_BIN = "pytorch_model.bin"
_SAFE = "model.safetensors"
_VIT: Final = {"img_size": 224, "init_values": 1e-5, "dynamic_img_size": True}
_OPTIMUS_G: Final = {"img_size": 224, "init_values": 1e-5, "global_pool": "token"}
_VIRCHOW: Final = {**_VIT, "mlp_ratio": 5.3375, "global_pool": ""}
_UNI2: Final = {
    **_VIT,
    "patch_size": 14,
    "depth": 24,
    "num_heads": 24,
    "embed_dim": 1536,
    "mlp_ratio": 2.66667 * 2,
    "no_embed_class": True,
    "reg_tokens": 8,
}
_GIGAPATH: Final = {
    "img_size": 224,
    "patch_size": 16,
    "embed_dim": 1536,
    "depth": 40,
    "num_heads": 24,
    "init_values": 1e-5,
    "mlp_ratio": 5.33334,
}
_MIXED = (0.5, 0.25, 1.0, 2.0)


def _kaiko(name: str, architecture: str, dim: int, side: int = 224) -> PathologyModel:
    return PathologyModel(
        f"kaiko-{name}",
        f"1aurent/{architecture}.kaiko_ai_towards_large_pathology_fms",
        architecture,
        dim,
        256,
        (0.5,),
        "Kaiko non-commercial",
        arguments={"img_size": side, "dynamic_img_size": True},
        file=_SAFE,
        preparation=Preparation(_HALF),
        precision="fp32",
        aliases=(f"kaiko-vit{name}",),
    )


def _lunit(patch: int) -> PathologyModel:
    return PathologyModel(
        f"lunit-s{patch}",
        f"1aurent/vit_small_patch{patch}_224.lunit_dino",
        f"vit_small_patch{patch}_224",
        384,
        224,
        (0.5,),
        "Lunit non-commercial",
        arguments={"img_size": 224, "dynamic_img_size": True},
        file=_SAFE,
        preparation=Preparation(_LUNIT, interpolation="bicubic"),
        precision="fp32",
        aliases=(f"lunit-vits{patch}", f"lunit-dino-s{patch}"),
    )


_MODELS = (
    PathologyModel(
        "uni",
        "MahmoodLab/UNI",
        "vit_large_patch16_224",
        1024,
        256,
        (0.5,),
        _NC,
        arguments=_VIT,
        file=_BIN,
        gated=True,
        aliases=("uni_v1", "uni1"),
    ),
    PathologyModel(
        "uni2-h",
        "MahmoodLab/UNI2-h",
        "vit_giant_patch14_224",
        1536,
        256,
        (0.5,),
        _NC,
        arguments=_UNI2,
        swiglu=True,
        file=_BIN,
        precision="bf16",
        gated=True,
        aliases=("uni_v2", "uni2", "uni2_h"),
    ),
    PathologyModel(
        "conch",
        "MahmoodLab/CONCH",
        "conch",
        512,
        512,
        (0.5,),
        _NC,
        file=_BIN,
        preparation=Preparation(_CLIP, 448, "bicubic"),
        precision="fp32",
        gated=True,
        aliases=("conch_v1",),
    ),
    PathologyModel(
        "conch-v1.5",
        "MahmoodLab/conchv1_5",
        "conch-v1.5",
        768,
        512,
        (0.5,),
        _NC,
        file="pytorch_model_vision.bin",
        preparation=Preparation(IMAGENET, 448),
        gated=True,
        aliases=("conch_v15", "conch_v1.5", "conchv1_5", "conch1_5"),
    ),
    PathologyModel(
        "virchow",
        "paige-ai/Virchow",
        "vit_huge_patch14_224",
        2560,
        224,
        (0.5,),
        "Apache-2.0",
        arguments=_VIRCHOW,
        swiglu=True,
        pooling="class+mean",
        file=_BIN,
        preparation=Preparation(interpolation="bicubic"),
        gated=True,
    ),
    PathologyModel(
        "virchow2",
        "paige-ai/Virchow2",
        "vit_huge_patch14_224",
        2560,
        224,
        _MIXED,
        _NC,
        arguments={**_VIRCHOW, "reg_tokens": 4},
        swiglu=True,
        pooling="class+mean",
        file=_BIN,
        preparation=Preparation(interpolation="bicubic"),
        gated=True,
    ),
    PathologyModel(
        "h-optimus-0",
        "bioptimus/H-optimus-0",
        "vit_giant_patch14_reg4_dinov2",
        1536,
        224,
        (0.5,),
        "Apache-2.0",
        arguments=_OPTIMUS_G,
        file=_BIN,
        preparation=Preparation(_OPTIMUS, interpolation="bicubic"),
        gated=True,
        aliases=("hoptimus0",),
    ),
    PathologyModel(
        "h-optimus-1",
        "bioptimus/H-optimus-1",
        "vit_giant_patch14_reg4_dinov2",
        1536,
        224,
        (0.5,),
        _NC,
        arguments=_OPTIMUS_G,
        file=_BIN,
        preparation=Preparation(_OPTIMUS, interpolation="bicubic"),
        gated=True,
        aliases=("hoptimus1",),
    ),
    PathologyModel(
        "h0-mini",
        "bioptimus/H0-mini",
        "hf-hub:bioptimus/H0-mini",
        1536,
        224,
        (0.5,),
        _NC,
        swiglu=True,
        pooling="class+mean",
        preparation=Preparation(_OPTIMUS, interpolation="bicubic"),
        gated=True,
    ),
    PathologyModel(
        "gigapath",
        "prov-gigapath/prov-gigapath",
        "vit_giant_patch14_dinov2",
        1536,
        256,
        (0.5,),
        "Apache-2.0 with terms",
        arguments=_GIGAPATH,
        file=_BIN,
        preparation=Preparation(IMAGENET, 224, "bicubic", resize=256),
        gated=True,
        aliases=("prov-gigapath", "prov_gigapath"),
    ),
    PathologyModel(
        "phikon",
        "owkin/phikon",
        "ViTModel",
        768,
        224,
        (0.5,),
        "Owkin non-commercial",
        library="hf",
        arguments={"add_pooling_layer": False},
        preparation=None,
        precision="fp32",
    ),
    PathologyModel(
        "phikon-v2",
        "owkin/phikon-v2",
        "AutoModel",
        1024,
        224,
        (0.5,),
        "Owkin non-commercial",
        library="hf",
        preparation=None,
        precision="fp32",
        aliases=("phikon_v2", "phikonv2"),
    ),
    PathologyModel(
        "ctranspath",
        "https://github.com/Xiyue-Wang/TransPath",
        "ctranspath",
        768,
        224,
        (1.0,),
        "GPL-3.0",
        precision="fp32",
    ),
    PathologyModel(
        "hibou-b",
        "histai/hibou-b",
        "Dinov2WithRegistersModel",
        768,
        224,
        (0.5,),
        "Apache-2.0",
        library="hf",
        preparation=Preparation(_HIBOU, interpolation="bicubic"),
        gated=True,
        aliases=("hibou_b",),
    ),
    PathologyModel(
        "hibou-l",
        "histai/hibou-L",
        "Dinov2WithRegistersModel",
        1024,
        224,
        (0.5,),
        "Apache-2.0",
        library="hf",
        preparation=Preparation(_HIBOU, interpolation="bicubic"),
        gated=True,
        aliases=("hibou_l",),
    ),
    PathologyModel(
        "midnight-12k",
        "kaiko-ai/midnight",
        "AutoModel",
        3072,
        224,
        _MIXED,
        "MIT",
        library="hf",
        pooling="class+mean",
        preparation=Preparation(_HALF),
        aliases=("midnight12k", "midnight"),
    ),
    _kaiko("s8", "vit_small_patch8_224", 384),
    _kaiko("s16", "vit_small_patch16_224", 384),
    _kaiko("b8", "vit_base_patch8_224", 768),
    _kaiko("b16", "vit_base_patch16_224", 768),
    _kaiko("l14", "vit_large_patch14_reg4_dinov2", 1024, side=518),
    PathologyModel(
        "gpfm",
        "majiabo/GPFM",
        "vit_large_patch14_dinov2",
        1024,
        512,
        (0.25,),
        _NC,
        arguments=_VIT,
        file="GPFM.pth",
        preparation=Preparation(interpolation="bicubic"),
    ),
    PathologyModel(
        "mstar",
        "Wangyh/mSTAR",
        "hf-hub:Wangyh/mSTAR",
        1024,
        256,
        (0.5,),
        _NC,
        arguments={"init_values": 1e-5, "dynamic_img_size": True},
        precision="fp32",
        gated=True,
    ),
    _lunit(8),
    _lunit(16),
)

#: Models by short name.
MODELS: Final[Mapping[str, PathologyModel]] = MappingProxyType(
    {model.name: model for model in _MODELS}
)


def find_model(name: str) -> PathologyModel | None:
    """Return the model of a short name, or of the name another program gives it."""
    plain = name.lower()
    for model in _MODELS:
        if plain == model.name or plain in model.aliases:
            return model
    return None
