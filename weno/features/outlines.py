"""Before the long run: the tissue of slides, their tiles, and what they will take."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dask.system import CPU_COUNT

from weno.errors import WenoError
from weno.features.texture import TextureEncoder
from weno.tiles import read_tiles, tile_grid

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from weno.features.encoders import Encoder
    from weno.project import Project
    from weno.slides import Slide
    from weno.tiles import TileGrid

_TRIED_TILES = 32
_BYTES_PER_VALUE = 4


@dataclass(frozen=True, slots=True)
class TissueReport:
    """The tissue of one slide.

    Parameters
    ----------
    slide_id : str
    slides_done, slides_total : int
    area_mm2 : float
        Where tiles may lie.
    tiles : int
    seconds : float or None
        To encode them, by a few; None if the encoder was not tried.
    outline : {"found", "edited", ""}
        Whose it is; empty if the slide has failed.
    error : str or None
        Why it has failed.
    """

    slide_id: str
    slides_done: int
    slides_total: int
    area_mm2: float = 0.0
    tiles: int = 0
    seconds: float | None = None
    outline: Literal["", "found", "edited"] = ""
    error: str | None = None

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, in [0, 1]."""
        return self.slides_done / max(1, self.slides_total)

    @property
    def text(self) -> str:
        """What is being done, in a few words."""
        return self.slide_id


def find_tissue(
    project: Project,
    slide_ids: Sequence[str] | None = None,
    *,
    encoder: Encoder | None = None,
) -> Generator[TissueReport, None, list[TissueReport]]:
    """Write the tissue outlines of a project's slides that are not there yet.

    Parameters
    ----------
    project : Project
    slide_ids : sequence of str, optional
        All slides if not given.
    encoder : Encoder, optional
        Tried out on a few tiles of each slide, to tell the time that all will take.

    Yields
    ------
    TissueReport
        One per slide, once its outline is on disk.

    Raises
    ------
    ProjectError
        If the project has no such slide.
    """
    ids = [row.slide_id for row in project.slides] if slide_ids is None else slide_ids
    for slide_id in ids:
        project.slide(slide_id)
    reports = []
    for number, slide_id in enumerate(ids, 1):
        report = TissueReport(slide_id, number, len(ids))
        try:
            report = _found(project, report, encoder)
        except WenoError as error:
            report = replace(report, error=str(error))
        reports.append(report)
        yield report
    return reports


def _found(
    project: Project, report: TissueReport, encoder: Encoder | None
) -> TissueReport:
    outline = project.outline(report.slide_id)
    with project.open_slide(report.slide_id) as slide:
        tissue = outline.find(slide)
        grid = tile_grid(slide, project.spec, tissue)
        return replace(
            report,
            area_mm2=tissue.area_mm2,
            tiles=len(grid),
            seconds=_seconds(slide, grid, project, encoder) if encoder else None,
            outline=outline.state,
        )


def try_out(
    project: Project, slide_id: str, encoder: Encoder | None
) -> tuple[TileGrid, float]:
    """Lay the grid over a slide and guess how long encoding it takes.

    Nothing is written.

    Parameters
    ----------
    project : Project
    slide_id : str
    encoder : Encoder or None
        None leaves its time out.

    Returns
    -------
    grid : TileGrid
    seconds : float

    Raises
    ------
    SlideError
        If the slide cannot be read.
    WenoError
        If its outline is damaged.
    """
    start = time.perf_counter()
    with project.open_slide(slide_id) as slide:
        tissue = project.outline(slide_id).find(slide, keep=False)
        grid = tile_grid(slide, project.spec, tissue)
        found = time.perf_counter() - start
        rest = _seconds(slide, grid, project, encoder) if encoder else 0.0
    return grid, found + rest


def _seconds(slide: Slide, grid: TileGrid, project: Project, encoder: Encoder) -> float:
    first = len(grid) // 2
    some = range(first, min(len(grid), first + _TRIED_TILES))
    if not some:
        return 0.0
    start = time.perf_counter()
    pixels = read_tiles(slide, grid, project.spec, some)
    read = time.perf_counter()
    encoder.encode(pixels)
    encoded = time.perf_counter()
    # As the extraction does it: on all cores, or reading while it encodes.
    reading, encoding = (read - start) / CPU_COUNT, encoded - read
    concurrent = isinstance(encoder, TextureEncoder)
    seconds = reading + encoding / CPU_COUNT if concurrent else max(reading, encoding)
    return float(seconds / len(some) * len(grid))


def cost_text(tiles: int, seconds: float | None, dim: int | None) -> str:
    """Say what encoding tiles takes, as "12,431 tiles, about 6 min, 9.7 MB on disk".

    Parameters
    ----------
    tiles : int
    seconds : float or None
    dim : int or None
        Features of a tile; None leaves the disk out.
    """
    told = [f"{tiles:,} tile" if tiles == 1 else f"{tiles:,} tiles"]
    if seconds is not None:
        told.append(f"about {duration(seconds)}")
    if dim is not None:
        told.append(f"{tiles * dim * _BYTES_PER_VALUE / 1e6:,.1f} MB on disk")
    return ", ".join(told)


def duration(seconds: float) -> str:
    """Say a time in a unit that fits."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
