"""Encoders of the table of pathology models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weno.errors import FeatureError, import_extra
from weno.features.encoders.hub import hf_network, hf_preparation
from weno.features.encoders.neural import NeuralEncoder
from weno.features.encoders.pretrained import timm_network
from weno.features.encoders.weights import (
    explained,
    how_to_get,
    local_copy,
    locate,
    put_in,
    read_weights,
)

if TYPE_CHECKING:
    from weno.features.encoders.models import PathologyModel, Preparation


class PathologyEncoder(NeuralEncoder):
    """Encode tiles by a published pathology model.

    Parameters
    ----------
    model : PathologyModel
        A row of `weno.features.encoders.model_table`.
    device : str
        A torch device; ``"auto"`` takes a GPU if there is one.
    precision : {"auto", "fp32", "bf16", "fp16"}
        ``"auto"`` is the model's own on a GPU, else fp32.
    weights : str
        File to take the weights from; for a model of transformers, a folder. If not
        given, what has the model's name in the folder that ``WENO_WEIGHTS`` names,
        else the hub's, of which a copy stays in its cache on this machine.

    Raises
    ------
    MissingExtra
        If the library that runs it is not installed.
    FeatureError
        If the weights cannot be had, and how they can; or if they do not fit.
    """

    def __init__(
        self,
        model: PathologyModel,
        *,
        device: str = "auto",
        precision: str = "auto",
        weights: str = "",
    ) -> None:
        path = locate(weights) if weights else local_copy(model)
        load = _by_transformers if model.library == "hf" else _by_timm
        with explained(partial(how_to_get, model)):
            network, preparation = load(model, path)
        super().__init__(
            f"{model.name}@{weights}" if weights else model.name,
            network,
            preparation,
            dim=model.dim,
            device=device,
            precision=precision,
            preferred=model.precision,
        )


def build(model: PathologyModel) -> Any:
    """Build the network of a model that timm runs, with random weights.

    Only where the hub alone says how it is built, the hub is asked.
    """
    import_extra("timm", "timm")
    from timm.layers import SwiGLUPacked
    from torch.nn import SiLU

    from weno.features.encoders.pooling import TokenPool
    from weno.features.encoders.towers import TOWERS

    if model.architecture in TOWERS:
        return TOWERS[model.architecture].make()
    gated = {"mlp_layer": SwiGLUPacked, "act_layer": SiLU} if model.swiglu else {}
    network = timm_network(
        model.architecture,
        pretrained=model.architecture.startswith("hf-hub:"),
        **model.arguments,
        **gated,
    )
    return TokenPool(network) if model.pooling == "class+mean" else network


def _by_timm(model: PathologyModel, path: Path | None) -> tuple[Any, Preparation]:
    import_extra("timm", "timm")
    if path is None and not model.architecture.startswith("hf-hub:"):
        path = _downloaded(model)
    network = build(model)
    if path:
        from weno.features.encoders.pooling import TokenPool
        from weno.features.encoders.towers import TOWERS

        state = read_weights(path)
        if model.architecture in TOWERS:
            state = TOWERS[model.architecture].adapt(state, network)
        bare = network.trunk if isinstance(network, TokenPool) else network
        put_in(bare, state, model.name, path)
    assert model.preparation is not None, "timm's models have one in the table"
    return network, model.preparation


def _downloaded(model: PathologyModel) -> Path:
    if not model.file:
        raise FeatureError(how_to_get(model, "no hub has them"))
    hub = import_extra("huggingface_hub", model.library)
    return Path(hub.hf_hub_download(model.source, model.file))


def _by_transformers(
    model: PathologyModel, path: Path | None
) -> tuple[Any, Preparation]:
    source = str(path or model.source)
    network = hf_network(source, model.architecture, model.pooling, **model.arguments)
    if network.dim() != model.dim:
        raise FeatureError(
            f"{source} is not {model.name}: it has {network.dim()} features instead of "
            f"{model.dim}"
        )
    return network, model.preparation or hf_preparation(source)
