"""Tiles that are damaged or left out, many regions at a time, files that go away."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from weno.errors import SlideError
from weno.slides import Slide, open_slide

TILE = 128
SHAPE = (512, 640)
WAIT_S = 20
APERIO = "Aperio Image Library v12.0.5\r\n640x512 |AppMag = 20|MPP = 0.5"

Patch = Callable[[bytes], bytes]


def smooth(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    blobs = Image.fromarray(rng.integers(0, 200, (9, 11, 3), np.uint8))
    return np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC))


def write(
    path: Path,
    *,
    compression: str | int = "jpeg",
    small: tuple[int, int] = (256, 320),
    description: str | None = None,
) -> Path:
    options = {"tile": (TILE, TILE), "metadata": None, "compression": compression}
    options |= {"photometric": "ycbcr" if compression == "jpeg" else "rgb"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(smooth(*SHAPE), description=description, **options)
        tiff.write(smooth(*small), subfiletype=1, description=description, **options)
    return path


def leave_out(path: Path, page: int, tile: int) -> None:
    """Set the tile's byte count to 0."""
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[page].tags["TileByteCounts"]
        size = {3: 2, 4: 4}[int(tag.dtype)]
        at = tag.valueoffset + size * tile
    data = bytearray(path.read_bytes())
    data[at : at + size] = bytes(size)
    path.write_bytes(data)


def damage(path: Path, tile: int, patch: Patch) -> None:
    """Change the bytes of a tile of level 0; what `patch` leaves away becomes zeros."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        at, count = page.dataoffsets[tile], page.databytecounts[tile]
    data = bytearray(path.read_bytes())
    data[at : at + count] = patch(bytes(data[at : at + count])).ljust(count, b"\0")
    path.write_bytes(data)


def claims(height: int, width: int) -> Patch:
    """Change the size that a JPEG says it has."""

    def patch(stream: bytes) -> bytes:
        at = stream.index(b"\xff\xc0") + 5
        size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
        return stream[:at] + size + stream[at + 4 :]

    return patch


def by_openslide(path: Path, level: int, y: int, x: int, side: int) -> np.ndarray:
    with openslide.OpenSlide(path) as slide:
        factor = slide.level_downsamples[level]
        corner = round(x * factor), round(y * factor)
        image = slide.read_region(corner, level, (side, side))
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return np.asarray(white)


@pytest.fixture(params=["jpeg", "packbits"])
def slide(request: pytest.FixtureRequest, tmp_path: Path) -> Slide:
    """Read by the fast path, and by OpenSlide."""
    path = write(tmp_path / "slide.tiff", compression=request.param)
    with open_slide(path) as slide:
        assert slide.reader.startswith("tiled") == (request.param == "jpeg")
        yield slide


GRID = [(y, x) for y in range(0, 512, TILE) for x in range(0, 640, TILE)]
CORNERS = {
    "aligned": GRID,
    "the same": [GRID[6]] * 5 + [GRID[7]] * 2,
    "unaligned": [(y + 37, x + 91) for y, x in GRID],
    "overlapping": [(9 * k, 11 * k) for k in range(40)],
    "mixed": [(128, 128), (130, 128), (128, 128), (127, 129), (384, 512)],
    "outside": [(-60, -60), (500, 600), (-500, 0), (0, 640), (9000, 9000), (-128, 0)],
    "none": [],
}


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("corners", CORNERS.values(), ids=CORNERS)
def test_read_many_is_read_one_by_one(
    slide: Slide, corners: list[tuple[int, int]], threads: int
) -> None:
    for level, height, width in ((0, TILE, TILE), (1, 60, 200)):
        many = slide.read_many(level, corners, height, width, threads=threads)
        assert many.shape == (len(corners), height, width, 3)
        assert many.dtype == np.uint8
        assert many.flags.writeable
        for (y, x), pixels in zip(corners, many, strict=True):
            one = slide.read(level, y, x, height, width)
            np.testing.assert_array_equal(pixels, one, f"{level, y, x}")


def test_what_was_read_is_the_readers_own(slide: Slide) -> None:
    expected = slide.read(0, 0, 0, TILE, TILE).copy()
    for y, x in ((0, 0), (5, 5)):
        for pixels in (
            slide.read(0, y, x, TILE, TILE),
            *slide.read_many(0, [(y, x)] * 2, TILE, TILE),
        ):
            pixels[:] = 0
    np.testing.assert_array_equal(slide.read(0, 0, 0, TILE, TILE), expected)
    np.testing.assert_array_equal(slide.read(0, 5, 5, 9, 9), expected[5:14, 5:14])


@pytest.mark.parametrize("small", [(256, 320), (170, 213)], ids=["2", "3.01"])
@pytest.mark.parametrize("compression", ["jpeg", "lzw", "zlib"])
def test_tiles_left_out_are_drawn_as_by_openslide(
    tmp_path: Path, compression: str, small: tuple[int, int]
) -> None:
    path = write(tmp_path / "sparse.tiff", compression=compression, small=small)
    for page, tile in ((0, 1), (0, 7), (0, 19), (1, 1)):
        leave_out(path, page, tile)
    with open_slide(path) as slide:
        assert slide.reader.startswith("tiled")
        for level in (0, 1):
            expected = by_openslide(path, level, 0, 0, 700)
            assert (expected[:TILE, TILE : 2 * TILE] == 255).all()
            pixels = slide.read(level, 0, 0, 700, 700)
            np.testing.assert_array_equal(pixels, expected)
        tile = slide.read_many(0, [(0, TILE), (0, 0)], TILE, TILE)[0]
        assert (tile == 255).all()


@pytest.mark.parametrize("compression", ["jpeg", 33005])
def test_aperio_draws_what_is_left_out_from_the_level_above(
    tmp_path: Path, compression: str | int
) -> None:
    path = tmp_path / "sparse.svs"
    write(path, compression=compression, description=APERIO)
    leave_out(path, 1, 1)
    with open_slide(path) as slide:
        assert slide.reader.startswith("tiled")
        tile = slide.read(1, 0, TILE, TILE, TILE)
        expected = by_openslide(path, 1, 0, TILE, TILE)
        np.testing.assert_array_equal(tile, expected)
        assert np.ptp(tile) > 20


DAMAGES: dict[str, Patch] = {
    "zeros": lambda stream: b"",
    "cut": lambda stream: stream[: len(stream) // 2],
    "head only": lambda stream: stream[:60],
    "noise": lambda stream: stream[:-600] + b"\xff\x3f" * 300,
    "huge": claims(65500, 65500),
    "small": claims(64, 64),
    "tall": claims(144, TILE),
    "empty": claims(0, 0),
    "grey": lambda stream: imagecodecs.jpeg8_encode(
        np.arange(TILE * TILE, dtype=np.uint8).reshape(TILE, TILE), 10
    )[: len(stream)],
}


@pytest.mark.parametrize("patch", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_jpeg_tile_is_an_error_and_the_rest_stays_readable(
    tmp_path: Path, patch: Patch
) -> None:
    path = write(tmp_path / "bad.tiff")
    damage(path, 6, patch)
    with pytest.raises(openslide.OpenSlideError):
        by_openslide(path, 0, TILE, TILE, TILE)
    with open_slide(path) as slide:
        assert slide.reader.startswith("tiled")
        before = peak_memory()
        for corner, side in (((TILE, TILE), TILE), ((90, 90), 200)):
            with pytest.raises(SlideError) as caught:
                slide.read(0, *corner, side, side)
            assert str(path) in str(caught.value)
            assert "level 0, tile (1, 1)" in str(caught.value)
            for places in ([corner, (0, 0)], [(0, 0), corner]):
                with pytest.raises(SlideError, match=r"tile \(1, 1\)"):
                    slide.read_many(0, places, side, side, threads=2)
        assert peak_memory() - before < 200e6
        rest = slide.read(0, 2 * TILE, 0, 200, 640)
        np.testing.assert_array_equal(
            rest[:, :200], by_openslide(path, 0, 2 * TILE, 0, 200)
        )


def peak_memory() -> int:
    """Most bytes that this process has held in memory."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.parametrize("compression", ["zlib", "lzw"])
def test_a_damaged_plain_tile_is_an_error(tmp_path: Path, compression: str) -> None:
    path = write(tmp_path / "bad.tiff", compression=compression)
    damage(path, 6, lambda stream: stream[:40])
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match=r"bad\.tiff.*level 0, tile \(1, 1\)"):
            slide.read(0, 200, 200, 9, 9)
        np.testing.assert_array_equal(
            slide.read(0, 0, 0, 64, 64), smooth(*SHAPE)[:64, :64]
        )


def test_closing_waits_for_readers_and_refuses_the_others(slide: Slide) -> None:
    truth = slide.read(0, 0, 0, *SHAPE)
    under_way = threading.Barrier(9)
    wrong: list[object] = []

    def keep_reading(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for k in range(100_000):
            if k == 5:
                under_way.wait(WAIT_S)
            y, x = (int(rng.integers(0, side - 100)) for side in SHAPE)
            try:
                many = slide.read_many(0, [(y, x)] * 2, 90, 90, threads=1 + seed % 2)
            except SlideError as error:
                wrong.extend([] if "closed" in str(error) else [error])
                return
            if not np.array_equal(many[1], truth[y : y + 90, x : x + 90]):
                wrong.append((y, x))
        wrong.append("was never refused")

    readers = [threading.Thread(target=keep_reading, args=(k,)) for k in range(8)]
    for reader in readers:
        reader.start()
    under_way.wait(WAIT_S)
    closer = threading.Thread(target=slide.close)
    closer.start()
    for thread in (closer, *readers):
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert not wrong


@pytest.mark.skipif(os.name == "nt", reason="open files cannot be deleted")
@pytest.mark.parametrize("what", ["deleted", "emptied"])
def test_a_file_that_goes_away_while_it_is_open(slide: Slide, what: str) -> None:
    copy = slide.path.with_name("copy.tiff")
    copy.write_bytes(slide.path.read_bytes())
    with open_slide(copy) as other:
        truth = other.read(0, 0, 0, *SHAPE)
    if what == "deleted":
        slide.path.unlink()
    else:
        os.truncate(slide.path, 0)
    for y, x in ((0, 0), (17, 300), (300, 17), (384, 512)):
        try:
            pixels = slide.read(0, y, x, TILE, TILE)
        except SlideError as error:
            assert "slide.tiff" in str(error)
        else:
            part = truth[y : y + TILE, x : x + TILE]
            np.testing.assert_array_equal(pixels, part)
    slide.close()


def test_a_pickled_slide_reads_by_itself(slide: Slide) -> None:
    truth = slide.read(1, 3, 5, 150, 160)
    copy = pickle.loads(pickle.dumps(slide))
    slide.close()
    with copy:
        assert copy.reader == slide.reader
        np.testing.assert_array_equal(copy.read(1, 3, 5, 150, 160), truth)
        many = copy.read_many(1, [(3, 5)], 150, 160)
        np.testing.assert_array_equal(many[0], truth)


def test_damage_spoils_no_read_that_goes_on_beside_it(tmp_path: Path) -> None:
    # OpenSlide refuses all reads of a handle once one of them has failed.
    path = write(tmp_path / "slide.tiff", compression="packbits")
    damage(path, 6, lambda data: b"")
    bad, good = GRID[6], [place for place in GRID if place != GRID[6]]
    truth = smooth(*SHAPE)
    with open_slide(path) as slide, ThreadPoolExecutor(8) as pool:
        assert slide.reader == "OpenSlide"
        places = [bad if k % 3 == 0 else good[k % len(good)] for k in range(120)]
        jobs = [(p, pool.submit(slide.read, 0, *p, TILE, TILE)) for p in places]
        for (y, x), job in jobs:
            if (y, x) == bad:
                assert isinstance(job.exception(), SlideError)
            else:
                expected = truth[y : y + TILE, x : x + TILE]
                np.testing.assert_array_equal(job.result(), expected)


def test_an_image_in_one_piece_is_decoded_once(tmp_path: Path) -> None:
    side = 5000  # 75 MB decoded, a few kB in the file
    path = tmp_path / "strip.tif"
    pixels = np.full((side, side, 3), 7, np.uint8)
    pixels[-100:, -100:] = 90
    tifffile.imwrite(
        path, pixels, rowsperstrip=side, photometric="rgb", compression="zlib"
    )
    with open_slide(path) as slide:
        assert (slide.read(0, 0, 0, 50, 50) == 7).all()
        os.truncate(path, 100)
        assert (slide.read(0, side - 50, side - 50, 50, 50) == 90).all()
