"""What the docks have in common: listening, scrolling, choosing slides."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakMethod

from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QHeaderView,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QTabBar,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_weno.dock_places import keep_place, settle
from weno.errors import WenoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt
    from napari.viewer import Viewer
    from qtpy.QtGui import QHideEvent, QShowEvent

Which = Literal["open", "selected", "rest"]


#: What a person can do something about: it needs no traceback.
EXPECTED = (WenoError, OSError)


@contextmanager
def notifying() -> Iterator[None]:
    """Turn what the core or the file system refuses into a notification."""
    try:
        yield
    except EXPECTED as error:
        show_error(str(error))


def listen(widget: QWidget, signal: Any, slot: Callable[..., Any]) -> None:
    """Connect a signal that is not Qt's for as long as a widget exists.

    Such a signal would else call into a widget that Qt has destroyed already.

    Parameters
    ----------
    widget : QWidget
    signal : psygnal signal or napari event emitter
        Keeps only a weak reference to the slot, so that a closed dock goes.
    slot : bound method
    """
    signal.connect(slot)
    _at_end(widget, partial(_disconnect, signal, WeakMethod(slot)))


# What is to be done when widgets go. Held here: of what only a widget without a user
# refers to, Python's collector takes the contents before Qt calls it.
_farewells: set[Callable[..., None]] = set()


def _at_end(widget: QWidget, farewell: Callable[..., None]) -> None:
    def once(_: object = None) -> None:
        _farewells.discard(once)
        farewell()

    _farewells.add(once)
    widget.destroyed.connect(once)


def _disconnect(signal: Any, slot: WeakMethod[Callable[..., Any]]) -> None:
    alive = slot()
    if alive is not None:
        with suppress(ValueError):
            signal.disconnect(alive)


def on_mouse_move(
    widget: QWidget, viewer: Viewer, slot: Callable[[tuple[float, ...]], None]
) -> None:
    """Tell a widget where the mouse is on the canvas, for as long as it exists.

    Parameters
    ----------
    widget : QWidget
    viewer : napari.Viewer
    slot : bound method
        Called with the world position ``(…, y, x)``.
    """
    method = WeakMethod(slot)

    def callback(_viewer: Viewer, event: Any) -> None:
        alive = method()
        if alive is not None:
            alive(event.position)

    def remove() -> None:
        with suppress(ValueError):
            viewer.mouse_move_callbacks.remove(callback)

    viewer.mouse_move_callbacks.append(callback)
    _at_end(widget, remove)


class _OnlyWithFocus(QObject):
    """Lets the wheel scroll the dock, not change what happens to come under it."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and not watched.hasFocus():
            event.ignore()  # so that it is the scroll area's
            return True
        return False


_TURNED_BY_WHEEL = (QAbstractSpinBox, QComboBox, QSlider, QTabBar)
# As many letters as a tooltip may have in one line.
_LINE = 60


class Dock(QWidget):
    """A widget for the side of the window, whose contents scroll if it is too low.

    It comes back where it was, as large as it was, as a tab beside our other docks.
    """

    _shown = False

    def sizeHint(self) -> QSize:
        return QSize(400, 700)

    def showEvent(self, event: QShowEvent | None) -> None:
        super().showEvent(event)
        if not self._shown:
            self._shown = True
            # napari is still about to place it where it wants it.
            QTimer.singleShot(0, self._settle)

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Remember the place: closed, or behind another, or gone with the window."""
        keep_place(self)
        super().hideEvent(event)

    def _settle(self) -> None:
        settle(self)

    def show_contents(self, contents: QWidget) -> None:
        """Make `contents` all that the dock shows."""
        wheel = _OnlyWithFocus(self)
        for widget in contents.findChildren(QWidget):
            if isinstance(widget, _TURNED_BY_WHEEL):
                widget.installEventFilter(wheel)
            tip = widget.toolTip()
            if len(tip) > _LINE and not Qt.mightBeRichText(tip):
                # Qt wraps nothing else, and would draw one line across the screen.
                widget.setToolTip(f"<qt>{escape(tip, quote=False)}</qt>")
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(contents)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        # A policy that wants height keeps napari from adding a stretch below.
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Expanding)
        self.setMinimumWidth(320)


def picture_of(pixels: npt.NDArray[np.uint8]) -> QPixmap:
    """Turn pixels (H, W, 3) into a picture for a widget."""
    height, width, _ = pixels.shape
    kind = QImage.Format.Format_RGB888
    image = QImage(pixels.tobytes(), width, height, 3 * width, kind)
    return QPixmap.fromImage(image)


def text_label(text: str = "", name: str = "") -> QLabel:
    """Make a label that wraps its text, which can be selected and copied."""
    label = QLabel(text)
    label.setObjectName(name)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    # A path without a space must not force the dock to its own width.
    policy = QSizePolicy.Policy
    label.setSizePolicy(policy.Ignored, policy.Minimum)
    return label


def say(label: QLabel, text: str) -> None:
    """Show a text; a label without one takes no room."""
    label.setText(text)
    label.setVisible(bool(text))


def shortened(name: str, length: int = 24) -> str:
    """Leave the middle of a long name out."""
    if len(name) <= length:
        return name
    half = length // 2
    return f"{name[:half]}…{name[-half:]}"


def form_layout(widget: QWidget) -> QFormLayout:
    """Lay out a widget as a form; what is too wide for a dock goes below its label."""
    form = QFormLayout(widget)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


def may_shrink(combo: QComboBox) -> None:
    """Let a combo box be narrower than its longest item."""
    policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    combo.setSizeAdjustPolicy(policy)
    combo.setMinimumContentsLength(4)


def fit_columns(table: QTableView, first: int = 1, rows: int = 200) -> None:
    """Make columns as wide as their texts; the ones before `first` share the rest.

    Qt's own fitting leaves room for a sort arrow in each column and looks at every
    row: too wide for a dock, too slow for thousands.
    """
    model, header = table.model(), table.horizontalHeader()
    metrics = table.fontMetrics()
    for column in range(model.columnCount()):
        if column < first:
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
            continue
        texts = [str(model.headerData(column, Qt.Orientation.Horizontal))]
        for row in range(min(rows, model.rowCount())):
            texts += str(model.index(row, column).data()).split("\n")
        # Bold text, and the padding that the style puts around it.
        width = 1.1 * max(metrics.horizontalAdvance(text) for text in texts) + 9
        header.setSectionResizeMode(column, QHeaderView.ResizeMode.Interactive)
        header.resizeSection(column, round(width))


def single_shot(parent: QObject, milliseconds: int) -> QTimer:
    """Make a timer that fires once each time it is started."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    return timer


class SlideChoice(QComboBox):
    """Which slides a job is for: the open one, the selected ones or the rest.

    Parameters
    ----------
    rest : str
        What the third choice is called.
    """

    def __init__(self, rest: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rest = rest
        may_shrink(self)
        self.addItem("This slide", "open")
        self.addItem("Selected slides", "selected")
        self.addItem(rest, "rest")
        self.setToolTip(
            "The slide that is open, those selected in the Cohort dock, or all others"
        )

    @property
    def which(self) -> Which:
        """The choice."""
        which: Which = self.currentData()
        return which

    def show_counts(self, selected: int, rest: int) -> None:
        """Say how many slides the second and third choice mean."""
        self.setItemText(1, f"Selected slides ({selected:,})")
        self.setItemText(2, f"{self._rest} ({rest:,})")

    def pick(
        self, opened: str | None, selected: Sequence[str], rest: Sequence[str]
    ) -> list[str]:
        """Return the ids of the slides that are chosen."""
        if self.which == "open":
            return [] if opened is None else [opened]
        return list(selected if self.which == "selected" else rest)
