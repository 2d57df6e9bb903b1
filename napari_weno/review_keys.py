"""The keys of a review: one table for what they do, for help and for the buttons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QKeySequenceEdit,
    QLineEdit,
    QMainWindow,
    QWidget,
)

from weno.errors import ReviewError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Key:
    """A key and what it does.

    Parameters
    ----------
    action : str
        Name of what it does, for the program.
    keys : str
        In Qt's spelling, such as ``"Shift+Z"``.
    text : str
        What it does, for people; ``{positive}`` and ``{negative}`` are the names of
        the classes.
    held : bool
        Whether it lasts as long as the key is held.
    repeats : bool
        Whether holding it does it again and again.
    """

    action: str
    keys: str
    text: str
    held: bool = False
    repeats: bool = False

    @property
    def shown(self) -> str:
        """The key as people write it."""
        shown = self.keys.replace("Left", "←").replace("Right", "→")
        return shown.replace("Up", "↑").replace("Down", "↓").replace("Shift+", "⇧")


#: Widgets that people write in, from which no key is taken.
WRITTEN_IN = (QLineEdit, QAbstractSpinBox, QKeySequenceEdit)
# What people leave a dock or press a button with.
_NEEDED = (
    Qt.Key.Key_unknown,
    Qt.Key.Key_Tab,
    Qt.Key.Key_Backtab,
    Qt.Key.Key_Escape,
    Qt.Key.Key_Return,
    Qt.Key.Key_Enter,
)

KEYS = (
    Key("positive", "P", "{positive}"),
    Key("negative", "N", "{negative}"),
    Key("unsure", "U", "unsure"),
    Key("skip", "S", "skip"),
    Key("undo", "Z", "undo"),
    Key("redo", "Shift+Z", "redo"),
    Key("hide", "H", "hold: hide overlays", held=True),
    Key("zoom", "V", "next zoom large"),
    Key("back", "Left", "tile before", repeats=True),
    Key("forward", "Right", "tile after", repeats=True),
)


def remapped(chosen: Mapping[str, str]) -> tuple[Key, ...]:
    """Return the table with other keys.

    Parameters
    ----------
    chosen : mapping of str to str
        Key by action, in Qt's spelling; what is missing keeps its own.

    Raises
    ------
    ReviewError
        If one is no single key, or two are the same.
    """
    keys = []
    taken: dict[str, Key] = {}
    for key in KEYS:
        wanted = QKeySequence(chosen.get(key.action, key.keys))
        spelled = wanted.toString(QKeySequence.SequenceFormat.PortableText)
        if wanted.count() != 1 or not _is_free(wanted):
            raise ReviewError(
                f"{chosen[key.action]!r} cannot be the key for {_about(key)!r}: "
                "choose one key, alone or with Shift, Ctrl or Alt, other than Tab, "
                "Esc and Enter"
            )
        if spelled in taken:
            raise ReviewError(
                f"{spelled} would be {_about(taken[spelled])!r} and {_about(key)!r}: "
                "choose another key for one of them"
            )
        keys.append(replace(key, keys=spelled))
        taken[spelled] = key
    return tuple(keys)


def _is_free(wanted: QKeySequence) -> bool:
    return wanted[0].key() not in _NEEDED


def _about(key: Key) -> str:
    return key.text.format(positive="positive", negative="negative")


def help_lines(
    class_names: tuple[str, str], keys: Sequence[Key] = KEYS
) -> list[tuple[str, str]]:
    """Return each key and what it does, with the classes' own names."""
    negative, positive = class_names
    return [
        (key.shown, key.text.format(positive=positive, negative=negative))
        for key in keys
    ]


class ReviewKeys(QObject):
    """Takes the review's keys from widgets it is put on, and nothing else.

    napari's layers have their own P, S, Z and arrows. Nothing of theirs is rebound:
    this sees a key before they do, and taking it off a widget gives that widget all
    its keys back.

    Parameters
    ----------
    keys : sequence of Key
    """

    #: Name of an action whose key was pressed.
    pressed = Signal(str)
    #: Name of an action whose key was let go.
    released = Signal(str)

    def __init__(
        self, keys: Sequence[Key] = KEYS, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._held: Key | None = None
        self.set_keys(keys)

    def set_keys(self, keys: Sequence[Key]) -> None:
        """Take these keys from now on."""
        self._let_go()
        self._keys = {QKeySequence(key.keys)[0]: key for key in keys}

    def put_on(self, widget: QWidget) -> None:
        """Take the keys from a widget and all in it, but not where people write."""
        for one in (widget, *widget.findChildren(QWidget)):
            if not isinstance(one, WRITTEN_IN):
                one.installEventFilter(self)

    def take_off(self, widget: QWidget) -> None:
        """Give a widget and all in it their keys back."""
        for one in (widget, *widget.findChildren(QWidget)):
            one.removeEventFilter(self)
        self._let_go()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take an event that is one of our keys."""
        if event is None:
            return False
        kind = event.type()
        if kind == QEvent.Type.FocusOut:
            # The key will be let go where we do not see it.
            self._let_go()
        if kind not in (
            QEvent.Type.KeyPress,
            QEvent.Type.KeyRelease,
            QEvent.Type.ShortcutOverride,
        ):
            return False
        event = cast("QKeyEvent", event)
        if kind == QEvent.Type.KeyRelease:
            return self._on_release(event)
        key = self._key_of(event)
        if key is None:
            return False
        if kind == QEvent.Type.KeyPress:
            self._on_press(key, event)
        event.accept()
        return True

    def _key_of(self, event: QKeyEvent) -> Key | None:
        combination = event.keyCombination()
        modifiers = (
            combination.keyboardModifiers() & ~Qt.KeyboardModifier.KeypadModifier
        )
        for known, key in self._keys.items():
            if (known.key(), known.keyboardModifiers()) == (event.key(), modifiers):
                return key
        return None

    def _on_press(self, key: Key, event: QKeyEvent) -> None:
        if event.isAutoRepeat() and not key.repeats:
            return
        if key.held:
            self._held = key
        self.pressed.emit(key.action)

    def _on_release(self, event: QKeyEvent) -> bool:
        if any(known.key() == event.key() for known in self._keys):
            if not event.isAutoRepeat() and self._holds(event):
                self._let_go()
            return True
        return False

    def _holds(self, event: QKeyEvent) -> bool:
        held = self._held
        return held is not None and QKeySequence(held.keys)[0].key() == event.key()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self.released.emit(held.action)


def canvas_beside(widget: QWidget) -> QWidget | None:
    """Return what is in the middle of the window that a dock belongs to."""
    window = widget.parentWidget()
    while window is not None and not isinstance(window, QMainWindow):
        window = window.parentWidget()
    return None if window is None else window.centralWidget()
