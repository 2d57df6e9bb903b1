"""How many tiles a second can be had of a slide: ours, others', and the limit.

    python benchmarks/tiles.py [--folder DIR] [--side 65536]

The slide (0.9 GB) is made in DIR, a temporary folder if not given. Peers that are not
installed are named with what installs them.

All rows read the same tiles: distinct ones in random order, and another set in each
round. The rows take turns, so that what else the machine does hits all of them; the
best of the rounds counts, and the median of the ratios to the limit in the same round.
The file is in the operating system's cache throughout.
The limit is what no reader can do without: a read of the compressed bytes, and
libjpeg-turbo.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile
from big_slide import SIDE, TILE, write_big_slide
from in_extraction import extraction_rows

from weno.slides import open_slide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from weno.slides import Slide

    Pixels = npt.NDArray[np.uint8]
    Corners = npt.NDArray[np.int_]

TILES = 100  # a round; a slow reader is given a tenth of them
ROUNDS = 30
BATCH = 64  # tiles that `read_many` is asked for at a time
OFF_GRID = 100  # pixels, for what does not fit the file's tiles
THREADS = (1, 2)
LIMIT = "the limit: os.pread + libjpeg-turbo"


@dataclass
class Row:
    """A way to read tiles.

    Parameters
    ----------
    name : str
    read : callable
        Takes corners (N, 2), ``(y, x)`` in level-0 pixels, and a number of threads;
        yields what it has read, (256, 256, 3) or (n, 256, 256, 3).
    offset : int
        Added to the corners, in pixels.
    slow : bool
        Is given a tenth of the tiles.
    """

    name: str
    read: Callable[[Corners, int], Iterator[Pixels]]
    offset: int = 0
    slow: bool = False
    speeds: dict[int, list[float]] = field(default_factory=dict)

    def run(self, corners: Corners, threads: int) -> None:
        """Read once and note the tiles a second."""
        corners = corners[: len(corners) // 10] if self.slow else corners
        start = time.perf_counter()
        for _ in self.read(corners + self.offset, threads):
            pass
        seconds = time.perf_counter() - start
        self.speeds.setdefault(threads, []).append(len(corners) / seconds)


def one_by_one(
    openers: Sequence[Callable[[int, int], Pixels]],
) -> Callable[[Corners, int], Iterator[Pixels]]:
    """Read tile by tile; with two threads, each half of the tiles by its own reader."""

    def half(read: Callable[[int, int], Pixels], corners: Corners) -> None:
        for y, x in corners.tolist():
            read(y, x)

    def read(corners: Corners, threads: int) -> Iterator[Pixels]:
        if threads == 1:
            for y, x in corners.tolist():
                yield openers[0](y, x)
            return
        with ThreadPoolExecutor(threads) as pool:
            shares = np.array_split(corners, threads)
            list(pool.map(half, openers[:threads], shares))

    return read


def batches(slide: Slide) -> Callable[[Corners, int], Iterator[Pixels]]:
    """Read with `Slide.read_many`."""

    def read(corners: Corners, threads: int) -> Iterator[Pixels]:
        for first in range(0, len(corners), BATCH):
            batch = corners[first : first + BATCH]
            yield slide.read_many(0, batch, TILE, TILE, threads=threads)

    return read


def limit(path: Path) -> Callable[[int, int], Pixels]:
    """Decode tiles, and do nothing else."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        offsets, counts = page.dataoffsets, page.databytecounts
        columns = -(-page.imagewidth // TILE)
        tables = page.jpegtables
    handle = os.open(path, os.O_RDONLY)

    def read(y: int, x: int) -> Pixels:
        k = y // TILE * columns + x // TILE
        data = os.pread(handle, counts[k], offsets[k])
        pixels: Pixels = imagecodecs.jpeg8_decode(
            data, tables=tables, colorspace="YCBCR", outcolorspace="RGB"
        )
        return pixels

    return read


def through_openslide(path: Path) -> Callable[[int, int], Pixels]:
    """Read with openslide-python."""
    import openslide

    slide = openslide.OpenSlide(path)

    def read(y: int, x: int) -> Pixels:
        return np.asarray(slide.read_region((x, y), 0, (TILE, TILE)).convert("RGB"))

    return read


def through_tiffslide(path: Path) -> Callable[[int, int], Pixels]:
    """Read with tiffslide."""
    import tiffslide

    slide = tiffslide.TiffSlide(path)

    def read(y: int, x: int) -> Pixels:
        pixels = slide.read_region((x, y), 0, (TILE, TILE), as_array=True)
        return np.asarray(pixels)[..., :3]

    return read


def through_fastslide(path: Path) -> Callable[[int, int], Pixels]:
    """Read with fastslide."""
    import fastslide

    slide = fastslide.FastSlide.from_file_path(str(path))

    def read(y: int, x: int) -> Pixels:
        region = slide.read_region(location=(x, y), level=0, size=(TILE, TILE))
        return np.asarray(region.numpy())[..., :3]

    return read


def through_napari_wsi(path: Path) -> Callable[[int, int], Pixels]:
    """Compute napari-wsi's dask array."""
    from napari_wsi.backends.common import WSIReaderBackend
    from napari_wsi.common import open_store

    store = open_store(path=path, backend=WSIReaderBackend.OPENSLIDE)
    array: Any = store.to_layer_data_tuples()[0][0][0]

    def read(y: int, x: int) -> Pixels:
        tile = array[y : y + TILE, x : x + TILE, :3]
        return np.asarray(tile.compute(scheduler="synchronous"))

    return read


PEERS: tuple[tuple[str, Callable[[Path], Callable[[int, int], Pixels]]], ...] = (
    ("openslide-python", through_openslide),
    ("tiffslide", through_tiffslide),
    ("fastslide", through_fastslide),
    ("napari-wsi", through_napari_wsi),
)


def rows_of(path: Path, slide: Slide) -> tuple[list[Row], list[str]]:
    """Return the rows that can be measured here, and those that cannot."""
    rows, missing = [], []
    for package, opener in PEERS:
        try:
            version = importlib.metadata.version(package)
            reads = [opener(path), opener(path)]
        except ImportError:
            missing.append(f"| {package} | not installed: pip install {package} | | |")
            continue
        slow = package == "napari-wsi"
        name = f"{package} {version}" + (", its dask array" if slow else "")
        rows.append(Row(name, one_by_one(reads), slow=slow))
    rows.append(Row(LIMIT, one_by_one([limit(path), limit(path)])))

    def single(y: int, x: int) -> Pixels:
        return slide.read(0, y, x, TILE, TILE)

    openslide = [through_openslide(path), through_openslide(path)]
    off = f"{OFF_GRID} px off (4 tiles each)"
    rows += [
        Row("Slide.read", one_by_one([single, single])),
        Row("Slide.read_many", batches(slide)),
        Row(f"openslide-python, {off}", one_by_one(openslide), OFF_GRID),
        Row(f"Slide.read, {off}", one_by_one([single, single]), OFF_GRID),
        Row(f"Slide.read_many, {off}", batches(slide), OFF_GRID),
    ]
    return rows, missing


def check(rows: Sequence[Row], corners: Corners) -> None:
    """See that all rows read the same pixels, where they read the same place."""
    for offset in {row.offset for row in rows}:
        alike = [row for row in rows if row.offset == offset]
        read = [
            np.concatenate([_four(p) for p in r.read(corners + offset, 1)])
            for r in alike
        ]
        for row, pixels in zip(alike, read, strict=True):
            worst = np.abs(pixels.astype(int) - read[0]).max()
            if worst:
                print(f"{row.name} differs from {alike[0].name} by up to {worst}")


def _four(pixels: Pixels) -> Pixels:
    return pixels.reshape(-1, *pixels.shape[-3:])


def measure(rows: list[Row], side: int, rounds: int) -> None:
    """Let the rows take turns on the same tiles."""
    cells = np.random.default_rng(0).permutation((side // TILE - 1) ** 2)
    every = np.stack(np.divmod(cells, side // TILE - 1), axis=1) * TILE  # (N, 2)
    for k in range(rounds):
        for row in rows[k % len(rows) :] + rows[: k % len(rows)]:
            # Another set for each number of threads: what one run has left in a
            # reader's cache must not serve the next.
            for number, threads in enumerate(THREADS, start=k * len(THREADS)):
                row.run(every[number * TILES : (number + 1) * TILES], threads)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines: the best of the rounds, and the median of the ratios."""
    (limit_row,) = (row for row in rows if row.name == LIMIT)
    yield "| 256 px tiles a second | 1 thread | 2 threads | of the limit |"
    yield "|---|---|---|---|"
    for row in rows:
        speeds = " | ".join(f"{max(row.speeds[t]):,.0f}" for t in THREADS)
        ratios = [np.divide(row.speeds[t], limit_row.speeds[t]) for t in THREADS]
        shares = " / ".join(f"{np.median(ratio):.0%}" for ratio in ratios)
        yield f"| {row.name} | {speeds} | {shares} |"


def main() -> None:
    """Make the slide and print the tables."""
    parser = argparse.ArgumentParser(description="Tiles a second.")
    parser.add_argument("--folder", type=Path, help="where the slide is kept")
    parser.add_argument("--side", type=int, default=SIDE, help="of the slide, in px")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--raw", action="store_true", help="print every round")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        path = write_big_slide(folder / f"big-{arguments.side}.tif", arguments.side)
        _cache(path)
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores\n")
        with open_slide(path) as slide:
            rows, missing = rows_of(path, slide)
            check(rows, TILE * np.array([[3, 4], [11, 1], [40, 52]]))
            measure(rows, arguments.side, arguments.rounds)
        print("\n".join([*table(rows), *missing]))
        if arguments.raw:
            for row in rows:
                print(row.name, {t: np.round(s) for t, s in row.speeds.items()})
        print()
        print("\n".join(extraction_rows(path, max(1, arguments.rounds // 4))))


def _cache(path: Path) -> None:
    """Have the operating system keep the file in memory."""
    with path.open("rb") as file:
        while file.read(2**24):
            pass


if __name__ == "__main__":
    main()
