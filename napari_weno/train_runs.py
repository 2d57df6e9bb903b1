"""The runs of a project: what is on disk of them, and the table that shows it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_weno.docks import fit_columns
from weno.errors import WenoError
from weno.mil.reports import chance_warning

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weno.project import Project

_METRICS = "metrics.jsonl"
_COLUMNS = {
    "Run": "Name of the run; the one that is shown is bold",
    "Teacher": "Attention model that saw the bags",
    "Val": "AUC of the teacher on validation slides",
    "Test": "AUC of the teacher on test slides",
    "When": "Last change",
}


#: What a state of a name means for who wants to fit a run of that name.
ABOUT_NAME = {
    "stopped": "This run was stopped: it goes on where it stood, with its settings. "
    "For a new one, give another name.",
    "finished": "There is a run of this name already: give another name.",
    "bad": "This cannot be a name: use letters, digits and - _ .",
}


@dataclass(frozen=True, slots=True)
class RunRow:
    """What the files of a run say, read without any deep-learning library.

    Parameters
    ----------
    name : str
    teacher : str
    epochs : int
        Done so far, over all folds.
    finished : bool
        Whether it can predict.
    val_auc, test_auc : (float or None, float or None)
        Of bags: teacher and student.
    time : datetime
        Of the last change.
    warning : str
        What should worry whoever uses it; empty if nothing does.
    """

    name: str
    teacher: str
    epochs: int
    finished: bool
    val_auc: tuple[float | None, float | None]
    test_auc: tuple[float | None, float | None]
    time: datetime
    warning: str = ""

    @property
    def text(self) -> str:
        """Say how good it is."""
        if not self.finished:
            return f"{self.name}: stopped after epoch {self.epochs}"
        told = [
            f"{where} AUC teacher {_number(teacher)}, student {_number(student)}"
            for where, (teacher, student) in (
                ("validation", self.val_auc),
                ("test", self.test_auc),
            )
            if teacher is not None
        ]
        return f"{self.name}: {'; '.join(told) or f'{self.epochs} epochs'}"


def read_run(folder: Path) -> RunRow:
    """Read what the files of a run say of it; what is missing or damaged is left out.

    Parameters
    ----------
    folder : Path
    """
    config, card = read_json(folder / "config.json"), read_json(folder / "card.json")
    logs = metrics_files(folder)
    lines = [_lines(path) for path in logs]
    paths = [folder / "card.json", *logs, folder / "config.json"]
    newest = max((p.stat().st_mtime for p in paths if p.is_file()), default=0.0)
    metrics = card.get("metrics", {})
    return RunRow(
        name=folder.name,
        teacher=str(config.get("teacher", "")),
        epochs=sum(lines),
        finished=bool(card),
        val_auc=_aucs(metrics.get("val", {})),
        test_auc=_aucs(metrics.get("test", {})),
        time=datetime.fromtimestamp(newest, UTC),
        warning=chance_warning(metrics),
    )


def read_runs(project: Project) -> list[RunRow]:
    """Read all runs of a project, the newest first."""
    return [read_run(project.run_dir(name)) for name in project.run_names()[::-1]]


def state_of(project: Project | None, name: str) -> str:
    """Tell whether a run of a name is free, stopped, finished or bad."""
    if project is None:
        return "free"
    try:
        folder = project.run_dir(name)
    except WenoError:
        return "bad"
    if not (folder / "config.json").is_file():
        return "free"
    return "finished" if read_run(folder).finished else "stopped"


def name_to_offer(project: Project) -> str:
    """Return the name of the newest run if it was stopped, else one that is free."""
    names = project.run_names()
    if names and not read_run(project.run_dir(names[-1])).finished:
        return names[-1]
    return free_name(project)


def free_name(project: Project) -> str:
    """Return a name that no run has yet."""
    taken, number = set(project.run_names()), 1
    while f"run-{number}" in taken:
        number += 1
    return f"run-{number}"


def metrics_files(folder: Path) -> list[Path]:
    """Return where a run tells of its epochs, in the order in which it trains."""
    folds = folder.glob(f"fold-*/{_METRICS}")
    # By number: fold 10 comes after fold 2.
    in_order = sorted(folds, key=lambda path: (len(path.parent.name), path))
    return [folder / _METRICS, *in_order]


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file of a run holds; nothing if it is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _lines(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def _aucs(metrics: dict[str, Any]) -> tuple[float | None, float | None]:
    return metrics.get("teacher_bag_auc"), metrics.get("student_bag_auc")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _when(time: datetime) -> str:
    local = time.astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return f"{local:%H:%M}" if today else f"{local:%d %b %Y}"


class RunTable(QTableWidget):
    """The runs of a project, to compare and to choose one."""

    #: Name of the run that was chosen.
    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_COLUMNS), parent)
        for column, (name, tooltip) in enumerate(_COLUMNS.items()):
            item = QTableWidgetItem(name)
            item.setToolTip(tooltip)
            self.setHorizontalHeaderItem(column, item)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTabKeyNavigation(False)
        self.setToolTip(
            "Runs of this project, the newest first. A double click or Enter takes "
            "one: its overlays are shown, and one that was stopped can be resumed. "
            "Select several (Ctrl or Shift) to compare them"
        )
        self.verticalHeader().hide()
        self.itemActivated.connect(self._on_activated)

    @property
    def selected(self) -> list[str]:
        """Names of the runs that are selected, from the top."""
        rows = sorted({index.row() for index in self.selectedIndexes()})
        return [item.text() for row in rows if (item := self.item(row, 0))]

    def show_runs(self, runs: Sequence[RunRow], current: str | None) -> None:
        """Show runs; the name of the current one is bold."""
        self.setRowCount(len(runs))
        for row, run in enumerate(runs):
            texts = (
                run.name,
                run.teacher,
                _number(run.val_auc[0]) + (" ⚠" if run.warning else "")
                if run.finished
                else "",
                _number(run.test_auc[0]) if run.finished else "",
                _when(run.time) if run.finished else "stopped",
            )
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{run.text}\n{run.warning}".strip())
                font = item.font()
                font.setBold(run.name == current)
                item.setFont(font)
                self.setItem(row, column, item)
        shown = min(max(len(runs), 2), 6)
        top = self.horizontalHeader().sizeHint().height()
        self.setFixedHeight(
            top + shown * self.verticalHeader().defaultSectionSize() + 4
        )
        fit_columns(self)

    def _on_activated(self, item: QTableWidgetItem) -> None:
        name = self.item(item.row(), 0)
        if name is not None:
            self.chosen.emit(name.text())
