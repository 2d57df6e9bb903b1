"""Files made to harm: what they ask for is not done."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr

from weno.errors import SlideError
from weno.slides import open_slide

APERIO = "Aperio Image Library v12.0.5\r\n512x512 |AppMag = 20|MPP = 0.5"


class Harm:
    """Pickled, this creates a file when somebody loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["compressor", "filters"])
def test_pickled_values_are_not_loaded(tmp_path: Path, place: str) -> None:
    path, harmed = tmp_path / "a.zarr", tmp_path / "harmed"
    group = zarr.create_group(path, zarr_format=2)
    axes = [{"name": name, "type": "space"} for name in "yx"]
    axes.append({"name": "c", "type": "channel"})
    group.attrs["multiscales"] = [
        {
            "version": "0.4",
            "axes": axes,
            "datasets": [
                {
                    "path": "0",
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [1, 1, 1]}
                    ],
                }
            ],
        }
    ]
    pixels = np.full((64, 64, 3), 9, np.uint8)
    group.create_array("0", data=pixels, chunks=(64, 64, 3), compressors=None)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 0, 64, 64), pixels)
    about = path / "0" / ".zarray"
    codec = {"id": "pickle"}
    said = json.loads(about.read_text()) | {
        place: codec if place == "compressor" else [codec]
    }
    about.write_text(json.dumps(said))
    (path / "0" / "0.0.0").write_bytes(pickle.dumps(Harm(harmed)))
    with pytest.raises(SlideError), open_slide(path) as slide:
        slide.read(0, 0, 0, 64, 64)
    assert not harmed.exists()


def test_a_codestream_larger_than_its_tile_is_not_decoded(tmp_path: Path) -> None:
    def encoded(side: int) -> bytes:
        pixels = np.random.default_rng(1).integers(0, 255, (side, side, 3), np.uint8)
        return imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", mct=False)

    streams = [encoded(128)] * 15 + [encoded(512)]
    path = tmp_path / "large.svs"
    tifffile.imwrite(
        path,
        iter(streams),
        shape=(512, 512, 3),
        dtype=np.uint8,
        tile=(128, 128),
        photometric="rgb",
        compression=33005,
        description=APERIO,
        metadata=None,
    )
    with open_slide(path) as slide:
        assert slide.reader.startswith("tiled")
        slide.read(0, 0, 0, 128, 128)
        with pytest.raises(SlideError, match=r"tile \(3, 3\)"):
            slide.read(0, 384, 384, 128, 128)


def test_a_damaged_colour_profile_is_an_error_of_the_slide(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    pixels = np.random.default_rng(2).integers(0, 255, (300, 300, 3), np.uint8)
    tifffile.imwrite(
        path,
        pixels,
        tile=(128, 128),
        photometric="rgb",
        iccprofile=b"no profile at all" * 20,
        metadata=None,
    )
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 0, 300, 300), pixels)
        with pytest.raises(SlideError, match=r"slide\.tif.*profile"):
            _ = slide.icc_profile
