"""From the tiles of a slide to features on disk, so that the encoder never waits.

On the processor each of several threads reads a batch, encodes it and commits it, with
its share of the cores to compute on: nobody waits for anybody. A GPU is one for all:
several threads decode, one hands over batches, the next one before the last one's
features are asked for, so that there is always something to do.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from dask.system import CPU_COUNT
from threadpoolctl import threadpool_limits

from weno.errors import FeatureError, OutOfMemory
from weno.features.encoders import TextureEncoder
from weno.tiles import QUALITY, read_tiles, tile_quality

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future

    import numpy.typing as npt

    from weno.features._parts import Parts
    from weno.features.encoders import Encoder
    from weno.slides import Slide
    from weno.tiles import TileGrid, TileSpec

    Pixels = npt.NDArray[np.uint8]
    Features = npt.NDArray[np.float32]

_PIECE = 16  # tiles read at a time; what neighbours share is decoded once
_READ_BYTES = 2**28  # of all threads together
_BATCH_BYTES = 2**27
_AHEAD = 2  # batches that are decoded or being decoded while one is encoded
_REPORT_S = 0.1

_ON_CPU = 8  # tiles in a batch; few, so that a slow network can be stopped in time
_NETWORKS_AT_ONCE = 4  # on the processor; each has its activations in memory
_ON_GPU = 32  # to begin with
_LARGEST = 1024
_MEASURED_S = 0.3
_BATCHES = 4  # that are measured at least, the first left out
_WORTH_IT = 1.05


class BatchSize:
    """How many tiles the encoder gets at a time, of one slide after another.

    On a GPU it is doubled as long as that makes the work faster, and halved whenever
    the memory does not suffice.

    Parameters
    ----------
    encoder : Encoder
    fixed : int, optional
        Take this many, and do not look for a better number.
    """

    def __init__(self, encoder: Encoder, fixed: int | None = None) -> None:
        on_gpu = encoder.device != "cpu"
        on_cpu = _PIECE if isinstance(encoder, TextureEncoder) else _ON_CPU
        self.tiles = fixed or (_ON_GPU if on_gpu else on_cpu)
        self._grows = on_gpu and fixed is None
        self._bound = _LARGEST
        self._best = 0.0  # tiles a second, of the last size
        self._note = ""
        self._forget()

    def _forget(self) -> None:
        self._batches, self._measured, self._since = 0, 0, 0.0

    def fit(self, bound: int) -> None:
        """Take no more tiles than these, which is what the host's memory allows."""
        if self.tiles > bound:
            self.tiles, self._grows = bound, False
        self._bound = min(bound, _LARGEST)
        self._forget()

    def record(self, tiles: int, now: float) -> None:
        """Take note that at this time, in seconds, so many tiles more are done."""
        if not self._grows or tiles != self.tiles:
            return
        self._batches += 1
        if self._batches == 1:  # a new size has to be got used to
            self._since = now
            return
        self._measured += tiles
        seconds = now - self._since
        if self._batches <= _BATCHES or seconds < _MEASURED_S:
            return
        speed = self._measured / seconds
        self._forget()
        if speed < self._best * _WORTH_IT:
            self.tiles //= 2
            self._grows = False
        elif 2 * self.tiles > self._bound:
            self._grows = False
        else:
            self._best = speed
            self.tiles *= 2

    def halve(self, tiles: int, error: OutOfMemory) -> None:
        """Take no more than half of these, which did not fit, from now on.

        Raises
        ------
        FeatureError
            If it is one tile that does not fit.
        """
        if tiles == 1:
            raise FeatureError(
                f"{error}; not even one tile fits: free memory on the device, or "
                "compute elsewhere, as with --device cpu"
            ) from error
        if self.tiles <= tiles // 2:  # another thread has been here before
            return
        self.tiles = tiles // 2
        self._grows = False
        self._note = f"out of memory: batches of {self.tiles} tiles from now on"

    def take_note(self) -> str:
        """Return what is to be said, once."""
        note, self._note = self._note, ""
        return note


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be encoded, and how.

    Parameters
    ----------
    slide : Slide
    grid : TileGrid
    spec : TileSpec
    encoder : Encoder
    batch : BatchSize
    threads : int or None
        That read, and on the processor encode; as many as there are cores if None.
    """

    slide: Slide
    grid: TileGrid
    spec: TileSpec
    encoder: Encoder
    batch: BatchSize
    threads: int | None = None

    @property
    def concurrent(self) -> bool:
        """Whether each thread encodes what it has read."""
        return self.encoder.device == "cpu"

    @property
    def tile_bytes(self) -> float:
        """What a tile takes at most while it is read: its pixels at level 0."""
        height, width = self.grid.tile_l0
        return 3 * max(height * width, self.spec.tile_px**2)

    def readers(self) -> tuple[int, int]:
        """Return how many threads are to read, and how many tiles each at a time."""
        threads = self.threads or CPU_COUNT
        if self.concurrent and not isinstance(self.encoder, TextureEncoder):
            threads = min(threads, _NETWORKS_AT_ONCE)
        bound = max(1, int(_READ_BYTES / self.tile_bytes))  # tiles in memory
        threads = min(threads, bound)
        return threads, min(_PIECE, bound // threads)

    def read(self, tiles: range) -> Pixels:
        return read_tiles(self.slide, self.grid, self.spec, tiles)

    def columns(self, tiles: range, features: Features, quality: Features) -> Features:
        """Return what is kept of some tiles, or say that it cannot be used."""
        features = np.asarray(features, np.float32)  # (n, F)
        name, dim = self.encoder.name, self.encoder.dim
        if features.shape != (len(tiles), dim) or not np.isfinite(features).all():
            raise FeatureError(
                f"the encoder {name} gave features of shape {features.shape} that do "
                f"not fit, or are not finite, for tiles from {tiles[0]} on"
            )
        return np.concatenate([features, quality], axis=1)


def encode_missing(work: Work, parts: Parts) -> Generator[int]:
    """Encode what is not in `parts` yet; yield the number of tiles there, often.

    Raises
    ------
    SlideError, FeatureError
        If a tile cannot be read or encoded.
    """
    stop = threading.Event()
    if work.concurrent:
        count, most = work.readers()
        work.batch.fit(most)
        job = _on_cores(work, parts, stop, max(1, CPU_COUNT // count))
    else:
        work.batch.fit(max(1, _BATCH_BYTES // (3 * work.spec.tile_px**2)))
        count, job = 1, _on_device(work, parts, stop)
    pool = ThreadPoolExecutor(count, thread_name_prefix="weno-tiles")
    try:
        running = [pool.submit(job) for _ in range(count)]
        while running:
            finished, pending = wait(running, _REPORT_S, FIRST_EXCEPTION)
            for future in finished:
                future.result()
            running = list(pending)
            yield parts.done
    finally:
        stop.set()
        # Wait: the slide may be closed by the caller right after.
        pool.shutdown(wait=True)


def _on_cores(
    work: Work, parts: Parts, stop: threading.Event, cores: int
) -> Callable[[], None]:
    """Return what each of several threads does that compute on so many cores each."""
    lock = threading.Lock()
    batches = _cut(parts.missing(), work.batch)

    def job() -> None:
        feeder = _Feeder(work, parts)
        with threadpool_limits(cores, "openmp"):  # of this thread alone
            while not stop.is_set():
                with lock:
                    tiles = next(batches, None)
                if tiles is None:
                    return
                pixels = work.read(tiles)
                feeder.feed(_Batch(tiles, pixels, tile_quality(pixels)))

    return job


def _on_device(work: Work, parts: Parts, stop: threading.Event) -> Callable[[], None]:
    """Return what the one thread does that hands batches to a device."""

    def job() -> None:
        feeder = _Feeder(work, parts)
        with _decoded(work, _cut(parts.missing(), work.batch)) as batches:
            for batch in batches:
                feeder.feed(batch)
                if stop.is_set():
                    return
            feeder.flush()

    return job


def _cut(runs: list[range], batch: BatchSize) -> Iterator[range]:
    """Cut runs of tiles into batches of the size that is best at the time."""
    for run in runs:
        start = run.start
        while start < run.stop:
            yield range(start, min(start + batch.tiles, run.stop))
            start += batch.tiles


class _Batch(NamedTuple):
    """Tiles that have been read, of shape (n, side, side, 3), and their quality."""

    tiles: range
    pixels: Pixels
    quality: Features

    def part(self, some: slice) -> _Batch:
        return _Batch(self.tiles[some], self.pixels[some], self.quality[some])


class _Given(NamedTuple):
    """A batch that the encoder has been given."""

    batch: _Batch
    finish: Callable[[], Features]


class _Feeder:
    """Hands batches to an encoder and commits what comes back."""

    def __init__(self, work: Work, parts: Parts) -> None:
        self._work = work
        self._parts = parts
        self._given: deque[_Given] = deque()
        # A CPU is done with a batch when `start` returns: to wait would only risk it.
        self._depth = 0 if work.encoder.device == "cpu" else 1

    def feed(self, batch: _Batch) -> None:
        """Encode a batch, or begin to."""
        size = self._work.batch.tiles  # may have become smaller
        for first in range(0, len(batch.tiles), size):
            piece = batch.part(slice(first, first + size))
            try:
                finish = self._work.encoder.start(piece.pixels)
            except OutOfMemory as error:
                self._work.batch.halve(len(piece.tiles), error)
                self._again([piece])
            else:
                self._given.append(_Given(piece, finish))
            self._finish(self._depth)

    def flush(self) -> None:
        """Wait for all batches."""
        self._finish(0)

    def _finish(self, left: int) -> None:
        while len(self._given) > left:
            try:
                features = self._given[0].finish()
            except OutOfMemory as error:
                self._work.batch.halve(len(self._given[0].batch.tiles), error)
                self._again([])
            else:
                self._commit(self._given.popleft().batch, features)

    def _again(self, more: list[_Batch]) -> None:
        """Do over what the device had no memory for, in smaller batches."""
        size = self._work.batch
        batches = [given.batch for given in self._given] + more
        self._given.clear()
        for batch in batches:
            first = 0
            while first < len(batch.tiles):
                piece = batch.part(slice(first, first + size.tiles))
                try:
                    features = self._work.encoder.encode(piece.pixels)
                except OutOfMemory as error:
                    size.halve(len(piece.tiles), error)
                else:
                    self._commit(piece, features)
                    first += len(features)

    def _commit(self, batch: _Batch, features: Features) -> None:
        kept = self._work.columns(batch.tiles, features, batch.quality)
        self._parts.commit(batch.tiles.start, kept)
        self._work.batch.record(len(batch.tiles), time.perf_counter())


@contextmanager
def _decoded(work: Work, tiles: Iterator[range]) -> Iterator[Iterator[_Batch]]:
    """Read batches of tiles in order, some ahead, in threads."""
    threads, piece = work.readers()
    ahead = 2 * threads * piece  # tiles
    empty = _pinned if work.encoder.device.startswith("cuda") else _empty
    side = work.spec.tile_px
    pool = ThreadPoolExecutor(threads, thread_name_prefix="weno-tiles-read")

    def begin(tiles: range) -> tuple[_Batch, list[Future[None]]]:
        count = len(tiles)
        quality = np.empty((count, len(QUALITY)), np.float32)
        batch = _Batch(tiles, empty((count, side, side, 3)), quality)

        def fill(part: _Batch) -> None:
            part.pixels[:] = work.read(part.tiles)
            part.quality[:] = tile_quality(part.pixels)

        pieces = (slice(first, first + piece) for first in range(0, count, piece))
        return batch, [pool.submit(fill, batch.part(some)) for some in pieces]

    def in_order() -> Iterator[_Batch]:
        begun: deque[tuple[_Batch, list[Future[None]]]] = deque()
        waiting: range | None = next(tiles, None)
        while waiting or begun:
            while waiting and (
                len(begun) < _AHEAD or sum(len(one.tiles) for one, _ in begun) < ahead
            ):
                begun.append(begin(waiting))
                waiting = next(tiles, None)
            batch, reads = begun.popleft()
            for read in reads:
                read.result()
            yield batch

    try:
        yield in_order()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _empty(shape: tuple[int, ...]) -> Pixels:
    return np.empty(shape, np.uint8)


def _pinned(shape: tuple[int, ...]) -> Pixels:
    """Return memory that a GPU can fetch by itself, while the host goes on."""
    import torch

    pixels: Pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()
    return pixels
