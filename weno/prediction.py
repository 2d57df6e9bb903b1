"""What a run says of a slide, and the parquet file that keeps it.

One row a tile; what holds for the slide as a whole lies as JSON in the metadata of
the schema, under `METADATA_KEY`. Written by `weno.mil`, read by the review and by
the docks, which therefore never load a deep-learning library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weno.atomic import replacing
from weno.errors import RunError, WenoError
from weno.tiles import TileGrid, TileSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

METADATA_KEY = b"weno"
_FORMAT = 1
_FLOATS = (
    "score",
    "attention",
    "attention_percentile",
    "pseudo_label",
    "probability",
    "re_attention",
    "disagreement",
    "familiarity",
)
_DTYPES: dict[str, type] = {
    **dict.fromkeys(_FLOATS, np.float32),
    "easy_positive": np.bool_,
    "candidate_rank": np.int32,
}


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """All values of one slide; value `i` belongs to tile `i`, always.

    Parameters
    ----------
    slide_id, run : str
    class_name : str
        Of the positive class.
    teacher_probability : float
        That the slide is positive.
    student_probability, student_top_mean : float
        The student's highest probability, and its mean over the top tiles.
    threshold : float
        On the teacher's probability, chosen on validation.
    encoder : str
    spec : TileSpec
    mpp : (float, float)
        ``(y, x)`` size of a level-0 pixel in µm.
    slide_shape : (int, int)
        ``(height, width)`` of level 0.
    content_hash : str
        Of the slide file.
    origins : ndarray of shape (N, 2), int64
        ``(y, x)`` of the tiles in level-0 pixels.
    score : ndarray of shape (N,), float32
        The teacher's raw value.
    attention : ndarray of shape (N,), float32
        The teacher's weight in the pooling; sums to 1. Not a probability.
    attention_percentile : ndarray of shape (N,), float32
        Rank of the attention within the slide, in [0, 1].
    pseudo_label : ndarray of shape (N,), float32
        Score and evidence of the tile between the run's label limits, in [0, 1].
    probability : ndarray of shape (N,), float32
        The student's, the bias of its loss undone: the pseudo-label it stands for.
    re_attention : ndarray of shape (N,), float32
        The teacher's attention with the easy positives left out.
    disagreement : ndarray of shape (N,), float32
        Percentile of attention minus that of probability, in [-1, 1].
    familiarity : ndarray of shape (N,), float32
        Distance to the training tiles: root mean square of the standardised
        features. About 1 is usual, 2 and more is strange.
    easy_positive : ndarray of shape (N,), bool
        What the mining rule hides, in a slide that the teacher calls positive.
    candidate_rank : ndarray of shape (N,), int32
        1 for the first candidate, 0 for a tile that is none.
    familiarity_limit : float or None
        99 of 100 training tiles lie nearer; None where the run has not kept it.
    """

    slide_id: str
    run: str
    class_name: str
    teacher_probability: float
    student_probability: float
    student_top_mean: float
    threshold: float
    encoder: str
    spec: TileSpec
    mpp: tuple[float, float]
    slide_shape: tuple[int, int]
    content_hash: str
    origins: npt.NDArray[np.int64]
    score: Floats
    attention: Floats
    attention_percentile: Floats
    pseudo_label: Floats
    probability: Floats
    re_attention: Floats
    disagreement: Floats
    familiarity: Floats
    easy_positive: npt.NDArray[np.bool_]
    candidate_rank: npt.NDArray[np.int32]
    familiarity_limit: float | None = None

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def grid(self) -> TileGrid:
        """The tiles as a grid."""
        return TileGrid.from_origins(
            self.origins, self.spec, self.mpp, self.slide_shape
        )

    @property
    def is_positive(self) -> bool:
        """Whether the teacher calls the slide positive."""
        return self.teacher_probability >= self.threshold


_SLIDE_FIELDS: dict[str, type] = {
    "slide_id": str,
    "run": str,
    "class_name": str,
    "teacher_probability": float,
    "student_probability": float,
    "student_top_mean": float,
    "threshold": float,
    "encoder": str,
    "content_hash": str,
}


def write_prediction(path: Path, prediction: Prediction) -> None:
    """Write a prediction to a parquet file, whole or not at all."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "y": prediction.origins[:, 0],
        "x": prediction.origins[:, 1],
        **{name: getattr(prediction, name) for name in _DTYPES},
    }
    slide = {
        "format": _FORMAT,
        **{name: getattr(prediction, name) for name in _SLIDE_FIELDS},
        "spec": prediction.spec.to_dict(),
        "mpp": list(prediction.mpp),
        "slide_shape": list(prediction.slide_shape),
        "familiarity_limit": prediction.familiarity_limit,
    }
    table = pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(slide)})
    with replacing(path) as temporary:
        parquet.write_table(table, temporary)


def read_prediction(path: Path) -> Prediction:
    """Read a prediction and check it.

    Raises
    ------
    RunError
        If the file is missing, damaged, or not a prediction.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such prediction; run predict first") from error
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path}: not a readable parquet file: {error}") from error
    metadata = (table.schema.metadata or {}).get(METADATA_KEY)
    if metadata is None:
        raise RunError(f"{path}: a parquet file, but not a prediction of WENO")
    missing = {"y", "x", *_DTYPES} - set(table.column_names)
    if missing:
        raise RunError(f"{path}: has no column {', '.join(sorted(missing))}")
    try:
        values = _slide_values(json.loads(metadata))
        columns = {name: table[name].to_numpy() for name in ("y", "x", *_DTYPES)}
        origins = np.stack([columns["y"], columns["x"]], axis=1).astype(np.int64)
        tiles = {name: columns[name].astype(kind) for name, kind in _DTYPES.items()}
    except (KeyError, TypeError, ValueError, WenoError) as error:
        raise RunError(f"{path}: damaged prediction: {error!r}") from error
    return Prediction(**values, origins=origins, **tiles)


def _slide_values(slide: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the JSON part back into fields; what is missing is a `KeyError`."""
    if slide["format"] != _FORMAT:
        raise ValueError(f"format {slide['format']}, this version reads {_FORMAT}")
    mpp, shape = slide["mpp"], slide["slide_shape"]
    limit = slide.get("familiarity_limit")  # runs of before it was kept have none
    return {
        **{name: kind(slide[name]) for name, kind in _SLIDE_FIELDS.items()},
        "spec": TileSpec.from_dict(slide["spec"]),
        "mpp": (float(mpp[0]), float(mpp[1])),
        "slide_shape": (int(shape[0]), int(shape[1])),
        "familiarity_limit": None if limit is None else float(limit),
    }
