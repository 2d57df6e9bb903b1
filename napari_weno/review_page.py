"""Second page of the Review dock: one tile, the buttons, what was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_weno.docks import say, text_label
from napari_weno.key_editor import KeyHelp
from napari_weno.preferences import preferences
from napari_weno.review_keys import KEYS, WRITTEN_IN, canvas_beside, help_lines
from napari_weno.review_round import verdict_name
from napari_weno.zooms import ZoomView
from weno.review import VERDICT_COLORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_weno.review_keys import Key
    from weno.review import ReviewEvent

_TOOLTIPS = {
    "positive": "This tile shows {positive}",
    "negative": "This tile does not show {positive}",
    "unsure": "You looked and cannot tell: the tile does not train the model",
    "skip": "Decide later: it comes again when no other tile is left; until "
    "then it stays unanswered for the model",
    "undo": "Take the last answer back and go to its tile, on whatever slide",
    "redo": "Give the answer again that was taken back",
    "back": "Look at the tile before; a new answer replaces the old one",
    "forward": "Look at the next tile without answering this one",
}
_PLACES = {
    "positive": (0, 0),
    "negative": (0, 2),
    "unsure": (1, 0),
    "skip": (1, 2),
    "undo": (2, 0),
    "redo": (2, 1),
    "back": (2, 2),
    "forward": (2, 3),
}
SHOWN_ANSWERS = 4  # at once; the list scrolls
LISTED_ANSWERS = 50


class ReviewPage(QWidget):
    """Shows the tile asked about and takes the answer.

    Parameters
    ----------
    keys : sequence of Key
        Table that the buttons and the help are made from.
    """

    #: Name of the action whose button was clicked.
    acted = Signal(str)
    #: The `ReviewTile` of an answer that was chosen in the history.
    recalled = Signal(object)
    #: The review is to end.
    left = Signal()

    def __init__(
        self, keys: Sequence[Key] = KEYS, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._keys = keys
        self._names = ("negative", "positive")
        self._focus_here = self._focus_on_canvas = False
        self.progress = QProgressBar()
        self.counts = text_label(name="counts")
        self.crop = ZoomView()
        self.tile = text_label(name="tile")
        self.values = text_label(name="values")
        self.buttons = {
            key.action: QPushButton() for key in keys if key.action in _PLACES
        }
        self.last = text_label(name="last")
        self.finished = text_label(name="finished")
        self.history = QListWidget()
        self.blind = QCheckBox("Blind: values only after the answer")
        self.on_canvas = QPushButton("Keys on the canvas")
        self.end = QPushButton("End review")
        self.help = KeyHelp()
        self._explain()
        self._lay_out()
        self._connect()

    def set_keys(self, keys: Sequence[Key]) -> None:
        """Put other keys on the buttons and into the help."""
        self._keys = keys
        self.set_classes(self._names)

    def set_classes(self, class_names: tuple[str, str]) -> None:
        """Put the classes' own names on the buttons and into the help."""
        self._names = class_names
        negative, positive = class_names
        texts = dict(help_lines(class_names, self._keys))
        names = {"undo": "Undo", "redo": "Redo", "back": "", "forward": ""}
        names |= {"unsure": "Unsure", "skip": "Skip"}
        for key in self._keys:
            if key.action not in _PLACES:
                continue
            button = self.buttons[key.action]
            name = names.get(key.action, texts[key.shown])
            button.setText(f"{_short(name)}  {key.shown}".strip())
            tip = _TOOLTIPS[key.action].format(positive=positive, negative=negative)
            button.setToolTip(f"{tip} (key {key.shown})")
        self.help.show_keys(self._keys, class_names)

    def show_progress(self, done: int, total: int, text: str) -> None:
        """Say how far the queue is."""
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        self.counts.setText(text)

    def show_tile(self, text: str, values: str) -> None:
        """Say which tile it is, and what may be known of it."""
        say(self.tile, text)
        say(self.values, values)

    def show_history(
        self, events: Sequence[ReviewEvent], class_names: tuple[str, str]
    ) -> None:
        """List the last answers, the newest first."""
        self.history.clear()
        for event in events:
            name = verdict_name(event.verdict, class_names)
            item = QListWidgetItem(f"{name}  ·  {event.tile.slide_id}")
            item.setData(Qt.ItemDataRole.UserRole, event.tile)
            item.setToolTip(
                f"{event.time.astimezone():%H:%M:%S}; a double click goes back there"
            )
            self.history.addItem(item)
        row = self.history.sizeHintForRow(0) if events else self.fontMetrics().height()
        least = self.history.minimumSizeHint().height()
        self.history.setFixedHeight(max(least, SHOWN_ANSWERS * row + 8))

    def _explain(self) -> None:
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.progress.setFormat("Click here to answer with keys")
        self.progress.setTextVisible(False)
        self.blind.setChecked(preferences("review").blind)
        self.blind.setToolTip(
            "Model values, overlays and others' answers stay hidden until you have "
            "answered; your answer is marked as blind. Audit tiles are always blind"
        )
        self.on_canvas.setCheckable(True)
        self.on_canvas.setToolTip(
            "Answer with the keys while the canvas has the focus, too. napari's own P, "
            "S, Z and arrows work there again when this is off"
        )
        self.end.setToolTip("Everything answered is saved; go on whenever you like")
        self.history.setToolTip("Your last answers; a double click goes back to one")
        self.history.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        for verdict, rgb in VERDICT_COLORS.items():
            self.buttons[verdict].setStyleSheet(
                f"QPushButton {{ border-left: 5px solid rgb{rgb}; }}"
            )

    def _lay_out(self) -> None:
        answers = QGridLayout()
        answers.setSpacing(4)
        for column in range(4):
            answers.setColumnStretch(column, 1)
        for action, button in self.buttons.items():
            row, column = _PLACES[action]
            answers.addWidget(button, row, column, 1, 2 if row < 2 else 1)
        modes = QHBoxLayout()
        modes.addWidget(self.on_canvas)
        modes.addWidget(self.end)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.progress, self.counts, self.crop):
            layout.addWidget(widget)
        # Above all that changes its height: a button must not move under the mouse.
        layout.addLayout(answers)
        for widget in (self.tile, self.values, self.last, self.finished):
            layout.addWidget(widget)
        layout.addWidget(self.history)
        layout.addWidget(self.blind)
        layout.addLayout(modes)
        layout.addWidget(self.help)
        layout.addStretch()

    def _connect(self) -> None:
        for action, button in self.buttons.items():
            button.clicked.connect(lambda _=False, a=action: self.acted.emit(a))
        self.end.clicked.connect(self.left)
        self.help.left.connect(self.setFocus)
        QApplication.instance().focusChanged.connect(self._on_focus)
        self.on_canvas.toggled.connect(self._say_who_has_keys)
        self.history.itemActivated.connect(
            lambda item: self.recalled.emit(item.data(Qt.ItemDataRole.UserRole))
        )

    def _on_focus(self, _: QWidget | None, now: QWidget | None) -> None:
        if now is None:  # the whole window has lost it, and will get it back
            return
        canvas = canvas_beside(self)
        self._focus_here = _holds(self, now) and not isinstance(now, WRITTEN_IN)
        self._focus_on_canvas = canvas is not None and _holds(canvas, now)
        self._say_who_has_keys()

    def _say_who_has_keys(self, _: object = None) -> None:
        """Say in the bar, where nothing moves, that keys go elsewhere."""
        on_canvas = self._focus_on_canvas and self.on_canvas.isChecked()
        self.progress.setTextVisible(not (self._focus_here or on_canvas))


def _holds(widget: QWidget, other: QWidget) -> bool:
    return other is widget or widget.isAncestorOf(other)


def _short(name: str, length: int = 14) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
