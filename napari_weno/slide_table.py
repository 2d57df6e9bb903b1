"""The slides of a project as a table that one sorts, filters and opens from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QAbstractItemView, QStyledItemDelegate, QTableView

from napari_weno.docks import fit_columns
from napari_weno.thumbnails import SIZE, Thumbnails

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QLocale
    from qtpy.QtGui import QKeyEvent, QResizeEvent
    from qtpy.QtWidgets import QWidget

    from napari_weno.survey import SlideState

_UNKNOWN = "-"


class SlideModel(QAbstractTableModel):
    """The slides as Qt wants them; ``UserRole`` gives what to sort by."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.states: list[SlideState] = []
        self.thumbnails = Thumbnails(
            parent.devicePixelRatioF() if parent else 1.0, self
        )
        self._class_name = "positive"
        self._missing: set[str] = set()
        self._opened: str | None = None
        self._compact = False
        self._blind = False
        self._working: tuple[str, float] | None = None

    def show_states(self, states: list[SlideState], class_name: str) -> None:
        """Show slides; where only their state has changed, a selection stays."""
        missing = {s.row.slide_id for s in states if s.missing}
        if missing != self._missing:
            self._missing = missing
            self.thumbnails.forget()
        same = [s.row.slide_id for s in states] == [
            s.row.slide_id for s in self.states
        ] and class_name == self._class_name
        if not same:
            self.beginResetModel()
        self.states, self._class_name = states, class_name
        if not same:
            self.endResetModel()
        elif states:
            self._all_changed()

    def show_opened(self, slide_id: str | None) -> None:
        """Mark the slide that is open."""
        if slide_id != self._opened:
            self._opened = slide_id
            if self.states:
                self._all_changed()

    def show_progress(self, slide_id: str | None, fraction: float = 0.0) -> None:
        """Say how far the slide is that a job is at; None says that none is."""
        working = None if slide_id is None else (slide_id, fraction)
        before, self._working = self._working, working
        touched = {one[0] for one in (before, working) if one}
        for row, state in enumerate(self.states):
            if state.row.slide_id in touched:
                cell = self.index(row, _STATUS)
                self.dataChanged.emit(cell, cell)

    def show_compact(self, compact: bool) -> None:
        """Say whether the label has the split below it, where there is little room."""
        if compact != self._compact:
            self._compact = compact
            if self.states:
                self._all_changed()

    def hide_probability(self, hidden: bool) -> None:
        """Say whether nothing may follow from the model's answer, order and filter."""
        if hidden != self._blind:
            self._blind = hidden
            if self.states:
                self._all_changed()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.states)

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
        column = _COLUMNS[section]
        if role == Qt.ItemDataRole.DisplayRole:
            title = column.short if self._compact else column.title
            return title.format(name=self._class_name)
        if role == Qt.ItemDataRole.ToolTipRole:
            return column.tooltip.format(name=self._class_name)
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        state, column = self.states[index.row()], _COLUMNS[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(state, column)
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            return self.thumbnails.picture(state.row.path)
        if role == Qt.ItemDataRole.UserRole:
            return None if self._hides(column) else column.order(state)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _describe(state)
        if role == Qt.ItemDataRole.FontRole and state.row.slide_id == self._opened:
            font = QFont()
            font.setBold(True)
            return font
        return None

    def _hides(self, column: _Column) -> bool:
        return self._blind and column is _COLUMNS[_PROBABILITY]

    def _text(self, state: SlideState, column: _Column) -> str:
        if self._hides(column):
            return _UNKNOWN
        if self._compact and column is _COLUMNS[_LABEL] and state.row.split:
            return f"{column.text(state)}\n{state.row.split}"
        working = self._working
        if working and column is _COLUMNS[_STATUS] and working[0] == state.row.slide_id:
            return f"{working[1]:.0%}"
        return column.text(state)

    def _all_changed(self) -> None:
        last = self.index(self.rowCount() - 1, self.columnCount() - 1)
        self.dataChanged.emit(self.index(0, 0), last)


class _Filter(QSortFilterProxyModel):
    """Lets slides pass that have all of some words anywhere."""

    _words: tuple[str, ...] = ()

    def filter_by(self, text: str) -> None:
        self._words = tuple(text.casefold().split())
        self.invalidateFilter()

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        if not self._words:
            return True
        slides: Any = self.sourceModel()
        cells = [slides.index(row, k).data() for k in range(slides.columnCount())]
        shown = " ".join([*cells, slides.states[row].row.patient_id]).casefold()
        return all(word in shown for word in self._words)


class SlideTable(QTableView):
    """The table; Enter or a double click asks for a slide to be opened."""

    #: Id of the slide to open.
    open_requested = Signal(str)
    #: Ids of the selected slides, in the order shown.
    selected_changed = Signal(list)
    #: How many slides further the next one to open is.
    step_requested = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.slides = SlideModel(self)
        self._proxy = _Filter(self)
        self._proxy.setSourceModel(self.slides)
        self._proxy.setSortRole(Qt.ItemDataRole.UserRole)
        self.setModel(self._proxy)
        self._set_looks()
        self.slides.thumbnails.arrived.connect(self.viewport().update)
        self.doubleClicked.connect(self._open_row)
        self.selectionModel().selectionChanged.connect(self._on_selection)

    def show_states(self, states: list[SlideState], class_name: str) -> None:
        """Show slides, their order and selection staying what they were."""
        self.slides.show_states(states, class_name)
        self._fit()

    def hide_probability(self, hidden: bool) -> None:
        """Keep the model's answer from a reviewer who works blind."""
        self.slides.hide_probability(hidden)
        self._proxy.invalidate()  # else rows that are equal now stay in the old order
        self.setColumnHidden(_PROBABILITY, hidden)

    def filter_by(self, text: str) -> None:
        """Show only slides that have all these words, in any column or the patient."""
        self._proxy.filter_by(text)

    def select_slide(self, slide_id: str | None) -> None:
        """Select one slide and scroll to it, if it passes the filter, else none."""
        self.clearSelection()
        for row, state in enumerate(self.slides.states):
            if state.row.slide_id == slide_id:
                index = self._proxy.mapFromSource(self.slides.index(row, 0))
                flags = QItemSelectionModel.SelectionFlag
                self.selectionModel().setCurrentIndex(
                    index, flags.ClearAndSelect | flags.Rows
                )
                self.scrollTo(index)

    def selected(self) -> list[str]:
        """Return the ids of the selected slides, in the order shown."""
        rows = sorted(index.row() for index in self.selectionModel().selectedRows())
        return [self._state(self._proxy.index(row, 0)).row.slide_id for row in rows]

    def order(self) -> list[str]:
        """Return the ids of the slides that pass the filter, in the order shown."""
        rows = range(self._proxy.rowCount())
        return [self._state(self._proxy.index(row, 0)).row.slide_id for row in rows]

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._open_row(self.currentIndex())
        elif _CTRL in event.modifiers() and event.key() in _STEPS:
            self.step_requested.emit(_STEPS[event.key()])
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        compact = self.width() < _WIDE_PX
        self.slides.show_compact(compact)
        divided = any(state.row.split for state in self.slides.states)
        self.setColumnHidden(_SPLIT, compact or not divided)
        fit_columns(self)

    def _set_looks(self) -> None:
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setItemDelegateForColumn(0, _NameDelegate(self))
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setIconSize(SIZE)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(SIZE.height() + 3)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
        header.setMinimumSectionSize(36)
        self.setMinimumHeight(160)

    def _state(self, index: QModelIndex) -> SlideState:
        row: int = self._proxy.mapToSource(index).row()
        return self.slides.states[row]

    def _open_row(self, index: QModelIndex) -> None:
        if index.isValid():
            self.open_requested.emit(self._state(index).row.slide_id)

    def _on_selection(self, _new: QItemSelection, _old: QItemSelection) -> None:
        self.selected_changed.emit(self.selected())


class _NameDelegate(QStyledItemDelegate):
    """Lets a long name go on in a second line, after what people put for a space."""

    def displayText(self, value: Any, _: QLocale) -> str:
        return _GAP.sub("\\g<0>\u200b", str(value))


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    tooltip: str
    text: Callable[[SlideState], str]
    order: Callable[[SlideState], Any]
    narrow: str = ""

    @property
    def short(self) -> str:
        """The title where there is little room."""
        return self.narrow or self.title


def _probability_text(state: SlideState) -> str:
    return _UNKNOWN if state.probability is None else f"{state.probability:.2f}"


_COLUMNS = (
    _Column(
        "Slide",
        "Double-click or Enter opens the slide; the open one is bold",
        lambda state: state.row.slide_id,
        lambda state: state.row.slide_id,
    ),
    _Column(
        "Label",
        "The class that slides.csv gives the slide",
        lambda state: state.label or _UNKNOWN,
        lambda state: state.label,
    ),
    _Column(
        "Split",
        "train, val or test where slides.csv says so; else the fit decides",
        lambda state: state.row.split or _UNKNOWN,
        lambda state: state.row.split or "",
    ),
    _Column(
        "Status",
        "new → tissue found → tiled (in part encoded) → features (prepared) → "
        "predicted by the chosen run → "
        "reviewed, with the share of the tiles asked about that are answered",
        lambda state: state.status,
        lambda state: state.progress,
    ),
    _Column(
        "P({name})",
        "The teacher's probability that the slide shows {name}, by the chosen run",
        _probability_text,
        lambda state: -1.0 if state.probability is None else state.probability,
        narrow="P",
    ),
)


_LABEL, _SPLIT, _STATUS, _PROBABILITY = 1, 2, 3, 4
# A table less wide has no room for all columns.
_WIDE_PX = 440
_CTRL = Qt.KeyboardModifier.ControlModifier
# A table would take these keys for its own.
_STEPS = {Qt.Key.Key_PageDown: 1, Qt.Key.Key_PageUp: -1}
_GAP = re.compile(r"[_.\-]+")


def _describe(state: SlideState) -> str:
    lines = [state.row.slide_id, str(state.row.path or "features only")]
    if state.row.patient_id != state.row.slide_id:
        lines.append(f"patient {state.row.patient_id}")
    if state.missing:
        lines.append(f"not found: {state.missing}")
    if state.error:
        lines.append(state.error)
    return "\n".join(lines)
