"""Encoders with pretrained weights: any model of the timm library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weno.errors import FeatureError, import_extra
from weno.features.encoders.models import Preparation
from weno.features.encoders.neural import NeuralEncoder
from weno.features.encoders.weights import explained, locate, put_in, read_weights

if TYPE_CHECKING:
    import torch


class TimmEncoder(NeuralEncoder):
    """Encode tiles by a model of timm, without its classifier.

    Tiles are resized to the model's input and normalised as its own training was. The
    whole tile is seen: nothing is cropped, unlike in timm's own transform.

    Parameters
    ----------
    model : str
        Name as timm knows it, such as ``"resnet50.a1_in1k"`` or ``"hf-hub:ID"``.
    device : str
        A torch device; ``"auto"`` takes a GPU if there is one.
    precision : {"auto", "fp32", "bf16", "fp16"}
        ``"auto"`` is bf16 on a GPU, else fp32.
    weights : str
        File to take the weights from, rather than from timm's own sources:
        ``.safetensors``, or a ``.pth`` of tensors alone. See `weights.locate`.
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
        self,
        model: str,
        *,
        device: str = "auto",
        precision: str = "auto",
        weights: str = "",
        pretrained: bool = True,
    ) -> None:
        timm = import_extra("timm", "timm")
        network = timm_network(model, pretrained=pretrained and not weights)
        config = timm.data.resolve_model_data_config(network)
        name = f"timm:{model}"
        if weights:
            name += f"@{weights}"
            path = locate(weights)
            put_in(network, _headless(read_weights(path), network), name, path)
        super().__init__(
            name,
            network,
            _preparation(config, name),
            dim=int(network.num_features),
            device=device,
            precision=precision,
        )


def timm_network(model: str, *, pretrained: bool, **arguments: Any) -> Any:
    """Make a network of timm without its classifier.

    Raises
    ------
    FeatureError
        If timm has no such model, or its weights cannot be had.
    """
    timm = import_extra("timm", "timm")
    if not model.startswith("hf-hub:") and not timm.is_model(model.split(".")[0]):
        raise FeatureError(
            f"timm has no model {model!r}; list them with: "
            "python -c 'import timm; print(*timm.list_pretrained(), sep=chr(10))'"
        )
    with explained(lambda reason: _how_to_get(model, reason)):
        return timm.create_model(
            model, pretrained=pretrained, num_classes=0, **arguments
        )


def _how_to_get(model: str, reason: str) -> str:
    return (
        f"the weights of timm:{model} cannot be had ({reason}); connect to the network "
        "once, or copy them to this machine's Hugging Face cache (HF_HOME), or name a "
        f"file of them, timm:{model}@FILE, or use the encoder texture, which needs none"
    )


def _preparation(config: dict[str, Any], name: str) -> Preparation:
    _, height, width = config["input_size"]
    if height != width:
        raise FeatureError(
            f"{name} sees {height} x {width} pixels; only models of squares are of use"
        )
    return Preparation(
        (tuple(config["mean"]), tuple(config["std"])),
        height,
        "bilinear" if config["interpolation"] == "bilinear" else "bicubic",
    )


def _headless(state: dict[str, torch.Tensor], network: Any) -> dict[str, torch.Tensor]:
    """Leave out the classifier, which the network has been made without."""
    named = network.pretrained_cfg.get("classifier") or ()
    heads = (named,) if isinstance(named, str) else tuple(named)
    prefixes = tuple(f"{head}." for head in heads)
    return {k: v for k, v in state.items() if not k.startswith(prefixes)}
