"""Streams that share a cache, or change what they show, and never mix their pixels."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from weno.slides import Slide, TileCache, TileStream, open_slide

WAIT_S = 30
SHAPE = (1300, 1100)
BOX = (300, 200, 900, 800)


class Gate:
    """A slide's own backend, whose reads are counted and can be held up."""

    def __init__(self, slide: Slide) -> None:
        self.inner = slide._backend
        slide._backend = self  # where an outside thing comes in
        self.free, self.reached = threading.Event(), threading.Event()
        self.free.set()
        self.reads: list[tuple[int, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def read(self, *box: int) -> np.ndarray:
        self.reads.append(box)
        self.reached.set()
        assert self.free.wait(WAIT_S)
        return self.inner.read(*box)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(8).integers(0, 120, (*SHAPE, 3), np.uint8)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("sharing") / "slide.tiff"
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", metadata=None)
    return path


@pytest.fixture
def slide(path: Path) -> Iterator[Slide]:
    with open_slide(path) as slide:
        yield slide


@pytest.fixture
def tiles() -> TileCache:
    return TileCache(2**28)


def inverted(pixels: np.ndarray) -> np.ndarray:
    return 255 - pixels


def brighter(pixels: np.ndarray) -> np.ndarray:
    return pixels + np.uint8(100)


def shown(stream: TileStream, budget: float = WAIT_S) -> np.ndarray:
    return stream.view(0, *BOX, budget=budget)


def region(pixels: np.ndarray) -> np.ndarray:
    y, x, height, width = BOX
    return pixels[y : y + height, x : x + width]


def test_streams_of_one_slide_share_what_was_read(
    path: Path, tiles: TileCache, pixels: np.ndarray
) -> None:
    with open_slide(path) as one, open_slide(path) as two:
        reads = []
        for slide in (one, one, two):
            gate, stream = Gate(slide), TileStream(slide, tiles)
            np.testing.assert_array_equal(shown(stream), region(pixels))
            stream.close()
            reads.append(len(gate.reads))
        assert reads[0] >= 6
        assert reads[1:] == [0, 0]


def test_streams_of_two_slides_do_not_share(
    slide: Slide, tiles: TileCache, pixels: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "slide.tiff"
    tifffile.imwrite(
        path, inverted(pixels), tile=(256, 256), photometric="rgb", metadata=None
    )
    with open_slide(path) as other:
        for one, expected in ((slide, pixels), (other, inverted(pixels))) * 2:
            stream = TileStream(one, tiles)
            np.testing.assert_array_equal(shown(stream), region(expected))
            stream.close()


def test_colours_of_streams_do_not_mix(
    slide: Slide, tiles: TileCache, pixels: np.ndarray
) -> None:
    plain, inverse, bright = (TileStream(slide, tiles) for _ in range(3))
    inverse.set_colour(inverted, "inverted")
    bright.set_colour(brighter, "brighter")
    for _ in range(2):
        np.testing.assert_array_equal(shown(plain), region(pixels))
        np.testing.assert_array_equal(shown(inverse), region(inverted(pixels)))
        np.testing.assert_array_equal(shown(bright), region(brighter(pixels)))
    for stream in (plain, inverse, bright):
        stream.close()


@pytest.mark.parametrize("level", [0, 1])
def test_a_stream_can_change_its_colours_and_back(
    slide: Slide, tiles: TileCache, pixels: np.ndarray, level: int
) -> None:
    stream = TileStream(slide, tiles)
    _, _, height, width = 0, 0, *stream.levels[level].shape[:2]
    means = slide.pyramid()[level].compute()
    for colour, name in ((None, ""), (brighter, "brighter")) * 2:
        stream.set_colour(colour, name)
        seen = stream.view(level, 0, 0, height, width, budget=WAIT_S)
        expected = means if colour is None else colour(means)
        np.testing.assert_array_equal(seen, expected)
    stream.close()


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(
    ("before", "after"),
    [((None, ""), (brighter, "brighter")), ((brighter, "brighter"), (None, ""))],
    ids=["on", "off"],
)
def test_changing_colours_under_a_read_does_not_mix_them(
    slide: Slide,
    tiles: TileCache,
    level: int,
    before: tuple[Callable[[np.ndarray], np.ndarray] | None, str],
    after: tuple[Callable[[np.ndarray], np.ndarray] | None, str],
) -> None:
    means = slide.pyramid()[level].compute()
    stream = TileStream(slide, tiles)
    stream.set_colour(*before)
    gate = Gate(slide)
    gate.free.clear()
    whole = level, 0, 0, *means.shape[:2]
    stream.view(*whole, budget=0)
    assert gate.reached.wait(WAIT_S)
    stream.set_colour(*after)
    gate.free.set()
    for colour, name in (after, before, after):
        stream.set_colour(colour, name)
        seen = stream.view(*whole, budget=WAIT_S)
        expected = means if colour is None else colour(means)
        np.testing.assert_array_equal(seen, expected)
    stream.close()


def test_what_a_closed_slide_could_not_read_is_not_kept(
    path: Path, tiles: TileCache, pixels: np.ndarray
) -> None:
    with open_slide(path) as slide:
        stream = TileStream(slide, tiles)
        slide.close()
        assert shown(stream).shape == region(pixels).shape
        stream.close()
    with open_slide(path) as slide:
        stream = TileStream(slide, tiles)
        np.testing.assert_array_equal(shown(stream), region(pixels))
        stream.close()


def test_a_slide_closed_under_a_window_comes_to_rest(
    path: Path, tiles: TileCache
) -> None:
    slide = open_slide(path)
    stream = TileStream(slide, tiles)
    said: list[object] = []
    stream.on_error = said.append
    slide.close()
    shown(stream)
    assert stream.pending == 0
    arrivals: list[None] = []
    stream.on_arrival = lambda: arrivals.append(None)
    assert set(np.unique(shown(stream))) == {200, 235}  # hatched
    assert not arrivals
    assert not said
    # Whoever opens it again sees the slide, not what the other could not read.
    with open_slide(path) as again:
        fresh = TileStream(again, tiles)
        np.testing.assert_array_equal(shown(fresh), again.read(0, *BOX))
        fresh.close()
    stream.close()


def test_nothing_is_read_ahead_that_would_push_the_view_out(slide: Slide) -> None:
    gate = Gate(slide)
    stream = TileStream(slide, TileCache(10 * 512 * 512 * 3))  # the view takes 6
    np.testing.assert_array_equal(shown(stream), gate.inner.read(0, *BOX))
    gate.reached.clear()
    assert not gate.reached.wait(0.5)  # several times what counts as idle
    stream.close()
