from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from napari import Viewer
from qtpy.QtCore import Qt

from napari_weno.recent import recent_projects, remember
from napari_weno.session import session_of, show_dock
from weno.project import Project

LEFT = Qt.MouseButton.LeftButton


def test_the_project_opened_last_is_offered(
    viewer: Viewer, new_project: Project, qtbot
) -> None:
    remember(new_project)
    dock = show_dock(viewer, "Cohort")
    assert dock.last_button.text() == f"Go on with {new_project.name}"
    qtbot.mouseClick(dock.last_button, LEFT)
    assert session_of(viewer).project.root == new_project.root
    assert dock.last_button.isHidden()
    assert [action.text() for action in dock.recent.menu().actions()] == ["new"]


def test_any_project_of_before_can_be_chosen(
    viewer: Viewer, new_project: Project, tmp_path: Path, qtbot
) -> None:
    dock = show_dock(viewer, "Cohort")
    assert dock.last_button.isHidden()
    assert not dock.recent.isEnabled()
    other = shutil.copytree(new_project.root, tmp_path / "other")
    for folder in (new_project.root, other):
        session_of(viewer).open_project(folder)
    first, second = dock.recent.menu().actions()
    assert (first.toolTip(), second.toolTip()) == (str(other), str(new_project.root))
    second.trigger()
    assert session_of(viewer).project.root == new_project.root


def test_a_project_is_remembered_whatever_opens_it(
    viewer: Viewer, new_project: Project
) -> None:
    session_of(viewer).open_project(new_project.root)
    assert [one.folder for one in recent_projects()] == [str(new_project.root)]


def test_a_project_that_is_gone_becomes_a_notification(
    viewer: Viewer, new_project: Project, qtbot
) -> None:
    from napari.utils.notifications import notification_manager

    remember(new_project)
    shutil.rmtree(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.last_button, LEFT)
    assert "is not a project" in notification_manager.records[-1].message


def test_the_list_says_nothing_of_slides_and_stays_short(
    new_project: Project, recent_file: Path, tmp_path: Path
) -> None:
    for number in range(12):
        root = shutil.copytree(new_project.root, tmp_path / f"p{number}")
        remember(Project.open(root))
    remember(Project.open(tmp_path / "p9"))
    assert [Path(one.folder).name for one in recent_projects()][:3] == [
        "p9",
        "p11",
        "p10",
    ]
    assert len(recent_projects()) == 8
    assert "synthetic" not in recent_file.read_text()


@pytest.mark.parametrize("text", ["", "{", "[3]", '[{"name": "a"}]', "3"])
def test_a_damaged_list_is_no_list(recent_file: Path, text: str) -> None:
    recent_file.write_text(text)
    assert recent_projects() == []


def test_a_folder_that_cannot_be_written_is_no_error(
    new_project: Project, recent_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("napari_weno.recent.replacing", fail)
    remember(new_project)
    assert not recent_file.exists()
