"""Tiles a second inside `extract`, with the fast path and through OpenSlide alone."""

from __future__ import annotations

import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weno.features import extract_slide
from weno.slides import open_slide
from weno.slides._openslide import OpenSlideBackend
from weno.tiles import TileSpec, TissueMask, read_tiles, tile_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from weno.slides import Slide

SPECS = {
    "256 px at 0.25 µm (as stored)": TileSpec(tile_um=64.0, mpp=0.25),
    "256 px at 0.5 µm (the default; shrunk from 512 px)": TileSpec(),
}
_SIDE = 64  # of the tissue, in tiles
_BATCH = 16  # as `extract` asks for them


class NoEncoder:
    """Looks at no tile, so that what remains of `extract` is the reading."""

    name = "none"
    dim = 1
    device = "cpu"
    precision = "fp32"

    def encode(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return a zero for each of the tiles (N, H, W, 3)."""
        return np.zeros((len(tiles), 1), np.float32)

    def start(
        self, tiles: npt.NDArray[np.uint8]
    ) -> Callable[[], npt.NDArray[np.float32]]:
        """Return what gives the zeros."""
        return lambda: self.encode(tiles)


def extraction_rows(path: Path, rounds: int) -> Iterator[str]:
    """Yield the lines of the table: the best of the rounds."""
    yield "| tiles a second | OpenSlide alone | Slide | gain |"
    yield "|---|---|---|---|"
    with open_slide(path) as fast, open_slide(path) as slow:
        slow._backend = OpenSlideBackend(path)
        for name, spec in SPECS.items():
            for what, measure in WAYS.items():
                best: dict[Slide, float] = {}
                for k in range(rounds):
                    for slide in (slow, fast):
                        speed = measure(slide, spec, _tissue(slide, spec, k))
                        best[slide] = max(speed, best.get(slide, 0.0))
                gain = best[fast] / best[slow]
                yield (
                    f"| {what}, {name} | {best[slow]:,.0f} | {best[fast]:,.0f} "
                    f"| {gain:.1f} x |"
                )


def _tissue(slide: Slide, spec: TileSpec, place: int) -> TissueMask:
    """Return a square of tissue; every round has another, none read before."""
    assert slide.mpp is not None
    tile_l0 = spec.tile_um / slide.mpp[0]
    count = int(slide.shape[0] / tile_l0)
    mask = np.zeros((count, count), bool)
    side = min(_SIDE, count) // 4
    top, left = divmod(place * side, count // side * side)
    mask[top * side : (top + 1) * side, left : left + side] = True
    return TissueMask(mask, (tile_l0, tile_l0), (spec.tile_um, spec.tile_um))


def _reading(slide: Slide, spec: TileSpec, tissue: TissueMask) -> float:
    """Read tiles in batches in this thread."""
    grid = tile_grid(slide, spec, tissue)
    start = time.perf_counter()
    for first in range(0, len(grid), _BATCH):
        read_tiles(slide, grid, spec, range(first, min(first + _BATCH, len(grid))))
    return len(grid) / (time.perf_counter() - start)


def _extracting(slide: Slide, spec: TileSpec, tissue: TissueMask) -> float:
    """Run the whole of `extract_slide`, files and all."""
    grid = tile_grid(slide, spec, tissue)
    with tempfile.TemporaryDirectory() as folder:
        job = extract_slide(
            slide, "big", spec, NoEncoder(), Path(folder) / "big.h5", tissue=tissue
        )
        start = time.perf_counter()
        deque(job, maxlen=0)
        return len(grid) / (time.perf_counter() - start)


WAYS: dict[str, Callable[[Slide, TileSpec, TissueMask], float]] = {
    "read_tiles": _reading,
    "extract, an encoder that does nothing": _extracting,
}
