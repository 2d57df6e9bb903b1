"""How far each slide of a project is, found out from the project's folder."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weno.classes import asked_class
from weno.errors import FeatureError, WenoError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from weno.project import Project, SlideRow

_STEPS = ("failed", "new", "features", "predicted", "reviewed")


@dataclass(frozen=True, slots=True)
class SlideState:
    """How far a slide of a project is.

    Parameters
    ----------
    row : SlideRow
    label : str
        The name of its class, empty if the class is not known.
    has_features, is_predicted : bool
    probability : float or None
        The teacher's, by the chosen run.
    reviewed : int
        Tiles that have a verdict.
    error : str
        Why preparing it failed, empty if it did not.
    """

    row: SlideRow
    label: str
    has_features: bool
    is_predicted: bool
    probability: float | None
    reviewed: int
    error: str = ""

    @property
    def step(self) -> str:
        """The last step done, one of ``_STEPS``."""
        if self.reviewed:
            return "reviewed"
        if self.is_predicted:
            return "predicted"
        if self.has_features:
            return "features"
        return "failed" if self.error else "new"

    @property
    def progress(self) -> int:
        """What to sort by: the step, then the number of tiles reviewed."""
        return _STEPS.index(self.step) * 1_000_000 + self.reviewed

    @property
    def status(self) -> str:
        """The step as shown."""
        return f"reviewed {self.reviewed}" if self.reviewed else self.step


@dataclass(frozen=True, slots=True)
class Survey:
    """How far all slides of a project are.

    Parameters
    ----------
    states : list of SlideState
    tiles : int or None
        Tiles of all prepared slides, None as long as they are being counted.
    positive : str
        The class that the probabilities are of.
    """

    states: list[SlideState]
    tiles: int | None = None
    positive: str = "positive"


def survey(
    project: Project,
    run: str | None,
    counted: dict[Path, tuple[int, int]],
) -> Generator[Survey, None, Survey]:
    """Look at the project's folder and say how far each slide is.

    Lists folders instead of looking at every file, because a project may have
    thousands of slides on a network share; only tiles are counted file by file.

    Parameters
    ----------
    project : Project
    run : str or None
        The run whose predictions count.
    counted : dict
        Time and number of tiles of the files that were counted before; added to.
    """
    features = {path.stem: path for path in project.features_dir.glob("*.h5")}
    for slide_id in [name for name, path in features.items() if _stale(project, path)]:
        del features[slide_id]
    predicted, probabilities = set(), dict[str, float]()
    if run is not None:
        folder = project.predictions_dir(run)
        predicted = {path.stem for path in folder.glob("*.parquet")}
        probabilities = teacher_probabilities(project, run)
    reviewed, errors = reviewed_tiles(project), project.failed_slides()
    states = [
        SlideState(
            row=row,
            label="" if row.class_index is None else project.classes[row.class_index],
            has_features=row.slide_id in features,
            is_predicted=row.slide_id in predicted,
            probability=probabilities.get(row.slide_id),
            reviewed=reviewed.get(row.slide_id, 0),
            error=errors.get(row.slide_id, ""),
        )
        for row in project.slides
    ]
    positive = _positive(project, run)
    yield Survey(states, None, positive)
    tiles = 0
    for slide_id in features.keys() & {row.slide_id for row in project.slides}:
        tiles += _tiles_in(features[slide_id], counted)
    return Survey(states, tiles, positive)


def _stale(project: Project, path: Path) -> bool:
    """Tell whether somebody has edited the outline that a features file is tiled by."""
    from weno.features import read_header

    outline = project.outline(path.stem)
    time, files = path.stat().st_mtime_ns, (outline.path, outline.regions)
    if not any(f and f.exists() and f.stat().st_mtime_ns > time for f in files):
        return False
    try:
        return read_header(path).outline not in ("", outline.hash)
    except WenoError:
        return False  # extracting the slide says what is wrong


def _positive(project: Project, run: str | None) -> str:
    """Return the class that a run tells from all others, or that of the project."""
    asked = None
    if run is not None and len(project.questions) > 1:
        asked = asked_class(project.run_dir(run))
    return asked or project.positive


def reviewed_tiles(project: Project) -> Counter[str]:
    """Count the tiles that anybody has answered, by slide id."""
    from weno.review import Verdict, read_verdicts

    tiles = {
        tile
        for log in read_verdicts(project.review_dir).values()
        for tile, verdict in log.verdicts().items()
        if verdict is not Verdict.SKIP
    }
    return Counter(tile.slide_id for tile in tiles)


def teacher_probabilities(project: Project, run: str) -> dict[str, float]:
    """Read what the teacher of a run says of each slide, by slide id."""
    path = project.predictions_dir(run) / "slides.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            record["slide_id"]: float(record["teacher_probability"])
            for record in csv.DictReader(file)
        }


def _tiles_in(path: Path, counted: dict[Path, tuple[int, int]]) -> int:
    from weno.features import read_header

    time = path.stat().st_mtime_ns
    if counted.get(path, (0, 0))[0] != time:
        try:
            count = read_header(path).shape[0]
        except FeatureError:
            count = 0  # extracting or predicting the slide says what is wrong
        counted[path] = (time, count)
    return counted[path][1]


def summary(states: Sequence[SlideState], tiles: int | None) -> str:
    """Sum up a project in one line.

    Parameters
    ----------
    states : sequence of SlideState
    tiles : int or None
        Tiles of all prepared slides, None while they are being counted.
    """
    labels = Counter(state.label for state in states if state.label)
    told = [f"{len(states):,} slides"]
    told += [f"{count:,} {label}" for label, count in labels.items()]
    if unlabelled := len(states) - labels.total():
        told.append(f"{unlabelled:,} without label")
    if tiles is not None:
        told.append(f"{tiles:,} tiles")
    told.append(f"{sum(state.is_predicted for state in states):,} predicted")
    return " · ".join(told)


def question_text(project: Project) -> str:
    """Say which of several classes is asked about; empty if there are but two."""
    others = len(project.classes) - 1
    return f"{project.positive} against {others} others" if others > 1 else ""
