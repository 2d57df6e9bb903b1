"""What a window draws: at once, of the right place, and exact in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from weno.errors import SlideError
from weno.slides import Slide, TileCache, TileStream, open_slide

SHAPE = (2301, 3003)
WAIT_S = 30
LITTLE_S = 0.3  # long enough for readers that have nothing better to do
READERS = 8  # there are no more threads than this

Box = tuple[int, int, int, int]


class Watched:
    """A slide's own backend, that remembers what was read and can be held up."""

    def __init__(self, slide: Slide) -> None:
        self.inner = slide._backend
        slide._backend = self  # where an outside thing comes in
        self.reads: list[tuple[int, ...]] = []  # level, y, x, height, width
        self.done = 0
        self.on_read: Callable[[], object] = lambda: None
        self.noted: list[object] = []
        self._changed = threading.Condition()
        self._free = threading.Event()
        self._free.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def read(self, *box: int) -> np.ndarray:
        with self._changed:
            self.reads.append(box)
            self.noted.append(self.on_read())
            self._changed.notify_all()
        assert self._free.wait(WAIT_S)
        try:
            return self.inner.read(*box)
        finally:
            with self._changed:
                self.done += 1
                self._changed.notify_all()

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    def wait_for(self, what: Callable[[], object], seconds: float = WAIT_S) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(what, seconds))


class Arrivals:
    """Counts the calls of `on_arrival` and can wait for one."""

    def __init__(self, stream: TileStream) -> None:
        self.count = 0
        self._changed = threading.Condition()
        stream.on_arrival = self._note

    def _note(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait_for(self, what: Callable[[], object]) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(what, WAIT_S))


def write(path: Path, shapes: list[tuple[int, int]], compression: str) -> Path:
    rng = np.random.default_rng(3)
    blobs = Image.fromarray(rng.integers(0, 200, (40, 50, 3), np.uint8))
    with tifffile.TiffWriter(path) as tiff:
        for level, (height, width) in enumerate(shapes):
            tiff.write(
                np.asarray(blobs.resize((width, height), Image.Resampling.BILINEAR)),
                tile=(256, 256),
                photometric="rgb",
                compression=compression,
                subfiletype=min(level, 1),
                metadata=None,
            )
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Levels 1 and 4.002: those between and below are made."""
    folder = tmp_path_factory.mktemp("stream")
    return write(folder / "slide.tiff", [SHAPE, (575, 750)], "zlib")


@pytest.fixture(scope="module")
def truth(path: Path) -> list[np.ndarray]:
    with open_slide(path) as slide:
        return [level.compute() for level in slide.pyramid()]


@pytest.fixture
def slide(path: Path) -> Iterator[Slide]:
    with open_slide(path) as slide:
        yield slide


@pytest.fixture
def backend(slide: Slide) -> Iterator[Watched]:
    watched = Watched(slide)
    yield watched
    watched.release()


@pytest.fixture
def stream(slide: Slide, backend: Watched) -> Iterator[TileStream]:
    stream = TileStream(slide, TileCache(2**28))
    yield stream
    stream.close()


def whole(stream: TileStream, level: int) -> Box:
    return 0, 0, *stream.levels[level].shape[:2]


def cut(level: np.ndarray, box: Box) -> np.ndarray:
    y, x, height, width = box
    return level[y : y + height, x : x + width]


def chunks(stream: TileStream, level: int, box: Box) -> set[tuple[int, ...]]:
    """The reads that a region of a stored level needs: level, y, x, height, width."""
    y, x, height, width = box
    rows, columns = stream.levels[level].chunk
    bottom, right = stream.levels[level].shape[:2]
    stored = sum(hasattr(one, "level") for one in stream.levels[:level])
    return {
        (stored, top, left, min(rows, bottom - top), min(columns, right - left))
        for top in range(y // rows * rows, y + height, rows)
        for left in range(x // columns * columns, x + width, columns)
    }


def test_a_complete_view_is_exact(stream: TileStream, truth: list[np.ndarray]) -> None:
    shapes = [level.shape for level in stream.levels]
    assert shapes == [level.shape for level in truth]
    assert shapes == [(2301, 3003, 3), (1150, 1502, 3), (575, 750, 3)]
    rng = np.random.default_rng(11)
    for _ in range(40):
        level = int(rng.integers(0, len(truth)))
        y, x = (int(rng.integers(0, side - 1)) for side in shapes[level][:2])
        height = int(rng.integers(1, min(900, shapes[level][0] - y) + 1))
        width = int(rng.integers(1, min(900, shapes[level][1] - x) + 1))
        pixels = stream.view(level, y, x, height, width, budget=WAIT_S)
        assert stream.pending == 0
        expected = cut(truth[level], (y, x, height, width))
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("box", [(300, 700, 900, 1300), (511, 513, 3, 700)])
@pytest.mark.parametrize("level", [0, 1])
def test_what_is_not_there_yet_is_drawn_from_a_coarser_level(
    stream: TileStream,
    backend: Watched,
    truth: list[np.ndarray],
    level: int,
    box: Box,
) -> None:
    box = (box[0], box[1], box[2] // (level + 1) or 1, box[3] // (level + 1))
    stream.view(2, *whole(stream, 2), budget=WAIT_S)
    arrivals = Arrivals(stream)
    backend.hold()
    first = stream.view(level, *box, budget=0)
    assert stream.pending > 0
    assert arrivals.count == 0
    expected = cut(truth[level], box).astype(int)
    assert first.shape == expected.shape
    assert first.dtype == np.uint8
    white = np.abs(255 - expected).mean()
    assert np.abs(first - expected).mean() < min(6, white / 4)
    backend.release()
    assert arrivals.wait_for(lambda: stream.pending == 0)
    later = stream.view(level, *box, budget=0)
    assert stream.pending == 0
    np.testing.assert_array_equal(later, expected)


def test_nothing_known_yet_is_drawn_plain(stream: TileStream, backend: Watched) -> None:
    backend.hold()
    pixels = stream.view(0, 5, 7, 600, 700, budget=0)
    assert pixels.shape == (600, 700, 3)
    assert np.ptp(pixels) == 0
    assert pixels.min() > 200


def test_redrawing_at_each_arrival_ends_in_the_exact_picture(
    slide: Slide, truth: list[np.ndarray]
) -> None:
    tiles = TileCache(2**28)
    stream = TileStream(slide, tiles)
    arrivals = Arrivals(stream)
    rng = np.random.default_rng(4)
    for _ in range(25):
        level = int(rng.integers(0, 2))
        side = np.subtract(stream.levels[level].shape[:2], 640)
        box = int(rng.integers(0, side[0])), int(rng.integers(0, side[1])), 640, 640
        tiles.clear()
        for _ in range(100):
            seen = arrivals.count
            pixels = stream.view(level, *box, budget=0)
            if np.array_equal(pixels, cut(truth[level], box)):
                break
            assert arrivals.wait_for(lambda seen=seen: arrivals.count > seen)
        else:
            pytest.fail("never exact")
    stream.close()


def test_slow_reads_never_hold_up_a_view(stream: TileStream, backend: Watched) -> None:
    backend.hold()
    with ThreadPoolExecutor(1) as pool:
        for k in range(30):
            view = pool.submit(
                stream.view, k % 3, 10 * k, 9 * k, 200, 200, budget=(0, 0.01)[k % 2]
            )
            assert view.result(WAIT_S / 2).shape == (200, 200, 3)
    assert stream.pending > 0
    assert 0 < len(backend.reads) <= READERS
    backend.release()


def test_the_newest_view_is_read_and_the_abandoned_is_not(
    stream: TileStream, backend: Watched, truth: list[np.ndarray]
) -> None:
    backend.hold()
    abandoned, wanted = (0, 0, 1500, 1024), (1024, 2048, 1000, 900)
    stream.view(0, *abandoned, budget=0)
    assert backend.wait_for(lambda: backend.reads)
    stream.view(0, 0, 1024, 512, 512, budget=0)
    arrivals = Arrivals(stream)
    backend.on_read = lambda: stream.pending
    stream.view(0, *wanted, budget=0)
    before = len(backend.reads)
    assert before <= READERS
    backend.release()
    assert arrivals.wait_for(lambda: stream.pending == 0)
    pixels = stream.view(0, *wanted, budget=0)
    np.testing.assert_array_equal(pixels, cut(truth[0], wanted))
    while_wanted = [
        read
        for read, pending in zip(backend.reads, backend.noted, strict=True)
        if pending
    ]
    needed = chunks(stream, 0, wanted)
    assert set(while_wanted) <= needed
    assert needed <= set(backend.reads)


def test_what_lies_round_a_view_is_read_when_it_is_complete(
    stream: TileStream, backend: Watched, truth: list[np.ndarray]
) -> None:
    backend.hold()
    stream.view(0, 1024, 1024, 512, 512, budget=0)
    assert backend.wait_for(lambda: backend.reads)
    assert not backend.wait_for(lambda: len(backend.reads) > 1, LITTLE_S)
    assert backend.reads == [(0, 1024, 1024, 512, 512)]
    backend.release()
    round_it = chunks(stream, 0, (512, 512, 1536, 1536))
    assert backend.wait_for(lambda: round_it <= set(backend.reads))
    pixels = stream.view(0, 512, 512, 1500, 1500, budget=WAIT_S)
    assert stream.pending == 0
    np.testing.assert_array_equal(pixels, cut(truth[0], (512, 512, 1500, 1500)))
    assert len(backend.reads) == len(set(backend.reads))


def test_a_view_that_comes_while_reading_ahead_is_read_first(
    stream: TileStream, backend: Watched
) -> None:
    stream.view(0, 0, 0, 512, 512, budget=WAIT_S)
    backend.hold()
    assert backend.wait_for(lambda: len(backend.reads) > 1)  # ahead
    wanted = (1536, 2048, 512, 512)
    arrivals = Arrivals(stream)
    stream.view(0, *wanted, budget=0)
    seen = len(backend.reads)
    backend.release()
    assert arrivals.wait_for(lambda: stream.pending == 0)
    assert {(0, *wanted)} & set(backend.reads[seen - 1 : seen + 2])


def test_damage_is_told_once_and_drawn_as_such(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.tiff", [(1024, 1536)], "zlib")
    with open_slide(path) as slide:
        good = slide.read(0, 0, 0, 1024, 1536)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        places = [(page.dataoffsets[k], page.databytecounts[k]) for k in (0, 8, 23)]
    data = bytearray(path.read_bytes())
    for offset, count in places:
        data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    errors: list[SlideError] = []
    with open_slide(path) as slide:
        stream = TileStream(slide, TileCache(2**28))
        stream.on_error = errors.append
        for _ in range(2):
            pixels = stream.view(0, 0, 0, 1024, 1536, budget=WAIT_S)
            assert stream.pending == 0
        stream.close()
    assert len(errors) == 1
    assert str(path) in str(errors[0])
    is_bad = np.zeros((2, 3), bool)
    is_bad[[0, 0, 1], [0, 1, 2]] = True
    for row, column in np.ndindex(2, 3):
        part = np.s_[512 * row : 512 * (row + 1), 512 * column : 512 * (column + 1)]
        if is_bad[row, column]:
            assert (np.ptp(pixels[part], axis=2) == 0).all()
            assert len(np.unique(pixels[part])) == 2
        else:
            np.testing.assert_array_equal(pixels[part], good[part])


def test_a_closed_stream_reads_no_more(path: Path, slide: Slide) -> None:
    backend = Watched(slide)
    stream = TileStream(slide, TileCache(2**28))
    arrivals = Arrivals(stream)
    backend.hold()
    stream.view(0, 0, 0, 2000, 2000, budget=0)
    assert backend.wait_for(lambda: backend.reads)
    stream.close()
    assert stream.pending == 0
    under_way = len(backend.reads)
    backend.release()
    assert backend.wait_for(lambda: backend.done >= under_way)
    with open_slide(path) as other:  # the same readers have gone on to this
        second = TileStream(other, TileCache(2**28))
        second.view(0, 0, 0, 2000, 2000, budget=WAIT_S)
        assert second.pending == 0
        second.close()
    assert len(backend.reads) <= min(under_way + READERS, 15)
    assert arrivals.count == 0
