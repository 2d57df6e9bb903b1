"""What all slides of a patient come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weno.errors import RunError
from weno.mil.slide_table import read_rows

if TYPE_CHECKING:
    from weno.project import Project


@dataclass(frozen=True, slots=True)
class PatientReading:
    """What a run says of a patient: the most that it says of any slide.

    Parameters
    ----------
    patient_id : str
    slides : int
        Slides of the patient in the project.
    predicted : tuple of str
        Ids of those that the run has predicted, the most suspicious first.
    teacher, student : float
        The highest probabilities among them.
    is_positive : bool
        Whether the teacher calls any of them positive.
    """

    patient_id: str
    slides: int
    predicted: tuple[str, ...]
    teacher: float
    student: float
    is_positive: bool


def patient_reading(project: Project, run: str, slide_id: str) -> PatientReading | None:
    """Sum up the patient that a slide is of, None if the slide is not predicted.

    Parameters
    ----------
    project : Project
    run : str
    slide_id : str

    Raises
    ------
    RunError
        If the run's table of slides is damaged.
    """
    path = project.predictions_dir(run) / "slides.csv"
    try:
        rows = read_rows(path)
        if slide_id not in rows:
            return None
        patient = project.slide(slide_id).patient_id
        ids = [row.slide_id for row in project.slides if row.patient_id == patient]
        found = {
            one: (
                float(rows[one]["teacher_probability"]),
                float(rows[one]["student_probability"]),
                float(rows[one]["threshold"]),
            )
            for one in ids
            if one in rows
        }
    except (KeyError, ValueError, OSError) as error:
        raise RunError(f"{path}: damaged: {error!r}") from error
    teacher, student, _ = (max(values) for values in zip(*found.values(), strict=True))
    return PatientReading(
        patient_id=patient,
        slides=len(ids),
        predicted=tuple(sorted(found, key=lambda one: -found[one][0])),
        teacher=teacher,
        student=student,
        is_positive=any(value[0] >= value[2] for value in found.values()),
    )
