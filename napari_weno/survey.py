"""How far each slide of a project is, found out from the project's folder."""

from __future__ import annotations

import csv
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weno.classes import asked_class
from weno.errors import FeatureError, ProjectError, WenoError
from weno.relink import missing_slides

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence
    from pathlib import Path

    from weno.project import Project, SlideRow
    from weno.review import ReviewTile
    from weno.tiles import Outline

_NOT_FOUND = "not found"
_STEPS = (
    _NOT_FOUND,
    "failed",
    "new",
    "tissue",
    "tiled",
    "features",
    "predicted",
    "reviewed",
)


@dataclass(slots=True)
class Memory:
    """What surveys of a project have found out, so that the next need not.

    Parameters
    ----------
    counted : dict
        Time and number of tiles of features files.
    judged : dict
        Whether features are stale, with what that was judged by.
    missing : dict
        Of slides whose file is not there, why.
    """

    counted: dict[Path, tuple[int, int]] = field(default_factory=dict)
    judged: dict[Path, tuple[tuple[object, ...], bool]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


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
    has_tissue : bool
        Its tissue is outlined.
    is_tiled : bool
        It is cut into tiles, of which some are encoded, but not all yet.
    share : float or None
        Of the tiles that the run asks about, how many have a verdict, 0 to 1; None if
        it asks about none.
    missing : str
        Why its file is not there, empty if it is.
    """

    row: SlideRow
    label: str
    has_features: bool
    is_predicted: bool
    probability: float | None
    reviewed: int
    error: str = ""
    has_tissue: bool = False
    is_tiled: bool = False
    share: float | None = None
    missing: str = ""

    @property
    def step(self) -> str:
        """The last step done, or what is in the way; one of ``_STEPS``."""
        if self.missing:
            return _NOT_FOUND
        if self.reviewed:
            return "reviewed"
        if self.is_predicted:
            return "predicted"
        if self.has_features:
            return "features"
        if self.error:
            return "failed"
        if self.is_tiled:
            return "tiled"
        return "tissue" if self.has_tissue else "new"

    @property
    def progress(self) -> int:
        """What to sort by: the step, then the number of tiles reviewed."""
        return _STEPS.index(self.step) * 1_000_000 + self.reviewed

    @property
    def status(self) -> str:
        """The step as shown."""
        if self.step != "reviewed":
            return self.step
        if self.share is None:
            return f"reviewed {self.reviewed}"
        return f"reviewed {self.share:.0%}"


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
    known: Memory,
) -> Generator[Survey, None, Survey]:
    """Look at the project's folder and say how far each slide is.

    Lists folders with the times of what is in them, and opens a file only if it has
    changed, because a project may have thousands of slides on a network share.

    Parameters
    ----------
    project : Project
    run : str or None
        The run whose predictions count.
    known : Memory
        Added to.

    Raises
    ------
    ProjectError
        If the project is not where it was opened any more.
    """
    if not (project.root / "project.toml").is_file():
        raise ProjectError(
            f"the project {project.root} is not there any more: moved, or not mounted? "
            "Open it where it is now"
        )
    made = _times(project.features_dir, ".h5")
    tissue = _times(project.root / "tissue", ".geojson")
    regions = _times(project.root / "regions", ".geojson")
    chosen = (project.root / "project.toml").stat().st_mtime_ns
    features = {}
    for slide_id in (row.slide_id for row in project.slides):
        if slide_id in made:
            drawn = tissue.get(slide_id, 0), regions.get(slide_id, 0)
            times = made[slide_id], *drawn
            if not _stale(project, slide_id, times, chosen, known):
                features[slide_id] = project.features_path(slide_id)
    begun = _times(project.features_dir, ".parts")
    states = _states(project, run, known, features.keys(), tissue.keys(), begun.keys())
    positive = _positive(project, run)
    yield Survey(states, None, positive)
    # Last, since a share that is away may have to be waited for.
    known.missing = missing_slides(project.slides)
    states = [replace(s, missing=known.missing.get(s.row.slide_id, "")) for s in states]
    tiles = 0
    for slide_id, path in features.items():
        tiles += _tiles_in(path, made[slide_id], known.counted)
    return Survey(states, tiles, positive)


def _times(folder: Path, suffix: str) -> dict[str, int]:
    """Return when files of a folder have changed, by name without the suffix.

    Those that are being written begin with a dot, and may be gone in a moment.
    """
    times = {}
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(suffix) and not entry.name.startswith("."):
                times[entry.name.removesuffix(suffix)] = entry.stat().st_mtime_ns
    return times


def _states(
    project: Project,
    run: str | None,
    known: Memory,
    prepared: Collection[str],
    outlined: Collection[str],
    begun: Collection[str],
) -> list[SlideState]:
    """Look at all that is quick to look at."""
    predicted, probabilities = set(), dict[str, float]()
    if run is not None:
        folder = project.predictions_dir(run)
        predicted = {path.stem for path in folder.glob("*.parquet")}
        probabilities = teacher_probabilities(project, run)
    answered, errors = answered_tiles(project), project.failed_slides()
    reviewed = Counter(tile.slide_id for tile in answered)
    shares = _shares(project, run, answered)
    return [
        SlideState(
            row=row,
            label="" if row.class_index is None else project.classes[row.class_index],
            has_features=row.slide_id in prepared,
            is_predicted=row.slide_id in predicted,
            probability=probabilities.get(row.slide_id),
            reviewed=reviewed.get(row.slide_id, 0),
            error=errors.get(row.slide_id, ""),
            has_tissue=row.slide_id in outlined,
            is_tiled=row.slide_id in begun,
            share=shares.get(row.slide_id),
            missing=known.missing.get(row.slide_id, ""),
        )
        for row in project.slides
    ]


def _stale(
    project: Project,
    slide_id: str,
    times: tuple[int, int, int],
    chosen: int,
    known: Memory,
) -> bool:
    """Tell whether features are of tiles that would not be cut now.

    Somebody has edited the outline, or chosen other regions of interest: `times` are
    those of the features, the outline and the regions, `chosen` that of project.toml.
    """
    if max(*times[1:], chosen) <= times[0]:
        return False
    outline, path = project.outline(slide_id), project.features_path(slide_id)
    stamp = (*times, outline.inside, outline.outside)
    if path not in known.judged or known.judged[path][0] != stamp:
        known.judged[path] = stamp, _is_of_others(path, outline)
    return known.judged[path][1]


def _is_of_others(path: Path, outline: Outline) -> bool:
    from weno.features import read_header

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


def answered_tiles(project: Project) -> set[ReviewTile]:
    """Return the tiles that anybody has answered."""
    from weno.review import Verdict, read_verdicts

    return {
        tile
        for log in read_verdicts(project.review_dir).values()
        for tile, verdict in log.verdicts().items()
        if verdict is not Verdict.SKIP
    }


def _shares(
    project: Project, run: str | None, answered: set[ReviewTile]
) -> dict[str, float]:
    """Return the share of the tiles asked about, by a run, that are answered."""
    from weno.review import queue_names, queue_path, read_queue

    asked: set[ReviewTile] = set()
    for name in queue_names(project.review_dir) if run is not None else ():
        with suppress(WenoError):  # the Review dock says what is wrong with it
            queue = read_queue(queue_path(project.review_dir, name))
            asked |= {item.tile for item in queue if queue.run == run}
    counts = Counter(tile.slide_id for tile in asked)
    done = Counter(tile.slide_id for tile in asked & answered)
    return {slide_id: done[slide_id] / count for slide_id, count in counts.items()}


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


def _tiles_in(path: Path, time: int, counted: dict[Path, tuple[int, int]]) -> int:
    from weno.features import read_header

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
    patients = len({state.row.patient_id for state in states})
    told = [f"{len(states):,} slides"]
    if patients < len(states):
        told.append(f"{patients:,} patient{'s' * (patients != 1)}")
    told += [f"{labels[name]:,} {name}" for name in sorted(labels)]
    if unlabelled := len(states) - labels.total():
        told.append(f"{unlabelled:,} without label")
    if tiles is not None:
        told.append(f"{tiles:,} tiles")
    told.append(f"{sum(state.is_predicted for state in states):,} predicted")
    if missing := sum(bool(state.missing) for state in states):
        told.append(f"{missing:,} not found")
    return " · ".join(told)


def question_text(project: Project) -> str:
    """Say which of several classes is asked about; empty if there are but two."""
    others = len(project.classes) - 1
    return f"{project.positive} against {others} others" if others > 1 else ""
