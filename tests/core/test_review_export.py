from __future__ import annotations

import csv
import json
import uuid
from typing import TYPE_CHECKING

import numpy as np
import pytest

from weno.errors import ReviewError
from weno.prediction import Prediction
from weno.review import (
    VERDICT_COLORS,
    Kind,
    ReviewStore,
    ReviewTile,
    Verdict,
    write_csv,
    write_geojson,
)
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def prediction() -> Prediction:
    """Two rows of three tiles, 400 px high and 200 px wide."""
    cells = np.indices((2, 3)).reshape(2, -1).T
    ramp = np.arange(6, dtype=np.float32) / 8
    return Prediction(
        slide_id="slide-1",
        run="run-1",
        class_name="tumour",
        teacher_probability=0.9,
        student_probability=0.8,
        student_top_mean=0.7,
        threshold=0.5,
        encoder="texture",
        spec=TileSpec(100, 0.5),
        mpp=(0.25, 0.5),
        slide_shape=(800, 600),
        content_hash="hash-1",
        origins=(cells * (400, 200)).astype(np.int64),
        score=ramp,
        attention=ramp / 2,
        attention_percentile=ramp,
        pseudo_label=ramp,
        probability=ramp,
        re_attention=ramp,
        disagreement=np.where(ramp > 0.5, np.nan, ramp).astype(np.float32),
        familiarity=ramp,
        easy_positive=np.zeros(6, bool),
        candidate_rank=np.array([0, 0, 3, 0, 1, 0], np.int32),
    )


@pytest.fixture
def store(tmp_path: Path, prediction: Prediction) -> Iterator[ReviewStore]:
    with ReviewStore(tmp_path / "review", "alice") as store:
        for index, verdict in ((2, "positive"), (3, "negative"), (5, "unsure")):
            store.answer(
                ReviewTile.of(prediction, index),
                Verdict(verdict),
                run="run-1",
                kind=Kind.CANDIDATE,
                blind=True,
                shown=["slide", "grid"],
            )
        store.answer(ReviewTile.of(prediction, 0), Verdict.SKIP, blind=False)
        yield store


def test_geojson_has_what_qupath_reads(
    tmp_path: Path, store: ReviewStore, prediction: Prediction
) -> None:
    path = tmp_path / "out" / "slide-1.geojson"
    written = write_geojson(
        path,
        store.answers().values(),
        predictions=[prediction],
        class_names=("normal", "tumour"),
    )
    collection = json.loads(path.read_text())
    assert collection["type"] == "FeatureCollection"
    assert written == len(collection["features"]) == 3  # a skip is no opinion

    feature = collection["features"][0]
    properties = feature["properties"]
    uuid.UUID(feature["id"])
    # (x, y), as tile 2 starts 400 px to the right in the first row
    assert feature["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[400, 0], [400, 400], [600, 400], [600, 0], [400, 0]]],
    }
    assert properties["objectType"] == "annotation"
    assert properties["classification"] == {
        "name": "tumour",
        "color": list(VERDICT_COLORS[Verdict.POSITIVE]),
    }
    assert properties["measurements"] == {
        "probability": 0.25,
        "attention": 0.125,
        "attention_percentile": 0.25,
        "disagreement": 0.25,
        "rank": 3,
    }
    assert properties["metadata"]["reviewer"] == "alice"
    names = [f["properties"]["classification"]["name"] for f in collection["features"]]
    assert names == ["tumour", "normal", "unsure"]
    # no NaN in JSON, and no rank for a tile that is no candidate
    assert collection["features"][2]["properties"]["measurements"].keys() == {
        "probability",
        "attention",
        "attention_percentile",
    }


def test_geojson_has_the_form_of_files_from_qupath(
    tmp_path: Path, store: ReviewStore, test_data: Path
) -> None:
    theirs = json.loads((test_data / "annotations/qupath-rectangle.json").read_text())
    write_geojson(tmp_path / "x.geojson", store.answers().values())
    ours = json.loads((tmp_path / "x.geojson").read_text())["features"][0]
    assert ours.keys() == theirs.keys()
    assert ours["geometry"].keys() == theirs["geometry"].keys()

    def turns(ring: list[list[int]]) -> float:
        """Area of a ring; the sign is its direction."""
        x, y = np.transpose(ring)
        return float(x[:-1] @ y[1:] - x[1:] @ y[:-1])

    (ring,), (reference,) = (f["geometry"]["coordinates"] for f in (ours, theirs))
    assert ring[0] == ring[-1]
    assert turns(ring) * turns(reference) > 0


def test_geojson_objects_may_be_tiles_and_need_no_prediction(
    tmp_path: Path, store: ReviewStore
) -> None:
    write_geojson(tmp_path / "a", store.answers().values(), object_type="tile")
    write_geojson(tmp_path / "b", store.answers().values(), object_type="tile")
    features = json.loads((tmp_path / "a").read_text())["features"]
    assert {f["properties"]["objectType"] for f in features} == {"tile"}
    assert all(f["properties"]["measurements"] == {} for f in features)
    assert len({f["id"] for f in features}) == 3
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()


def test_one_geojson_file_is_for_one_slide(tmp_path: Path, store: ReviewStore) -> None:
    other = ReviewTile("slide-2", "hash-2", (0, 0), (400, 200))
    store.answer(other, Verdict.POSITIVE, blind=True)
    with pytest.raises(ReviewError, match="slide-1, slide-2"):
        write_geojson(tmp_path / "x.geojson", store.answers().values())
    assert not (tmp_path / "x.geojson").exists()
    assert write_geojson(tmp_path / "x", store.answers("hash-2").values()) == 1


def test_csv_has_one_row_per_answer(
    tmp_path: Path, store: ReviewStore, prediction: Prediction
) -> None:
    store.answer(
        ReviewTile("slide-2", "hash-2", (7, 9), (400, 200)),
        Verdict.NEGATIVE,
        kind=Kind.AUDIT,
        blind=True,
    )
    answers = store.answers()
    path = tmp_path / "verdicts.csv"
    assert write_csv(path, answers.values(), predictions=[prediction]) == 5
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = rows[0]
    assert first.pop("time") == answers[ReviewTile.of(prediction, 2)].time.isoformat()
    assert first == {
        "slide_id": "slide-1",
        "content_hash": "hash-1",
        "y": "0",
        "x": "400",
        "height": "400",
        "width": "200",
        "verdict": "positive",
        "reviewer": "alice",
        "run": "run-1",
        "kind": "candidate",
        "trains": "true",
        "blind": "true",
        "shown": "slide;grid",
        "probability": "0.25",
        "attention": "0.125",
        "attention_percentile": "0.25",
        "disagreement": "0.25",
        "rank": "3",
    }
    assert [row["verdict"] for row in rows] == (
        ["positive", "negative", "unsure", "skip", "negative"]
    )
    assert rows[3]["blind"] == "false"
    assert rows[4]["trains"] == "false"
    assert rows[4]["probability"] == ""  # of a slide without a prediction


def test_values_of_tiles_of_another_size_are_not_taken(
    tmp_path: Path, store: ReviewStore, prediction: Prediction
) -> None:
    small = ReviewTile("slide-1", "hash-1", (0, 200), (200, 100))
    event = store.answer(small, Verdict.POSITIVE, blind=True)
    write_csv(tmp_path / "x.csv", [event], predictions=[prediction])
    with (tmp_path / "x.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["probability"] == ""
