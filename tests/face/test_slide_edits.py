from __future__ import annotations

from pathlib import Path

import pytest
from napari import Viewer
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QComboBox

from napari_weno.session import session_of, show_dock
from weno.project import Project

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def dock(viewer: Viewer, new_project: Project, qtbot):
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)
    return dock


def select(qtbot, dock, *rows: int) -> None:
    for number, row in enumerate(rows):
        key = Qt.KeyboardModifier.ControlModifier if number else Qt.KeyboardModifier(0)
        place = dock.table.visualRect(dock.table.model().index(row, 0)).center()
        qtbot.mouseClick(dock.table.viewport(), LEFT, key, pos=place)


def choose(qtbot, combo: QComboBox, text: str) -> None:
    """Choose with the keyboard, from the list."""
    combo.setFocus()
    qtbot.keyClick(combo, Qt.Key.Key_Space)
    view = combo.view()
    qtbot.waitUntil(view.isVisible)
    view.setCurrentIndex(combo.model().index(combo.findText(text), 0))
    qtbot.keyClick(view, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not view.isVisible())


def labels(project: Project) -> dict[str, str]:
    return {
        row.slide_id[-1]: ""
        if row.class_index is None
        else project.classes[row.class_index]
        for row in project.slides
    }


def splits(project: Project) -> dict[str, str | None]:
    return {row.slide_id[-1]: row.split for row in project.slides}


def test_selected_slides_get_a_label_and_it_is_taken_back(
    dock, new_project: Project, qtbot
) -> None:
    table = new_project.root / "slides.csv"
    table.write_bytes(table.read_bytes() + b"# mine\r\n")
    before = table.read_bytes()
    assert not dock.edits.label.isEnabled()
    select(qtbot, dock, 0, 2)
    assert dock.edits.label.currentText() == "normal"
    choose(qtbot, dock.edits.label, "tumour")
    qtbot.waitUntil(lambda: dock.table.model().index(0, 1).data().startswith("tumour"))
    assert labels(new_project)["0"] == labels(new_project)["2"] == "tumour"
    assert labels(new_project)["4"] == "normal"
    assert dock.edits.told.text() == "2 slides: tumour"
    assert b"# mine" in table.read_bytes()
    qtbot.mouseClick(dock.edits.undo_button, LEFT)
    assert table.read_bytes() == before
    assert dock.edits.undo_button.isHidden()
    qtbot.waitUntil(lambda: dock.table.model().index(0, 1).data().startswith("normal"))


def test_ctrl_z_takes_changes_back_one_by_one(dock, new_project, qtbot) -> None:
    first = labels(new_project)
    select(qtbot, dock, 0)
    choose(qtbot, dock.edits.label, "tumour")
    choose(qtbot, dock.edits.label, "no label")
    assert labels(new_project)["0"] == ""
    dock.table.setFocus()
    for expected in ("tumour", "normal"):
        qtbot.keyClick(dock.table, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        qtbot.waitUntil(lambda wanted=expected: labels(new_project)["0"] == wanted)
    assert labels(new_project) == first


def test_a_third_class_can_be_given(
    viewer: Viewer, new_project: Project, qtbot
) -> None:
    settings = new_project.root / "project.toml"
    two, three = '["normal", "tumour"]', '["normal", "tumour", "necrosis"]'
    settings.write_text(settings.read_text("utf-8").replace(two, three), "utf-8")
    project = session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)
    select(qtbot, dock, 1)
    choose(qtbot, dock.edits.label, "necrosis")
    assert labels(project)["1"] == "necrosis"


def test_a_patient_in_two_splits_is_said(dock, new_project: Project, qtbot) -> None:
    assert dock.edits.leaks.isHidden()
    rows = [row.slide_id for row in new_project.slides]
    patient = new_project.slides[0].patient_id
    new_project.table.edit({rows[1]: {"patient_id": patient}})
    select(qtbot, dock, 0)
    choose(qtbot, dock.edits.split, "test")
    select(qtbot, dock, 1)
    choose(qtbot, dock.edits.split, "train")
    assert f"patient {patient} (test, train)" in dock.edits.leaks.text()
    assert not dock.edits.leaks.isHidden()
    choose(qtbot, dock.edits.split, "test")
    assert dock.edits.leaks.isHidden()


def test_splits_are_drawn_and_taken_back(dock, new_project: Project, qtbot) -> None:
    before = splits(new_project)
    qtbot.mouseClick(dock.edits.splits_button, LEFT)
    form = dock.edits.splits
    assert form.isVisible()
    qtbot.mouseClick(form.keep, LEFT)
    form.val.setValue(0)
    form.test.selectAll()
    qtbot.keyClicks(form.test.lineEdit(), "34")
    qtbot.mouseClick(form.make_button, LEFT)
    drawn = splits(new_project)
    assert set(drawn.values()) == {"train", "test"}
    assert sorted(drawn.values()).count("test") == 2
    qtbot.mouseClick(form.make_button, LEFT)
    assert "this seed and these shares" in dock.edits.told.text()
    qtbot.mouseClick(form.keep, LEFT)
    qtbot.mouseClick(form.make_button, LEFT)
    assert "every labelled slide has one" in dock.edits.told.text()
    assert splits(new_project) == drawn
    qtbot.mouseClick(dock.edits.undo_button, LEFT)
    assert splits(new_project) == before


def test_a_table_that_others_have_changed_is_left_alone(
    dock, new_project: Project, qtbot
) -> None:
    from napari.utils.notifications import notification_manager

    select(qtbot, dock, 0)
    choose(qtbot, dock.edits.label, "tumour")
    slide_id = new_project.slides[0].slide_id
    new_project.table.edit({slide_id: {"label": "normal"}})
    qtbot.mouseClick(dock.edits.undo_button, LEFT)
    assert "changed since" in notification_manager.records[-1].message
    assert labels(new_project)["0"] == "normal"


def test_the_edit_line_goes_with_the_project(
    viewer: Viewer, tmp_path: Path, qtbot
) -> None:
    assert show_dock(viewer, "Cohort").edits.isHidden()


def test_neither_wheel_nor_letters_label_a_slide(dock, new_project, qtbot) -> None:
    before = labels(new_project)
    select(qtbot, dock, 0)
    combo = dock.edits.label
    turn = QWheelEvent(
        QPointF(5, 5),
        combo.mapToGlobal(QPointF(5, 5)),
        QPoint(),
        QPoint(0, -240),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(combo, turn)
    qtbot.keyClicks(combo, "t")
    combo.hidePopup()
    assert labels(new_project) == before
