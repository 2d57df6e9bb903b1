"""The result of `evaluate` as tables for people: a number, and its interval behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    #: Row to column to what the cell says; None is "cannot be said".
    Table = dict[str, dict[str, str | float | None]]

_OF_SLIDES = {
    "bag_auc": "slides: AUC",
    "bag_auc_top_mean": "slides: AUC, top tiles",
    "bag_ap": "slides: AP",
    "bag_ap_top_mean": "slides: AP, top tiles",
    "bag_balanced_accuracy": "slides: balanced accuracy",
    "bag_sensitivity": "slides: sensitivity",
    "bag_specificity": "slides: specificity",
    "patient_auc": "patients: AUC",
}
_OF_TILES = {
    "tile_auc_in_positive": "tiles: AUC in positive slides",
    "tile_auc": "tiles: AUC, pooled",
    "tile_ap_in_positive": "tiles: AP in positive slides",
    "tile_ap": "tiles: AP, pooled",
    "froc": "lesions: FROC",
}
_CALIBRATIONS = {
    "teacher_slides": "slides, teacher",
    "student_tiles_as_trained": "tiles, as trained",
    "student_tiles_calibrated": "tiles, calibrated",
}


def tables(result: Mapping[str, Any]) -> dict[str, Table]:
    """Lay out a result; what it has nothing to say of is left out.

    Parameters
    ----------
    result : mapping
        Of `weno.mil.evaluate`.

    Returns
    -------
    dict
        From the heading of the first column to the table.
    """
    found = {
        "95 % over patients" if result["resamples"] else "metric": _metrics(result),
        "sensitivity at FP/slide": _sensitivities(result),
        "calibration": _errors(result),
        "bins": _reliability(result),
    }
    return {heading: table for heading, table in found.items() if table}


def remarks(result: Mapping[str, Any]) -> list[str]:
    """Return what has to be known to read the tables, a sentence or two each."""
    counts = (
        f"{result['slides']} slides ({result['positive_slides']} positive) of "
        f"{result['patients']} patients; {result['tiles']} tiles with truth"
    )
    said = [
        "Bins: mean probability → share positive (count).",
        f"{counts}, {result['froc']['lesions']} lesions.",
    ]
    if result["tile_prevalence"] is not None:
        inside = result["tile_prevalence_in_positive"]
        share = "" if inside is None else f", {inside:.3f} in positive slides"
        said.append(f"By chance a tile AP is {result['tile_prevalence']:.3f}{share}.")
    if not result["resamples"]:
        said.append("No intervals: a class has one patient only, or none were wanted.")
    if result["tiles"] and "student_tiles_as_trained" in result["calibration"]:
        said.append(
            "The student's loss biases it upward on purpose. Files and screens hold "
            'the "calibrated" values, in which that is undone.'
        )
    return said


def _metrics(result: Mapping[str, Any]) -> Table:
    return {
        title: {
            who: _with_interval(
                result[who].get(name), result["intervals"][who].get(name)
            )
            for who in ("teacher", "student")
        }
        for name, title in (_OF_SLIDES | _OF_TILES).items()
        if any(result[who].get(name) is not None for who in ("teacher", "student"))
    }


def _sensitivities(result: Mapping[str, Any]) -> Table:
    by_rate = {who: result["froc"][who] for who in ("teacher", "student")}
    return {who: dict(rates) for who, rates in by_rate.items() if rates}


def _errors(result: Mapping[str, Any]) -> Table:
    intervals = result["intervals"]["calibration"]
    return {
        _CALIBRATIONS[name]: {
            "Brier": _with_interval(found["brier"], intervals[name]["brier"]),
            "ECE": found["ece"],
            "mean said": found["predicted"],
            "positive": found["observed"],
        }
        for name, found in result["calibration"].items()
        if found["bins"]
    }


def _reliability(result: Mapping[str, Any]) -> Table:
    rows: Table = {}
    for name, found in result["calibration"].items():
        for number, one in enumerate(found["bins"], 1):
            cell = f"{one['predicted']:.3f} → {one['observed']:.3f} ({one['count']})"
            rows.setdefault(f"bin {number}", {})[_CALIBRATIONS[name]] = cell
    return rows


def _with_interval(value: float | None, interval: list[float] | None) -> str | None:
    if value is None:
        return None
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({interval[0]:.2f} to {interval[1]:.2f})"
