"""What an extraction is going to take: tiles, time, disk."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dask.system import CPU_COUNT

from weno.errors import WenoError
from weno.features.encoders import TextureEncoder, quick_encoder
from weno.features.extraction import check_room
from weno.tiles import read_tiles, tile_grid

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from weno.features.encoders import Encoder
    from weno.project import Project
    from weno.slides import Slide
    from weno.tiles import TileGrid, TileSpec

_SLIDES: Final = 4  # looked at
_TILES: Final = 32
_BYTES: Final = 4  # of a feature


@dataclass(frozen=True, slots=True)
class Estimate:
    """What extracting some slides is going to take.

    Parameters
    ----------
    slides : int
        How many are to be extracted.
    sampled : int
        How many of them were looked at.
    tiles : int
        Expected in all of them.
    seconds : float or None
        On this machine; None if the encoder was not tried out.
    size : int or None
        Bytes of the files; None if the encoder was not tried out.
    needed : int
        Bytes on disk at most, while the largest slide seen is extracted.
    """

    slides: int
    sampled: int
    tiles: int
    seconds: float | None
    size: int | None
    needed: int = 0

    def __str__(self) -> str:
        about = "" if self.sampled == self.slides else "about "
        told = [f"{about}{self.tiles:,} tiles in {_count(self.slides, 'slide')}"]
        if self.seconds is not None:
            told.append(f"about {duration(self.seconds)}")
        if self.size is not None:
            told.append(f"{max(self.size, 100_000) / 1e6:,.1f} MB on disk")
        return " · ".join(told)

    @property
    def fraction(self) -> float:
        """Share of what is looked at that has been, in [0, 1]."""
        return self.sampled / max(1, min(self.slides, _SLIDES))

    @property
    def text(self) -> str:
        """What has been found so far."""
        return str(self)

    def check_room(self, folder: Path) -> None:
        """Refuse to begin what the disk has no room for.

        Parameters
        ----------
        folder : Path
            Where the files go; need not exist yet.

        Raises
        ------
        WenoError
        """
        there = next(p for p in (folder, *folder.parents) if p.exists())
        check_room(there, self.needed)


def estimate(
    project: Project, slide_ids: Sequence[str], encoder: Encoder | None = None
) -> Generator[Estimate, None, Estimate]:
    """Look at a few slides and tell what extracting all of them is going to take.

    Parameters
    ----------
    project : Project
    slide_ids : sequence of str
        Slides without features.
    encoder : Encoder, optional
        Tried out on a few tiles. If not given, only the built-in one is: to load a
        network may take minutes.

    Yields
    ------
    Estimate
        One more slide was looked at. Slides that cannot be read do not count.
    """
    step = max(1, len(slide_ids) // _SLIDES)
    encoder = encoder or quick_encoder(project.encoder)
    counts: list[int] = []
    seconds = 0.0
    result = Estimate(len(slide_ids), 0, 0, None, None)
    for slide_id in slide_ids[::step][:_SLIDES]:
        try:
            grid, took = _try_out(project, slide_id, encoder)
        except WenoError:
            continue
        counts.append(len(grid))
        seconds += took
        factor = len(slide_ids) / len(counts)
        expected = round(sum(counts) * factor)
        row = encoder.dim * _BYTES if encoder else 0
        result = Estimate(
            slides=len(slide_ids),
            sampled=len(counts),
            tiles=expected,
            seconds=seconds * factor if encoder else None,
            size=expected * row if encoder else None,
            needed=(expected + max(counts)) * row,
        )
        yield result
    return result


def _try_out(
    project: Project, slide_id: str, encoder: Encoder | None
) -> tuple[TileGrid, float]:
    """Lay the grid over a slide and guess how long all takes; nothing is written."""
    start = time.perf_counter()
    with project.open_slide(slide_id) as slide:
        tissue = project.outline(slide_id).find(slide, keep=False)
        grid = tile_grid(slide, project.spec, tissue)
        found = time.perf_counter() - start
        return grid, found + seconds_to_encode(slide, grid, project.spec, encoder)


def seconds_to_encode(
    slide: Slide, grid: TileGrid, spec: TileSpec, encoder: Encoder | None
) -> float:
    """Guess by a few tiles how long all tiles of a slide take; 0 without encoder."""
    first = len(grid) // 2
    some = range(first, min(len(grid), first + _TILES))
    if encoder is None or not some:
        return 0.0
    start = time.perf_counter()
    pixels = read_tiles(slide, grid, spec, some)
    read = time.perf_counter()
    encoder.encode(pixels)
    reading, encoding = (read - start) / CPU_COUNT, time.perf_counter() - read
    if isinstance(encoder, TextureEncoder):
        encoding /= CPU_COUNT  # it was tried on one core
    # A GPU encodes while the processor reads; a processor has to do both.
    together = sum if encoder.device == "cpu" else max
    return float(together((reading, encoding)) / len(some) * len(grid))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """Say a time in a unit that fits."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
