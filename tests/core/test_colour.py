from __future__ import annotations

import io
import json
import struct
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from typer.testing import CliRunner

from weno.cli import app
from weno.errors import SlideError, WenoError
from weno.features import extract
from weno.features.store import read_features, read_header
from weno.project import Project
from weno.slides import open_slide, to_srgb
from weno.tiles import TileSpec, read_tiles, tile_grid

DICOM = "dicom/1.2.826.0.1.3680043.8.498.46702941076792458794464453066648511350.dcm"
SPEC = TileSpec(64, 0.5, min_tissue=0)


def swapped_gamma() -> bytes:
    """A profile whose red and blue primaries are swapped and whose gamma is 1.8."""
    profile = bytearray(
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    )
    places = {}
    for k in range(int.from_bytes(profile[128:132], "big")):
        at = 132 + 12 * k
        name, offset, size = struct.unpack(">4sII", profile[at : at + 12])
        places[name] = (at, offset, size)
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    profile[red[0] + 4 : red[0] + 12], profile[blue[0] + 4 : blue[0] + 12] = (
        profile[blue[0] + 4 : blue[0] + 12],
        profile[red[0] + 4 : red[0] + 12],
    )
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(1.8 * 256)) + b"\0\0"
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        at, offset, _ = places[name]
        profile[offset : offset + len(curve)] = curve
        profile[at + 8 : at + 12] = (14).to_bytes(4, "big")
    return bytes(profile)


def expected_srgb(pixels: np.ndarray) -> np.ndarray:
    """What the formulas of gamma and sRGB say, without a colour library."""
    light = (pixels[..., ::-1] / 255) ** (round(1.8 * 256) / 256)
    encoded = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    return encoded * 255


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (600, 700, 3), np.uint8)


def write_slide(path: Path, pixels: np.ndarray, profile: bytes | None) -> Path:
    tifffile.imwrite(
        path,
        pixels,
        photometric="rgb",
        tile=(128, 128),
        iccprofile=profile,
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
    )
    return path


def test_colours_are_those_of_the_formulas(pixels: np.ndarray) -> None:
    turned = to_srgb(swapped_gamma())(pixels)
    assert turned.dtype == np.uint8
    difference = np.abs(turned - expected_srgb(pixels))
    assert np.median(difference) < 1
    assert difference[pixels.min(axis=-1) > 20].max() < 2
    assert np.abs(turned.astype(int) - pixels).mean() > 20
    white = np.full((2, 2, 3), 255, np.uint8)
    assert (to_srgb(swapped_gamma())(white) == 255).all()


def test_any_number_of_pixels_in_any_number_of_threads(pixels: np.ndarray) -> None:
    turn = to_srgb(swapped_gamma())
    whole = turn(pixels)
    tiles = pixels.reshape(6, 100, 700, 3)
    np.testing.assert_array_equal(turn(tiles), whole.reshape(tiles.shape))
    assert turn(tiles[:0]).shape == (0, 100, 700, 3)
    before = pixels.copy()
    with ThreadPoolExecutor(8) as pool:
        for again in pool.map(turn, [pixels[k % 50 :] for k in range(40)]):
            np.testing.assert_array_equal(again, whole[-len(again) :])
    np.testing.assert_array_equal(pixels, before)


def test_srgb_itself_changes_nothing(pixels: np.ndarray, test_data: Path) -> None:
    for name in ("boxes.tiff", DICOM):
        with open_slide(test_data / "slides" / name) as slide:
            assert slide.icc_profile is not None
            assert slide.to_srgb is not None
            assert slide.to_srgb(pixels) is pixels
    with open_slide(test_data / "slides" / "small.svs") as slide:
        assert slide.icc_profile is None
        assert slide.to_srgb is None


def damaged_profiles() -> dict[str, bytes]:
    whole = swapped_gamma()
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    return {
        "empty": b"",
        "noise": bytes(range(256)) * 3,
        "cut": whole[:200],
        "tags": whole[:128] + b"\xff" * 200 + whole[328:],
        "not RGB": grey,
    }


@pytest.mark.parametrize("kind", damaged_profiles())
def test_a_damaged_profile_is_an_error_that_names_the_slide(
    tmp_path: Path, pixels: np.ndarray, kind: str
) -> None:
    path = tmp_path / "slide.png"
    Image.fromarray(pixels).save(path, icc_profile=damaged_profiles()[kind] or b"?")
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match=r"slide\.png: its ICC profile") as caught:
            _ = slide.to_srgb
        assert "without it" in caught.value.reason
        np.testing.assert_array_equal(slide.read(0, 0, 0, 600, 700), pixels)


def test_every_format_keeps_its_profile(tmp_path: Path, pixels: np.ndarray) -> None:
    profile = swapped_gamma()
    write_slide(tmp_path / "tiled.tif", pixels, profile)
    for name in ("plain.tif", "image.ome.tif"):
        tifffile.imwrite(tmp_path / name, pixels, photometric="rgb", iccprofile=profile)
    for name in ("image.png", "image.jpg"):
        Image.fromarray(pixels).save(tmp_path / name, icc_profile=profile)
    for path in tmp_path.iterdir():
        with open_slide(path) as slide:
            assert slide.icc_profile is not None, path.name
            turned = to_srgb(slide.icc_profile)(pixels)
            np.testing.assert_array_equal(turned, to_srgb(profile)(pixels))


def test_pixels_stay_raw_and_tiles_are_turned(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    path = write_slide(tmp_path / "slide.tif", pixels, swapped_gamma())
    with open_slide(path) as slide:
        grid = tile_grid(slide, SPEC)
        indices = range(len(grid))
        np.testing.assert_array_equal(slide.read(0, 0, 0, 600, 700), pixels)
        plain = read_tiles(slide, grid, SPEC, indices)
        turned = read_tiles(slide, grid, replace(SPEC, icc=True), indices)
        np.testing.assert_array_equal(plain[0], pixels[:128, :128])
        np.testing.assert_array_equal(turned, to_srgb(swapped_gamma())(plain))
        assert (turned != plain).any()
        assert read_tiles(slide, grid, replace(SPEC, icc=True), []).shape[0] == 0


def test_specs_of_before_keep_their_hash() -> None:
    # Folders of features are named by it.
    assert TileSpec(64, 0.5).hash == "5c06ab51"
    assert TileSpec(64, 0.5, icc=True).hash != TileSpec(64, 0.5).hash
    for spec in (TileSpec(64, 0.5, icc=True), TileSpec(64, 0.5)):
        assert TileSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    with pytest.raises(WenoError, match=r"icc is true or false: 1\.0"):
        TileSpec.from_dict({"icc": 1.0})


def test_features_say_what_colours_they_are_of(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    write_slide(tmp_path / "with.tif", pixels, swapped_gamma())
    write_slide(tmp_path / "without.tif", pixels, None)
    table = tmp_path / "in.csv"
    table.write_text("slide_id,path\na,with.tif\nb,without.tif\n")
    found = {}
    for icc in (True, False):
        spec = replace(SPEC, icc=icc)
        project = Project.create(tmp_path / f"icc {icc}", table, spec=spec)
        assert ("icc = true" in (project.root / "project.toml").read_text()) == icc
        assert Project.open(project.root).spec == spec
        deque(extract(project), maxlen=0)
        for name in "ab":
            found[name, icc] = read_features(project.features_path(name))
            header = read_header(project.features_path(name))
            assert header.colour == found[name, icc].colour
            with h5py.File(project.features_path(name)) as file:
                assert file.attrs["colour"] == header.colour
    assert {key: one.colour for key, one in found.items()} == {
        ("a", True): "sRGB by ICC profile",
        ("b", True): "as stored",
        ("a", False): "as stored",
        ("b", False): "as stored",
    }
    np.testing.assert_array_equal(found["b", True].features, found["b", False].features)
    assert (found["a", True].features != found["a", False].features).any()


@pytest.mark.parametrize("icc", [True, False])
def test_the_command_line_asks_for_srgb(
    tmp_path: Path, pixels: np.ndarray, icc: bool
) -> None:
    write_slide(tmp_path / "slide.tif", pixels, swapped_gamma())
    flag = ["--icc"] if icc else []
    arguments = ["init", str(tmp_path / "p"), "--slides", str(tmp_path), *flag]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert Project.open(tmp_path / "p").spec.icc == icc


def test_features_of_before_are_of_colours_as_stored(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    write_slide(tmp_path / "slide.tif", pixels, swapped_gamma())
    table = tmp_path / "in.csv"
    table.write_text("slide_id,path\na,slide.tif\n")
    project = Project.create(tmp_path / "p", table, spec=SPEC)
    deque(extract(project), maxlen=0)
    with h5py.File(project.features_path("a"), "r+") as file:
        del file.attrs["colour"]
    assert read_features(project.features_path("a")).colour == "as stored"


def test_the_profile_of_the_test_is_one(pixels: np.ndarray) -> None:
    made = ImageCms.ImageCmsProfile(io.BytesIO(swapped_gamma()))
    assert made.profile.xcolor_space.strip() == "RGB"
    assert made.profile.is_matrix_shaper
