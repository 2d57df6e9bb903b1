from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from weno.errors import FeatureError
from weno.features import (
    SlideFeatures,
    read_features,
    read_header,
    write_features,
)
from weno.tiles import TileSpec


@pytest.fixture
def features() -> SlideFeatures:
    rng = np.random.default_rng(0)
    return SlideFeatures(
        slide_id="a slide",
        features=rng.normal(size=(3, 5)).astype(np.float32),
        origins=np.array([[0, 400], [200, 0], [200, 200]]),
        encoder="texture",
        spec=TileSpec(tile_um=50.0, mpp=0.5, stride_um=40.0),
        mpp=(0.2, 0.25),
        slide_shape=(1000, 800),
        content_hash="abc",
    )


def test_what_is_written_is_read(tmp_path: Path, features: SlideFeatures) -> None:
    path = tmp_path / "new folder" / "a slide.h5"
    write_features(path, features)
    found = read_features(path)
    np.testing.assert_array_equal(found.features, features.features)
    np.testing.assert_array_equal(found.origins, features.origins)
    assert found.features.dtype == np.float32
    assert found.origins.dtype == np.int64
    for name in ("slide_id", "encoder", "spec", "mpp", "slide_shape", "content_hash"):
        assert getattr(found, name) == getattr(features, name)
    assert [p.name for p in path.parent.iterdir()] == ["a slide.h5"]


def test_others_find_tridents_layout(tmp_path: Path, features: SlideFeatures) -> None:
    path = tmp_path / "a.h5"
    write_features(path, features)
    with h5py.File(path) as file:
        coords = file["coords"]
        assert coords.dtype == np.int64
        assert coords[:].tolist() == [[400, 0], [0, 200], [200, 200]]  # (x, y)
        assert file["features"].dtype == np.float32
        assert file["features"].attrs["encoder"] == "texture"
        assert dict(coords.attrs) == {
            "patch_size": 100,
            "patch_size_level0": 200,
            "overlap": 20,
            "name": "a slide",
            "level0_width": 800,
            "level0_height": 1000,
            "level0_magnification": 40.0,
            "target_magnification": 20.0,
        }


def test_the_header_tells_without_the_features(
    tmp_path: Path, features: SlideFeatures
) -> None:
    write_features(tmp_path / "a.h5", features)
    header = read_header(tmp_path / "a.h5")
    assert header.shape == (3, 5)
    assert (header.encoder, header.spec) == ("texture", features.spec)
    assert (header.mpp, header.slide_shape) == ((0.2, 0.25), (1000, 800))


def test_the_grid_is_that_of_the_spec(features: SlideFeatures) -> None:
    grid = features.grid
    assert grid.tile_l0 == (250.0, 200.0)
    assert grid.cells.tolist() == [[0, 2], [1, 0], [1, 1]]


def test_a_slide_without_tissue_has_an_empty_file(
    tmp_path: Path, features: SlideFeatures
) -> None:
    empty = replace(
        features,
        features=np.empty((0, 5), np.float32),
        origins=np.empty((0, 2), np.int64),
    )
    write_features(tmp_path / "a.h5", empty)
    found = read_features(tmp_path / "a.h5")
    assert found.features.shape == (0, 5)
    assert found.origins.shape == (0, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_written(
    tmp_path: Path, features: SlideFeatures, value: float
) -> None:
    features.features[1, 2] = value
    with pytest.raises(FeatureError, match=r"a\.h5.*1 tiles have NaN.*first 1"):
        write_features(tmp_path / "a.h5", features)
    assert not list(tmp_path.iterdir())


def drop_coords(file: h5py.File) -> None:
    del file["coords"]


def drop_features(file: h5py.File) -> None:
    del file["features"]


def cut_coords(file: h5py.File) -> None:
    coords = file["coords"][:2]
    del file["coords"]
    file["coords"] = coords


def flatten_features(file: h5py.File) -> None:
    del file["features"]
    file["features"] = np.zeros(3, np.float32)


def spoil_features(file: h5py.File) -> None:
    file["features"][2, 0] = np.nan


def drop_spec(file: h5py.File) -> None:
    del file.attrs["spec"]


def spoil_spec(file: h5py.File) -> None:
    file.attrs["spec"] = '{"tile_px": 3}'


def age(file: h5py.File) -> None:
    file.attrs["weno_format"] = 0


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (drop_coords, "no dataset 'coords'"),
        (drop_features, "no dataset 'features'"),
        (cut_coords, r"\(3, 5\) do not fit coords of shape \(2, 2\)"),
        (flatten_features, r"features of shape \(3,\)"),
        (spoil_features, "1 tiles have NaN or infinite features, first 2"),
        (drop_spec, "attributes are wrong"),
        (spoil_spec, "unknown tile setting: tile_px"),
        (age, "weno_format is 0, this version reads 1"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path,
    features: SlideFeatures,
    damage: Callable[[h5py.File], None],
    reason: str,
) -> None:
    path = tmp_path / "damaged.h5"
    write_features(path, features)
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(FeatureError, match=rf"damaged\.h5: .*{reason}"):
        read_features(path)


@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_truncated_file_is_named(
    tmp_path: Path, features: SlideFeatures, size: int
) -> None:
    path = tmp_path / "cut.h5"
    write_features(path, features)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(FeatureError, match=r"cut\.h5: truncated or not HDF5"):
        read_features(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"none\.h5: there is no such"):
        read_header(tmp_path / "none.h5")
