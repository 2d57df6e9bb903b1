"""The levels of a slide as dask arrays with a thin graph, one task per chunk."""

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
_STRIP_PIXELS = 2**24


class _Level:
    """One level of a slide that can be sliced like an array."""

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, slide: Slide, level: int) -> None:
        self.slide = slide
        self.level = level
        self.shape: tuple[int, int, int] = (*slide.level_shapes[level], 3)

    def __getitem__(self, key: tuple[slice, slice, slice]) -> Pixels:
        y, height, x, width = _span(key, self.shape)
        return self.slide.read(self.level, y, x, height, width)[..., key[2]]


class _Halved:
    """A level that the slide lacks: 2x2 means of the level above it."""

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, parent: _Level | _Halved) -> None:
        self.parent = parent
        height, width = parent.shape[:2]
        self.shape: tuple[int, int, int] = (max(1, height // 2), max(1, width // 2), 3)

    def __getitem__(self, key: tuple[slice, slice, slice]) -> Pixels:
        y, height, x, width = _span(key, self.shape)
        above = slice(2 * y, 2 * (y + height)), slice(2 * x, 2 * (x + width))
        fine = self.parent[(*above, slice(None))]
        # A side of one pixel cannot be halved; it is repeated.
        fine = np.pad(
            fine,
            ((0, 2 * height - fine.shape[0]), (0, 2 * width - fine.shape[1]), (0, 0)),
            mode="edge",
        )
        blocks = fine.reshape(height, 2, width, 2, 3).astype(np.uint16)
        mean: Pixels = ((blocks.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)
        return mean[..., key[2]]  # (H, W, C)


def dask_pyramid(slide: Slide, chunk: int) -> list[da.Array]:
    """Return all levels of `slide`, and halved ones below, as dask arrays."""
    import dask.array as da

    levels: list[_Level | _Halved] = [
        _Level(slide, level) for level in range(len(slide.level_shapes))
    ]
    while max(levels[-1].shape) > _COARSEST_SIDE:
        levels.append(_Halved(levels[-1]))
    # The name is the key of every chunk cache, so it must change with the file.
    stat = slide.path.stat()
    token = f"slide-{slide.path.resolve()}-{stat.st_mtime_ns}-{stat.st_size}"
    return [
        da.from_array(
            level,
            chunks=(chunk, chunk, 3),
            name=f"{token}-{index}-{chunk}",
            asarray=False,
            fancy=False,
            lock=False,
            meta=np.empty((0, 0, 0), np.uint8),
        )
        for index, level in enumerate(levels)
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
