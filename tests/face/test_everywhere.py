"""What holds for all docks: nothing is cut off, all can be read, reached, explained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.settings import get_settings
from qtpy.QtCore import QEvent, QObject, QPoint, QPointF, Qt
from qtpy.QtGui import QImage, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
    QWidget,
)

from napari_weno.session import session_of, show_dock

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from weno.project import Project

DOCKS = ("Slide", "Cohort", "Train", "Explain", "Review")
INPUTS = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit)
NORMAL = 9


@pytest.fixture
def looks() -> Iterator[object]:
    """napari's settings of theme and size of letters, given back at the end."""
    appearance = get_settings().appearance
    before = appearance.theme, appearance.font_size
    yield appearance
    appearance.theme, appearance.font_size = before


@pytest.fixture
def docks(viewer: Viewer, demo_project: Project) -> dict[str, QWidget]:
    """All docks, with a project, a slide and its prediction."""
    session = session_of(viewer)
    widgets = {name: show_dock(viewer, name) for name in DOCKS}
    session.open_project(demo_project.root)
    session.open_slide(demo_project.slides[0].slide_id)
    assert session.prediction is not None
    settle()
    return widgets


def settle() -> None:
    """Let the window take over what has been changed."""
    for _ in range(5):
        QApplication.processEvents()


def parts(dock: QWidget, *kinds: type[QWidget]) -> list[QWidget]:
    """Return what is to be seen of a dock; what is part of others is left out."""
    return [
        widget
        for widget in dock.findChildren(QWidget)
        if isinstance(widget, kinds)
        and widget.isVisibleTo(dock)
        and not isinstance(widget.parent(), (QAbstractSpinBox, QComboBox, QLineEdit))
        and not widget.objectName().startswith("qt_")
    ]


def described(widget: QWidget) -> str:
    text = widget.text() if hasattr(widget, "text") else ""
    return f"{type(widget).__name__} {widget.objectName()} {text[:40]!r}"


class Windows(QObject):
    """Notes what is shown as a window of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        shown = event.type() == QEvent.Type.Show and isinstance(watched, QWidget)
        if shown and watched.isWindow():
            self.shown.append(f"{type(watched).__name__} {watched.objectName()}")
        return False


def test_a_dock_opens_in_one_window(viewer: Viewer, demo_project: Project) -> None:
    """A part that is shown before it has a place would flash as a window."""
    session = session_of(viewer)
    session.open_project(demo_project.root)
    session.open_slide(demo_project.slides[0].slide_id)
    settle()
    windows = Windows()
    QApplication.instance().installEventFilter(windows)
    for name in DOCKS:
        show_dock(viewer, name)
        settle()
    assert not windows.shown


def test_docks_of_the_menu_become_tabs(viewer: Viewer) -> None:
    """napari's menu would stack them; our own buttons find those of the menu."""
    commands = get_app_model().commands
    for name in DOCKS:
        commands.execute_command(f"napari-weno.{name.lower()}").result()
    settle()
    widgets = {name: viewer.window.dock_widgets[f"{name} (WENO)"] for name in DOCKS}
    window = viewer.window._qt_window
    for name, widget in widgets.items():
        assert len(window.tabifiedDockWidgets(widget.parent())) == len(DOCKS) - 1
        assert show_dock(viewer, name) is widget
    assert len(viewer.window.dock_widgets) == len(DOCKS)


def test_the_wheel_scrolls_and_changes_nothing(
    viewer: Viewer, docks: dict[str, QWidget]
) -> None:
    show_dock(viewer, "Train")
    settle()
    epochs = docks["Train"].form.editors["epochs"].editor
    before = epochs.value()
    place = QPointF(epochs.rect().center())
    turn = QWheelEvent(
        place,
        epochs.mapToGlobal(place),
        QPoint(),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    assert not epochs.hasFocus()
    QApplication.sendEvent(epochs, turn)
    assert epochs.value() == before


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_nothing_is_smaller_than_its_text(
    viewer: Viewer, docks: dict[str, QWidget], looks, scale: float
) -> None:
    looks.font_size = round(scale * NORMAL)
    cut = []
    for name, dock in docks.items():
        show_dock(viewer, name)
        settle()
        for widget in parts(dock, QPushButton, QCheckBox, QLabel, QComboBox):
            wanted = widget.sizeHint()
            if isinstance(widget, QComboBox):
                wanted = widget.minimumSizeHint()
            elif isinstance(widget, QLabel) and widget.wordWrap():
                wanted.setWidth(0)
                wanted.setHeight(widget.heightForWidth(widget.width()))
            if widget.width() < wanted.width() or widget.height() < wanted.height():
                size = widget.size()
                cut.append(f"{name}: {described(widget)} {size} < {wanted}")
    assert not cut, "\n".join(cut)


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_docks_fit_beside_the_canvas(
    viewer: Viewer, docks: dict[str, QWidget], looks, scale: float
) -> None:
    looks.font_size = round(scale * NORMAL)
    for name, dock in docks.items():
        show_dock(viewer, name)
        settle()
        for widget in parts(dock, *INPUTS, QLabel):
            right = widget.mapTo(dock, widget.rect().topRight()).x()
            assert right <= dock.width(), f"{name}: {described(widget)}"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_all_text_can_be_read(
    viewer: Viewer, docks: dict[str, QWidget], looks, theme: str
) -> None:
    looks.theme = theme
    faint = []
    for name, dock in docks.items():
        show_dock(viewer, name)
        settle()
        for widget in parts(dock, QLabel, QPushButton, QCheckBox, QToolButton):
            if not widget.isEnabled() or not widget.text().strip():
                continue
            found = contrast(widget.grab().toImage())
            if found < 4.5:
                faint.append(f"{name}: {described(widget)} {found:.1f}")
    assert not faint, "\n".join(faint)


def contrast(image: QImage) -> float:
    """Return the contrast of the letters in a picture to what is behind them.

    As in WCAG 2: of relative luminances. Behind the letters is the colour that most
    pixels have; a letter's own colour is the one that differs from it most.
    """
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    width, height = image.width(), image.height()
    row = image.bytesPerLine()
    data = np.frombuffer(image.constBits().asstring(row * height), np.uint8)
    pixels = data.reshape(height, row)[:, : 3 * width].reshape(-1, 3)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    light = linear @ (0.2126, 0.7152, 0.0722) + 0.05
    behind = light[counts.argmax()]
    return float(np.maximum(light / behind, behind / light).max())


def test_everything_says_what_it_is_for(docks: dict[str, QWidget]) -> None:
    mute = [
        f"{name}: {described(widget)}"
        for name, dock in docks.items()
        for widget in parts(dock, *INPUTS)
        if not widget.toolTip()
    ]
    assert not mute, "\n".join(mute)


def test_everything_can_be_reached_by_keys(docks: dict[str, QWidget]) -> None:
    far = [
        f"{name}: {described(widget)}"
        for name, dock in docks.items()
        for widget in parts(dock, *INPUTS)
        if not widget.focusPolicy() & Qt.FocusPolicy.TabFocus
    ]
    assert not far, "\n".join(far)
