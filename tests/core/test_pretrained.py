from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from encoder_checks import batch_distance, distance, noise, real, stained

from weno.errors import FeatureError, OutOfMemory
from weno.features import TimmEncoder, get_encoder

pytest.importorskip("timm")
import timm
import torch
from PIL import Image
from safetensors.torch import save_file


def network(name: str = "test_resnet", **arguments: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, **arguments).eval()


def random_encoder(name: str = "test_resnet", precision: str = "fp32") -> TimmEncoder:
    torch.manual_seed(0)
    return TimmEncoder(name, device="cpu", precision=precision, pretrained=False)


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    return random_encoder()


@pytest.mark.parametrize("side", [64, 160, 300])
def test_tiles_of_any_size_give_one_row_each(encoder: TimmEncoder, side: int) -> None:
    features = encoder.encode(noise(side))
    assert features.shape == (5, encoder.dim)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert not np.allclose(features[0], features[1])


def test_an_encoder_says_what_it_is(encoder: TimmEncoder) -> None:
    assert (encoder.name, encoder.dim) == ("timm:test_resnet", 96)
    assert (encoder.device, encoder.precision) == ("cpu", "fp32")


def test_the_same_tiles_give_the_same_features(encoder: TimmEncoder) -> None:
    np.testing.assert_array_equal(
        encoder.encode(noise(160)), random_encoder().encode(noise(160))
    )


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-2), ("fp16", 1e-2)]
)
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "vit_small_patch16_224"])
def test_the_batch_does_not_matter(name: str, precision: str, tolerance: float) -> None:
    encoder = random_encoder(name, precision)
    assert batch_distance(encoder, stained()) <= tolerance


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_less_precision_gives_nearly_the_same_features(precision: str) -> None:
    wanted = random_encoder("test_vit").encode(stained())
    found = random_encoder("test_vit", precision).encode(stained())
    assert 1e-5 < distance(found, wanted) < 2e-2


def test_rounding_weights_once_is_rounding_them_for_each_batch() -> None:
    encoder = random_encoder("test_vit", "bf16")
    plain = network("test_vit", num_classes=0)
    prepared = encoder.prepared(torch.from_numpy(stained(160)))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        wanted = plain(prepared).float().numpy()
    np.testing.assert_array_equal(encoder.encode(stained(160)), wanted)


def test_tiles_are_normalised_as_the_model_was_trained(encoder: TimmEncoder) -> None:
    plain = network(num_classes=0)
    config = timm.data.resolve_model_data_config(plain)
    side = config["input_size"][1]
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = torch.from_numpy(noise(side)).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        wanted = plain((pixels - mean) / std).numpy()
    assert distance(encoder.encode(noise(side)), wanted) < 1e-5


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "resnet18.a1_in1k"])
def test_real_tiles_are_prepared_as_timm_does(test_data: Path, name: str) -> None:
    encoder = random_encoder(name)
    config = timm.data.resolve_model_data_config(network(name))
    transform = timm.data.create_transform(**{**config, "crop_pct": 1.0})
    tiles = real(test_data)
    wanted = torch.stack([transform(Image.fromarray(tile)) for tile in tiles])
    found = encoder.prepared(torch.from_numpy(tiles))
    # Pillow rounds to bytes between the steps, which are steps of 1 / 255 here.
    off = (found - wanted).abs() * torch.tensor(config["std"]).view(3, 1, 1) * 255
    assert off.max() < 4
    assert off.mean() < 0.5


def test_features_come_when_they_are_asked_for(encoder: TimmEncoder) -> None:
    tiles = noise(160)
    finishing = encoder.start(tiles)
    wanted = encoder.encode(tiles)
    tiles[:] = 0
    np.testing.assert_array_equal(finishing(), wanted)


@pytest.mark.parametrize("wrong", [noise(64)[0], noise(64).astype(float)])
def test_what_is_no_tile_is_refused(encoder: TimmEncoder, wrong: np.ndarray) -> None:
    with pytest.raises(FeatureError, match=r"tiles must be uint8 of shape \(N, H"):
        encoder.encode(wrong)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(FeatureError, match=r"no model 'resnet999'.*list_pretrained"):
        TimmEncoder("resnet999")


def test_weights_that_cannot_be_had_are_an_error_that_helps() -> None:
    # This model has no published weights, so that no network is asked for them.
    with pytest.raises(FeatureError, match=r"weights of timm:densenet264d.*@FILE"):
        TimmEncoder("densenet264d", device="cpu")


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(FeatureError, match=f"no device '{device}'"):
        TimmEncoder("test_resnet", device=device, pretrained=False)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(FeatureError, match=r"no precision 'fp8'.*auto, fp32, bf16"):
        random_encoder(precision="fp8")


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_come_from_a_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = network()  # with its classifier, as files have it
    path = tmp_path / f"own.{suffix}"
    save = save_file if suffix == "safetensors" else torch.save
    save(plain.state_dict(), path)
    plain.reset_classifier(0)
    pixels = random_encoder().prepared(torch.from_numpy(noise(160)))
    with torch.inference_mode():
        wanted = plain(pixels).numpy()
    found = get_encoder(f"timm:test_resnet@{path}", device="cpu")
    assert found.name == f"timm:test_resnet@{path}"
    np.testing.assert_array_equal(found.encode(noise(160)), wanted)
    monkeypatch.setenv("WENO_WEIGHTS", str(tmp_path))
    found = get_encoder(f"timm:test_resnet@own.{suffix}", device="cpu")
    np.testing.assert_array_equal(found.encode(noise(160)), wanted)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vit.safetensors"
    save_file(network("test_vit").state_dict(), path)
    with pytest.raises(FeatureError) as raised:
        TimmEncoder("test_resnet", weights=str(path), device="cpu")
    told = str(raised.value)
    assert f"{path} does not hold the weights of timm:test_resnet@{path}" in told
    assert "are missing (conv1.0.weight, " in told
    assert "are not of this model (blocks.0.attn.proj.bias, " in told


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.safetensors"
    save_file(network("test_vit", embed_dim=32, num_heads=2).state_dict(), path)
    told = r"of another shape \(cls_token \(1, 1, 32\) instead of \(1, 1, 64\)"
    with pytest.raises(FeatureError, match=told):
        TimmEncoder("test_vit", weights=str(path), device="cpu")


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('it ran')",))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"weight": Malicious()}))
    with pytest.raises(FeatureError, match=r"evil\.pth is no file of weights alone"):
        TimmEncoder("test_resnet", weights=str(path), device="cpu")


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pth", "text.bin"])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save = save_file if path.suffix == ".safetensors" else torch.save
    save(network().state_dict(), path)
    path.write_bytes(b"weights" if name[0] == "t" else path.read_bytes()[:5000])
    with pytest.raises(FeatureError, match=rf"{name} is no file of weights"):
        TimmEncoder("test_resnet", weights=str(path), device="cpu")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"there are no weights at .*none\.pth"):
        get_encoder(f"timm:test_resnet@{tmp_path / 'none.pth'}")


def test_features_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    state = network().state_dict()
    state["conv1.0.weight"][:] = torch.nan
    path = tmp_path / "nan.safetensors"
    save_file(state, path)
    encoder = TimmEncoder("test_resnet", weights=str(path), device="cpu")
    with pytest.raises(FeatureError, match=r"not finite for 5 of 5 tiles.*damaged"):
        encoder.encode(noise(160))


def test_features_too_large_for_the_precision_are_refused(tmp_path: Path) -> None:
    state = network("test_vit").state_dict()
    state["blocks.0.mlp.fc2.weight"] *= 1e6
    path = tmp_path / "large.safetensors"
    save_file(state, path)
    options = {"weights": str(path), "device": "cpu"}
    assert TimmEncoder("test_vit", **options).encode(noise(160)).any()
    encoder = TimmEncoder("test_vit", precision="fp16", **options)
    with pytest.raises(FeatureError, match=r"not finite.*fp16 is too small.*fp32"):
        encoder.encode(noise(160))


def test_a_batch_too_large_for_the_device_leaves_the_encoder_usable(
    encoder: TimmEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = torch.nn.functional.interpolate

    def scarce(pixels: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return enough(pixels, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "interpolate", scarce)
    with pytest.raises(OutOfMemory, match=r"a batch of 5 tiles.*fewer tiles") as raised:
        encoder.encode(noise(64))
    # An error that is kept keeps its frames, and they the tensors that fill the device.
    assert raised.value.__context__ is None
    assert encoder.encode(noise(64, count=2)).shape == (2, encoder.dim)
