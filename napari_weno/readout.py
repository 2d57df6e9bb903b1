"""What a prediction says, in words: of a slide, of a tile, of a colour."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from weno.errors import RunError, WenoError
from weno.explain import column_of
from weno.mil.reports import chance_warning
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_weno.layers import Display
    from weno.explain import Familiarity, PatientReading
    from weno.explain.ranking import Column
    from weno.prediction import Prediction

SMALL_PRINT = "Attention is not probability · Research use only"

DISPLAYS: dict[Display, str] = {
    "log": "times an even share, log scale",
    "percentile": "rank within the slide",
    "raw": "weight, sums to 1",
}


@dataclass(frozen=True, slots=True)
class Legend:
    """What the colours of an overlay mean.

    Parameters
    ----------
    caption : str
    tick : callable
        Turns a value of the layer into text.
    """

    caption: str
    tick: Callable[[float], str]


_TICKS: dict[Display, Callable[[float], str]] = {
    "log": lambda value: f"{10**value:.3g}x",
    "percentile": lambda value: f"{100 * value:.0f} %",
    "raw": lambda value: f"{value:.2g}",
}


def legend(overlay: str, display: Display) -> Legend:
    """Return what the colours of an overlay mean.

    Parameters
    ----------
    overlay : str
        Name of the layer.
    display : {"percentile", "log", "raw"}
        How attention is shown.
    """
    if overlay in ("attention", "re-attention"):
        return Legend(f"{overlay}: {DISPLAYS[display]}", _TICKS[display])
    if overlay == "disagreement":
        caption = "disagreement: + teacher only, - student only"
        return Legend(caption, lambda value: f"{value:+.2f}")
    if overlay == "familiarity":
        caption = "familiarity: distance from the training tiles"
        return Legend(caption, lambda value: f"{value:.2f}")
    return Legend(f"{overlay} of a tile, by the student", lambda value: f"{value:.2f}")


def slide_text(prediction: Prediction) -> str:
    """Say in HTML what the model thinks of a slide."""
    name = escape(prediction.class_name)
    found = prediction.teacher_probability >= prediction.threshold
    verdict = f"{name} found" if found else f"no {name} found"
    relation = "at or above" if found else "below"
    return (
        f"<b>{verdict}</b><br>P({name}): teacher "
        f"<b>{prediction.teacher_probability:.2f}</b>, student "
        f"<b>{prediction.student_probability:.2f}</b><br>"
        f"teacher is {relation} the threshold of {prediction.threshold:.2f}"
    )


def patient_text(patient: PatientReading, class_name: str) -> str:
    """Say in HTML what the model thinks of the patient that a slide is of."""
    who, name = escape(patient.patient_id), escape(class_name)
    if patient.slides == 1:
        return f"Patient {who}: this is the only slide"
    found = f"{name} found" if patient.is_positive else f"no {name} found"
    return (
        f"<b>Patient {who}: {found}</b><br>P({name}): teacher "
        f"<b>{patient.teacher:.2f}</b>, student <b>{patient.student:.2f}</b><br>"
        f"the highest of {len(patient.predicted)} predicted of {patient.slides} "
        f"slides, teacher's most on {escape(patient.predicted[0])}"
    )


def familiarity_text(familiarity: Familiarity) -> str:
    """Warn of a slide unlike the training; empty if it is like it."""
    if not familiarity.is_unlike:
        return ""
    measured = "99 of 100 training tiles" if familiarity.is_measured else "is usual"
    return (
        f"Unlike the training: {100 * familiarity.strange:.0f} % of the tiles lie "
        f"farther from it than {measured}. Another stain, scanner or tissue? Take "
        "what the model says with care; the familiarity overlay shows where."
    )


def tile_text(prediction: Prediction, tile: int) -> str:
    """Say in two lines what the model thinks of a tile."""
    return "\n".join(_tile_parts(prediction, tile))


def status_text(prediction: Prediction, tile: int, verdict: str = "") -> str:
    """Say in one line what the model, and a person, think of a tile."""
    told = " · ".join(_tile_parts(prediction, tile))
    return f"{told} · verdict {verdict}" if verdict else told


def _tile_parts(prediction: Prediction, tile: int) -> tuple[str, str]:
    rank = int(prediction.candidate_rank[tile])
    role = f" · candidate {rank}" if rank else ""
    if prediction.easy_positive[tile]:
        role = " · easy positive"
    percentile = 100 * float(prediction.attention_percentile[tile])
    return (
        f"Tile {tile:,}{role} · "
        f"P({prediction.class_name}) {prediction.probability[tile]:.2f}",
        f"attention {share(prediction, float(prediction.attention[tile]))}, "
        f"percentile {percentile:.0f}",
    )


def all_values_text(prediction: Prediction, tile: int) -> str:
    """Say in lines all that the model thinks of a tile."""
    y, x = prediction.origins[tile] * prediction.mpp
    return "\n".join(
        [
            *_tile_parts(prediction, tile),
            *(
                f"{column_name(column, prediction)} "
                f"{column_text(prediction, column, tile)}"
                for column in ("re_attention", "disagreement", "familiarity")
            ),
            f"at y {y:,.0f} µm, x {x:,.0f} µm",
        ]
    )


def column_name(column: Column, prediction: Prediction | None = None) -> str:
    """Return what a value of tiles is called on screen."""
    if column == "probability":
        return f"P({prediction.class_name if prediction else 'positive'})"
    return column.replace("_", "-")


def column_text(prediction: Prediction, column: Column, tile: int) -> str:
    """Say one value of a tile."""
    value = float(column_of(prediction, column)[tile])
    if column in ("attention", "re_attention"):
        return share(prediction, value)
    return f"{value:+.2f}" if column == "disagreement" else f"{value:.2f}"


def share(prediction: Prediction, weight: float) -> str:
    """Say how many times an even share of the slide's attention a weight is."""
    return f"{weight * len(prediction.origins):.3g}x"


def run_text(run_dir: Path) -> str:
    """Sum up in a few lines what a run says of itself, without loading the model.

    Raises
    ------
    RunError
        If the folder is no finished run.
    """
    card, config = (
        _read_json(run_dir / "card.json"),
        _read_json(run_dir / "config.json"),
    )
    try:
        spec = TileSpec.from_dict(card["spec"])
        thresholds = [fold["threshold"] for fold in card["folds"]]
        told = [
            f"{config['teacher']} teacher, {card['encoder']} encoder",
            f"tiles of {spec.tile_um:g} µm at {spec.mpp:g} µm/px",
            f"{' / '.join(card['class_names'])}, {card['slides']:,} slides in all",
            *_metrics(card["metrics"]),
            f"threshold on P({card['class_names'][1]}): {_range(thresholds)}",
        ]
        if warning := chance_warning(card["metrics"]):
            told.append(warning)
    except (AttributeError, LookupError, TypeError, ValueError, WenoError) as error:
        raise RunError(f"{run_dir}: damaged run card: {error!r}") from error
    return "\n".join(told)


def _metrics(metrics: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    names = {"val": "validation", "test": "test"}
    return [
        f"{names.get(part, part)} AUC ({values['slides']:.0f} slides): teacher "
        f"{_number(values['teacher_bag_auc'])}, student "
        f"{_number(values['student_bag_auc'])}"
        for part, values in metrics.items()
    ]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f} over the folds"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            f"{path.parent} is no finished run: it has no {path.name}. Choose the "
            "folder of a run, as in my_project/runs/NAME"
        ) from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not readable: {error}") from error
    if not isinstance(values, dict):
        raise RunError(f"{path}: not a table but a {type(values).__name__}")
    return values
