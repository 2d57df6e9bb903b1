"""Under the table of slides: their labels and splits, and taking a change back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGroupBox,
    QHBoxLayout,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_weno.docks import (
    form_layout,
    listen,
    may_shrink,
    notifying,
    say,
    text_label,
)
from weno.mil.config import TrainConfig
from weno.mil.splits import leaks, split_slides

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qtpy.QtGui import QKeyEvent, QWheelEvent

    from napari_weno.session import Session
    from weno.project import Project, SlideRow
    from weno.table_text import Edit

_LIST_KEYS = (Qt.Key.Key_Up, Qt.Key.Key_Down)
_SPLITS = ("train", "val", "test")
_NONE = ""
_MIXED = -1
_NAMED = 3
_NARROWEST_PX = 70
_SAME = "The splits are as they were: this seed and these shares have drawn them."
_ALL_KEPT = (
    "The splits are as they were: every labelled slide has one. Switch off “Keep those "
    "that are given” to draw them anew."
)


class EditBox(QWidget):
    """Gives the selected slides a label or a split, and all slides splits.

    What is changed stands in slides.csv at once and can be taken back, for as long as
    the project is open.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._done: list[tuple[Edit, str]] = []
        self.label = ListedChoice()
        self.split = ListedChoice()
        self.splits_button = QPushButton("Splits…")
        self.undo_button = QPushButton("Undo")
        self.splits = SplitForm()
        self.told = text_label(name="edited")
        self.leaks = text_label(name="leaks")
        self._explain()
        self._lay_out()
        self._connect()
        self._on_project(session.project)

    def change(self, changes: dict[str, dict[str, str]], text: str) -> None:
        """Change cells of slides.csv, so that it can be taken back.

        Parameters
        ----------
        changes : dict of str to dict of str to str
            New cells by slide_id and column.
        text : str
            What that does, for people.
        """
        project = self._session.project
        if project is None:
            return
        with notifying():
            edit = project.table.edit(changes)
            if edit:
                self.note(edit, text)

    def note(self, edit: Edit, text: str) -> None:
        """Say what somebody has done to slides.csv, so that it can be taken back."""
        if edit:
            self._done.append((edit, text))
        self._after(text)

    def undo(self) -> None:
        """Take the last change back; one that cannot be is forgotten."""
        project = self._session.project
        if project is None or not self._done:
            return
        edit, text = self._done.pop()
        with notifying():
            project.table.undo(edit)
            self._after(f"Taken back: {text}")
        self._show_undo()

    def refresh(self, _: object = None) -> None:
        """Show what the selected slides have, and patients that are in two splits."""
        project = self._session.project
        if project is None:
            return
        with notifying():
            rows = self._rows()
            for combo in (self.label, self.split):
                combo.setEnabled(bool(rows))
            _show(self.label, {_label(project, row) for row in rows})
            _show(self.split, {row.split or _NONE for row in rows})
            say(self.leaks, _leak_text(project.slides))

    def _rows(self) -> list[SlideRow]:
        project, chosen = self._session.project, set(self._session.selected)
        if project is None:
            return []
        return [row for row in project.slides if row.slide_id in chosen]

    def _explain(self) -> None:
        self.label.setToolTip(
            "Label of the selected slides: goes into slides.csv at once, and Undo "
            "takes it back"
        )
        self.label.setPlaceholderText("label")
        self.split.setToolTip(
            "Split of the selected slides: what trains, what stops the training, what "
            "tests. Without one the fit decides"
        )
        self.split.setPlaceholderText("split")
        self.splits_button.setToolTip("Draw splits for all labelled slides")
        self.splits_button.setCheckable(True)
        self.undo_button.setToolTip("Take the last change of slides.csv back (Ctrl+Z)")
        self.split.addItem("no split", _NONE)
        for name in _SPLITS:
            self.split.addItem(name, name)
        for combo in (self.label, self.split):
            may_shrink(combo)
            combo.setMinimumWidth(_NARROWEST_PX)
        self.splits.hide()

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        line.addWidget(self.label, stretch=1)
        line.addWidget(self.split, stretch=1)
        line.addWidget(self.splits_button)
        last = QHBoxLayout()
        last.addWidget(self.told, stretch=1)
        last.addWidget(self.undo_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(line)
        for widget in (self.splits, self.leaks):
            layout.addWidget(widget)
        layout.addLayout(last)
        say(self.leaks, "")

    def _connect(self) -> None:
        session = self._session
        listen(self, session.project_changed, self._on_project)
        listen(self, session.selected_changed, self.refresh)
        self.label.activated.connect(self._set_label)
        self.split.activated.connect(self._set_split)
        self.undo_button.clicked.connect(self.undo)
        self.splits_button.toggled.connect(self.splits.setVisible)
        self.splits.make_button.clicked.connect(self._draw)

    def _on_project(self, project: Project | None) -> None:
        self._done = []
        self.setVisible(project is not None)
        self.splits_button.setChecked(False)
        self.label.clear()
        self.label.addItem("no label", _NONE)
        for name in project.classes if project else ():
            self.label.addItem(name, name)
        say(self.told, "")
        self._show_undo()
        self.refresh()

    def _set_label(self) -> None:
        self._set_cell("label", self.label)

    def _set_split(self) -> None:
        self._set_cell("split", self.split)

    def _set_cell(self, column: str, combo: QComboBox) -> None:
        value, rows = combo.currentData(), self._rows()
        project = self._session.project
        if project is None:
            return
        has = {row.slide_id: _label(project, row) for row in rows}
        if column == "split":
            has = {row.slide_id: row.split or _NONE for row in rows}
        # A label that is written as a number stays one where it says the same.
        changes = {name: {column: value} for name, old in has.items() if old != value}
        self.change(changes, f"{_listed(changes)}: {combo.currentText()}")

    def _draw(self) -> None:
        project = self._session.project
        if project is None:
            return
        with notifying():
            drawn = split_slides(
                project.slides, self.splits.config(), keep=self.splits.keep.isChecked()
            )
            counts = [list(drawn.values()).count(name) for name in _SPLITS]
            told = ", ".join(
                f"{count} {name}" for count, name in zip(counts, _SPLITS, strict=True)
            )
            changes = {slide_id: {"split": split} for slide_id, split in drawn.items()}
            if edit := project.table.edit(changes):
                self.note(edit, f"Splits: {told}")
            else:
                say(self.told, _ALL_KEPT if self.splits.keep.isChecked() else _SAME)

    def _after(self, text: str) -> None:
        say(self.told, text)
        self._session.match_opened()
        self._show_undo()
        self.refresh()
        self._session.files_changed.emit()

    def _show_undo(self) -> None:
        self.undo_button.setVisible(bool(self._done))


class ListedChoice(QComboBox):
    """Is chosen from its list only: a turn of the wheel would label slides unseen."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        typed = event.text()
        if (typed and typed.isprintable()) or event.key() in _LIST_KEYS:
            self.showPopup()
        else:
            super().keyPressEvent(event)


class SplitForm(QGroupBox):
    """Asks for the shares of the splits."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Splits", parent)
        usual = TrainConfig()
        self.val = _share(usual.val)
        self.val.setToolTip("Share of patients of each class that stops the training")
        self.test = _share(usual.test)
        self.test.setToolTip("Share of patients of each class that is never trained on")
        self.seed = QSpinBox()
        self.seed.setMaximum(2**31 - 1)
        self.seed.setValue(usual.seed)
        self.seed.setToolTip("The same number draws the same splits")
        self.keep = QCheckBox("Keep those that are given")
        self.keep.setChecked(True)
        self.keep.setToolTip("Off: all labelled slides are drawn anew, tests too")
        self.make_button = QPushButton("Make splits")
        self.make_button.setToolTip(
            "Draw by patient, each class by itself, and write the column split of "
            "slides.csv; Undo takes it back"
        )
        form = form_layout(self)
        form.addRow("Validation", self.val)
        form.addRow("Test", self.test)
        form.addRow("Seed", self.seed)
        form.addRow(self.keep)
        form.addRow(self.make_button)

    def config(self) -> TrainConfig:
        """Return the choices as a fit has them."""
        return TrainConfig(
            val=self.val.value() / 100,
            test=self.test.value() / 100,
            seed=self.seed.value(),
        )


def _share(value: float) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setDecimals(0)
    box.setRange(0, 80)
    box.setValue(100 * value)
    box.setSuffix(" %")
    return box


def _label(project: Project, row: SlideRow) -> str:
    return _NONE if row.class_index is None else project.classes[row.class_index]


def _show(combo: QComboBox, values: set[str]) -> None:
    """Show what all selected slides have, nothing where they differ."""
    index = combo.findData(values.pop()) if len(values) == 1 else _MIXED
    combo.setCurrentIndex(index)


def _leak_text(rows: Sequence[SlideRow]) -> str:
    found = leaks(rows)
    if not found:
        return ""
    told = [f"{name} ({', '.join(found[name])})" for name in list(found)[:_NAMED]]
    more = [f"{len(found) - _NAMED} more"] if len(found) > _NAMED else []
    return (
        f"In more than one split: patient {', '.join([*told, *more])}. All slides of a "
        "patient belong into one, or the test is of what was trained on."
    )


def _listed(names: Iterable[str]) -> str:
    some = list(names)
    return some[0] if len(some) == 1 else f"{len(some):,} slides"
