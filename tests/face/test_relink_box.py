from __future__ import annotations

from pathlib import Path

from napari import Viewer
from qtpy.QtCore import Qt

from napari_weno.session import session_of, show_dock
from weno.project import Project
from weno.relink import Moved

LEFT = Qt.MouseButton.LeftButton


def status(dock, row: int) -> str:
    return dock.table.model().index(row, 3).data()


def test_moved_slides_are_found_again_and_that_is_taken_back(
    viewer: Viewer, demo_project: Project, tmp_path: Path, qtbot
) -> None:
    session_of(viewer).open_project(demo_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)
    assert dock.relink.isHidden()
    before = (demo_project.root / "slides.csv").read_bytes()
    old = demo_project.slide("synthetic_002").path
    new = tmp_path / "elsewhere" / "other name.tif"
    new.parent.mkdir()
    old.rename(new)
    session_of(viewer).files_changed.emit()
    qtbot.waitUntil(lambda: status(dock, 2) == "not found")
    qtbot.waitUntil(dock.relink.isVisible)
    assert "moved or renamed?" in dock.relink.text.text()
    qtbot.mouseClick(dock.relink.job.button, LEFT)
    assert "Give the folder" in dock.relink.job.text.text()
    qtbot.keyClicks(dock.relink.folder, str(new.parent))
    with qtbot.waitSignal(dock.relink.found, timeout=20_000):
        qtbot.keyClick(dock.relink.folder, Qt.Key.Key_Return)
    assert demo_project.slide("synthetic_002").path == new
    qtbot.waitUntil(lambda: status(dock, 2) == "predicted")
    qtbot.waitUntil(dock.relink.isHidden)
    assert dock.edits.told.text() == "1 of 1 slides found again"
    qtbot.mouseClick(dock.edits.undo_button, LEFT)
    assert (demo_project.root / "slides.csv").read_bytes() == before
    qtbot.waitUntil(lambda: status(dock, 2) == "not found")
    qtbot.waitUntil(dock.relink.isVisible)
    assert dock.relink.job.text.text() == ""


def test_what_others_write_into_the_table_is_noticed(
    viewer: Viewer, new_project: Project, qtbot
) -> None:
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)
    for label in ("tumour", "normal"):
        # Not through the dock: as another program does, twice under the same name.
        Project.open(new_project.root).table.edit({"synthetic_000": {"label": label}})
        qtbot.waitUntil(
            lambda wanted=label: (
                dock.table.model().index(0, 1).data().startswith(wanted)
            )
        )


def test_what_is_found_for_another_project_is_dropped(
    viewer: Viewer, demo_project: Project, new_project: Project, tmp_path: Path, qtbot
) -> None:
    session = session_of(viewer)
    session.open_project(demo_project.root)
    dock = show_dock(viewer, "Cohort")
    moved = tmp_path / "elsewhere" / "synthetic_002.tif"
    moved.parent.mkdir()
    demo_project.slide("synthetic_002").path.rename(moved)
    session.files_changed.emit()
    qtbot.waitUntil(dock.relink.isVisible)
    dock.relink.folder.setText(str(moved.parent))
    before = (new_project.root / "slides.csv").read_bytes()
    with qtbot.waitSignal(dock.relink.job.ended, timeout=20_000):
        qtbot.mouseClick(dock.relink.job.button, LEFT)
        # The search ends while this opens; its slides have the same names.
        session.open_project(new_project.root)
    assert (new_project.root / "slides.csv").read_bytes() == before
    assert dock.relink.isHidden()
    # Also if the result is on its way already.
    dock.relink.job.returned.emit([Moved("synthetic_002", moved, by_content=True)])
    assert (new_project.root / "slides.csv").read_bytes() == before
