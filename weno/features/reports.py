"""What the extraction job says of its progress and its end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """How far an extraction is.

    Parameters
    ----------
    slide_id : str
    done, total : int
        Tiles of this slide.
    slides_done, slides_total : int
    finished : bool
        This slide is done: its file is on disk, or it has failed.
    error : str or None
        Why it has failed.
    note : str
        What a user may want to know; said in one report.
    """

    slide_id: str
    done: int
    total: int
    slides_done: int
    slides_total: int
    finished: bool
    error: str | None
    note: str = ""

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, in [0, 1]."""
        within = 0.0 if self.finished else self.done / max(1, self.total)
        return (self.slides_done + within) / max(1, self.slides_total)

    @property
    def text(self) -> str:
        """What is being done, in a few words."""
        return f"{self.slide_id}: {self.done} of {self.total} tiles"


@dataclass(frozen=True, slots=True)
class ExtractResult:
    """What an extraction has done.

    Parameters
    ----------
    extracted, skipped : tuple of str
        Ids of slides that were extracted, and that had been before.
    empty : tuple of str
        Those of both that have no tissue: their files hold no tile.
    failed : dict of str to str
        Why, by slide id.
    """

    extracted: tuple[str, ...]
    skipped: tuple[str, ...]
    empty: tuple[str, ...]
    failed: dict[str, str]
