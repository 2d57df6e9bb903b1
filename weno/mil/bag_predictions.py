"""Predict bags of other programs: one CSV a bag, without any library for tables."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from weno.atomic import replacing
from weno.errors import FeatureError
from weno.mil.bag_files import read_bag
from weno.mil.bags import Bag
from weno.mil.predict import PredictReport, PredictResult, load_run, predict_bag
from weno.mil.slide_table import slide_row, write_rows

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from weno.mil.bag_files import BagFile, FirstColumn
    from weno.mil.bag_table import BagRow
    from weno.mil.predict import BagPrediction

_SLIDES = "slides.csv"
_VALUES = ("score", "attention", "probability", "pseudo_label")


def predict_bags(
    run_dir: Path,
    rows: Sequence[BagRow],
    out: Path,
    *,
    first_column: FirstColumn = "feature",
    device: str = "auto",
) -> Generator[PredictReport, None, PredictResult]:
    """Predict bag files, one CSV each, and list them in slides.csv.

    A bag that is missing, damaged or does not fit is reported and skipped.

    Parameters
    ----------
    run_dir : Path
    rows : sequence of BagRow
        As `read_bag_table` gives them.
    out : Path
        Folder of the CSVs.
    first_column : {"feature", "label"}
        As of `read_bag`.
    device : str

    Raises
    ------
    RunError
        If the run cannot be loaded.
    """
    run = load_run(run_dir, device=device)
    predicted: dict[str, dict[str, Any]] = {}
    empty, unnamed, failed = [], [], {}
    for done, row in enumerate(rows, 1):
        error = None
        try:
            file = read_bag(row.path, first_column=first_column)
            _check(row, file, run.card)
            bag = Bag(row.slide_id, row.patient_id, row.label, file.instances)
            prediction = predict_bag(run, bag)
        except FeatureError as problem:
            error = failed[row.slide_id] = str(problem)
        else:
            if prediction is None:
                empty.append(row.slide_id)
                error = "no tiles"
            else:
                _write(out / f"{row.slide_id}.csv", prediction, file)
                predicted[row.slide_id] = slide_row(row, run.splits, prediction)
                write_rows(out / _SLIDES, predicted)
                if run.card["encoder"] and not file.encoder:
                    unnamed.append(row.slide_id)
        yield PredictReport(row.slide_id, done, len(rows), error)
    return PredictResult(tuple(predicted), tuple(empty), failed, tuple(unnamed))


def _check(row: BagRow, file: BagFile, card: Mapping[str, Any]) -> None:
    """Refuse a bag that says it is of another encoder or tile spec than the run's.

    What file or run does not say is not compared.
    """
    problems = []
    if f"{row.slide_id}.csv".casefold() == _SLIDES:
        problems.append(f"its predictions would be {_SLIDES}: give it another id")
    encoder, spec = card["encoder"], card["spec"]
    if encoder and file.encoder and file.encoder != encoder:
        problems.append(f"encoder is {file.encoder!r}, wanted {encoder!r}")
    if spec and file.spec:
        problems += [
            f"{name} is {file.spec.get(name)}, wanted {spec.get(name)}"
            for name in sorted({*file.spec, *spec})
            if file.spec.get(name) != spec.get(name)
        ]
    if problems:
        raise FeatureError(f"{row.slide_id}: {'; '.join(problems)}")


def _write(path: Path, prediction: BagPrediction, file: BagFile) -> None:
    """Write a row an instance: its place and label, where known, and its values."""
    columns: dict[str, Any] = {"index": range(len(prediction))}
    if file.origins is not None:
        columns |= {"x": file.origins[:, 1], "y": file.origins[:, 0]}
    if file.instance_labels is not None:
        columns["label"] = file.instance_labels
    columns |= {name: getattr(prediction, name) for name in _VALUES}
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as table,
    ):
        writer = csv.writer(table)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
