"""On which slides of a project two runs differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weno.errors import RunError
from weno.mil.slide_table import read_rows

if TYPE_CHECKING:
    from weno.project import Project


@dataclass(frozen=True, slots=True)
class SlideApart:
    """What the teachers of two runs say of a slide.

    Parameters
    ----------
    slide_id : str
    one, other : float
        The probabilities.
    one_calls, other_calls : bool
        Whether they reach the run's threshold.
    """

    slide_id: str
    one: float
    other: float
    one_calls: bool
    other_calls: bool

    @property
    def difference(self) -> float:
        """By how much the other says more."""
        return self.other - self.one

    @property
    def calls_differ(self) -> bool:
        """Whether one calls the slide positive and the other does not."""
        return self.one_calls != self.other_calls


def slides_apart(project: Project, one: str, other: str) -> list[SlideApart]:
    """Return the slides that two runs have predicted, the most different first.

    Slides that the runs call differently come before all others: there the difference
    changes what is reported.

    Parameters
    ----------
    project : Project
    one, other : str
        Names of runs.

    Raises
    ------
    RunError
        If the table of slides of a run is damaged.
    """
    said, said_by_other = _said(project, one), _said(project, other)
    found = [
        SlideApart(
            slide_id,
            probability,
            said_by_other[slide_id][0],
            one_calls=calls,
            other_calls=said_by_other[slide_id][1],
        )
        for slide_id, (probability, calls) in said.items()
        if slide_id in said_by_other
    ]
    return sorted(found, key=lambda s: (not s.calls_differ, -abs(s.difference)))


def _said(project: Project, run: str) -> dict[str, tuple[float, bool]]:
    """Return the teacher's probability and call of each slide that is predicted."""
    path = project.predictions_dir(run) / "slides.csv"
    try:
        found = {}
        for slide_id, row in read_rows(path).items():
            probability = float(row["teacher_probability"])
            found[slide_id] = probability, probability >= float(row["threshold"])
        return found
    except (KeyError, ValueError, OSError) as error:
        raise RunError(f"{path}: damaged: {error!r}") from error
