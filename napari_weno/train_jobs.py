"""The jobs of the Train dock, and what their reports come to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_weno.compiler import load_compiler_without_triton
from napari_weno.train_runs import METRICS, read_run

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_weno.train_runs import RunRow
    from weno.mil import EpochReport, TrainConfig
    from weno.project import Project

_LISTED = 5
_MEMORY = 10


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a project can be fitted, and with what.

    Parameters
    ----------
    unprepared : tuple of str
        Slides without features.
    problem : str
        What else stands against a fit, all at once; empty if nothing.
    teachers : tuple of str
        Names of the teachers there are.
    devices : tuple of (str, str)
        Name for the fit, and what to call it.
    """

    unprepared: tuple[str, ...]
    problem: str
    teachers: tuple[str, ...]
    devices: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """Say all that stands against a fit; empty if nothing does."""
        told = []
        if self.unprepared:
            shown = ", ".join(self.unprepared[:_LISTED])
            rest = len(self.unprepared) - _LISTED
            more = f" and {rest:,} more" if rest > 0 else ""
            told.append(
                f"{len(self.unprepared):,} slides have no features yet: {shown}{more}. "
                "Prepare them in the Cohort dock."
            )
        if self.problem:
            told.append(self.problem)
        return "\n".join(told)


def look(project: Project) -> Generator[None, None, Readiness]:
    """Check labels, splits and features without reading the features."""
    yield
    import numpy as np

    from weno.errors import WenoError
    from weno.mil.bags import Bag, check_cohort
    from weno.mil.network import TEACHERS

    rows = project.slides
    unprepared = [
        row.slide_id
        for row in rows
        if not project.features_path(row.slide_id).is_file()
    ]
    # The check asks only whether there are tiles at all.
    tiles = np.zeros((1, 1), np.float32)
    bags = [Bag(r.slide_id, r.patient_id, r.label, tiles, r.split) for r in rows]
    problem = ""
    try:
        check_cohort(bags)
    except WenoError as error:
        problem = str(error)
    return Readiness(tuple(unprepared), problem, tuple(TEACHERS), _devices())


def _devices() -> tuple[tuple[str, str], ...]:
    import torch

    found = [("auto", "automatic"), ("cpu", "CPU")]
    for k in range(torch.cuda.device_count()):
        free, _ = torch.cuda.mem_get_info(k)
        name = torch.cuda.get_device_name(k)
        found.append((f"cuda:{k}", f"{name}, {free / 2**30:.0f} GiB free"))
    return tuple(found)


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
) -> Generator[Any, None, Trained]:
    """Fit a run and, if wanted, predict all slides with it.

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
    """
    from weno.mil import fit_project, predict_project

    load_compiler_without_triton()
    if resume:
        yield from past_epochs(project.run_dir(name))
    yield from fit_project(project, config, name=name, device=device, resume=resume)
    predicted = failed = 0
    if predict:
        result = yield from predict_project(project, name, device=device)
        predicted, failed = len(result.predicted), len(result.failed)
    return Trained(read_run(project.run_dir(name)), predicted, failed)


def past_epochs(folder: Path) -> Generator[EpochReport, None, None]:
    """Yield what the epochs of a run that was stopped have reported."""
    from weno.mil import EpochReport

    for path in [folder / METRICS, *sorted(folder.glob(f"fold-*/{METRICS}"))]:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for line in lines:
            yield EpochReport(**json.loads(line))


@dataclass
class History:
    """The epochs of the fold in training, and how long the rest will take."""

    reports: list[EpochReport] = field(default_factory=list)

    def add(self, report: EpochReport) -> None:
        """Take in an epoch; the first of another fold begins anew."""
        if self.reports and report.fold != self.reports[-1].fold:
            self.reports.clear()
        # An epoch that was lost in a crash is made again.
        while self.reports and self.reports[-1].epoch >= report.epoch:
            self.reports.pop()
        self.reports.append(report)

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Return epochs and values of a number, where there is one."""
        pairs = [
            (report.epoch, float(value))
            for report in self.reports
            if (value := getattr(report, name)) is not None
        ]
        return [epoch for epoch, _ in pairs], [value for _, value in pairs]

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
            told += f" · {duration(left)} left at most"
        return told


def duration(seconds: float) -> str:
    """Say a time in the unit that suits it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
