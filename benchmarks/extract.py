"""Tiles a second from slide to file, against the encoder alone and a plain loop.

    python benchmarks/extract.py SLIDE [--device cuda] [--precision bf16] [--rounds 5]

SLIDE is written if it is not there (`big_slide.py`, 65,536 px). Each round measures,
one after the other and on tiles that no round before has read: the encoder on tiles in
memory; `extract_slide`, from opened slide to features file; and a plain loop, OpenSlide
in a DataLoader, without workers (as CLAM's script has it on a CPU) and with a worker
per core. Medians of the rounds, of ratios too. Networks have random weights: speed does
not depend on them.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import openslide
import torch
from big_slide import write_big_slide
from dask.system import CPU_COUNT
from torch.utils.data import DataLoader, Dataset

from weno.features import TextureEncoder, TimmEncoder, extract_slide
from weno.features._pipeline import BatchSize, Work
from weno.slides import open_slide
from weno.tiles import TileSpec, TissueMask, read_tiles, tile_grid

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from weno.features import Encoder
    from weno.slides import Slide
    from weno.tiles import TileGrid

    Pixels = npt.NDArray[np.uint8]
    Features = npt.NDArray[np.float32]

SPEC = TileSpec()  # 256 px at 0.5 µm/px; read as 512 px
NETWORKS = {"ResNet-18": "resnet18", "ViT-S": "vit_small_patch16_224"}
#: Tiles of one measurement, on a CPU and on a GPU.
TILES = {"built-in": (480, 480), "ResNet-18": (96, 14400), "ViT-S": (48, 14400)}
_ROW = 48  # tiles in a row of the tissue


class Watched:
    """An encoder, and how long it has been at work, in all threads."""

    def __init__(self, encoder: Encoder) -> None:
        self.name, self.dim = encoder.name, encoder.dim
        self.device, self.precision = encoder.device, encoder.precision
        self.busy = 0.0
        self._encoder = encoder
        self._lock = threading.Lock()

    def _timed(self, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        with self._lock:
            self.busy += time.perf_counter() - start
        return result

    def encode(self, tiles: Pixels) -> Features:
        """Encode tiles, and look at the clock."""
        features: Features = self._timed(lambda: self._encoder.encode(tiles))
        return features

    def start(self, tiles: Pixels) -> Callable[[], Features]:
        """Begin to encode, and look at the clock."""
        finish = self._timed(lambda: self._encoder.start(tiles))
        return lambda: self._timed(finish)


class WatchedTexture(Watched, TextureEncoder):
    """The built-in encoder, which several threads use at a time."""


class PlainTiles(Dataset[torch.Tensor]):
    """Tiles as OpenSlide reads them."""

    def __init__(self, path: Path, grid: TileGrid) -> None:
        self._path, self._grid = path, grid
        self._slide: openslide.OpenSlide | None = None

    def __len__(self) -> int:
        return len(self._grid)

    def __getitem__(self, index: int) -> torch.Tensor:
        if self._slide is None:  # each worker opens its own
            self._slide = openslide.OpenSlide(self._path)
        y, x = (int(at) for at in self._grid.origins[index])
        side = round(self._grid.tile_l0[0])
        level = self._slide.get_best_level_for_downsample(side / SPEC.tile_px)
        side_of_level = round(side / self._slide.level_downsamples[level])
        tile = self._slide.read_region((x, y), level, (side_of_level, side_of_level))
        small = tile.convert("RGB").resize((SPEC.tile_px, SPEC.tile_px))
        return torch.from_numpy(np.array(small))


def tissue(slide: Slide, count: int, place: int) -> TissueMask:
    """Return a band of tissue of so many tiles, another one for each place."""
    assert slide.mpp is not None
    side = SPEC.tile_um / slide.mpp[0]
    rows = int(slide.shape[0] / side)
    mask = np.zeros((rows, rows), bool)
    bands = rows // _ROW
    height = count // _ROW
    top = place // bands * height % (rows - height)
    left = place % bands * _ROW
    mask[top : top + height, left : left + _ROW] = True
    return TissueMask(mask, (side, side), (SPEC.tile_um, SPEC.tile_um))


def alone(encoder: Encoder, tiles: Pixels, batch: int, count: int) -> float:
    """Tiles a second of the encoder, on tiles in memory; on all cores if it can."""
    concurrent = isinstance(encoder, TextureEncoder)
    batches = [tiles[first : first + batch] for first in range(0, len(tiles), batch)]
    batches *= max(1, count // len(tiles))
    start = time.perf_counter()
    if concurrent:
        with ThreadPoolExecutor(CPU_COUNT) as pool:
            deque(pool.map(encoder.encode, batches), maxlen=0)
    else:
        given = deque([encoder.start(batches[0])])
        for some in batches[1:]:
            given.append(encoder.start(some))
            given.popleft()()
        given.popleft()()
    return sum(map(len, batches)) / (time.perf_counter() - start)


def extracting(
    slide: Slide, encoder: Encoder, mask: TissueMask, count: int, batch: BatchSize
) -> tuple[float, float]:
    """Tiles a second of `extract_slide`, and the share of time the encoder waits."""
    kind = WatchedTexture if isinstance(encoder, TextureEncoder) else Watched
    watched = kind(encoder)
    work = Work(slide, tile_grid(slide, SPEC, mask), SPEC, encoder, batch)
    at_once = work.readers()[0] if work.concurrent else 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        start = time.perf_counter()
        job = extract_slide(slide, "a", SPEC, watched, path, tissue=mask, batch=batch)
        deque(job, maxlen=0)
        seconds = time.perf_counter() - start
    return count / seconds, 1 - watched.busy / (at_once * seconds)


def plain(path: Path, grid: TileGrid, encoder: Encoder, workers: int) -> float:
    """Tiles a second of the plain loop."""
    loader = DataLoader(PlainTiles(path, grid), batch_size=16, num_workers=workers)
    start = time.perf_counter()
    found = [encoder.encode(tiles.numpy()) for tiles in loader]
    np.concatenate(found)
    return len(grid) / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Speed of the extraction.")
    parser.add_argument("slide", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=TILES, help="this encoder alone")
    given = parser.parse_args()
    path = write_big_slide(given.slide, 65_536)
    on_gpu = given.device != "cpu"
    print(f"{CPU_COUNT} cores, {given.device}, {given.rounds} rounds")
    columns = ["encoder", "tiles", "batch", "alone", "extract", "of alone", "waits"]
    columns += ["plain", "gain", "plain, workers", "gain"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, counts in TILES.items():
        if given.only in (None, name) and not (on_gpu and name == "built-in"):
            print(row(path, name, counts[on_gpu], given), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\nPeak memory of this process, torch included: {peak:.2f} GB")


def row(path: Path, name: str, count: int, given: argparse.Namespace) -> str:
    """Measure one encoder; return its line of the table."""
    encoder: Encoder = TextureEncoder()
    if name in NETWORKS:
        encoder = TimmEncoder(
            NETWORKS[name],
            device=given.device,
            precision=given.precision,
            pretrained=False,
        )
    batch = BatchSize(encoder)
    rounds: list[tuple[float, ...]] = []
    places = iter(range(10**6))
    with open_slide(path) as slide:
        # Warms up, and lets the batch find its size.
        extracting(slide, encoder, tissue(slide, count, next(places)), count, batch)
        for _ in range(given.rounds):
            mask = tissue(slide, count, next(places))
            few = [tissue(slide, max(_ROW, count // 4), next(places)) for _ in range(2)]
            grids = [tile_grid(slide, SPEC, some) for some in (mask, *few)]
            tiles = read_tiles(slide, grids[0], SPEC, range(min(count, 1024)))
            # In a thread, as in the extraction: the main one's memory costs more.
            with ThreadPoolExecutor(1) as pool:
                own = pool.submit(alone, encoder, tiles, batch.tiles, count).result()
            speed, waits = extracting(slide, encoder, mask, count, batch)
            without = plain(path, grids[1], encoder, 0)
            with_workers = plain(path, grids[2], encoder, CPU_COUNT)
            gains = (speed / own, speed / without, speed / with_workers)
            rounds.append((own, speed, waits, without, with_workers, *gains))
    own, speed, waits, without, with_workers, share, gain, gain_of_workers = (
        median(column) for column in zip(*rounds, strict=True)
    )
    # On a CPU the threads that encode read their tiles themselves.
    waiting = f"{waits:.0%}" if encoder.device != "cpu" else ""
    return (
        f"| {name} | {count} | {batch.tiles} | {own:,.0f} | {speed:,.0f} | {share:.0%} "
        f"| {waiting} | {without:,.0f} | {gain:.1f} x | {with_workers:,.0f} "
        f"| {gain_of_workers:.1f} x |"
    )


if __name__ == "__main__":
    main()
