"""Before the long run: the tissue of slides, their tiles, and what they will take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from weno.errors import WenoError
from weno.features.estimate import duration, seconds_to_encode
from weno.features.extraction import chosen
from weno.tiles import tile_grid

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from weno.features.encoders import Encoder
    from weno.project import Project

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
    ids = chosen(project, slide_ids)
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
        seconds = seconds_to_encode(slide, grid, project.spec, encoder)
        return replace(
            report,
            area_mm2=tissue.area_mm2,
            tiles=len(grid),
            seconds=seconds if encoder else None,
            outline=outline.state,
        )


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
