from __future__ import annotations

import numpy as np
import pytest

from weno.errors import FeatureError
from weno.features import TimmEncoder

pytest.importorskip("timm")


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    return TimmEncoder("test_resnet", device="cpu", pretrained=False)


def tiles(side: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("side", [64, 160, 300])
def test_tiles_of_any_size_give_one_row_each(encoder: TimmEncoder, side: int) -> None:
    features = encoder.encode(tiles(side))
    assert features.shape == (5, encoder.dim)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert not np.allclose(features[0], features[1])


def test_name_and_width_are_the_models(encoder: TimmEncoder) -> None:
    assert encoder.name == "timm:test_resnet"
    assert encoder.dim == 96


def test_the_batch_does_not_matter(encoder: TimmEncoder) -> None:
    whole = encoder.encode(tiles(160))
    single = np.concatenate([encoder.encode(tile[None]) for tile in tiles(160)])
    np.testing.assert_allclose(single, whole, rtol=1e-3, atol=1e-5)


def test_tiles_are_normalised_as_the_model_was_trained(encoder: TimmEncoder) -> None:
    import timm
    import torch

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", pretrained=False, num_classes=0)
    torch.manual_seed(0)
    own = TimmEncoder("test_resnet", device="cpu", pretrained=False)
    config = timm.data.resolve_model_data_config(network)
    side = config["input_size"][1]
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = torch.tensor(tiles(side)).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        wanted = network.eval()((pixels - mean) / std).numpy()
    np.testing.assert_allclose(own.encode(tiles(side)), wanted, rtol=1e-4, atol=1e-5)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(FeatureError, match=r"no model 'resnet999'.*list_pretrained"):
        TimmEncoder("resnet999")


def test_weights_that_cannot_be_had_are_an_error_that_helps() -> None:
    # This model has no published weights, so that no network is asked for them.
    with pytest.raises(FeatureError, match=r"weights of timm:densenet264d.*texture"):
        TimmEncoder("densenet264d", device="cpu")
