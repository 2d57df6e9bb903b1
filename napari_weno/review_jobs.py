"""The jobs of the Review dock: building a queue, writing verdicts for others."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from napari_weno.matching import slides_of
from weno.errors import WenoError
from weno.mil.config import TrainConfig
from weno.mil.splits import make_splits
from weno.prediction import read_prediction
from weno.project import safe_name
from weno.review import (
    AuditResult,
    Verdict,
    agreement,
    audit,
    audit_verdicts,
    audited_tiles,
    build_queue,
    labelled_slides,
    read_verdicts,
    training_verdicts,
    write_csv,
    write_geojson,
)

if TYPE_CHECKING:
    from collections.abc import (
        Collection,
        Generator,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from pathlib import Path

    from weno.prediction import Prediction
    from weno.project import Project
    from weno.review import Queue, ReviewEvent, ReviewLog, ReviewTile

_DIGITS = 8  # of a content hash, to tell slides of one id apart


@dataclass(frozen=True, slots=True)
class StepReport:
    """How far a short job of the dock is."""

    done: int
    total: int
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What the answers of a project come to.

    Parameters
    ----------
    text : str
        How many train the next model, and how many do not; empty if there are none.
    agreement : str
        How far each two reviewers agree, a line each.
    trains : bool
        Whether there is an answer or a region that a fit could learn from; from which
        it does, its splits decide.
    """

    text: str
    agreement: str
    trains: bool


def take_stock(project: Project, run: str) -> Generator[None, None, Standing]:
    """Count the answers to the project's question and compare the reviewers.

    Parameters
    ----------
    project : Project
    run : str
        Measured by the audit, and fitted again by *Retrain*; may be empty.
    """
    yield
    asking = project.runs_asking()
    logs = read_verdicts(project.review_dir, asking)
    held_out = _held_out(project, run)
    answers = training_verdicts(logs.values())
    counts = Counter(v for t, v in answers.items() if t.slide_id not in held_out)
    negative, positive = project.class_names
    sure = counts[Verdict.POSITIVE] + counts[Verdict.NEGATIVE]
    audited = audited_tiles(logs.values())
    told = []
    if answers or audited:
        told.append(
            f"{sure:,} answers train the next model: {counts[Verdict.POSITIVE]:,} "
            f"{positive}, {counts[Verdict.NEGATIVE]:,} {negative}."
        )
    if unsure := counts[Verdict.UNSURE]:
        told.append(f"{unsure:,} unsure or contradictory: left out.")
    if held := len(answers) - counts.total():
        told.append(f"{held:,} on slides that it is not trained on: left out.")
    regions = set(labelled_slides(project.review_dir))
    if drawn := len(regions - held_out):
        told.append(f"Slides with regions, which train it too: {drawn:,}.")
    if audited:
        told.append(f"{len(audited):,} for the audit: these only measure the model.")
    yield
    if run and (asking is None or run in asking):
        told += yield from _audit_text(project, run, audit_verdicts(logs.values()))
    trains = bool(regions) or not {Verdict.UNSURE}.issuperset(answers.values())
    return Standing(" ".join(told), "\n".join(_agreements(logs)), trains)


def _held_out(project: Project, run: str) -> set[str]:
    """Return the slides that a fit with the settings of a run does not train on."""
    rows, config = slides_of(project), TrainConfig()
    if run:
        with suppress(WenoError):
            config = TrainConfig.read(project.run_dir(run) / "config.json")
    try:
        folds = make_splits([row for row in rows if row.label is not None], config)
    except WenoError:
        return set()  # the Train dock says what stands against the fit
    trained = {s for fold in folds for s, part in fold.items() if part == "train"}
    return {row.slide_id for row in rows} - trained


def _audit_text(
    project: Project, run: str, said: Mapping[ReviewTile, Verdict]
) -> Generator[None, None, list[str]]:
    """Say how the student of a run does on the tiles of the audit."""
    found, seen = AuditResult(), set[str]()
    with suppress(WenoError):  # the Explain dock says what is wrong with a prediction
        for prediction in _predictions(project, run, said):
            if prediction.content_hash not in seen:
                seen.add(prediction.content_hash)
                found += audit(said, prediction)
            yield
    if not found.positive + found.negative:
        return []
    negative, positive = project.class_names
    return [
        f"Of them the student of {run}, from P({positive}) 0.50, finds "
        f"{found.found:,} of {found.positive:,} {positive} tiles, with "
        f"{found.false_alarms:,} false alarms among {found.negative:,} {negative} ones."
    ]


def _agreements(logs: Mapping[str, ReviewLog]) -> Generator[str, None, None]:
    for first, second in combinations(logs, 2):
        found = agreement(logs[first], logs[second])
        pair = f"{first} and {second}"
        if not found.n_tiles:
            yield f"{pair}: no tile that both answered blind yet"
            continue
        kappa = "not defined" if math.isnan(found.kappa) else f"{found.kappa:.2f}"
        yield (
            f"{pair}: kappa {kappa}, the same answer for "
            f"{round(found.observed * found.n_tiles):,} of {found.n_tiles:,} tiles "
            "that both answered blind"
        )


def collect_queue(
    project: Project,
    run: str,
    slide_ids: Sequence[str],
    *,
    limit: int,
    audit_share: float,
) -> Generator[StepReport, None, Queue]:
    """Build the queue of a run from its predictions on disk.

    Parameters
    ----------
    project : Project
    run : str
    slide_ids : sequence of str
        Slides that have a prediction.
    limit : int
        Largest number of tiles.
    audit_share : float
    """
    yield StepReport(0, 0, f"Reading predictions of {len(slide_ids):,} slides…")
    paths = [project.prediction_path(run, slide_id) for slide_id in slide_ids]
    # One at a time: those of a large cohort do not fit into memory together.
    predictions = (read_prediction(path) for path in paths)
    return build_queue(predictions, audit_share=audit_share, limit=limit)


def predicted_slides(project: Project, run: str) -> list[str]:
    """Return the ids of the slides that a run has predicted."""
    there = {path.stem for path in project.predictions_dir(run).glob("*.parquet")}
    return [row.slide_id for row in slides_of(project) if row.slide_id in there]


def export_csv(project: Project, run: str) -> Generator[StepReport, None, str]:
    """Write all reviewers' verdicts as one table; return what was written where.

    Parameters
    ----------
    project : Project
    run : str
        Whose values stand beside the verdicts; empty for none.
    """
    yield StepReport(0, 0, "Writing the verdicts…")
    # The newest for a tile and, where a project asks several questions, for each.
    asked = [project.asking(one).runs_asking() for one in project.questions]
    events = list(
        dict.fromkeys(
            event
            for runs in dict.fromkeys([*asked, None])
            for event in _answers(project, runs)
        )
    )
    path = _export_dir(project) / "verdicts.csv"
    count = write_csv(path, events, predictions=_measured(project, run, events))
    return f"{count:,} verdicts in {path}"


def export_geojson(project: Project, run: str) -> Generator[StepReport, None, str]:
    """Write all reviewers' verdicts, one file a slide; return what was written where.

    Parameters
    ----------
    project : Project
    run : str
        Whose values become the objects' measurements; empty for none. Where the
        project asks several questions, only answers to that of the run are written.

    Raises
    ------
    ProjectError
        If a verdict's slide has an id that cannot name a file; nothing is written.
    """
    asking = project.asked_by(run) if run else project
    by_slide: dict[str, list[ReviewEvent]] = {}
    for event in _answers(project, asking.runs_asking()):
        by_slide.setdefault(event.tile.content_hash, []).append(event)
    names = _file_names([events[0].tile for events in by_slide.values()])
    written = 0
    for done, (name, events) in enumerate(zip(names, by_slide.values(), strict=True)):
        yield StepReport(done, len(by_slide), name)
        written += write_geojson(
            _export_dir(project) / f"{name}.geojson",
            events,
            predictions=_measured(project, run, events),
            class_names=asking.class_names,
        )
    files = "1 file" if len(by_slide) == 1 else f"{len(by_slide):,} files"
    return f"{written:,} tiles in {files} in {_export_dir(project)}"


def _file_names(tiles: Sequence[ReviewTile]) -> list[str]:
    """Return a name for the file of each slide, of which a tile is given."""
    # Verdict files come from others, too: an id in them may be a path.
    ids = [safe_name(tile.slide_id, "file of verdicts") for tile in tiles]
    # Some file systems hold names for the same that differ in case only.
    count = Counter(one.casefold() for one in ids)
    return [
        one if count[one.casefold()] == 1 else f"{one}-{tile.content_hash[:_DIGITS]}"
        for one, tile in zip(ids, tiles, strict=True)
    ]


def _export_dir(project: Project) -> Path:
    return project.review_dir / "exports"


def _answers(project: Project, runs: Collection[str] | None) -> list[ReviewEvent]:
    logs = read_verdicts(project.review_dir, runs).values()
    return [event for log in logs for event in log.answers().values()]


def _measured(
    project: Project, run: str, events: Sequence[ReviewEvent]
) -> Iterator[Prediction]:
    return _predictions(project, run, [event.tile for event in events])


def _predictions(
    project: Project, run: str, tiles: Iterable[ReviewTile]
) -> Iterator[Prediction]:
    """Read what a run says of the slides that tiles are on."""
    if run:
        for slide_id in dict.fromkeys(tile.slide_id for tile in tiles):
            path = project.prediction_path(run, slide_id)
            if path.is_file():
                yield read_prediction(path)
