"""Comparing two runs on the open slide, in the Explain dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_weno.apart_table import ApartTable
from napari_weno.docks import listen, may_shrink, notifying, say, text_label
from napari_weno.matching import stored_prediction
from napari_weno.side_by_side import SideBySide
from weno.explain import compare

if TYPE_CHECKING:
    from pathlib import Path

    from napari_weno.session import Session
    from weno.explain import Comparison
    from weno.prediction import Prediction

FLIP_KEY = "F"
_NO_RUN = "no other run"
_NOTHING = (
    "To compare, fit a second run in the Train dock, or load a model above, and "
    "predict this slide with both."
)
_OTHER_TILES = (
    "The runs cut the slide into other tiles: only what they say of the slide can be "
    "compared in numbers."
)


class CompareBox(QWidget):
    """Shows what another run says of the open slide, and where the two differ.

    Parameters
    ----------
    session : Session
    """

    #: The `Comparison`, or None.
    compared = Signal(object)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._twins = SideBySide(session)
        self._comparison: Comparison | None = None
        self.other = QComboBox()
        self.beside = QCheckBox("Side by side")
        self.flip = QPushButton(f"Flip ({FLIP_KEY})")
        self.hint = text_label(name="compare_hint")
        self.table = QTableWidget(0, 3)
        self.apart = ApartTable(self)
        self._explain()
        self._lay_out()
        self._connect()
        self.refresh()

    def refresh(self, _: object = None) -> None:
        """Offer the other runs that have predicted the open slide."""
        chosen = self.other.currentText()
        others = self._others()
        with QSignalBlocker(self.other):
            self.other.clear()
            self.other.addItem(_NO_RUN, None)
            for text, model in others.items():
                self.other.addItem(text, model)
            self.other.setCurrentIndex(max(0, self.other.findText(chosen)))
        self.other.setEnabled(bool(others))
        self._choose()
        if not others:
            say(self.hint, _NOTHING)

    def _others(self) -> dict[str, str | Path]:
        """Return what else has predicted the slide: runs, and folders of models."""
        session = self._session
        project, opened, prediction = (
            session.project,
            session.opened,
            session.prediction,
        )
        if opened is None or prediction is None:
            return {}
        found: dict[str, str | Path] = {}
        slide_id = opened.slide_id
        if project is not None and slide_id is not None:
            for name in project.run_names():
                path = project.prediction_path(name, slide_id)
                if name != session.run and path.is_file():
                    found[name] = name
        for (folder, content_hash), known in session.loaded.items():
            if content_hash == prediction.content_hash and known is not prediction:
                found[f"{folder.name} (loaded)"] = folder
        return found

    def _prediction_of(self, model: str | Path) -> Prediction | None:
        session, opened = self._session, self._session.opened
        if isinstance(model, str):
            return stored_prediction(session.project, model, opened)
        assert opened is not None, "nothing is offered without a slide"
        return session.loaded.get((model, opened.slide.content_hash))

    def _explain(self) -> None:
        may_shrink(self.other)
        self.other.setToolTip(
            "Another run, or a loaded model, that has predicted this slide"
        )
        self.beside.setToolTip(
            "Show the slide twice: the chosen run left, the other right; both move "
            "together and share threshold and colours"
        )
        self.flip.setCheckable(True)
        self.flip.setToolTip(
            "Show the other run's overlay in place of this one's. Flipping forth and "
            f"back with {FLIP_KEY} shows the smallest difference"
        )
        self.table.setAccessibleName("What the two runs say")
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setShowGrid(False)
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.shortcut = QShortcut(QKeySequence(FLIP_KEY), self)
        self.shortcut.setContext(Qt.ShortcutContext.WindowShortcut)

    def _lay_out(self) -> None:
        which = QHBoxLayout()
        which.addWidget(QLabel("With"))
        which.addWidget(self.other, stretch=1)
        how = QHBoxLayout()
        how.addWidget(self.beside)
        how.addStretch()
        how.addWidget(self.flip)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(which)
        layout.addLayout(how)
        layout.addWidget(self.hint)
        layout.addWidget(self.table)
        layout.addWidget(self.apart, stretch=1)

    def _connect(self) -> None:
        session = self._session
        listen(self, session.prediction_changed, self.refresh)
        listen(self, session.files_changed, self._on_files)
        listen(self, session.blind_changed, self.refresh)
        self.other.currentIndexChanged.connect(self._choose)
        self.beside.toggled.connect(self._on_beside)
        self.flip.toggled.connect(self._on_flip)
        self.shortcut.activated.connect(self.flip.toggle)
        self.apart.open_requested.connect(self._open_slide)

    def _choose(self, _: object = None) -> None:
        """Compare with the run that is chosen."""
        self._end()
        session, model = self._session, self.other.currentData()
        self._compare_slides(None if session.blind else model)
        if session.blind:  # who works blind sees none of it
            return
        if session.prediction is None or model is None:
            say(self.hint, "Choose the run to compare with.")
            return
        with notifying():
            other = self._prediction_of(model)
            if other is not None:
                self._show(compare(session.prediction, other))

    def _compare_slides(self, other: str | Path | None) -> None:
        """List the slides of the project, if two of its runs are compared."""
        project, run = self._session.project, self._session.run
        if project is not None and run is not None and isinstance(other, str):
            self.apart.show_runs(project, run, other)
        else:
            self.apart.clear()

    def _open_slide(self, slide_id: str) -> None:
        with notifying():
            self._session.open_slide(slide_id)

    def _end(self) -> None:
        for button in (self.beside, self.flip):
            button.setChecked(False)
            button.setEnabled(False)
        self.shortcut.setEnabled(False)
        self._twins.clear()
        self.table.hide()
        if self._comparison is not None:
            self._comparison = None
            self.compared.emit(None)

    def _show(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._twins.show(comparison.other)
        for button in (self.beside, self.flip):
            button.setEnabled(True)
        self.shortcut.setEnabled(True)
        self._say_sides()
        rows = comparison_rows(comparison)
        self.table.setHorizontalHeaderLabels(
            ["", comparison.one.run, comparison.other.run]
        )
        self.table.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(row, column, item)
        self.table.resizeColumnToContents(1)
        self.table.resizeColumnToContents(2)
        self.table.resizeRowsToContents()
        tall = self.table.verticalHeader().length()
        head = self.table.horizontalHeader().sizeHint().height()
        self.table.setMinimumHeight(tall + head + 4)
        self.table.show()
        self.compared.emit(comparison)

    def _on_files(self) -> None:
        offered = [self.other.itemText(row) for row in range(1, self.other.count())]
        if list(self._others()) != offered:
            self.refresh()
        self.apart.refresh()

    def _on_beside(self, beside: bool) -> None:
        if beside:
            self.flip.setChecked(False)
        self._twins.put_beside(beside)
        self._say_sides()

    def _say_sides(self) -> None:
        """Say which run is on which side, and if the two have other tiles."""
        shown, told = self._comparison, []
        if shown is None:
            return
        if self.beside.isChecked():
            told.append(f"Left: {shown.one.run}, right: {shown.other.run}.")
        if not shown.shared_tiles:
            told.append(_OTHER_TILES)
        say(self.hint, "\n".join(told))

    def _on_flip(self, flipped: bool) -> None:
        if flipped:
            self.beside.setChecked(False)
        self._twins.flip(flipped)


def comparison_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Say in rows what two runs make of a slide: what, the one, the other."""
    one, other = comparison.one, comparison.other
    rows = [
        (f"{one.class_name} found", _yes(one), _yes(other)),
        _numbers("teacher", one.teacher_probability, other.teacher_probability),
        _numbers("threshold", one.threshold, other.threshold),
        _numbers("student", one.student_probability, other.student_probability),
        ("tiles from 0.50", _called(one), _called(other)),
        ("candidates", _candidates(one), _candidates(other)),
    ]
    if comparison.shared_tiles:
        rows += [
            ("shared candidates", f"{comparison.shared_candidates}", ""),
            ("same call on tiles", _percent(comparison.calls_agreement), ""),
            ("attention, rank corr.", _number(comparison.attention_agreement), ""),
        ]
    return rows


def _numbers(what: str, one: float, other: float) -> tuple[str, str, str]:
    return what, f"{one:.2f}", f"{other:.2f}"


def _yes(prediction: Prediction) -> str:
    return "yes" if prediction.is_positive else "no"


def _called(prediction: Prediction) -> str:
    return f"{(prediction.probability >= 0.5).sum():,}"


def _candidates(prediction: Prediction) -> str:
    return f"{(prediction.candidate_rank > 0).sum():,}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
