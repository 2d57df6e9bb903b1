"""Two windows at a time: each with a project of its own, or both with the same one."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from napari import Viewer
from qtpy.QtCore import Qt

from napari_weno.session import session_of, show_dock
from napari_weno.train_runs import read_run
from weno.features import extract
from weno.mil.config import TrainConfig
from weno.project import Project

LEFT = Qt.MouseButton.LeftButton
WAIT_MS = 240_000


@pytest.fixture
def windows(make_napari_viewer: Callable[..., Viewer]) -> Iterator[list[Viewer]]:
    """Two windows on the screen; a test may close one."""
    both = [make_napari_viewer(show=True) for _ in range(2)]
    open_ones = list(both)
    yield open_ones
    for viewer in open_ones:
        viewer.close()


def prepare_all(qtbot, viewer: Viewer, root: Path) -> Any:
    """Open a project and begin to prepare all its slides; return the box."""
    session_of(viewer).open_project(root)
    box = show_dock(viewer, "Cohort").prepare
    box.choice.setCurrentIndex(2)
    qtbot.waitUntil(box.job.button.isEnabled, timeout=WAIT_MS)
    qtbot.mouseClick(box.job.button, LEFT)
    return box


def prepared(project: Project) -> list[str]:
    return sorted(path.stem for path in project.features_dir.glob("*.h5"))


def test_each_window_prepares_its_own_and_one_is_closed_in_the_middle(
    qtbot,
    windows: list[Viewer],
    new_project: Project,
    tmp_path: Path,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twin = Project.open(shutil.copytree(new_project.root, tmp_path / "twin"))
    both_run = threading.Barrier(2)

    def together(project: Project, *args: Any) -> Generator[Any, None, Any]:
        job = extract(project, *args)
        yield next(job)
        both_run.wait(WAIT_MS / 1000)
        return (yield from job)

    monkeypatch.setattr("weno.features.extract", together)
    closing, staying = windows
    prepare_all(qtbot, closing, twin.root)
    box = prepare_all(qtbot, staying, new_project.root)
    shown = show_dock(staying, "Cohort").table.model()
    qtbot.waitUntil(lambda: bool(prepared(new_project)), timeout=WAIT_MS)
    windows.remove(closing)
    closing.close()
    qtbot.waitUntil(lambda: not box.job.running, timeout=WAIT_MS)
    ids = sorted(row.slide_id for row in new_project.slides)
    assert prepared(new_project) == ids
    assert len(prepared(twin)) <= len(ids)
    qtbot.waitUntil(
        lambda: {shown.index(row, 3).data() for row in range(6)} == {"features"},
        timeout=WAIT_MS,
    )
    assert "6 slides prepared" in box.job.text.text()
    assert session_of(staying).project.root == new_project.root
    assert said == []


def test_two_windows_prepare_one_project_together(
    qtbot, windows: list[Viewer], new_project: Project, said: list[str]
) -> None:
    boxes = [prepare_all(qtbot, viewer, new_project.root) for viewer in windows]
    for box in boxes:
        qtbot.waitUntil(lambda box=box: not box.job.running, timeout=WAIT_MS)
    assert len(prepared(new_project)) == 6
    assert all(box.failures.isHidden() for box in boxes)
    assert new_project.failed_slides() == {}
    assert said == []


def test_a_run_is_of_one_window(
    qtbot, windows: list[Viewer], demo_project: Project, said: list[str]
) -> None:
    docks = []
    for viewer in windows:
        session_of(viewer).open_project(demo_project.root)
        dock = show_dock(viewer, "Train")
        qtbot.waitUntil(dock.job.button.isEnabled, timeout=WAIT_MS)
        dock.form.set_value(TrainConfig(epochs=100_000, patience=100_000))
        docks.append(dock)
    first, second = docks
    assert first.name.text() == second.name.text() == "run-1"
    run = demo_project.run_dir("run-1")
    qtbot.mouseClick(first.job.button, LEFT)
    qtbot.waitUntil(lambda: read_run(run).epochs > 1, timeout=WAIT_MS)

    # The other window does not know of it yet; the run is not harmed.
    assert second.job.button.text() == "Start"
    qtbot.mouseClick(second.job.button, LEFT)
    qtbot.waitUntil(lambda: not second.job.running, timeout=WAIT_MS)
    assert "run-1" in said[-1]
    assert second.result.text()
    epochs = read_run(run).epochs
    qtbot.waitUntil(lambda: read_run(run).epochs > epochs, timeout=WAIT_MS)
    assert first.job.running

    # With another name both go on.
    second.name.setText("run-2")
    qtbot.waitUntil(second.job.button.isEnabled, timeout=WAIT_MS)
    second.form.set_value(TrainConfig(epochs=100_000, patience=100_000))
    qtbot.mouseClick(second.job.button, LEFT)
    other = demo_project.run_dir("run-2")
    qtbot.waitUntil(lambda: read_run(other).epochs > 0, timeout=WAIT_MS)
    for dock in docks:
        qtbot.mouseClick(dock.job.button, LEFT)
    for dock in docks:
        qtbot.waitUntil(lambda dock=dock: not dock.job.running, timeout=WAIT_MS)
    assert {read_run(one).finished for one in (run, other)} == {False}


def test_what_one_window_has_made_is_shown_by_the_other_when_it_looks(
    qtbot, windows: list[Viewer], predicted: Project
) -> None:
    one, other = windows
    for viewer in windows:
        session_of(viewer).open_project(predicted.root)
    dock = show_dock(other, "Cohort")
    model = dock.table.model()
    qtbot.waitUntil(lambda: model.rowCount() == 6, timeout=WAIT_MS)
    edits = show_dock(one, "Cohort").edits
    qtbot.waitUntil(lambda: edits.isVisible(), timeout=WAIT_MS)
    edits.change({"synthetic_003": {"split": "test"}}, "synthetic_003: test")
    # slides.csv is watched; a change of it is not taken back by who has not made it.
    qtbot.waitUntil(
        lambda: dock.table.slides.states[3].row.split == "test", timeout=WAIT_MS
    )
    assert dock.edits.undo_button.isHidden()
