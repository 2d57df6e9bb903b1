"""The jobs of the Train dock, and what their reports come to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_weno.train_runs import metrics_files, read_run, read_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from napari_weno.train_runs import RunRow
    from weno.mil.config import TrainConfig
    from weno.mil.devices import Device
    from weno.mil.reports import EpochReport
    from weno.project import Project

_LISTED = 5
_MEMORY = 10


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a project can be fitted, and with what.

    Parameters
    ----------
    unprepared : tuple of str
        Labelled slides without features, but for those that cannot be read.
    left_out : tuple of str
        Slides that nothing is learnt from: without a label, or not readable.
    problem : str
        What else stands against a fit, all at once; empty if nothing.
    teachers : tuple of str
        Names of the teachers there are.
    devices : tuple of Device
        What a fit can run on.
    runs : tuple of RunRow
        Those there are, the newest first.
    """

    unprepared: tuple[str, ...]
    left_out: tuple[str, ...]
    problem: str
    teachers: tuple[str, ...]
    devices: tuple[Device, ...]
    runs: tuple[RunRow, ...]

    @property
    def text(self) -> str:
        """Say all that stands against a fit; empty if nothing does."""
        told = []
        if self.unprepared:
            told.append(
                f"{len(self.unprepared):,} slides have no features yet: "
                f"{_first(self.unprepared)}. Prepare them in the Cohort dock."
            )
        if self.problem:
            told.append(self.problem)
        return "\n".join(told)

    @property
    def note(self) -> str:
        """Say what a fit does without; empty if it takes all slides."""
        if not self.left_out:
            return ""
        return (
            f"{len(self.left_out):,} slides without a label, or that could not be "
            f"read, are left out: {_first(self.left_out)}."
        )


def _first(names: Sequence[str]) -> str:
    rest = len(names) - _LISTED
    more = f" and {rest:,} more" if rest > 0 else ""
    return ", ".join(names[:_LISTED]) + more


def look(project: Project) -> Generator[None, None, Readiness]:
    """Read the runs; check labels, splits and features without reading the features.

    As the fit does, it leaves out slides without a label and those that could not
    be read when they were prepared.
    """
    yield
    import numpy as np

    from weno.errors import WenoError
    from weno.mil.bags import Bag, check_cohort
    from weno.mil.devices import devices
    from weno.mil.plugins import teacher_names

    failed = project.failed_slides()
    rows, left_out, unprepared = [], [], []
    for row in project.slides:
        prepared = project.features_path(row.slide_id).is_file()
        if row.label is None or (row.slide_id in failed and not prepared):
            left_out.append(row.slide_id)
            continue
        rows.append(row)
        if not prepared:
            unprepared.append(row.slide_id)
    # The check asks only whether there are tiles at all.
    tiles = np.zeros((1, 1), np.float32)
    bags = [Bag(r.slide_id, r.patient_id, r.label, tiles, r.split) for r in rows]
    problem = ""
    try:
        check_cohort(bags)
    except WenoError as error:
        problem = str(error)
    return Readiness(
        tuple(unprepared),
        tuple(left_out),
        problem,
        tuple(teacher_names()),
        tuple(devices()),
        tuple(read_runs(project)),
    )


@dataclass(frozen=True, slots=True)
class Trained:
    """What a fit has come to.

    Parameters
    ----------
    run : RunRow
    predicted : int
        Slides predicted afterwards.
    failed : int
        Slides that could not be.
    """

    run: RunRow
    predicted: int
    failed: int


def train(
    project: Project,
    config: TrainConfig,
    *,
    name: str,
    device: str,
    resume: bool,
    predict: bool,
    slide_to_show: Callable[[], str | None] = lambda: None,
) -> Generator[Any, None, Trained]:
    """Fit a run and, if wanted, predict all slides with it, in a process of its own.

    Parameters
    ----------
    project : Project
    config : TrainConfig
    name : str
        Of the run.
    device : str
    resume : bool
        Go on with a run that was stopped.
    predict : bool
    slide_to_show : callable, optional
        Says which slide to predict with the weights in training.
    """
    # Half a second of imports, here where nobody waits: the curves need them.
    import_module("pyqtgraph")
    from weno.mil.fit_apart import fit_apart

    if resume:
        yield from past_epochs(project.run_dir(name))
    told = yield from fit_apart(
        project,
        config,
        name=name,
        device=device,
        resume=resume,
        predict=predict,
        slide_to_show=slide_to_show,
    )
    failed = sum(problem is not None for problem in told.values())
    run = read_run(project.run_dir(name))
    return Trained(run, len(told) - failed, failed)


def past_epochs(folder: Path) -> Generator[EpochReport, None, None]:
    """Yield what the epochs of a run that was stopped have reported."""
    from weno.mil.reports import EpochReport

    for path in metrics_files(folder):
        lines = path.read_bytes().splitlines() if path.is_file() else []
        for line in lines:
            try:
                report = EpochReport(**json.loads(line))
            except (TypeError, ValueError):
                break  # written in part when it was killed; the fit mends the file
            yield report


@dataclass
class History:
    """The epochs of the fold in training, and how long the rest will take."""

    reports: list[EpochReport] = field(default_factory=list)
    #: Whether there is anything that was not drawn yet.
    changed: bool = False

    def add(self, report: EpochReport) -> None:
        """Take in an epoch; the first of another fold begins anew."""
        if self.reports and report.fold != self.reports[-1].fold:
            self.reports.clear()
        # An epoch that was lost in a crash is made again.
        while self.reports and self.reports[-1].epoch >= report.epoch:
            self.reports.pop()
        self.reports.append(report)
        self.changed = True

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Return epochs and values of a number, where there is one."""
        pairs = [
            (report.epoch, float(value))
            for report in self.reports
            if (value := getattr(report, name)) is not None
        ]
        return [epoch for epoch, _ in pairs], [value for _, value in pairs]

    @property
    def warning(self) -> str:
        """What the last epoch warns of."""
        return self.reports[-1].warning if self.reports else ""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last epoch of the last fold, if none stops early."""
        if not self.reports:
            return None
        last = self.reports[-1]
        recent = [report.seconds for report in self.reports[-_MEMORY:]]
        return (last.total - last.done) * sum(recent) / len(recent)

    @property
    def text(self) -> str:
        """Say where the fit is."""
        if not self.reports:
            return "Starting…"
        last = self.reports[-1]
        fold = f"Fold {last.fold} of {last.folds}, epoch" if last.folds else "Epoch"
        told = f"{fold} {last.epoch} of at most {last.epochs}"
        if left := self.seconds_left:
            from weno.features import duration

            told += f" · {duration(left)} left at most"
        return told
