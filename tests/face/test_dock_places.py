"""Docks come back where they were, as large as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QWidget

from napari_weno.session import show_dock

LEFT = Qt.DockWidgetArea.LeftDockWidgetArea
RIGHT = Qt.DockWidgetArea.RightDockWidgetArea


def shown(make_napari_viewer, qtbot) -> tuple[Viewer, QWidget]:
    """Open a window with the Train dock in it."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1500, 900)
    dock = show_dock(viewer, "Train").parentWidget()
    qtbot.waitUntil(dock.isVisible)
    return viewer, dock


def settle(qtbot, dock: QWidget, width: int) -> None:
    qtbot.waitUntil(lambda: abs(dock.width() - width) < 3)


def test_a_dock_comes_back_as_wide_as_it_was_on_the_side_where_it_was(
    make_napari_viewer, qtbot, recent_file: Path
) -> None:
    viewer, dock = shown(make_napari_viewer, qtbot)
    window = dock.window()
    qtbot.waitUntil(lambda: window.dockWidgetArea(dock) == RIGHT)
    window.addDockWidget(LEFT, dock)
    window.resizeDocks([dock], [520], Qt.Orientation.Horizontal)
    settle(qtbot, dock, 520)
    viewer.close()
    assert recent_file.with_name("docks.json").exists()
    _, again = shown(make_napari_viewer, qtbot)
    settle(qtbot, again, 520)
    assert again.window().dockWidgetArea(again) == LEFT


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", '{"TrainWidget": 3}', '{"TrainWidget": {"area": "in"}}']
)
def test_a_damaged_file_is_as_good_as_none(
    make_napari_viewer, qtbot, recent_file: Path, text: str
) -> None:
    recent_file.with_name("docks.json").write_text(text)
    _, dock = shown(make_napari_viewer, qtbot)
    assert dock.window().dockWidgetArea(dock) == RIGHT
