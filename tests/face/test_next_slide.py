from __future__ import annotations

import shutil
from pathlib import Path

from napari import Viewer
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt

from napari_weno import commands
from napari_weno.session import session_of, show_dock
from weno.project import Project

CTRL = Qt.KeyboardModifier.ControlModifier


def opened(viewer: Viewer) -> str | None:
    slide = session_of(viewer).opened
    return slide.slide_id if slide else None


def test_from_slide_to_slide_as_the_table_shows_them(
    viewer: Viewer, new_project: Project, qtbot
) -> None:
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)
    dock.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    dock.filter.setText("tumour")
    expected = ["synthetic_005", "synthetic_003", "synthetic_001"]
    found = []
    for _ in range(4):
        qtbot.keyClick(dock.table, Qt.Key.Key_PageDown, CTRL)
        found.append(opened(viewer))
        assert session_of(viewer).selected == found[-1:], "what a label would be given"
    assert found == [*expected, expected[-1]]
    assert notification_manager.records[-1].message == "this is the last slide"
    qtbot.keyClick(dock.table, Qt.Key.Key_PageUp, CTRL)
    assert opened(viewer) == "synthetic_003"


def test_the_slide_that_is_opened_is_the_one_that_gets_a_label(
    viewer: Viewer, new_project: Project, tmp_path: Path, qtbot
) -> None:
    session = session_of(viewer)
    session.open_project(new_project.root)
    session.open_slide("synthetic_003")
    dock = show_dock(viewer, "Cohort")  # whose table is filled later
    qtbot.waitUntil(lambda: session.selected == ["synthetic_003"])
    place = dock.table.visualRect(dock.table.model().index(1, 0)).center()
    qtbot.mouseClick(dock.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    session.files_changed.emit()
    with qtbot.waitSignal(dock._survey.returned):
        pass
    assert session.selected == ["synthetic_001"], "who has chosen another one keeps it"
    stranger = shutil.copy(new_project.slides[0].path, tmp_path / "stranger.tif")
    viewer.open(stranger, plugin="napari-weno")
    assert session.selected == []


def test_the_keys_and_commands_work_beside_the_table(
    viewer: Viewer, new_project: Project, qtbot
) -> None:
    session_of(viewer).open_project(new_project.root)
    commands.next_slide(viewer)
    assert opened(viewer) == "synthetic_000", "without the dock, as in slides.csv"
    show_dock(viewer, "Cohort")
    qtbot.keyClick(viewer.window._qt_window, Qt.Key.Key_PageDown, CTRL)
    assert opened(viewer) == "synthetic_001"
    commands.previous_slide(viewer)
    assert opened(viewer) == "synthetic_000"


def test_a_slide_that_cannot_be_opened_is_passed_over(
    viewer: Viewer, new_project: Project
) -> None:
    new_project.slides[1].path.unlink()
    session = session_of(viewer)
    session.open_project(new_project.root)
    session.open_slide("synthetic_000")
    commands.next_slide(viewer)
    assert opened(viewer) == "synthetic_002"
    assert "synthetic_001" in notification_manager.records[-1].message


def test_without_a_project_the_command_says_so(viewer: Viewer) -> None:
    commands.next_slide(viewer)
    assert notification_manager.records[-1].message == "open a project first"
