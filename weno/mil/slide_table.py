"""slides.csv beside the predictions: one row a slide."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from weno.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weno.mil.bag_table import BagRow
    from weno.mil.predict import BagPrediction
    from weno.prediction import Prediction
    from weno.project import SlideRow

_COLUMNS = (
    "slide_id",
    "patient_id",
    "label",
    "split",
    "teacher_probability",
    "threshold",
    "student_probability",
    "student_top_mean",
    "patient_probability",
    "tiles",
)


def slide_row(
    slide: SlideRow | BagRow,
    run_splits: Mapping[str, Mapping[int, str]],
    prediction: Prediction | BagPrediction,
) -> dict[str, Any]:
    """Return the row of one slide."""
    splits = run_splits.get(prediction.slide_id, {})
    return {
        "slide_id": prediction.slide_id,
        "patient_id": slide.patient_id,
        "label": "" if slide.label is None else slide.label,
        "split": "test"
        if "test" in splits.values()
        else next(iter(splits.values()), ""),
        "teacher_probability": prediction.teacher_probability,
        "threshold": prediction.threshold,
        "student_probability": prediction.student_probability,
        "student_top_mean": prediction.student_top_mean,
        "tiles": len(prediction),
    }


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of an earlier job: predicting one slide keeps the others'."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["slide_id"]: dict(row) for row in csv.DictReader(file)}


def write_rows(path: Path, rows: Mapping[str, dict[str, Any]]) -> None:
    """Write one row a slide; a patient has the highest probability of its slides."""
    highest: dict[str, float] = {}
    for row in rows.values():
        patient, value = row["patient_id"], float(row["teacher_probability"])
        highest[patient] = max(highest.get(patient, 0.0), value)
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, _COLUMNS)
        table.writeheader()
        for row in rows.values():
            patient_probability = highest[row["patient_id"]]
            table.writerow({**row, "patient_probability": patient_probability})
