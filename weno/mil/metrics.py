"""Numbers that compare values with labels; None is a number that cannot be had.

They come from scikit-learn, imported when the first is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weno.errors import import_extra

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_CALIBRATION_BINS = 10


def auc(labels: npt.ArrayLike, values: npt.ArrayLike) -> float | None:
    """Return the area under the ROC curve, None where one class is missing."""
    labels = np.asarray(labels)
    if len(np.unique(labels)) < 2:
        return None
    metrics = import_extra("sklearn.metrics", "torch")
    return float(metrics.roc_auc_score(labels, np.asarray(values, np.float64)))


def average_precision(labels: npt.ArrayLike, values: npt.ArrayLike) -> float | None:
    """Return the average precision, None where one class is missing.

    Chance is the prevalence: the share of positives among the labels.
    """
    labels = np.asarray(labels)
    if len(np.unique(labels)) < 2:
        return None
    metrics = import_extra("sklearn.metrics", "torch")
    value = metrics.average_precision_score(labels, np.asarray(values, np.float64))
    return float(value)


def decision(
    labels: npt.NDArray[Any], called: npt.NDArray[np.bool_]
) -> dict[str, float | None]:
    """Return sensitivity, specificity and their mean, the balanced accuracy.

    Parameters
    ----------
    labels : ndarray of shape (B,)
        0 or 1.
    called : ndarray of shape (B,), bool
        What is called positive.
    """
    metrics = import_extra("sklearn.metrics", "torch")
    classes = set(np.unique(labels))
    rates = {
        name: float(metrics.recall_score(labels, called, pos_label=label))
        if label in classes
        else None
        for name, label in (("sensitivity", 1), ("specificity", 0))
    }
    both = len(classes) == 2
    balanced = metrics.balanced_accuracy_score(labels, called) if both else None
    return {"balanced_accuracy": None if balanced is None else float(balanced), **rates}


def calibration(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> dict[str, Any]:
    """Compare probabilities with what came true.

    Parameters
    ----------
    labels : array_like of shape (N,)
        0 or 1.
    probabilities : array_like of shape (N,)

    Returns
    -------
    dict
        - "brier": mean square of probability minus label;
        - "ece": expected calibration error, the mean over bins, by their counts, of
          the distance between mean probability and share of positives;
        - "predicted", "observed": mean probability and share of positives of all;
        - "bins": the same two and the count, bin by bin. The ten bins have equal
          counts, as far as equal probabilities, which share a bin, allow.

        All numbers are None, and there is no bin, where N is 0.
    """
    y = np.asarray(labels, np.float64)
    p = np.asarray(probabilities, np.float64)
    if not len(y):
        numbers = ("brier", "ece", "predicted", "observed")
        return {**dict.fromkeys(numbers), "bins": []}
    metrics = import_extra("sklearn.metrics", "torch")
    edges = np.quantile(p, np.linspace(0, 1, _CALIBRATION_BINS + 1)[1:-1])
    place = np.searchsorted(edges, p)  # (N,) as calibration_curve of scikit-learn
    counts = np.bincount(place)
    filled = np.flatnonzero(counts)
    counts = counts[filled]
    predicted = np.bincount(place, p)[filled] / counts  # (bins,)
    observed = np.bincount(place, y)[filled] / counts
    rows = zip(predicted.tolist(), observed.tolist(), counts.tolist(), strict=True)
    return {
        "brier": float(metrics.brier_score_loss(y, p, pos_label=1)),
        "ece": float(np.average(np.abs(predicted - observed), weights=counts)),
        "predicted": float(p.mean()),
        "observed": float(y.mean()),
        "bins": [
            {"predicted": mean, "observed": share, "count": count}
            for mean, share, count in rows
        ],
    }


def as_trained(calibrated: npt.ArrayLike, negative_weight: float) -> Floats:
    """Return the student's probabilities with the bias of its loss, as it says them.

    The inverse of `Weno.calibrated`: the loss weighs negatives by w and positives by
    1 - w, and files hold y = w p / (w p + (1 - w) (1 - p)).
    """
    y, w = np.asarray(calibrated, np.float64), negative_weight
    return np.asarray((1 - w) * y / ((1 - w) * y + w * (1 - y)))
