"""The help of the review, and giving its keys other places on the keyboard."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from napari.utils.notifications import show_warning
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QKeySequenceEdit,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_weno.docks import say, text_label
from napari_weno.preferences import keep_review_keys, review_keys
from napari_weno.review_keys import KEYS, help_lines, remapped
from weno.errors import ReviewError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_weno.review_keys import Key


def chosen_keys() -> tuple[Key, ...]:
    """Return the table with the keys that the user has chosen.

    Keys that cannot be, which napari's own dialog lets people give, are told and left
    as they were made.
    """
    try:
        return remapped(review_keys())
    except ReviewError as error:
        show_warning(f"Keys of the review: {error}. The usual keys are used.")
        return KEYS


class KeyHelp(QWidget):
    """Says what the keys do; *Change keys…* makes each line one that takes a key."""

    #: Other keys hold from now on: a tuple of `Key`.
    changed = Signal(tuple)
    #: No key is chosen any more: they answer again.
    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._names = ("negative", "positive")
        self._keys: Sequence[Key] = KEYS
        self.help = QLabel()
        self.change = QPushButton("Change keys…")
        self.editor = QWidget()
        self.edits = {key.action: QKeySequenceEdit() for key in KEYS}
        self.save = QPushButton("Use these keys")
        self.reset = QPushButton("Usual keys")
        self.cancel = QPushButton("Cancel")
        self.problem = text_label(name="problem")
        self._labels = {key.action: QLabel() for key in KEYS}
        self._explain()
        self._lay_out()
        self.change.clicked.connect(self._begin)
        self.save.clicked.connect(self._save)
        self.reset.clicked.connect(lambda: self._fill(KEYS))
        self.cancel.clicked.connect(self._close)
        self._close()

    def show_keys(self, keys: Sequence[Key], class_names: tuple[str, str]) -> None:
        """Say what the keys do, with the classes' own names."""
        self._keys, self._names = keys, class_names
        self.help.setText(_table(help_lines(class_names, keys)))
        for (_, text), key in zip(help_lines(class_names, keys), keys, strict=True):
            self._labels[key.action].setText(text)

    def _explain(self) -> None:
        self.help.setTextFormat(Qt.TextFormat.RichText)
        self.change.setToolTip("Choose other keys; they are kept for all projects")
        self.save.setToolTip("Answer with these keys from now on")
        self.reset.setToolTip("Fill in the keys as they were made")
        for edit in self.edits.values():
            edit.setMaximumSequenceLength(1)
            edit.setToolTip("Click here, then press the key")

    def _lay_out(self) -> None:
        grid = QGridLayout(self.editor)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        # What is wrong is said above, where it is in sight in a low window too.
        for row, (action, edit) in enumerate(self.edits.items(), start=2):
            grid.addWidget(self._labels[action], row, 0)
            grid.addWidget(edit, row, 1)
        buttons = QHBoxLayout()
        for button in (self.save, self.reset, self.cancel):
            buttons.addWidget(button)
        grid.addLayout(buttons, 0, 0, 1, 2)
        grid.addWidget(self.problem, 1, 0, 1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.help, self.change, self.editor):
            layout.addWidget(widget)

    def _begin(self) -> None:
        self._fill(self._keys)
        self._show_editor(True)
        self.edits[KEYS[0].action].setFocus()

    def _fill(self, keys: Sequence[Key]) -> None:
        for key in keys:
            self.edits[key.action].setKeySequence(QKeySequence(key.keys))
        say(self.problem, "")

    def _save(self) -> None:
        spelling = QKeySequence.SequenceFormat.PortableText
        chosen = {
            action: edit.keySequence().toString(spelling)
            for action, edit in self.edits.items()
        }
        try:
            keys = remapped(chosen)
        except ReviewError as error:
            say(self.problem, str(error))
            return
        keep_review_keys({key.action: key.keys for key in keys})
        self._close()
        self.changed.emit(keys)

    def _close(self) -> None:
        say(self.problem, "")
        self._show_editor(False)
        self.left.emit()

    def _show_editor(self, shown: bool) -> None:
        self.editor.setVisible(shown)
        self.help.setVisible(not shown)
        self.change.setVisible(not shown)


def _table(lines: Sequence[tuple[str, str]]) -> str:
    """Set the help in two columns, as HTML."""
    lines = [(escape(key), escape(text)) for key, text in lines]
    half = (len(lines) + 1) // 2
    rows = []
    for k in range(half):
        cells = [*lines[k], *(lines[k + half] if k + half < len(lines) else ("", ""))]
        rows.append(
            "<td><b>{}</b>&nbsp;</td><td>{}&nbsp;&nbsp;</td>".format(*cells[:2])
            + "<td><b>{}</b>&nbsp;</td><td>{}</td>".format(*cells[2:])
        )
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
