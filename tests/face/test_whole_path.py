"""The whole way of a person through the docks, by clicks and keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QSpinBox, QWidget

from napari_weno.session import session_of, show_dock
from napari_weno.train_runs import read_run
from weno.mil.bags import load_bags
from weno.mil.config import TrainConfig
from weno.project import Project

LEFT = Qt.MouseButton.LeftButton
WAIT_MS = 180_000  # a fit loads torch in a process of its own
SLIDE = "synthetic_001"


class Person:
    """Points, clicks and types, and waits for what is said to be at work."""

    def __init__(self, qtbot, viewer: Viewer) -> None:
        self._qtbot, self._viewer = qtbot, viewer

    def go_to(self, dock: str):
        return show_dock(self._viewer, dock)

    def click(self, button: QWidget) -> None:
        self.wait_for(button.isEnabled)
        self._qtbot.mouseClick(button, LEFT)

    def press(self, widget: QWidget, *keys: Qt.Key) -> None:
        for key in keys:
            self._qtbot.keyClick(widget, key)

    def type_into(self, field: QWidget, text: str) -> None:
        field.selectAll()
        line = field.lineEdit() if isinstance(field, QSpinBox) else field
        self._qtbot.keyClicks(line, text)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        self._qtbot.waitUntil(condition, timeout=WAIT_MS)

    def run(self, job) -> None:
        self.click(job.button)
        self.wait_for(lambda: not job.running)


@pytest.fixture
def person(qtbot, viewer: Viewer) -> Person:
    return Person(qtbot, viewer)


def make_project(person: Person, slides: Path, folder: Path) -> Project:
    dock = person.go_to("Cohort")
    person.click(dock.new_button)
    form = dock.new_form
    person.type_into(form.folder, str(folder))
    person.type_into(form.slides, str(slides))
    form.tile_um.selectAll()
    person._qtbot.keyClicks(form.tile_um.lineEdit(), "64")
    person.press(form.slides, Qt.Key.Key_Return)
    person.wait_for(lambda: dock.table.model().rowCount() == 6)
    return Project.open(folder)


def prepare_all(person: Person) -> None:
    dock = person.go_to("Cohort")
    person.press(dock.prepare.choice, Qt.Key.Key_End)
    person.wait_for(lambda: "tiles in 6 slides" in dock.prepare.preview.text())
    person.run(dock.prepare.job)


def train_with_a_pause(person: Person, project: Project) -> None:
    dock = person.go_to("Train")
    person.type_into(dock.form.editors["epochs"].editor, "400")
    person.click(dock.form.more)
    person.type_into(dock.form.editors["patience"].editor, "400")
    person.click(dock.predict)
    person.click(dock.job.button)
    person.wait_for(lambda: not dock.curves.isHidden())
    person.run(dock.job)  # the same button stops it
    folder = project.run_dir("run-1")
    stopped = read_run(folder)
    assert not stopped.finished
    assert dock.job.button.text() == "Resume"
    # Nobody waits for 400 epochs.
    values = TrainConfig.read(folder / "config.json").to_dict()
    TrainConfig.from_dict({**values, "epochs": stopped.epochs + 2}).write(
        folder / "config.json"
    )
    person.run(dock.job)
    assert read_run(folder).finished
    assert read_run(folder).epochs == stopped.epochs + 2


def predict_and_look(person: Person) -> None:
    dock = person.go_to("Explain")
    person.press(dock.model.choice, Qt.Key.Key_End)
    person.run(dock.model.job)
    assert "6 slides predicted" in dock.model.job.text.text()
    table = person.go_to("Cohort").table
    table.selectRow(table.order().index(SLIDE))
    person.press(table, Qt.Key.Key_Return)
    assert "P(positive)" in dock.slide.text()
    assert dock.gallery.gallery.model().rowCount() > 0


def save_figure(person: Person, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dock = person.go_to("Explain")
    dock.tabs.setCurrentWidget(dock.export)
    # The system's own dialog takes no keys from a test.
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    person.run(dock.export.figure_job)
    assert "Research use only" in path.read_text("utf-8")


def answer(person: Person, *keys: Qt.Key) -> None:
    dock = person.go_to("Review")
    person.type_into(dock.setup.reviewer, "ada")
    person.press(dock.setup.slides, Qt.Key.Key_End)
    dock.setup.audit.setValue(0)
    person.click(dock.setup.job.button)
    person.wait_for(lambda: dock.round is not None)
    for key in keys:
        person.wait_for(lambda: dock.settled)
        person.press(dock.page, key)
    person.wait_for(lambda: dock.settled)
    person.click(dock.page.end)


def export_answers(person: Person, project: Project) -> list[str]:
    dock = person.go_to("Review")
    person.click(dock.answers.csv)
    person.wait_for(lambda: not dock.answers.exports.running)
    table = project.review_dir / "exports" / "verdicts.csv"
    return table.read_text("utf-8").splitlines()[1:]


def retrain(person: Person, project: Project) -> None:
    train = person.go_to("Train")
    person.click(person.go_to("Review").answers.retrain)
    person.wait_for(lambda: train.job.running)
    person.wait_for(lambda: not train.job.running)
    assert read_run(project.run_dir("run-2")).finished


def test_from_slides_to_a_model_that_has_learnt_from_a_person(
    person: Person,
    viewer: Viewer,
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = make_project(person, cohort / "slides.csv", tmp_path / "mine")
    prepare_all(person)
    assert all(project.features_path(s.slide_id).is_file() for s in project.slides)
    train_with_a_pause(person, project)
    predict_and_look(person)
    save_figure(person, tmp_path / "figure.svg", monkeypatch)
    answer(person, Qt.Key.Key_P, Qt.Key.Key_N)
    assert len(export_answers(person, project)) == 2
    (bag,) = load_bags(project, [SLIDE])
    assert sorted(bag.verdicts[bag.verdicts >= 0]) == [0, 1]
    retrain(person, project)
    assert session_of(viewer).run == "run-2"
