from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from weno.errors import RunError
from weno.prediction import METADATA_KEY, Prediction, read_prediction, write_prediction
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from pathlib import Path


def make_prediction(count: int = 5) -> Prediction:
    rng = np.random.default_rng(0)

    def values() -> np.ndarray:
        return rng.random(count).astype(np.float32)

    return Prediction(
        slide_id="case 1",
        run="first",
        class_name="tumour",
        teacher_probability=0.75,
        student_probability=0.9,
        student_top_mean=0.8,
        threshold=0.4,
        encoder="texture",
        spec=TileSpec(tile_um=64, mpp=0.5),
        mpp=(0.25, 0.26),
        slide_shape=(4096, 2048),
        content_hash="abc",
        origins=np.stack([np.arange(count) * 256, np.zeros(count)], 1).astype(np.int64),
        score=values() * 10 - 5,
        attention=values(),
        attention_percentile=values(),
        pseudo_label=values(),
        probability=values(),
        re_attention=values(),
        disagreement=values() - 0.5,
        familiarity=values(),
        easy_positive=np.arange(count) % 2 == 0,
        candidate_rank=np.arange(count, dtype=np.int32),
    )


@pytest.mark.parametrize("count", [0, 1, 5])
def test_everything_comes_back_as_it_was_written(tmp_path: Path, count: int) -> None:
    written = make_prediction(count)
    write_prediction(tmp_path / "new" / "slide.parquet", written)
    read = read_prediction(tmp_path / "new" / "slide.parquet")
    for field in dataclasses.fields(Prediction):
        before, after = getattr(written, field.name), getattr(read, field.name)
        if isinstance(before, np.ndarray):
            assert after.dtype == before.dtype, field.name
            np.testing.assert_array_equal(after, before, err_msg=field.name)
        else:
            assert after == before, field.name


def test_the_grid_has_a_cell_for_each_tile() -> None:
    prediction = make_prediction()
    assert prediction.grid.cells[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_called_positive_at_the_threshold() -> None:
    prediction = make_prediction()
    assert prediction.is_positive
    assert not dataclasses.replace(prediction, threshold=0.8).is_positive


def rewrite(path: Path, change: str) -> None:
    table = parquet.read_table(path)
    metadata = table.schema.metadata[METADATA_KEY]
    if change == "no metadata":
        table = table.replace_schema_metadata(None)
    elif change == "no column":
        table = table.drop_columns(["score"])
    elif change == "text for numbers":
        column = pa.array(["high"] * len(table))
        index = table.column_names.index("score")
        table = table.set_column(index, "score", column)
    elif change == "other format":
        other = metadata.replace(b'"format": 1', b'"format": 99')
        table = table.replace_schema_metadata({METADATA_KEY: other})
    elif change == "broken JSON":
        table = table.replace_schema_metadata({METADATA_KEY: metadata[:-5]})
    elif change == "field missing":
        other = metadata.replace(b'"threshold"', b'"limit"')
        table = table.replace_schema_metadata({METADATA_KEY: other})
    parquet.write_table(table, path)


@pytest.mark.parametrize(
    "change",
    [
        "no metadata",
        "no column",
        "text for numbers",
        "other format",
        "broken JSON",
        "field missing",
    ],
)
def test_a_file_that_is_no_whole_prediction_is_refused_by_name(
    tmp_path: Path, change: str
) -> None:
    path = tmp_path / "slide.parquet"
    write_prediction(path, make_prediction())
    rewrite(path, change)
    with pytest.raises(RunError, match=r"slide\.parquet"):
        read_prediction(path)


def test_missing_and_truncated_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "slide.parquet"
    with pytest.raises(RunError, match="no such prediction"):
        read_prediction(path)
    write_prediction(path, make_prediction())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match="not a readable"):
        read_prediction(path)
