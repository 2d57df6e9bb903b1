from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_weno.import_box import Choices
from napari_weno.new_project import make_project
from napari_weno.session import session_of, show_dock
from weno.project import Project
from weno.tiles import TileSpec

LEFT = Qt.MouseButton.LeftButton


def choose(combo, text: str) -> None:
    combo.setCurrentIndex(combo.findText(text))


def test_columns_of_other_names_are_mapped_by_hand(
    viewer: Viewer, cohort: Path, tmp_path: Path, qtbot
) -> None:
    table = tmp_path / "list.csv"
    table.write_text(
        "Nr;Objektträger;Befund;Labor\n"
        "P1;synthetic_000;normal;A\n"
        "P2;synthetic_001;tumour;A\n"
        "P1;synthetic_002;normal;B\n"
    )
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.new_button, LEFT)
    form = dock.new_form
    imports = form.imports
    assert imports.columns["path"].isHidden()
    form.folder.setText(str(tmp_path / "mine"))
    form.slides.setText(str(table))
    qtbot.mouseClick(form.create_button, LEFT)
    assert "check what each is for" in form.problem.text()
    assert not imports.columns["path"].isHidden()
    choose(imports.columns["slide_id"], "Objektträger")
    choose(imports.columns["label"], "Befund")
    imports.columns["label"].activated.emit(0)
    choose(imports.columns["patient_id"], "Nr")
    assert (form.negative.text(), form.positive.text()) == ("normal", "tumour")
    imports.folder.setText(str(cohort / "slides"))
    qtbot.mouseClick(form.create_button, LEFT)
    qtbot.waitUntil(form.isHidden)
    project = session_of(viewer).project
    assert [(row.slide_id, row.label, row.patient_id) for row in project.slides] == [
        ("synthetic_000", 0, "P1"),
        ("synthetic_001", 1, "P2"),
        ("synthetic_002", 0, "P1"),
    ]
    assert all(row.path.is_file() for row in project.slides)
    assert "Labor" in (project.root / "slides.csv").read_text("utf-8")


def test_usual_names_are_not_asked_for(
    viewer: Viewer, cohort: Path, tmp_path: Path, qtbot
) -> None:
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.new_button, LEFT)
    form = dock.new_form
    form.slides.setText(str(cohort / "slides.csv"))
    form.imports.refresh()
    assert form.imports.columns["slide_id"].isHidden()
    assert form.imports.by_folder.isHidden()


def test_a_folder_of_classes_is_added(
    viewer: Viewer, new_project: Project, cohort: Path, tmp_path: Path, qtbot
) -> None:
    for name, source in (("normal/n1", 0), ("tumour/t1", 1)):
        path = tmp_path / "more" / f"{name}.tif"
        path.parent.mkdir(parents=True)
        shutil.copy(cohort / "slides" / f"synthetic_00{source}.tif", path)
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.add_button, LEFT)
    form = dock.add_form
    qtbot.keyClicks(form.imports.slides, str(tmp_path / "more"))
    form.imports.refresh()
    qtbot.mouseClick(form.imports.by_folder, LEFT)
    qtbot.keyClick(form.imports.slides, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 8)
    assert form.isHidden()
    assert dock.edits.told.text() == "2 slides added"
    labels = {row.slide_id: row.label for row in new_project.slides}
    assert (labels["n1"], labels["t1"]) == (0, 1)


def test_labels_that_come_later_are_filled_in_and_taken_back(
    viewer: Viewer, new_project: Project, tmp_path: Path, qtbot
) -> None:
    new_project.table.edit({"synthetic_000": {"label": ""}})
    before = (new_project.root / "slides.csv").read_bytes()
    path = new_project.slide("synthetic_000").path
    table = tmp_path / "list.csv"
    table.write_text(f"slide_id,path,label\nsynthetic_000,{path},tumour\n")
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.add_button, LEFT)
    dock.add_form.imports.slides.setText(str(table))
    qtbot.mouseClick(dock.add_form.add_button, LEFT)
    qtbot.waitUntil(lambda: dock.edits.told.text() == "0 slides added, 1 completed")
    assert new_project.slide("synthetic_000").label == 1
    qtbot.mouseClick(dock.edits.undo_button, LEFT)
    assert (new_project.root / "slides.csv").read_bytes() == before


def test_slides_that_were_added_are_taken_back(
    viewer: Viewer, new_project: Project, cohort: Path, tmp_path: Path, qtbot
) -> None:
    new_project.table.edit({"synthetic_000": {"label": ""}})
    before = (new_project.root / "slides.csv").read_bytes()
    path = new_project.slide("synthetic_000").path
    table = tmp_path / "list.csv"
    table.write_text(
        f"slide_id,path,label\nsynthetic_000,{path},tumour\n"
        f"new,{cohort / 'slides' / 'synthetic_001.tif'},normal\n"
    )
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.add_button, LEFT)
    dock.add_form.imports.slides.setText(str(table))
    qtbot.mouseClick(dock.add_form.add_button, LEFT)
    qtbot.waitUntil(lambda: dock.edits.told.text() == "1 slides added, 1 completed")
    assert len(new_project.slides) == 7
    qtbot.mouseClick(dock.edits.undo_button, LEFT)
    assert (new_project.root / "slides.csv").read_bytes() == before
    assert dock.edits.told.text() == "Taken back: 1 slides added, 1 completed"
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)


def test_what_cannot_be_added_is_said_in_the_form(
    viewer: Viewer, new_project: Project, tmp_path: Path, qtbot
) -> None:
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.add_button, LEFT)
    dock.add_form.imports.slides.setText(str(tmp_path / "nowhere"))
    qtbot.mouseClick(dock.add_form.add_button, LEFT)
    problem = dock.add_form.problem
    qtbot.waitUntil(lambda: "neither a CSV" in problem.text())
    assert dock.add_form.add_button.isEnabled()
    table = tmp_path / "list.csv"
    table.write_text("slide_id,path,label\nnew,new.tif,benign\n")
    dock.add_form.imports.slides.setText(str(table))
    qtbot.mouseClick(dock.add_form.add_button, LEFT)
    qtbot.waitUntil(lambda: "line 2: label 'benign'" in problem.text())
    assert str(table) in problem.text()
    folder = tmp_path / "more" / "benign"
    folder.mkdir(parents=True)
    shutil.copy(new_project.slides[0].path, folder)
    dock.add_form.imports.slides.setText(str(folder.parent))
    dock.add_form.imports.refresh()
    dock.add_form.imports.by_folder.setChecked(True)
    qtbot.mouseClick(dock.add_form.add_button, LEFT)
    qtbot.waitUntil(lambda: "named as the folder benign" in problem.text())
    assert len(new_project.slides) == 6


def test_the_open_slide_is_added_and_taken_back(
    viewer: Viewer, new_project: Project, tmp_path: Path, qtbot
) -> None:
    stranger = shutil.copy(new_project.slides[0].path, tmp_path / "stranger.tif")
    viewer.open(stranger, plugin="napari-weno")
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    before = (new_project.root / "slides.csv").read_bytes()
    qtbot.mouseClick(dock.prepare.add_button, LEFT)
    assert new_project.slides[-1].slide_id == "stranger"
    assert dock.edits.told.text() == "stranger added"
    assert dock.prepare.add_button.isHidden()
    qtbot.mouseClick(dock.edits.undo_button, LEFT)
    assert (new_project.root / "slides.csv").read_bytes() == before
    assert not dock.prepare.add_button.isHidden(), "it is a stranger again"
    qtbot.mouseClick(dock.prepare.add_button, LEFT)
    Project.open(new_project.root).table.edit({"stranger": {"label": "tumour"}})
    qtbot.mouseClick(dock.edits.undo_button, LEFT)
    assert new_project.slides[-1].label == 1, "others have written into that line"


def test_enter_twice_adds_once(viewer: Viewer, new_project: Project, cohort, qtbot):
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.add_button, LEFT)
    form, added = dock.add_form, []
    form.added.connect(lambda *told: added.append(told))
    form.imports.slides.setText(str(cohort / "slides"))
    qtbot.keyClick(form.imports.slides, Qt.Key.Key_Return)
    assert not form.add_button.isEnabled()
    form.imports.slides.setText(str(cohort / "nowhere"))
    qtbot.keyClick(form.imports.slides, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: bool(added))
    assert form.isHidden()
    assert form.problem.text() == ""


def test_a_project_that_is_cancelled_is_not_made(
    viewer: Viewer, cohort: Path, tmp_path: Path, qtbot
) -> None:
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.new_button, LEFT)
    form = dock.new_form
    form.folder.setText(str(tmp_path / "mine"))
    form.slides.setText(str(cohort / "slides"))
    qtbot.mouseClick(form.create_button, LEFT)
    qtbot.mouseClick(form.cancel_button, LEFT)
    assert form.isHidden()
    assert form.create_button.isEnabled()
    qtbot.waitUntil(lambda: not jobs_at_work(), timeout=20_000)
    QApplication.processEvents()  # what the last of them has said
    assert session_of(viewer).project is None


def jobs_at_work() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "weno-job"]


def test_who_stops_a_long_search_gets_nothing_written(
    cohort: Path, tmp_path: Path
) -> None:
    choices = Choices(cohort / "slides", {}, None, by_folder=False)
    job = make_project(tmp_path / "mine", choices, {})
    next(job)
    next(job)  # all slides are found
    job.close()
    assert not (tmp_path / "mine").exists()


def test_a_table_in_the_folder_becomes_that_of_the_project(
    cohort: Path, tmp_path: Path
) -> None:
    slide = cohort / "slides" / "synthetic_000.tif"
    (tmp_path / "mine").mkdir()
    table = tmp_path / "mine" / "slides.csv"
    table.write_text(f"slide_id,path,ward\ns,{slide},7\n")
    plain = {"slide_id": "slide_id", "path": "path"}
    job = make_project(
        tmp_path / "mine",
        Choices(table, plain, None, by_folder=False),
        {"spec": TileSpec()},
    )
    with pytest.raises(StopIteration) as end:
        while True:
            next(job)
    assert end.value.value.slide("s").path == slide
    assert table.read_text("utf-8").splitlines() == [
        "slide_id,path,ward",
        f"s,{slide},7",
    ]
