from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from weno.errors import SlideError
from weno.slides import is_slide, open_slide

DICOM = "dicom/1.2.826.0.1.3680043.8.498.46702941076792458794464453066648511350.dcm"

PyramidWriter = Callable[[Path, list[np.ndarray], float | None], Path]


@pytest.fixture
def odd(write_pyramid: PyramidWriter, tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    """A slide whose second level is not an integer factor smaller."""
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (1001, 2003, 3), np.uint8)
    coarse = np.asarray(Image.fromarray(fine).resize((667, 333), Image.Resampling.BOX))
    return write_pyramid(tmp_path / "odd.tiff", [fine, coarse], mpp=0.5), [fine, coarse]


def test_read_speaks_pixels_of_the_level(odd: tuple[Path, list[np.ndarray]]) -> None:
    path, levels = odd
    with open_slide(path) as slide:
        assert slide.level_shapes == ((1001, 2003), (333, 667))
        assert slide.downsamples[1] == pytest.approx(3.0045, abs=1e-3)
        assert slide.downsamples[1] != round(slide.downsamples[1])
        np.testing.assert_array_equal(
            slide.read(0, 500, 1200, 77, 131), levels[0][500:577, 1200:1331]
        )
        whole = slide.read(1, 0, 0, 333, 667)
        np.testing.assert_array_equal(whole, levels[1])


def test_read_is_white_outside(odd: tuple[Path, list[np.ndarray]]) -> None:
    path, levels = odd
    with open_slide(path) as slide:
        corner = slide.read(0, -10, -20, 30, 40)
        assert (corner[:10] == 255).all()
        assert (corner[:, :20] == 255).all()
        np.testing.assert_array_equal(corner[10:, 20:], levels[0][:20, :20])
        assert (slide.read(0, 5000, 5000, 4, 4) == 255).all()


def halved(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means of 2x2, the last row and column repeated where there is none to pair."""
    short = 2 * height - pixels.shape[0], 2 * width - pixels.shape[1]
    odd = ((0, max(0, short[0])), (0, max(0, short[1])), (0, 0))
    whole = np.pad(pixels, odd, "edge")[: 2 * height, : 2 * width].astype(int)
    blocks = whole.reshape(height, 2, width, 2, 3)
    return ((blocks.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)


def test_pyramid_equals_reads_and_ends_small(
    odd: tuple[Path, list[np.ndarray]],
) -> None:
    path, levels = odd
    with open_slide(path) as slide:
        pyramid = slide.pyramid()
        shapes = [level.shape[:2] for level in pyramid]
        assert shapes == [(1001, 2003), (500, 1002), (333, 667)]
        assert pyramid[0].chunksize == (512, 512, 3)
        np.testing.assert_array_equal(pyramid[0].compute(), levels[0])
        np.testing.assert_array_equal(pyramid[2].compute(), levels[1])
        np.testing.assert_array_equal(
            pyramid[1].compute(), halved(levels[0], 500, 1002)
        )
        np.testing.assert_array_equal(
            pyramid[0][490:530, 1000:1100].compute(), levels[0][490:530, 1000:1100]
        )


def test_missing_levels_are_halved(
    write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    fine = rng.integers(0, 256, (1301, 4099, 3), np.uint8)
    with open_slide(write_pyramid(tmp_path / "flat.tiff", [fine], None)) as slide:
        pyramid = slide.pyramid()
        shapes = [level.shape[:2] for level in pyramid]
        assert shapes == [(1301, 4099), (650, 2050), (325, 1025), (163, 512)]
        expected = fine
        for level, shape in zip(pyramid[1:], shapes[1:], strict=True):
            expected = halved(expected, *shape)
            np.testing.assert_array_equal(level.compute(), expected)


def test_levels_far_apart_get_halved_ones_between(
    write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    rng = np.random.default_rng(6)
    shapes = [(2081, 4161), (520, 1040), (130, 260)]
    levels = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    path = write_pyramid(tmp_path / "by_four.tiff", levels, None)
    with open_slide(path) as slide:
        pyramid = slide.pyramid()
        assert [level.shape[:2] for level in pyramid] == [
            (2081, 4161),
            (1040, 2080),
            (520, 1040),
            (260, 520),
            (130, 260),
        ]
        for stored, made in ((0, 1), (1, 3)):
            expected = halved(levels[stored], *pyramid[made].shape[:2])
            np.testing.assert_array_equal(pyramid[made].compute(), expected)
        np.testing.assert_array_equal(pyramid[4].compute(), levels[2])


def test_levels_a_factor_of_two_apart_are_left_alone(
    write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    shapes = [(1800, 2400), (900, 1200), (375, 500)]  # factors of 2 and 2.4
    levels = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
    with open_slide(write_pyramid(tmp_path / "two.tiff", levels, None)) as slide:
        assert [level.shape[:2] for level in slide.pyramid()] == shapes


def test_dask_graph_is_thin(odd: tuple[Path, list[np.ndarray]]) -> None:
    with open_slide(odd[0]) as slide:
        level = slide.pyramid()[0]
        assert len(level.__dask_graph__()) <= level.npartitions + 1


def test_pyramids_of_two_slides_do_not_share_keys(
    write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    names = []
    for shade in (10, 200):
        path = tmp_path / f"{shade}.tiff"
        write_pyramid(path, [np.full((256, 256, 3), shade, np.uint8)], None)
        with open_slide(path) as slide:
            names.append(slide.pyramid()[0].name)
    assert names[0] != names[1]


def test_mpp_chain(write_pyramid: PyramidWriter, tmp_path: Path) -> None:
    pixels = [np.zeros((256, 256, 3), np.uint8)]
    with open_slide(write_pyramid(tmp_path / "none.tiff", pixels, None)) as slide:
        assert slide.mpp is None
        assert slide.mpp_source is None
    path = write_pyramid(tmp_path / "tiff.tiff", pixels, 0.25)
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx((0.25, 0.25))
    with open_slide(path, mpp=0.4) as slide:
        assert slide.mpp == (0.4, 0.4)
        assert slide.mpp_source == "given"
    with open_slide(path, mpp=(0.4, 0.6)) as slide:
        assert slide.mpp == (0.4, 0.6)


def test_pickled_slide_reads_the_same(odd: tuple[Path, list[np.ndarray]]) -> None:
    with open_slide(odd[0], mpp=0.7) as slide:
        copy = pickle.loads(pickle.dumps(slide))
        assert copy.mpp == (0.7, 0.7)
        np.testing.assert_array_equal(
            copy.read(0, 3, 5, 50, 60), slide.read(0, 3, 5, 50, 60)
        )


def test_content_hash_survives_a_move(
    write_pyramid: PyramidWriter, odd: tuple[Path, list[np.ndarray]], tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere" / "renamed.tiff"
    moved.parent.mkdir()
    shutil.copy(odd[0], moved)
    other = write_pyramid(tmp_path / "o.tiff", [np.zeros((256, 256, 3), np.uint8)], 0.5)
    hashes = [open_slide(path).content_hash for path in (odd[0], moved, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_many_threads_read_right_pixels(odd: tuple[Path, list[np.ndarray]]) -> None:
    path, levels = odd
    corners = np.random.default_rng(2).integers(0, 900, (200, 2))
    with open_slide(path) as slide, ThreadPoolExecutor(8) as pool:
        reads = pool.map(lambda yx: slide.read(0, *map(int, yx), 40, 50), corners)
        for (y, x), pixels in zip(corners, reads, strict=True):
            np.testing.assert_array_equal(pixels, levels[0][y : y + 40, x : x + 50])


def test_closed_slide_says_so(odd: tuple[Path, list[np.ndarray]]) -> None:
    slide = open_slide(odd[0])
    slide.close()
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        slide.read(0, 0, 0, 1, 1)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match="no such file"):
        open_slide(tmp_path / "nothing.svs")


def test_file_that_is_no_slide(tmp_path: Path) -> None:
    path = tmp_path / "note.svs"
    path.write_text("not a slide")
    assert not is_slide(path)
    with pytest.raises(SlideError, match=r"note\.svs: not a slide"):
        open_slide(path)


def test_truncated_slide_gives_an_error_and_the_rest_stays_readable(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    fine = rng.integers(0, 256, (1024, 1024, 3), np.uint8)
    path = tmp_path / "cut.tiff"
    tifffile.imwrite(path, fine, tile=(256, 256), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        offset, count = page.dataoffsets[-1], page.databytecounts[-1]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match=r"cut\.tiff: cannot read level 0"):
            slide.read(0, 768, 768, 256, 256)
        np.testing.assert_array_equal(slide.read(0, 0, 0, 99, 99), fine[:99, :99])


@pytest.mark.parametrize("name", ["broken.svs", "unopenable.tiff"])
def test_refused_on_opening(test_data: Path, name: str) -> None:
    path = test_data / "slides" / name
    with pytest.raises(SlideError) as caught:
        open_slide(path)
    assert str(path) in str(caught.value)
    assert caught.value.reason


def test_refused_on_reading(test_data: Path) -> None:
    with (
        open_slide(test_data / "slides" / "unreadable.svs") as slide,
        pytest.raises(SlideError, match="cannot read level 0"),
    ):
        slide.read(0, 0, 0, 16, 16)


def test_the_same_slide_as_svs_and_as_dicom(test_data: Path) -> None:
    with (
        open_slide(test_data / "slides" / "cmu-1-small-region.svs") as svs,
        open_slide(test_data / "slides" / DICOM) as dicom,
    ):
        assert svs.shape == dicom.shape == (2967, 2220)
        assert svs.mpp == dicom.mpp == (0.499, 0.499)
        assert svs.mpp_source == "slide"
        assert set(svs.associated_names) == {"label", "macro", "thumbnail"}
        there = svs.read(0, 0, 0, 2967, 2220).astype(int)
        difference = there - dicom.read(0, 0, 0, 2967, 2220)
        assert np.abs(difference).mean() < 3.5
        assert there.std() > 20
        assert svs.thumbnail(128).shape == (128, 96, 3)


def test_unknown_associated_image_names_those_there_are(test_data: Path) -> None:
    with (
        open_slide(test_data / "slides" / "cmu-1-small-region.svs") as slide,
        pytest.raises(SlideError, match="macro"),
    ):
        slide.associated("thumb")
