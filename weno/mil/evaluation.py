"""Predictions against labels and tile truth, and how sure the numbers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weno.errors import RunError
from weno.mil.bootstrap import interval
from weno.mil.config import TrainConfig
from weno.mil.measures import Cohort
from weno.mil.metrics import auc
from weno.mil.run_folder import CONFIG, read_splits
from weno.mil.truth import SlideTruth, read_truth, tile_truth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from weno.prediction import Prediction
    from weno.project import Project

__all__ = [
    "SlideTruth",
    "auc",
    "evaluate",
    "evaluate_project",
    "read_truth",
    "tile_truth",
]


def evaluate_project(
    project: Project,
    run: str,
    tiles: Path | None = None,
    *,
    overlap: float = 0.5,
    resamples: int = 1000,
    seed: int = 0,
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
    resamples, seed : int
        For the intervals; patients are those of the project's slides.

    Returns
    -------
    dict
        As `evaluate`, with the run, the split and the slides that were left out.

    Raises
    ------
    RunError
        If there is nothing to evaluate, or the truth cannot be read.
    """
    from weno.prediction import read_prediction

    run_dir = project.run_dir(run)
    project = project.asked_by(run)  # labels are those of its class
    splits = read_splits(run_dir)
    config = TrainConfig.read(run_dir / CONFIG)
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
    folds = max(len(split) for split in splits.values())
    return {
        "run": run,
        "split": "out of fold" if folds > 1 else "test",
        "not_evaluated": missing,
        **evaluate(
            predictions,
            {k: label for k, label in labels.items() if label is not None},
            read_truth(tiles) if tiles else {},
            overlap=overlap,
            patients={row.slide_id: row.patient_id for row in project.slides},
            negative_weight=config.negative_weight if config.distillation else None,
            resamples=resamples,
            seed=seed,
        ),
    }


def evaluate(
    predictions: Sequence[Prediction],
    labels: Mapping[str, int],
    truth: Mapping[str, SlideTruth],
    *,
    overlap: float = 0.5,
    patients: Mapping[str, str] | None = None,
    negative_weight: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare predictions with what is known.

    A number is None where there is only one class, or no truth, to compute it from.

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
    patients : mapping, optional
        From slide_id to patient; a slide that it lacks is a patient of its own.
    negative_weight : float, optional
        Of the student's loss, `TrainConfig.negative_weight`; None where the student
        was not distilled. With it the calibration is also told of the probabilities
        as they were before their bias was undone.
    resamples : int
        For the intervals; 0 leaves them out.
    seed : int
        Of the resamples.

    Returns
    -------
    dict
        "teacher" and "student", each with

        - "bag_auc", "bag_ap": AUC and average precision over slides, of the
          teacher's probability, the student's maximum;
        - "tile_auc", "tile_ap": of all tiles with truth, pooled over slides. The
          teacher's value is its pseudo-label: models of several folds score on
          scales of their own;
        - "tile_auc_in_positive", "tile_ap_in_positive": mean over positive slides,
          those with tiles of both classes, of the number within one;
        - "froc": mean sensitivity for lesions, see `weno.mil.froc`.

        For the teacher also "bag_balanced_accuracy", "bag_sensitivity" and
        "bag_specificity" at the threshold that each prediction carries, and
        "patient_auc", of the maximum over a patient's slides, where a patient has
        several. For the student, which has no threshold, "bag_auc_top_mean" and
        "bag_ap_top_mean", of its mean over the top tiles.

        "calibration": see `weno.mil.metrics.calibration`, of "teacher_slides",
        "student_tiles_calibrated" and, with `negative_weight`,
        "student_tiles_as_trained".

        "intervals": ``[low, high]`` under the same two names as the number, 95 % by
        a bootstrap over patients, see `weno.mil.bootstrap`; of the calibration's
        numbers for the Brier score alone, since resampling itself makes a
        calibration error larger.

        "froc": what the mean is made of, and the numbers of lesions and slides.
        "tile_prevalence", "tile_prevalence_in_positive": what an average precision
        is by chance. And the numbers of slides, positive slides, patients, resamples,
        of tiles with truth and of tiles without.
    """
    cohort = Cohort.of(
        predictions,
        labels,
        [tile_truth(p.grid, truth.get(p.slide_id), overlap) for p in predictions],
        patients or {},
        resamples=resamples,
        seed=seed,
    )
    measured, by_rate = cohort.discrimination()
    compared, squares = cohort.calibrations(negative_weight)
    return {
        **{who: {k: v[0] for k, v in m.items()} for who, m in measured.items()},
        "calibration": compared,
        "intervals": {
            **{w: {k: interval(*v) for k, v in m.items()} for w, m in measured.items()},
            "calibration": {k: {"brier": interval(*v)} for k, v in squares.items()},
        },
        "froc": by_rate,
        **cohort.counts(),
    }
