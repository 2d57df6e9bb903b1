"""Encoders of the transformers library, from the Hugging Face hub or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from weno.errors import FeatureError, import_extra
from weno.features.encoders.models import Preparation
from weno.features.encoders.neural import NeuralEncoder
from weno.features.encoders.weights import explained

if TYPE_CHECKING:
    from weno.features.encoders.models import Pooling

_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # as Pillow numbers them


class HfEncoder(NeuralEncoder):
    """Encode tiles by an image model of transformers.

    The features are the class token after the last layer; of a model that has none,
    what it pools itself; of a model of images and text, the image's embedding. Tiles
    are resized, cropped and normalised as the model's image processor says.

    Parameters
    ----------
    model : str
        Name on the hub, as ``"owkin/phikon"``, or a folder with ``config.json``,
        ``preprocessor_config.json`` and the weights.
    device : str
        A torch device; ``"auto"`` takes a GPU if there is one.
    precision : {"auto", "fp32", "bf16", "fp16"}
        ``"auto"`` is bf16 on a GPU, else fp32.

    Raises
    ------
    MissingExtra
        If transformers is not installed.
    FeatureError
        If the model cannot be had, needs code of its own, or is none of images.
    """

    def __init__(
        self, model: str, *, device: str = "auto", precision: str = "auto"
    ) -> None:
        with explained(lambda reason: _how_to_get(model, reason)):
            network, preparation = hf_network(model), hf_preparation(model)
        super().__init__(
            f"hf:{model}",
            network,
            preparation,
            dim=network.dim(),
            device=device,
            precision=precision,
        )


def hf_network(
    model: str,
    architecture: str = "AutoModel",
    pooling: Pooling | None = None,
    **arguments: Any,
) -> Any:
    """Load a network of transformers that gives one row of features per tile.

    Parameters
    ----------
    model : str
    architecture : str
        Class of transformers.
    pooling : {"class", "class+mean"}, optional
        Found out if not given.
    **arguments
        For the class.

    Raises
    ------
    FeatureError
        If weights are missing.
    OSError, ValueError
        If transformers does not get the model.
    """
    transformers = import_extra("transformers", "hf")
    # Code that comes with a model is never run.
    network, told = getattr(transformers, architecture).from_pretrained(
        model, trust_remote_code=False, output_loading_info=True, **arguments
    )
    missing = [key for key in told["missing_keys"] if "pooler." not in key]
    if missing:
        raise FeatureError(
            f"hf:{model} lacks {len(missing)} of the weights that {architecture} has, "
            f"such as {sorted(missing)[0]}"
        )
    from weno.features.encoders.pooling import HfPool

    return HfPool(network.float(), pooling)


def hf_preparation(model: str) -> Preparation:
    """Read what the image processor of a model does.

    Raises
    ------
    FeatureError
        If it does what cannot be done here.
    OSError, ValueError
        If transformers finds none.
    """
    transformers = import_extra("transformers", "hf")
    processor = transformers.AutoImageProcessor.from_pretrained(
        model, trust_remote_code=False
    )
    told = processor.to_dict()
    resize = _side(told.get("size")) if told.get("do_resize") else None
    crop = _side(told.get("crop_size")) if told.get("do_center_crop") else None
    side = crop or resize
    mode = _INTERPOLATIONS.get(int(told.get("resample", 2)))
    scale = round(1 / (told.get("rescale_factor") or 1))
    if not (side and mode and told.get("do_normalize") and scale == 255):
        raise FeatureError(
            f"the image processor of hf:{model} does what weno cannot do: {told}"
        )
    mean, std = (tuple(told[key]) for key in ("image_mean", "image_std"))
    return Preparation((mean, std), side, mode, max(resize or side, side))  # type: ignore[arg-type]


def _side(size: Any) -> int | None:
    """Read the side of a square, None if it is no square."""
    if isinstance(size, int):
        return size
    sides = {int(size[k]) for k in ("shortest_edge", "height", "width") if size.get(k)}
    return sides.pop() if len(sides) == 1 else None


def _how_to_get(model: str, reason: str) -> str:
    if Path(model).is_dir():
        return f"the folder {model} holds no model of images: {reason}"
    return (
        f"hf:{model} cannot be had ({reason}); if it has terms, accept them on "
        f"https://huggingface.co/{model} and run `hf auth login`; for a machine "
        f"without network, run `hf download {model}` on another one and copy its cache "
        "(~/.cache/huggingface or HF_HOME), or name a folder: hf:FOLDER"
    )
