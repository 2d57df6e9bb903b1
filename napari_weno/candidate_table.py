"""The mined candidates of the open slide as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QSignalBlocker,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtWidgets import QAbstractItemView, QTableView

from napari_weno.docks import fit_columns
from napari_weno.readout import share

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from weno.prediction import Prediction


class CandidateModel(QAbstractTableModel):
    """The candidates, first rank first; ``UserRole`` gives what to sort by."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._prediction: Prediction | None = None
        self.tiles: list[int] = []

    def show_prediction(self, prediction: Prediction | None) -> None:
        """Show the candidates of a prediction."""
        self.beginResetModel()
        self._prediction = prediction
        self.tiles = []
        if prediction is not None:
            rank = prediction.candidate_rank
            found = np.flatnonzero(rank > 0)
            self.tiles = found[np.argsort(rank[found])].tolist()
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.tiles)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(_COLUMNS)

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        name = self._prediction.class_name if self._prediction else "positive"
        if role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section].title.format(name=name)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _COLUMNS[section].tooltip.format(name=name)
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if self._prediction is None:
            return None
        column, tile = _COLUMNS[index.column()], self.tiles[index.row()]
        value = column.value(self._prediction, tile)
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(self._prediction, value)
        if role == Qt.ItemDataRole.UserRole:
            return value
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None


class CandidateTable(QTableView):
    """The table; a row that a person selects asks for its tile to be shown."""

    #: Index of the tile in the prediction.
    tile_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.candidates = CandidateModel(self)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setSourceModel(self.candidates)
        self._proxy.setSortRole(Qt.ItemDataRole.UserRole)
        self.setModel(self._proxy)
        self._set_looks()
        self.selectionModel().currentRowChanged.connect(self._on_row)

    def show_prediction(self, prediction: Prediction | None) -> None:
        """Show the candidates of a prediction, in the order chosen before."""
        with QSignalBlocker(self.selectionModel()):
            self.candidates.show_prediction(prediction)
        fit_columns(self)

    def show_tile(self, tile: int | None) -> None:
        """Select the row of a tile, none if it is no candidate."""
        with QSignalBlocker(self.selectionModel()):
            self.clearSelection()
            if tile in self.candidates.tiles:
                row = self.candidates.tiles.index(tile)
                index = self._proxy.mapFromSource(self.candidates.index(row, 0))
                self.selectRow(index.row())
                self.scrollTo(index)
        self.viewport().update()

    def _set_looks(self) -> None:
        self.setToolTip(
            "What the teacher finds once the obvious is hidden. Selecting a row goes "
            "there; arrow keys go from one to the next"
        )
        self.setSortingEnabled(True)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        behaviour, mode = QAbstractItemView.SelectionBehavior, QAbstractItemView
        self.setSelectionBehavior(behaviour.SelectRows)
        self.setSelectionMode(mode.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(24)
        self.horizontalHeader().setHighlightSections(False)
        self.setMinimumHeight(140)

    def _on_row(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if current.isValid():
            row = self._proxy.mapToSource(current).row()
            self.tile_chosen.emit(self.candidates.tiles[row])


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    tooltip: str
    value: Callable[[Prediction, int], float]
    text: Callable[[Prediction, float], str]


_COLUMNS = (
    _Column(
        "Rank",
        "1 has most re-attention",
        lambda prediction, tile: int(prediction.candidate_rank[tile]),
        lambda _, value: f"{value:.0f}",
    ),
    _Column(
        "P({name})",
        "The student's probability that the tile shows {name}",
        lambda prediction, tile: float(prediction.probability[tile]),
        lambda _, value: f"{value:.2f}",
    ),
    _Column(
        "Attention",
        "The teacher's, in times an even share",
        lambda prediction, tile: float(prediction.attention[tile]),
        share,
    ),
    _Column(
        "Re-attention",
        "Re-attention: the teacher's when the easy positives are hidden, in times an "
        "even share",
        lambda prediction, tile: float(prediction.re_attention[tile]),
        share,
    ),
)
