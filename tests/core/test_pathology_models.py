from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoder_checks import batch_distance, real, stained

from weno.errors import FeatureError
from weno.features import MODELS, PathologyEncoder, find_model, get_encoder
from weno.features.encoders.neural import NeuralEncoder
from weno.features.encoders.weights import put_in

pytest.importorskip("timm")
import huggingface_hub
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms

from weno.features.encoders.pathology import build
from weno.features.encoders.towers import TOWERS

BUILT = [
    model
    for model in MODELS.values()
    if model.library == "timm" and not model.architecture.startswith("hf-hub:")
]

#: Millions of parameters as their authors or others who run them tell.
PARAMETERS = {
    "uni": 303.4,
    "uni2-h": 681.4,
    "virchow": 631.2,
    "virchow2": 631.2,
    "gigapath": 1135,
    "h-optimus-0": 1135,
    "ctranspath": 27.5,
    "lunit-s8": 21.7,
}
#: One block instead of many: the same in all else.
SMALL = replace(
    MODELS["lunit-s16"],
    arguments={**MODELS["lunit-s16"].arguments, "depth": 1},
)
SMALL_POOLED = replace(SMALL, pooling="class+mean", dim=768)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights are looked for; there is no network."""
    monkeypatch.setenv("WENO_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache")
    )
    return tmp_path


def saved(path: Path, network: torch.nn.Module) -> torch.nn.Module:
    save_file(network.state_dict(), path)
    return network.eval()


@pytest.mark.parametrize("model", BUILT, ids=lambda model: model.name)
def test_a_network_gives_as_many_features_as_the_table_says(model) -> None:
    with torch.device("meta"):  # shapes alone: some have a billion weights
        network = build(model).eval()
        side = model.preparation.side
        features = network(torch.zeros(2, 3, side, side))
    assert features.shape == (2, model.dim)
    if model.name in PARAMETERS:
        millions = sum(weights.numel() for weights in network.parameters()) / 1e6
        assert millions == pytest.approx(PARAMETERS[model.name], rel=2e-3)


def test_names_are_each_of_one_model() -> None:
    names = [name for model in MODELS.values() for name in (model.name, *model.aliases)]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)
    assert find_model("UNI_v2") is MODELS["uni2-h"]
    assert find_model("resnet50") is None


@pytest.mark.parametrize("model", BUILT, ids=lambda model: model.name)
def test_real_tiles_are_prepared_as_the_card_says(test_data: Path, model) -> None:
    wanted = model.preparation
    mean, std = wanted.normalisation
    mode = transforms.InterpolationMode(wanted.interpolation)
    card = transforms.Compose(
        [
            transforms.Resize(wanted.resize, mode),
            transforms.CenterCrop(wanted.side),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    encoder = NeuralEncoder("any", torch.nn.Identity(), wanted, dim=1)
    tiles = real(test_data, model.tile_px)
    found = encoder.prepared(torch.from_numpy(tiles))
    off = found - torch.stack([card(Image.fromarray(tile)) for tile in tiles])
    off = off.abs() * torch.tensor(std).view(3, 1, 1) * 255
    assert off.max() < 6
    assert off.mean() < 0.5


@pytest.mark.parametrize("model", [SMALL, SMALL_POOLED], ids=["class", "class+mean"])
def test_weights_of_a_short_name_are_found_in_the_folder(model, folder: Path) -> None:
    network = build(model)
    trunk = getattr(network, "trunk", network)
    saved(folder / "lunit-s16.safetensors", trunk)
    encoder = PathologyEncoder(model, device="cpu")
    assert encoder.name == "lunit-s16"
    prepared = encoder.prepared(torch.from_numpy(stained(224)))
    tokens = trunk.eval().forward_features(prepared)
    parts = [tokens[:, 0]]
    if model.pooling == "class+mean":
        parts.append(tokens[:, 1:].mean(dim=1))
    wanted = torch.cat(parts, dim=1).detach().numpy()
    np.testing.assert_array_equal(encoder.encode(stained(224)), wanted)
    named = PathologyEncoder(model, weights="lunit-s16.safetensors", device="cpu")
    assert named.name == "lunit-s16@lunit-s16.safetensors"
    np.testing.assert_array_equal(named.encode(stained(224)), wanted)


def test_weights_of_another_depth_are_refused(folder: Path) -> None:
    saved(folder / "lunit-s16.safetensors", build(SMALL))
    told = r"lunit-s16\.safetensors does not hold .* of lunit-s16: \d+ are missing"
    with pytest.raises(FeatureError, match=told):
        get_encoder("lunit-s16", device="cpu")


def as_published(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights by the names in CTransPath's file: a stage halves at its end."""
    state = network.state_dict()
    for stage in (1, 2, 3):
        for key in [key for key in state if f"layers.{stage}.downsample" in key]:
            before = key.replace(f"layers.{stage}.", f"layers.{stage - 1}.")
            state[before] = state.pop(key)
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    return state


def test_the_published_file_of_ctranspath_is_read(folder: Path) -> None:
    network = TOWERS["ctranspath"].make().eval()
    torch.save({"model": as_published(network)}, folder / "ctranspath.pth")
    encoder = get_encoder("ctranspath", device="cpu")
    tiles = stained(224, 3)
    with torch.inference_mode():
        wanted = network(encoder.prepared(torch.from_numpy(tiles))).numpy()
    np.testing.assert_array_equal(encoder.encode(tiles), wanted)
    assert batch_distance(encoder, tiles) <= 1e-5


@pytest.mark.parametrize("name", ["conch", "conch-v1.5"])
def test_the_image_tower_is_taken_from_a_file_of_conch(name: str) -> None:
    with torch.device("meta"):
        network = TOWERS[name].make()
        state = dict(network.state_dict())
        if name == "conch":
            state = {f"visual.{key}": value for key, value in state.items()}
            state |= {"text.cls_emb": torch.zeros(1), "logit_scale": torch.zeros(1)}
            state |= {"visual.proj_contrast": torch.zeros(512, 512)}
        else:
            state["trunk.pos_embed"] = torch.zeros(1, 197, 1024)
    adapted = TOWERS[name].adapt(state, network)
    put_in(network, adapted, name, Path("conch.bin"))
    assert adapted["trunk.pos_embed"].shape[1] == 785


@pytest.mark.parametrize("name", ["uni2-h", "virchow", "conch-v1.5", "gigapath"])
def test_a_gated_model_says_how_to_get_it(name: str, folder: Path) -> None:
    with pytest.raises(FeatureError) as raised:
        get_encoder(name, device="cpu")
    told, model = str(raised.value), MODELS[name]
    assert f"the weights of {name} cannot be had: they are not on this machine" in told
    assert f"1. accept the terms on https://huggingface.co/{model.source};" in told
    assert "2. run `hf auth login`, or set HF_TOKEN" in told
    assert f"3. run `hf download {model.source}`" in told
    assert "HF_HOME" in told
    suffix = Path(model.file).suffix
    assert f"{model.file} alone, named {name}{suffix}, into a folder, and set" in told


def test_terms_not_accepted_are_told_from_no_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class GatedRepoError(OSError):
        """Named as the hub's own, which wants an answer of a server."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise GatedRepoError("403")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(FeatureError, match="terms have not been accepted"):
        get_encoder("uni", device="cpu")


def test_a_model_that_no_hub_has_says_where_it_is(folder: Path) -> None:
    told = r"1\. download them as https://github.com/Xiyue-Wang/TransPath says; 2\. put"
    with pytest.raises(FeatureError, match=told):
        get_encoder("ctranspath", device="cpu")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("uni_v2", "uni2-h"), ("hoptimus1", "h-optimus-1"), ("virchov2", "virchow2")],
)
def test_a_name_that_is_nearly_one_is_put_right(name: str, meant: str) -> None:
    with pytest.raises(FeatureError, match=f"unknown encoder '{name}': did.*{meant}"):
        get_encoder(name)
