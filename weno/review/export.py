"""Verdicts for other programs: QuPath GeoJSON and CSV."""

from __future__ import annotations

import csv
import math
import uuid
from typing import TYPE_CHECKING, Any, Literal

from weno.atomic import replacing
from weno.errors import ReviewError
from weno.geojson import write_collection
from weno.review.events import ReviewTile, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from weno.prediction import Prediction
    from weno.review.events import ReviewEvent

    Measurements = Mapping[ReviewTile, Mapping[str, float]]

VERDICT_COLORS: Mapping[Verdict, tuple[int, int, int]] = {
    # Told apart by colour-blind eyes and on both haematoxylin and eosin.
    Verdict.POSITIVE: (213, 94, 0),
    Verdict.NEGATIVE: (0, 114, 178),
    Verdict.UNSURE: (240, 228, 66),
    Verdict.SKIP: (153, 153, 153),
}

_MEASUREMENTS = {
    "probability": "probability",
    "attention": "attention",
    "attention_percentile": "attention_percentile",
    "disagreement": "disagreement",
    "rank": "candidate_rank",
}
_COLUMNS = (
    *("slide_id", "content_hash", "y", "x", "height", "width", "verdict", "reviewer"),
    *("time", "run", "kind", "trains", "blind", "shown"),
    *_MEASUREMENTS,
)
# Makes the ids of exported objects: the same tile and reviewer, the same id.
_NAMESPACE = uuid.UUID("6c1d9e1e-6f2b-5d0c-9a55-5f6f0c1f7a11")


def write_geojson(
    path: Path,
    answers: Iterable[ReviewEvent],
    *,
    predictions: Iterable[Prediction] = (),
    class_names: tuple[str, str] = ("negative", "positive"),
    object_type: Literal["annotation", "tile"] = "annotation",
) -> int:
    """Write the verdicts on one slide as objects that QuPath 0.4 and later imports.

    Skipped tiles are left out.

    Parameters
    ----------
    path : Path
    answers : iterable of ReviewEvent
        All on one slide, of any reviewers: ``log.answers(content_hash).values()``.
    predictions : iterable of Prediction
        Where the measurements come from; tiles that are in none have none.
    class_names : (str, str)
        Negative and positive class.
    object_type : {"annotation", "tile"}
        QuPath lets people edit annotations, and shows many tiles fast.

    Returns
    -------
    int
        Number of objects written.

    Raises
    ------
    ReviewError
        If the answers are on more than one slide.
    """
    kept = [event for event in answers if event.verdict is not Verdict.SKIP]
    slides = {event.tile.content_hash: event.tile.slide_id for event in kept}
    if len(slides) > 1:
        raise ReviewError(
            "a GeoJSON file is for one slide, these answers are on "
            f"{', '.join(sorted(slides.values()))}; write one file for each"
        )
    names = {
        Verdict.POSITIVE: class_names[1],
        Verdict.NEGATIVE: class_names[0],
        Verdict.UNSURE: "unsure",
    }
    measured = _measure(kept, predictions)
    features = []
    for event in kept:
        feature = _feature(event, names[event.verdict], measured.get(event.tile, {}))
        feature["properties"]["objectType"] = object_type
        features.append(feature)
    write_collection(path, features)
    return len(features)


def _feature(
    event: ReviewEvent, class_name: str, measurements: Mapping[str, float]
) -> dict[str, Any]:
    tile = event.tile
    (top, left), (height, width) = tile.origin, tile.size
    bottom, right = top + height, left + width
    ring = [[left, top], [left, bottom], [right, bottom], [right, top], [left, top]]
    key = f"{tile.content_hash} {tile.origin} {tile.size} {event.reviewer}"
    color = VERDICT_COLORS[event.verdict]
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(_NAMESPACE, key)),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "classification": {"name": class_name, "color": color},
            "measurements": measurements,
            "metadata": {
                "reviewer": event.reviewer,
                "verdict": event.verdict,
                "time": event.time.isoformat(),
                "run": event.run,
                "kind": event.kind,
                "blind": str(event.blind).lower(),
            },
        },
    }


def write_csv(
    path: Path,
    answers: Iterable[ReviewEvent],
    *,
    predictions: Iterable[Prediction] = (),
) -> int:
    """Write verdicts as a table, one row per answer.

    Parameters
    ----------
    path : Path
    answers : iterable of ReviewEvent
        On any slides, of any reviewers.
    predictions : iterable of Prediction
        Where the measurements come from; they stay empty for tiles that are in none.

    Returns
    -------
    int
        Number of rows written.
    """
    kept = list(answers)
    measured = _measure(kept, predictions)
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, _COLUMNS, restval="")
        writer.writeheader()
        for event in kept:
            writer.writerow(_row(event) | dict(measured.get(event.tile, {})))
    return len(kept)


def _row(event: ReviewEvent) -> dict[str, Any]:
    tile = event.tile
    return {
        "slide_id": tile.slide_id,
        "content_hash": tile.content_hash,
        "y": tile.origin[0],
        "x": tile.origin[1],
        "height": tile.size[0],
        "width": tile.size[1],
        "verdict": event.verdict,
        "reviewer": event.reviewer,
        "time": event.time.isoformat(),
        "run": event.run,
        "kind": event.kind,
        "trains": str(event.kind.trains).lower(),
        "blind": str(event.blind).lower(),
        "shown": ";".join(event.shown),
    }


def _measure(
    events: Sequence[ReviewEvent], predictions: Iterable[Prediction]
) -> Measurements:
    """Look up what the model says of the tiles that were answered."""
    wanted = {event.tile for event in events}
    slides = {tile.content_hash for tile in wanted}
    measured = {}
    for prediction in predictions:
        if prediction.content_hash not in slides:
            continue
        for index in range(len(prediction.origins)):
            tile = ReviewTile.of(prediction, index)
            if tile in wanted:
                measured[tile] = _values(prediction, index)
    return measured


def _values(prediction: Prediction, index: int) -> dict[str, float]:
    values = {
        name: getattr(prediction, column)[index].item()
        for name, column in _MEASUREMENTS.items()
    }
    if not values["rank"]:
        del values["rank"]  # 0 says that the tile is no candidate
    return {name: value for name, value in values.items() if math.isfinite(value)}
