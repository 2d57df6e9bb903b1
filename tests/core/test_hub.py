from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from encoder_checks import batch_distance, distance, noise, real, stained

from weno.errors import FeatureError
from weno.features import MODELS, PathologyEncoder, get_encoder

pytest.importorskip("transformers")
import torch
import transformers
from PIL import Image

#: The architectures of Phikon, of Phikon-v2 and Midnight, and of Hibou, but tiny.
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
KINDS = {"vit": "ViT", "dinov2": "Dinov2", "hibou": "Dinov2WithRegisters"}


def made(kind: str, **settings: object) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{KINDS[kind]}Config")
    model = getattr(transformers, f"{KINDS[kind]}Model")
    return model(config(**{"image_size": 224, **TINY, **settings})).eval()


def processor(**settings: object) -> transformers.BaseImageProcessor:
    return transformers.BitImageProcessor(
        **{
            "size": {"shortest_edge": 256},
            "crop_size": {"height": 224, "width": 224},
            "image_mean": [0.7, 0.5, 0.7],
            "image_std": [0.2, 0.25, 0.2],
            **settings,
        }
    )


def folder_of(path: Path, kind: str, **settings: object) -> Path:
    made(kind, **settings).save_pretrained(path)
    processor().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("hub") / "dinov2", "dinov2")


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_an_encoder_of_class_tokens(tmp_path: Path, kind: str) -> None:
    path = folder_of(tmp_path / kind, kind)
    encoder = get_encoder(f"hf:{path}", device="cpu")
    assert (encoder.name, encoder.dim) == (f"hf:{path}", 32)
    images = [Image.fromarray(tile) for tile in stained()]
    pixels = processor()(images=images, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        tokens = made(kind)(pixel_values=pixels).last_hidden_state
    # Of 256 pixels the middle is cut out: the processor's bytes are ours.
    assert distance(encoder.encode(stained()), tokens[:, 0].numpy()) < 1e-5


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-2)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_does_not_matter(
    tmp_path: Path, kind: str, precision: str, tolerance: float
) -> None:
    path = folder_of(tmp_path / kind, kind)
    encoder = get_encoder(f"hf:{path}", device="cpu", precision=precision)
    assert batch_distance(encoder, stained()) <= tolerance
    np.testing.assert_array_equal(encoder.encode(noise(64)), encoder.encode(noise(64)))


@pytest.mark.parametrize("side", [224, 300])
def test_real_tiles_are_prepared_as_the_processor_does(
    test_data: Path, folder: Path, side: int
) -> None:
    encoder = get_encoder(f"hf:{folder}", device="cpu")
    tiles = real(test_data, side)
    images = [Image.fromarray(tile) for tile in tiles]
    wanted = processor()(images=images, return_tensors="pt")["pixel_values"]
    found = encoder.prepared(torch.from_numpy(tiles))
    off = (found - wanted).abs() * 0.25 * 255
    assert off.max() < 4
    assert off.mean() < 0.5


def test_a_model_of_images_and_text_gives_the_embedding_of_the_image(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    part = {**TINY, "intermediate_size": 32}
    config = transformers.CLIPConfig(
        text_config=part, vision_config=part, projection_dim=24
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    encoder = get_encoder(f"hf:{tmp_path}", device="cpu")
    assert encoder.encode(stained()).shape == (5, 24)


def test_a_model_without_class_token_gives_what_it_pools(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1]
    )
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    encoder = get_encoder(f"hf:{tmp_path}", device="cpu")
    assert encoder.encode(stained()).shape == (5, 32)


@pytest.mark.parametrize(
    ("name", "kind", "dim"),
    [
        ("phikon", "vit", 32),
        ("phikon-v2", "dinov2", 32),
        ("midnight-12k", "dinov2", 64),
        ("hibou-b", "hibou", 32),
    ],
)
def test_a_short_name_takes_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, dim: int
) -> None:
    monkeypatch.setenv("WENO_WEIGHTS", str(tmp_path))
    folder_of(tmp_path / name, kind)
    model = replace(MODELS[name], dim=dim)
    encoder = PathologyEncoder(model, device="cpu")
    assert encoder.name == name
    features = encoder.encode(stained())
    assert features.shape == (5, dim)
    pixels = encoder.prepared(torch.from_numpy(stained()))
    with torch.inference_mode():
        tokens = made(kind)(pixel_values=pixels).last_hidden_state.numpy()
    assert distance(features[:, :32], tokens[:, 0]) < 1e-5
    if dim == 64:
        assert distance(features[:, 32:], tokens[:, 1:].mean(axis=1)) < 1e-5


def test_a_folder_of_another_model_is_refused(folder: Path) -> None:
    told = "is not phikon-v2: it has 32 features instead of 1024"
    with pytest.raises(FeatureError, match=told):
        get_encoder(f"phikon-v2@{folder}", device="cpu")


def test_weights_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "short", "dinov2")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = 3
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(FeatureError, match=r"lacks \d+ of the weights .*layer\.2\."):
        get_encoder(f"hf:{path}", device="cpu")


@pytest.mark.parametrize(
    "settings",
    [{"do_normalize": False}, {"rescale_factor": 1.0}, {"resample": 0}],
    ids=lambda settings: next(iter(settings)),
)
def test_a_processor_that_does_something_else_is_refused(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    path = folder_of(tmp_path / "own", "dinov2")
    processor(**settings).save_pretrained(path)
    with pytest.raises(FeatureError, match=r"image processor of .* cannot do"):
        get_encoder(f"hf:{path}", device="cpu")


def test_a_folder_without_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="holds no model of images"):
        get_encoder(f"hf:{tmp_path}", device="cpu")


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "own", "dinov2")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "own", "auto_map": {"AutoModel": "own.Own"}}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "own.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
    with pytest.raises(FeatureError, match="holds no model of images"):
        get_encoder(f"hf:{path}", device="cpu")


def test_a_model_that_cannot_be_had_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FeatureError) as raised:
        get_encoder("hf:nobody/nothing", device="cpu")
    told = str(raised.value)
    assert "hf:nobody/nothing cannot be had" in told
    assert "https://huggingface.co/nobody/nothing" in told
    assert "run `hf download nobody/nothing`" in told
