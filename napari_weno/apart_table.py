"""The slides on which two runs differ most, in the Compare tab of the Explain dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_weno.docks import fit_columns, say, shortened, text_label
from napari_weno.jobs import QuietJob
from weno.explain import slides_apart

if TYPE_CHECKING:
    from collections.abc import Generator

    from qtpy.QtCore import QModelIndex

    from weno.explain import SlideApart
    from weno.project import Project

_ROWS = 8


def find_apart(
    project: Project, one: str, other: str
) -> Generator[None, None, list[SlideApart]]:
    """Find the slides on which two runs differ most, the first first."""
    yield
    return slides_apart(project, one, other)


class ApartTable(QWidget):
    """Lists the slides of a project by how far two runs are apart on them."""

    #: Id of a slide that is to be opened.
    open_requested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._runs: tuple[Project, str, str] | None = None
        self.summary = text_label(name="apart")
        self.table = QTableWidget(0, 4)
        self._job = QuietJob(self)
        table = self.table
        table.setAccessibleName("Slides on which the runs differ most")
        table.setToolTip(
            "What the teachers of both runs say of each slide; + marks what a run "
            "calls positive. A double click, or Enter, opens the slide"
        )
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.verticalHeader().hide()
        table.setMinimumHeight(_ROWS * (self.fontMetrics().height() + 10))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("All slides, those most apart first"))
        layout.addWidget(self.summary)
        layout.addWidget(table)
        table.activated.connect(self._on_activated)
        self._job.returned.connect(self._show)
        self._job.failed.connect(self._on_failed)
        self.hide()

    def show_runs(self, project: Project, one: str, other: str) -> None:
        """Compare two runs, unless they are those that are compared already."""
        if self._runs != (project, one, other):
            self._runs = project, one, other
            self.refresh()

    def refresh(self) -> None:
        """Read anew what the two runs say."""
        if self._runs is not None:
            self._job.run(find_apart, *self._runs)

    def clear(self) -> None:
        """Compare nothing."""
        self._runs = None
        self._job.cancel()
        self.hide()

    def _show(self, found: list[SlideApart]) -> None:
        assert self._runs is not None, "clear cancels the job"
        _, one, other = self._runs
        differ = sum(slide.calls_differ for slide in found)
        say(
            self.summary, f"{differ:,} of {len(found):,} slides are called differently."
        )
        table = self.table
        names = [shortened(run, 10) for run in (one, other)]
        table.setHorizontalHeaderLabels(["Slide", *names, "±"])
        table.setRowCount(len(found))
        for row, slide in enumerate(found):
            for column, text in enumerate(_cells(slide)):
                table.setItem(row, column, QTableWidgetItem(text))
        fit_columns(table)
        self.show()

    def _on_failed(self, error: BaseException) -> None:
        say(self.summary, str(error))
        self.table.setRowCount(0)
        self.show()

    def _on_activated(self, index: QModelIndex) -> None:
        self.open_requested.emit(self.table.item(index.row(), 0).text())


def _cells(slide: SlideApart) -> tuple[str, str, str, str]:
    """Return a row of the table; a plus marks what a run calls positive."""
    one = f"{slide.one:.2f}{' +' if slide.one_calls else ''}"
    other = f"{slide.other:.2f}{' +' if slide.other_calls else ''}"
    return slide.slide_id, one, other, f"{slide.difference:+.2f}"
