"""What slides and streams hold, of memory, files and threads, has bounds and an end."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import psutil
import pytest
import tifffile

from weno.errors import SlideError
from weno.slides import Slide, TileCache, TileStream, open_slide

WAIT_S = 60
SLIDES = 50
SIDE = 20_000


def tile(value: int = 0, side: int = 10) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)  # side 10: 300 bytes


def test_cache_never_holds_more_than_its_limit() -> None:
    cache = TileCache(1000)
    rng = np.random.default_rng(0)
    for _ in range(300):
        key, side = int(rng.integers(0, 20)), int(rng.integers(1, 25))
        cache.put(key, tile(side=side))
        assert cache.nbytes <= 1000
        held = [cache.get(key) for key in range(20)]
        assert cache.nbytes == sum(one.nbytes for one in held if one is not None)
    assert len(cache) == sum(one is not None for one in held)


def test_cache_drops_what_was_used_least_recently() -> None:
    cache = TileCache(900)
    for key in "abc":
        cache.put(key, tile(ord(key)))
    assert cache.get("a") is not None
    cache.put("d", tile())
    assert [key in cache for key in "abcd"] == [True, False, True, True]
    cache.put("c", tile(7))
    cache.put("e", tile())
    assert [key in cache for key in "acde"] == [False, True, True, True]
    again = cache.get("c")
    assert again is not None
    assert (again == 7).all()
    assert cache.get("a") is None


def test_limit_of_a_cache_can_be_changed() -> None:
    cache = TileCache(3000)
    for key in range(10):
        cache.put(key, tile())
    cache.limit = 700
    assert cache.nbytes == 600
    assert [key for key in range(10) if key in cache] == [8, 9]
    cache.limit = 3000
    cache.put(10, tile())
    assert cache.nbytes == 900
    cache.limit = 0
    assert cache.nbytes == len(cache) == 0
    cache.put(11, tile())
    assert cache.nbytes == 0
    cache.limit = 3000
    cache.put(12, tile())
    cache.clear()
    assert cache.nbytes == len(cache) == 0


def test_cached_pixels_cannot_be_changed() -> None:
    cache = TileCache(3000)
    cache.put("a", tile())
    kept = cache.get("a")
    assert kept is not None
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 1


def test_cache_is_safe_in_many_threads() -> None:
    cache = TileCache(3000)

    def use(seed: int) -> int:
        rng, most = np.random.default_rng(seed), 0
        for key in rng.integers(0, 30, 2000).tolist():
            cache.put((seed % 2, key), tile(key))
            found = cache.get((0, key))
            assert found is None or (found == key).all()
            most = max(most, cache.nbytes)
            if key == 0:
                cache.discard(1)
        return most

    with ThreadPoolExecutor(8) as pool:
        # One tile may be put before another is dropped, while others look.
        assert max(pool.map(use, range(8))) <= 3000 + 300
    held = [(owner, key) for owner in (0, 1) for key in range(30)]
    assert cache.nbytes == 300 * sum(key in cache for key in held) <= 3000


class Largest:
    """A slide's own backend, that remembers how much was read at a time."""

    def __init__(self, slide: Slide) -> None:
        self.inner = slide._backend
        slide._backend = self  # where an outside thing comes in
        self.pixels = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
        self.pixels = max(self.pixels, height * width)
        return self.inner.read(level, y, x, height, width)


def test_a_huge_slide_of_one_level_is_never_read_as_a_whole(tmp_path: Path) -> None:
    rows = np.linspace(0, 200, 512).astype(np.uint8)
    pattern = np.dstack(np.broadcast_arrays(rows[:, None], rows[None], rows[::-1]))
    encoded = imagecodecs.jpeg8_encode(
        np.ascontiguousarray(pattern), 90, colorspace="RGB", outcolorspace="RGB"
    )
    path = tmp_path / "huge.tiff"
    tifffile.imwrite(
        path,
        iter([encoded] * (-(-SIDE // 512)) ** 2),
        shape=(SIDE, SIDE, 3),
        dtype=np.uint8,
        tile=(512, 512),
        compression="jpeg",
        compressionargs={"outcolorspace": "rgb"},
        photometric="rgb",
        metadata=None,
    )
    mean = imagecodecs.jpeg8_decode(encoded, colorspace="RGB", outcolorspace="RGB")
    with open_slide(path) as slide:
        backend = Largest(slide)
        stream = TileStream(slide, TileCache(2**26))
        coarsest = len(stream.levels) - 1
        assert stream.levels[coarsest].shape == (625, 625, 3)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(stream.view, coarsest, 0, 0, 625, 625, budget=0)
            assert first.result(WAIT_S / 20).shape == (625, 625, 3)
        assert stream.pending > 0
        before = psutil.Process().memory_info().rss
        exact = stream.view(coarsest, 0, 0, 625, 625, budget=WAIT_S)
        assert stream.pending == 0
        stream.close()
        assert backend.pixels <= 2048**2
        assert psutil.Process().memory_info().rss - before < 400e6
    for _ in range(coarsest):
        side = len(mean) // 2
        mean = (mean.reshape(side, 2, side, 2, 3).sum(axis=(1, 3), dtype=int) + 2) // 4
    np.testing.assert_array_equal(exact, np.tile(mean, (40, 40, 1))[:625, :625])


def files_of(paths: Iterable[Path]) -> list[str]:
    """Which of the files this process holds open."""
    wanted, found = {str(path) for path in paths}, []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except OSError:  # the folder's own
            continue
    return [name for name in found if name.removesuffix(" (deleted)") in wanted]


@pytest.fixture(scope="module", params=["jpeg", "packbits"])
def slides(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Read by the fast path, and by OpenSlide."""
    folder = tmp_path_factory.mktemp("leaks")
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    pixels = np.kron(pixels, np.ones((24, 24, 1), np.uint8))
    paths = [folder / f"{k}.tiff" for k in range(SLIDES)]
    tifffile.imwrite(
        paths[0],
        pixels,
        tile=(256, 256),
        compression=request.param,
        photometric="rgb",
        metadata=None,
    )
    for path in paths[1:]:
        path.write_bytes(paths[0].read_bytes())
    return paths


@pytest.fixture
def tiles() -> Iterator[TileCache]:
    cache = TileCache(30 * 2**20)
    yield cache
    assert cache.nbytes <= cache.limit


def look_at(slide: Slide, tiles: TileCache) -> TileStream:
    stream = TileStream(slide, tiles)
    for level in range(len(stream.levels)):
        height, width = stream.levels[level].shape[:2]
        stream.view(level, 3, 5, height - 3, width - 5, budget=WAIT_S)
        assert stream.pending == 0
    slide.read(0, 77, 99, 300, 300)
    slide.read_many(0, [(0, 0), (100, 100)], 256, 256, threads=2)
    return stream


def bound_of_growth(tiles: TileCache) -> float:
    return tiles.limit + 120e6


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux")
@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_slides_that_are_closed_or_dropped_leave_nothing_behind(
    slides: list[Path], tiles: TileCache, how: str
) -> None:
    with open_slide(slides[0]) as slide:  # what is made once
        look_at(slide, tiles).close()
    gc.collect()
    threads, before = threading.active_count(), psutil.Process().memory_info().rss
    for path in slides:
        slide = open_slide(path)
        stream = look_at(slide, tiles)
        if how == "closed":
            stream.close()
            slide.close()
            assert not files_of([path])
        del slide, stream
    gc.collect()
    assert not files_of(slides)
    assert threading.active_count() <= threads
    assert psutil.Process().memory_info().rss - before < bound_of_growth(tiles)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux")
def test_a_damaged_file_is_not_held_open(slides: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "cut.tiff"
    for count in (8, 200, 4000, 100_000):
        path.write_bytes(slides[0].read_bytes()[:count])
        for _ in range(3):
            with contextlib.suppress(SlideError), open_slide(path) as slide:
                slide.read(0, 0, 0, *slide.shape)
        gc.collect()
        assert not files_of([path])
