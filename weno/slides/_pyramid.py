"""The levels of a slide, and those it lacks, as arrays that can be cut up in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import dask.array as da
    import numpy.typing as npt

    from weno.slides._slide import Slide

    Pixels = npt.NDArray[np.uint8]

#: A viewer reads the coarsest level whole and keeps it, so it must be small.
_COARSEST_SIDE = 1024
# Between two levels a viewer shows the finer one: with a factor of 4, as scanners
# have it, it would have to draw up to 16 times the pixels of the screen.
_WIDEST_STEP = 2.5
_STRIP_PIXELS = 2**24


class StoredLevel:
    """A level of the file that can be sliced like an array.

    Attributes
    ----------
    shape : (height, width, 3)
    chunk : (height, width)
        The blocks to read it in: whole tiles of the file.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, slide: Slide, level: int, chunk: int) -> None:
        self.slide = slide
        self.level = level
        self.shape: tuple[int, int, int] = (*slide.level_shapes[level], 3)
        tile_height, tile_width = slide.tile_shapes[level]
        self.chunk: tuple[int, int] = (
            _whole_tiles(tile_height, chunk),
            _whole_tiles(tile_width, chunk),
        )

    def __getitem__(self, key: tuple[slice, slice, slice]) -> Pixels:
        y, height, x, width = _span(key, self.shape)
        return self.read(y, x, height, width)[..., key[2]]

    def read(self, y: int, x: int, height: int, width: int) -> Pixels:
        """Return a region (height, width, 3) inside the level."""
        return self.slide.read(self.level, y, x, height, width)


class HalvedLevel:
    """A level that the file lacks: 2x2 means of the level above it.

    Parameters
    ----------
    above : StoredLevel or HalvedLevel
    shape : (height, width)
        As near to half of the level above as whole pixels allow, counted from the
        last stored level so that the errors of rounding do not add up.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(
        self, above: StoredLevel | HalvedLevel, shape: tuple[int, int]
    ) -> None:
        self.above = above
        self.shape: tuple[int, int, int] = (*shape, 3)
        self.chunk: tuple[int, int] = above.chunk

    def __getitem__(self, key: tuple[slice, slice, slice]) -> Pixels:
        y, height, x, width = _span(key, self.shape)
        return self.read(y, x, height, width)[..., key[2]]

    def read(self, y: int, x: int, height: int, width: int) -> Pixels:
        """Return a region (height, width, 3) inside the level.

        Chunk by chunk: a level far below a large one must not ask for it as a whole.
        """
        out = np.empty((height, width, 3), np.uint8)
        for top, bottom in _blocks(y, height, self.chunk[0]):
            for left, right in _blocks(x, width, self.chunk[1]):
                above = self.above.read(*self.span_above(top, left, bottom, right))
                piece = out[top - y : bottom - y, left - x : right - x]
                piece[:] = halved(above, bottom - top, right - left)
        return out

    def span_above(
        self, top: int, left: int, bottom: int, right: int
    ) -> tuple[int, int, int, int]:
        """Return ``(y, x, height, width)`` in the level above of a region here."""
        height, width = self.above.shape[:2]
        end_y, end_x = min(2 * bottom, height), min(2 * right, width)
        return 2 * top, 2 * left, end_y - 2 * top, end_x - 2 * left


Level = StoredLevel | HalvedLevel


def halved(above: Pixels, height: int, width: int) -> Pixels:
    """Shrink pixels to (height, width, 3) by means of 2x2."""
    missing = 2 * height - above.shape[0], 2 * width - above.shape[1]
    if any(missing):  # the last pixel of an odd side, repeated
        above = np.pad(above, ((0, missing[0]), (0, missing[1]), (0, 0)), "edge")
    return np.asarray(Image.fromarray(above).reduce(2))


def levels_of(slide: Slide, chunk: int = 512) -> list[Level]:
    """Return the levels of a slide, the missing ones made, finest first.

    Parameters
    ----------
    slide : Slide
    chunk : int
        Wished side of the chunks; they are made of whole tiles of the file.
    """
    stored = [
        StoredLevel(slide, level, chunk) for level in range(len(slide.level_shapes))
    ]
    levels: list[Level] = []
    for level, below in zip(stored, [*stored[1:], None], strict=True):
        levels.append(level)
        shape, halvings = level.shape[:2], 0
        wanted = below.shape[0] * _WIDEST_STEP if below else _COARSEST_SIDE
        side = shape[0] if below else max(shape)
        while side / 2**halvings > wanted:
            halvings += 1
            half = tuple(max(1, round(length / 2**halvings)) for length in shape)
            levels.append(HalvedLevel(levels[-1], (half[0], half[1])))
    return levels


def dask_pyramid(slide: Slide, chunk: int) -> list[da.Array]:
    """Return all levels of `slide` as dask arrays with a thin graph."""
    import dask.array as da

    token = "-".join(map(str, slide.token))
    return [
        da.from_array(
            level,
            chunks=(*level.chunk, 3),
            name=f"slide-{token}-{index}-{chunk}",
            asarray=False,
            fancy=False,
            lock=False,
            meta=np.empty((0, 0, 0), np.uint8),
        )
        for index, level in enumerate(levels_of(slide, chunk))
    ]


def overview(slide: Slide, height: int, width: int) -> Pixels:
    """Shrink a whole slide to `height` x `width` pixels, each an area mean.

    Reads strip by strip from the coarsest level that is still finer than what is
    asked for, so that memory stays bounded for a slide without low levels.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
    """
    level = _finer_level(slide, slide.shape[0] / height)
    level_height, level_width = slide.level_shapes[level]
    ratio = level_height / height  # level pixels per row of the result
    rows = max(1, min(height, int(_STRIP_PIXELS / (level_width * max(ratio, 1)))))
    out = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        first, last = int(top * ratio), min(level_height, int(-(-bottom * ratio // 1)))
        strip = Image.fromarray(slide.read(level, first, 0, last - first, level_width))
        box = (0, top * ratio - first, level_width, min(bottom * ratio, last) - first)
        shrunk = strip.resize((width, bottom - top), Image.Resampling.BOX, box=box)
        out[top:bottom] = np.asarray(shrunk)
    return out


def _finer_level(slide: Slide, downsample: float) -> int:
    """Return the coarsest level with at most `downsample`."""
    fitting = [k for k, d in enumerate(slide.downsamples) if d <= downsample * 1.001]
    return max(fitting, key=lambda level: slide.downsamples[level], default=0)


def _span(
    key: tuple[slice, slice, slice], shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    y, bottom, _ = key[0].indices(shape[0])
    x, right, _ = key[1].indices(shape[1])
    return y, bottom - y, x, right - x


def _blocks(start: int, length: int, step: int) -> list[tuple[int, int]]:
    """Cut ``[start, start + length)`` at the multiples of `step`."""
    cuts = [start, *range(start - start % step + step, start + length, step)]
    return list(zip(cuts, [*cuts[1:], start + length], strict=True))


def _whole_tiles(tile: int, wanted: int) -> int:
    """Return the multiple of a tile's side that is nearest to `wanted`.

    Strips and giant tiles are cut up instead.
    """
    if not wanted // 8 <= tile <= 2 * wanted:
        return wanted
    return max(1, round(wanted / tile)) * tile
