"""What an extraction is going to take: tiles, time, disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from weno.errors import WenoError
from weno.features.encoders import get_encoder
from weno.features.extraction import check_room
from weno.features.outlines import duration, try_out
from weno.features.texture import TextureEncoder

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from weno.features.encoders import Encoder
    from weno.project import Project

_SLIDES: Final = 4  # looked at
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
    if encoder is None and project.encoder == TextureEncoder.name:
        encoder = get_encoder(project.encoder)
    counts: list[int] = []
    seconds = 0.0
    result = Estimate(len(slide_ids), 0, 0, None, None)
    for slide_id in slide_ids[::step][:_SLIDES]:
        try:
            grid, took = try_out(project, slide_id, encoder)
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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
