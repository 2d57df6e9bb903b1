"""The table of the Regions box: each region with its class and its tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QTableWidget, QTableWidgetItem

from napari_weno.docks import fit_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QKeyEvent
    from qtpy.QtWidgets import QWidget

_ROWS = 5  # seen at once
_COLUMNS = {
    "Class": "What the region shows; a click goes there and selects it: choose another "
    "class above, or press Delete",
    "Tiles": "Tiles half or more in it",
}


class RegionTable(QTableWidget):
    """Lists regions; says which is gone to, and which is to be removed."""

    #: Row of a region that was clicked, or gone to by the arrow keys.
    chosen = Signal(int)
    #: Row of the region on which Delete was pressed.
    removed = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_COLUMNS), parent)
        self.setHorizontalHeaderLabels(list(_COLUMNS))
        for column, tip in enumerate(_COLUMNS.values()):
            self.horizontalHeaderItem(column).setToolTip(tip)
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setFixedHeight((_ROWS + 1) * (self.fontMetrics().height() + 14))
        self.currentCellChanged.connect(lambda row, *_: self._choose(row))
        # On the line where one is already.
        self.cellClicked.connect(lambda row, _: self._choose(row))

    def show_rows(self, rows: Sequence[tuple[str, int]]) -> None:
        """Show class and number of tiles of each region."""
        with QSignalBlocker(self):  # a row that goes moves no camera
            self.setRowCount(len(rows))
        for row, (name, tiles) in enumerate(rows):
            for column, text in enumerate((name, f"{tiles:,}")):
                self.setItem(row, column, QTableWidgetItem(text))
        fit_columns(self)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Keep Delete, which napari would take for what is selected in a layer."""
        if not event.matches(QKeySequence.StandardKey.Delete):
            super().keyPressEvent(event)
        elif self.currentRow() >= 0:
            self.removed.emit(self.currentRow())

    def _choose(self, row: int) -> None:
        if row >= 0:
            self.chosen.emit(row)
