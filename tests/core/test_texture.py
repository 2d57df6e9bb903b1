from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from weno.errors import FeatureError
from weno.features import TextureEncoder, get_encoder
from weno.features.encoders.texture import BLOCKS
from weno.slides import open_slide

SIDES = (16, 17, 27, 50, 64, 101, 128)


def noisy_tiles(count: int = 37, side: int = 64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, side // 8 + 1, side // 8 + 1, 3))
    smooth = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :side, :side]
    noise = rng.integers(-20, 21, smooth.shape)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def block(features: np.ndarray, name: str) -> np.ndarray:
    ends = dict(zip(BLOCKS, np.cumsum(list(BLOCKS.values())), strict=True))
    return features[:, ends[name] - BLOCKS[name] : ends[name]]


def nuclei_tiles(count: int, radius: int, spots: int, seed: int) -> np.ndarray:
    """Pink tiles with round blue nuclei that cover the same area at any radius."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    tiles = np.empty((count, 128, 128, 3))
    tiles[:] = (225, 170, 205)
    for tile in tiles:
        for cy, cx in rng.uniform(radius, 128 - radius, (spots, 2)):
            tile[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = (110, 70, 150)
    noise = rng.normal(0, 6, tiles.shape)
    return np.clip(tiles + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("batch", [1, 3, 16, 20])
def test_features_do_not_depend_on_the_batch(batch: int) -> None:
    tiles = noisy_tiles()
    whole = TextureEncoder().encode(tiles)
    parts = [
        TextureEncoder().encode(tiles[k : k + batch])
        for k in range(0, len(tiles), batch)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_features_do_not_depend_on_the_neighbours_in_the_batch() -> None:
    tiles = noisy_tiles()
    order = np.random.default_rng(1).permutation(len(tiles))
    np.testing.assert_array_equal(
        TextureEncoder().encode(tiles[order]), TextureEncoder().encode(tiles)[order]
    )


def test_features_do_not_depend_on_the_number_of_threads() -> None:
    code = (
        "import hashlib, numpy as np\n"
        "from weno.features import TextureEncoder\n"
        "rng = np.random.default_rng(0)\n"
        "tiles = rng.integers(0, 256, (5, 256, 256, 3), dtype=np.uint8)\n"
        "data = TextureEncoder().encode(tiles).tobytes()\n"
        "print(hashlib.sha256(data).hexdigest())\n"
    )
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (5, 256, 256, 3), dtype=np.uint8)
    here = hashlib.sha256(TextureEncoder().encode(tiles).tobytes()).hexdigest()
    for threads in ("1", "2"):
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**limits, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("byte", [0, 1, 128, 243, 255])
def test_constant_tiles_are_finite(side: int, byte: int) -> None:
    tiles = np.full((2, side, side, 3), byte, np.uint8)
    features = TextureEncoder().encode(tiles)
    assert features.shape == (2, TextureEncoder.dim)
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 20


@pytest.mark.parametrize("side", SIDES)
def test_any_size_of_tile_is_encoded(side: int) -> None:
    features = TextureEncoder().encode(noisy_tiles(20, side))
    assert np.isfinite(features).all()
    # Tiles differ, so must what is said of them.
    assert (features.std(axis=0) > 0).mean() > 0.8


def test_tiles_need_not_be_square() -> None:
    features = TextureEncoder().encode(noisy_tiles(2, 128)[:, :40])
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    "turn",
    [
        pytest.param(lambda tiles: tiles[:, ::-1], id="upside down"),
        pytest.param(lambda tiles: tiles[:, :, ::-1], id="mirrored"),
        pytest.param(lambda tiles: tiles.transpose(0, 2, 1, 3), id="transposed"),
    ],
)
def test_turned_tiles_have_the_same_features(
    turn: Callable[[np.ndarray], np.ndarray],
) -> None:
    tiles = noisy_tiles(64, 128)
    features = TextureEncoder().encode(tiles)
    turned = TextureEncoder().encode(turn(tiles))
    change = np.abs(turned - features).mean(axis=0)
    assert (change <= 0.02 * features.std(axis=0) + 1e-5).all()


def test_the_size_of_nuclei_shows_in_the_nuclei_block() -> None:
    small = TextureEncoder().encode(nuclei_tiles(8, radius=5, spots=36, seed=0))
    large = TextureEncoder().encode(nuclei_tiles(8, radius=10, spots=9, seed=1))
    small, large = block(small, "nuclei"), block(large, "nuclei")
    assert (large[:, 3] > small[:, 3]).all()  # log area
    assert (large[:, 1] < small[:, 1]).all()  # number
    # About the same share of the tile is nucleus.
    assert abs(large[:, 0].mean() - small[:, 0].mean()) < 0.05


def test_a_tile_without_nuclei_has_no_nuclei() -> None:
    blank = np.full((1, 128, 128, 3), 245, np.uint8)
    assert block(TextureEncoder().encode(blank), "nuclei")[0, 0] == 0


@pytest.mark.parametrize(
    "tiles",
    [
        pytest.param(np.zeros((2, 64, 64, 4), np.uint8), id="alpha"),
        pytest.param(np.zeros((64, 64, 3), np.uint8), id="one tile"),
        pytest.param(np.zeros((2, 64, 64, 3), np.float32), id="float"),
        pytest.param(np.zeros((2, 15, 64, 3), np.uint8), id="too small"),
    ],
)
def test_what_is_no_batch_of_tiles_is_refused(tiles: np.ndarray) -> None:
    with pytest.raises(FeatureError, match="tiles must be uint8"):
        TextureEncoder().encode(tiles)


def test_an_empty_batch_gives_no_features() -> None:
    empty = np.empty((0, 64, 64, 3), np.uint8)
    assert TextureEncoder().encode(empty).shape == (0, TextureEncoder.dim)


def test_the_encoder_is_found_by_name() -> None:
    encoder = get_encoder("texture")
    assert (encoder.name, encoder.dim) == ("texture", 195)


@pytest.mark.parametrize("name", ["textur", "timm:", "hf:", "", "uni:x"])
def test_an_unknown_encoder_is_refused(name: str) -> None:
    with pytest.raises(FeatureError, match="unknown encoder"):
        get_encoder(name)


def test_glands_can_be_told_from_stroma(test_data: Path) -> None:
    """The bars are those of the built-in encoder; 45 simple numbers reach .835."""
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = test_data / "gland_cohort"
    slide_of, truth, features = [], [], []
    with (folder / "tiles.csv").open() as file:
        rows = list(csv.DictReader(file))
    for slide_id in sorted({row["slide_id"] for row in rows}):
        with open_slide(folder / f"{slide_id}.tif") as slide:
            cells = [row for row in rows if row["slide_id"] == slide_id]
            tiles = [
                slide.read(0, int(c["y"]), int(c["x"]), int(c["size"]), int(c["size"]))
                for c in cells
            ]
        features.append(TextureEncoder().encode(np.stack(tiles)))
        slide_of += [slide_id] * len(cells)
        truth += [int(cell["positive"]) for cell in cells]
    x, y, slides = np.concatenate(features), np.array(truth), np.array(slide_of)
    value = np.empty(len(y))
    for slide_id in np.unique(slides):
        out = slides == slide_id
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
        value[out] = probe.fit(x[~out], y[~out]).decision_function(x[out])
    inside = [
        roc_auc_score(y[slides == slide_id], value[slides == slide_id])
        for slide_id in np.unique(slides[y == 1])
    ]
    assert roc_auc_score(y, value) >= 0.90
    assert np.mean(inside) >= 0.95
