"""Predictions against labels and tile truth: areas under ROC curves."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weno.errors import RunError, import_extra
from weno.mil.run_folder import read_splits
from weno.prediction import read_prediction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from weno.prediction import Prediction
    from weno.project import Project
    from weno.tiles import TileGrid

    Floats = npt.NDArray[np.float64]

_TRUTH_COLUMNS = ("y", "x", "size", "positive")


@dataclass(frozen=True, slots=True, eq=False)
class SlideTruth:
    """Rectangles of known class on one slide, level-0 pixels.

    Parameters
    ----------
    boxes : ndarray of shape (R, 4), float64
        ``(y, x, height, width)``.
    positive : ndarray of shape (R,), bool
    """

    boxes: Floats
    positive: npt.NDArray[np.bool_]


def evaluate_project(
    project: Project, run: str, tiles: Path | None = None, *, overlap: float = 0.5
) -> dict[str, Any]:
    """Evaluate a run's predictions on its test split, or out of fold.

    Parameters
    ----------
    project : Project
    run : str
    tiles : Path, optional
        CSV of tile truth, see `read_truth`.
    overlap : float
        Share of a tile's area that must lie in positive truth.

    Returns
    -------
    dict
        As `evaluate`, with the run, the split and the slides that were left out.

    Raises
    ------
    RunError
        If there is nothing to evaluate, or the truth cannot be read.
    """
    splits = read_splits(project.run_dir(run))
    tested = [s for s, folds in splits.items() if "test" in folds.values()]
    labels = {row.slide_id: row.label for row in project.slides}
    predictions, missing = [], []
    for slide_id in tested:
        path = project.prediction_path(run, slide_id)
        if path.exists() and labels.get(slide_id) is not None:
            predictions.append(read_prediction(path))
        else:
            missing.append(slide_id)
    if not predictions:
        raise RunError(
            f"run {run!r}: none of its {len(tested)} test slides has a prediction and "
            "a label; run predict first, or fit with a test share or folds"
        )
    known = {k: label for k, label in labels.items() if label is not None}
    truth = read_truth(tiles) if tiles else {}
    folds = max(len(split) for split in splits.values())
    return {
        "run": run,
        "split": "out of fold" if folds > 1 else "test",
        "not_evaluated": missing,
        **evaluate(predictions, known, truth, overlap=overlap),
    }


def evaluate(
    predictions: Sequence[Prediction],
    labels: Mapping[str, int],
    truth: Mapping[str, SlideTruth],
    *,
    overlap: float = 0.5,
) -> dict[str, Any]:
    """Compare predictions with what is known.

    An AUC is None where there is only one class, or no truth, to compute it from.

    Parameters
    ----------
    predictions : sequence of Prediction
        Of slides that their model has not seen in training.
    labels : mapping
        From slide_id to 0 or 1.
    truth : mapping
        From slide_id to tile truth; may be empty.
    overlap : float
        Share of a tile's area that must lie in positive truth.

    Returns
    -------
    dict
        "teacher" and "student", each with

        - "bag_auc": of the teacher's probability, the student's maximum;
        - "tile_auc": of all tiles with truth, pooled over slides. The teacher's
          value is its pseudo-label: models of several folds score on scales of
          their own;
        - "tile_auc_in_positive": mean over positive slides of the AUC within one;

        for the student also "bag_auc_top_mean", of its mean over the top tiles;
        and the numbers of slides, of tiles with truth and of tiles without.
    """
    known = [tile_truth(p.grid, truth.get(p.slide_id), overlap) for p in predictions]
    bags = np.array([labels[p.slide_id] for p in predictions])
    bag_values = {
        "teacher": [p.teacher_probability for p in predictions],
        "student": [p.student_probability for p in predictions],
    }
    tile_values = {
        "teacher": [p.pseudo_label for p in predictions],
        "student": [p.probability for p in predictions],
    }
    result: dict[str, Any] = {
        who: {
            "bag_auc": auc(bags, bag_values[who]),
            "tile_auc": _pooled_auc(known, tile_values[who]),
            "tile_auc_in_positive": _mean_auc(known, tile_values[who], bags),
        }
        for who in ("teacher", "student")
    }
    top = [p.student_top_mean for p in predictions]
    result["student"]["bag_auc_top_mean"] = auc(bags, top)
    with_truth = sum(int(np.isfinite(values).sum()) for values in known)
    return {
        **result,
        "slides": len(predictions),
        "positive_slides": int(bags.sum()),
        "tiles": with_truth,
        "tiles_without_truth": sum(len(p) for p in predictions) - with_truth,
    }


def auc(labels: npt.ArrayLike, values: npt.ArrayLike) -> float | None:
    """Return the area under the ROC curve, None where one class is missing."""
    labels = np.asarray(labels)
    if len(np.unique(labels)) < 2:
        return None
    metrics = import_extra("sklearn.metrics", "torch")
    return float(metrics.roc_auc_score(labels, np.asarray(values, np.float64)))


def _pooled_auc(
    known: Sequence[Floats], values: Sequence[npt.NDArray[np.float32]]
) -> float | None:
    truth, value = np.concatenate(known), np.concatenate(values)
    has = np.isfinite(truth)
    return auc(truth[has], value[has])


def _mean_auc(
    known: Sequence[Floats],
    values: Sequence[npt.NDArray[np.float32]],
    bags: npt.NDArray[np.int_],
) -> float | None:
    found = []
    for truth, value, label in zip(known, values, bags, strict=True):
        has = np.isfinite(truth)
        if label == 1 and (one := auc(truth[has], value[has])) is not None:
            found.append(one)
    return float(np.mean(found)) if found else None


def read_truth(path: Path) -> dict[str, SlideTruth]:
    """Read tile truth: a CSV with the columns slide_id, y, x, size, positive.

    Each row is a square of known class, in level-0 pixels; squares may overlap, and
    need not be those of any grid.

    Raises
    ------
    RunError
        If the file is missing, lacks a column, or holds what is no number.
    """
    rows: dict[str, list[tuple[float, ...]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if not {"slide_id", *_TRUTH_COLUMNS} <= set(table.fieldnames or ()):
                raise ValueError(f"its columns are {table.fieldnames}")
            for row in table:
                y, x, size, positive = (float(row[name]) for name in _TRUTH_COLUMNS)
                rows.setdefault(row["slide_id"], []).append((y, x, size, positive))
    except (OSError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: not tile truth ({error!r}); it needs the columns slide_id, y, x, "
            "size, positive"
        ) from error
    found = {slide_id: np.array(values) for slide_id, values in rows.items()}
    return {
        slide_id: SlideTruth(values[:, [0, 1, 2, 2]], values[:, 3] > 0)
        for slide_id, values in found.items()
    }


def tile_truth(
    grid: TileGrid, truth: SlideTruth | None, overlap: float = 0.5
) -> Floats:
    """Return the truth of each tile.

    A tile is positive if at least `overlap` of its area lies in positive truth, else
    negative if at least `overlap` of it lies in truth of any class, else unknown.

    Parameters
    ----------
    grid : TileGrid
    truth : SlideTruth or None
    overlap : float
        Share in (0, 1].

    Returns
    -------
    ndarray of shape (N,), float64
        1, 0, or NaN where not known.
    """
    values = np.full(len(grid), np.nan)
    if truth is None:
        return values
    order = np.argsort(truth.boxes[:, 0], kind="stable")
    boxes, positive = truth.boxes[order], truth.positive[order]
    tallest = boxes[:, 2].max(initial=0.0)
    height, width = grid.tile_l0
    needed = overlap * height * width * (1 - 1e-6)
    for i, (y, x) in enumerate(grid.origins):
        first = np.searchsorted(boxes[:, 0], y - tallest)
        last = np.searchsorted(boxes[:, 0], y + height)
        near, near_positive = boxes[first:last], positive[first:last]
        tile = (float(y), float(x), height, width)
        if _covered(tile, near) >= needed:
            values[i] = _covered(tile, near[near_positive]) >= needed
    return values


def _covered(tile: tuple[float, float, float, float], boxes: Floats) -> float:
    """Return the area of a tile that boxes cover, each spot counted once."""
    y, x, height, width = tile
    top, bottom = (
        np.clip(edge, y, y + height)
        for edge in (boxes[:, 0], boxes[:, 0] + boxes[:, 2])
    )
    left, right = (
        np.clip(edge, x, x + width) for edge in (boxes[:, 1], boxes[:, 1] + boxes[:, 3])
    )
    inside = (bottom > top) & (right > left)
    top, bottom, left, right = (side[inside] for side in (top, bottom, left, right))
    ys, xs = np.unique([*top, *bottom]), np.unique([*left, *right])
    rows = (top[:, None] <= ys[:-1]) & (bottom[:, None] >= ys[1:])  # (R, Y)
    columns = (left[:, None] <= xs[:-1]) & (right[:, None] >= xs[1:])  # (R, X)
    covered = (rows[:, :, None] & columns[:, None]).any(0)  # (Y, X)
    return float((np.outer(np.diff(ys), np.diff(xs)) * covered).sum())
