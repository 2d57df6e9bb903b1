from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from napari import Viewer
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt

from napari_weno.session import session_of, show_dock
from napari_weno.train import TrainWidget
from napari_weno.train_jobs import Trained, look
from napari_weno.train_runs import read_run
from weno.mil.config import TrainConfig
from weno.mil.devices import Device
from weno.mil.reports import EpochReport
from weno.project import Project

LEFT = Qt.MouseButton.LeftButton
WAIT_MS = 240_000


@pytest.fixture
def dock(viewer: Viewer) -> TrainWidget:
    widget = show_dock(viewer, "Train")
    assert isinstance(widget, TrainWidget)
    return widget


def test_an_empty_dock_says_what_to_do(
    qtbot, viewer: Viewer, dock: TrainWidget, new_project: Project
) -> None:
    assert "No project" in dock.hint.text()
    session_of(viewer).open_project(new_project.root)
    qtbot.waitUntil(lambda: "no features" in dock.hint.text(), timeout=WAIT_MS)
    assert not dock.job.button.isEnabled()
    qtbot.mouseClick(dock.way_out, LEFT)
    assert "Cohort (WENO)" in viewer.window.dock_widgets


def test_train_stop_resume_predict(
    qtbot, viewer: Viewer, dock: TrainWidget, demo_project: Project
) -> None:
    session = session_of(viewer)
    session.open_project(demo_project.root)
    slide_id = demo_project.slides[1].slide_id
    session.open_slide(slide_id)
    qtbot.waitUntil(dock.job.button.isEnabled, timeout=WAIT_MS)
    assert dock.name.text() == "run-1"

    # Settings by keys; the preset says that they are no longer its own.
    epochs = dock.form.editors["epochs"].editor
    epochs.selectAll()
    qtbot.keyClicks(epochs, "400")
    assert dock.preset.currentIndex() == -1
    qtbot.mouseClick(dock.form.more, LEFT)
    patience = dock.form.editors["patience"].editor
    patience.selectAll()
    qtbot.keyClicks(patience, "400")

    qtbot.mouseClick(dock.job.button, LEFT)
    qtbot.waitUntil(lambda: len(dock._history.reports) >= 5, timeout=WAIT_MS)
    qtbot.waitUntil(
        lambda: "overlays are those of" in dock.live.text.text(), timeout=WAIT_MS
    )
    assert session.prediction.run == "run-1"
    assert dock.job.button.text() == "Stop"
    assert "of at most 400" in dock.job.text.text()
    assert "left at most" in dock.job.text.text()
    assert dock.job.progress.maximum() == 400
    assert dock.curves.isVisible()
    assert not epochs.isEnabled()

    qtbot.mouseClick(dock.job.button, LEFT)
    assert dock.job.button.text() == "Stopping…"
    qtbot.waitUntil(lambda: not dock.job.running, timeout=WAIT_MS)
    stopped = read_run(demo_project.run_dir("run-1"))
    assert 5 <= stopped.epochs < 400
    assert not stopped.finished
    assert dock.job.button.text() == "Resume"
    assert session.run == session.prediction.run == "demo"
    qtbot.waitUntil(
        lambda: texts(dock.runs) == ["run-1 stopped", "demo"], timeout=WAIT_MS
    )

    # To the end, by another epoch limit than a person would wait for.
    shorten(demo_project.run_dir("run-1"), stopped.epochs + 3)
    qtbot.mouseClick(dock.job.button, LEFT)
    qtbot.waitUntil(lambda: not dock.job.running, timeout=WAIT_MS)
    assert "6 slides predicted" in dock.result.text()
    assert "test AUC teacher" in dock.result.text()
    assert session.run == "run-1"
    assert session.prediction.run == "run-1"
    assert session.prediction.slide_id == slide_id
    assert "attention" in viewer.layers
    epochs_told = [report.epoch for report in dock._history.reports]
    assert epochs_told == list(range(1, stopped.epochs + 4))
    assert dock.name.text() == "run-2"
    assert dock.job.button.text() == "Start"

    # A run is chosen again by a double click in the table.
    item = dock.runs.item(1, 0)
    place = dock.runs.visualItemRect(item).center()
    qtbot.mouseClick(dock.runs.viewport(), LEFT, pos=place)
    qtbot.mouseDClick(dock.runs.viewport(), LEFT, pos=place)
    assert session.run == "demo"
    assert session.prediction.run == "demo"

    # Two are compared: select, then the button below.
    qtbot.mouseClick(
        dock.runs.viewport(),
        LEFT,
        Qt.KeyboardModifier.ControlModifier,
        dock.runs.visualItemRect(dock.runs.item(0, 0)).center(),
    )
    assert dock.card.text() == "Compare 2 runs"
    qtbot.mouseClick(dock.card, LEFT)
    assert dock.cards.isVisible()
    headers = [dock.cards.table.horizontalHeaderItem(k).text() for k in (1, 2)]
    assert headers == ["run-1", "demo"]


def texts(table: Any) -> list[str]:
    """Return name and state of each run in the table."""
    rows = range(table.rowCount())
    states = [table.item(row, 4).text() for row in rows]
    return [
        f"{table.item(row, 0).text()} {state}"
        if state == "stopped"
        else table.item(row, 0).text()
        for row, state in zip(rows, states, strict=True)
    ]


def shorten(folder: Path, epochs: int) -> None:
    """Let a run that was stopped end soon."""
    config = TrainConfig.read(folder / "config.json").to_dict()
    TrainConfig.from_dict({**config, "epochs": epochs}).write(folder / "config.json")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("demo", "a run of this name already", id="taken"),
        pytest.param("../out", "cannot be a name", id="bad"),
    ],
)
def test_a_name_that_cannot_be_is_said_at_once(
    qtbot,
    viewer: Viewer,
    dock: TrainWidget,
    demo_project: Project,
    name: str,
    said: str,
) -> None:
    session_of(viewer).open_project(demo_project.root)
    qtbot.waitUntil(dock.job.button.isEnabled, timeout=WAIT_MS)
    dock.name.selectAll()
    qtbot.keyClicks(dock.name, name)
    assert said in dock.job.text.text()
    assert not dock.job.button.isEnabled()


def test_settings_that_do_not_go_together_are_said(
    qtbot, viewer: Viewer, dock: TrainWidget, demo_project: Project
) -> None:
    session_of(viewer).open_project(demo_project.root)
    qtbot.waitUntil(dock.job.button.isEnabled, timeout=WAIT_MS)
    dock.form.editors["folds"].editor.setValue(1)
    qtbot.mouseClick(dock.job.button, LEFT)
    assert "folds" in dock.job.text.text()
    assert not dock.job.running
    assert not demo_project.run_dir("run-1").exists()


def begin_long_fit(qtbot: Any, viewer: Viewer, dock: TrainWidget, root: Path) -> None:
    """Start a fit that would take hours, and wait for its first epochs."""
    session_of(viewer).open_project(root)
    qtbot.waitUntil(dock.job.button.isEnabled, timeout=WAIT_MS)
    dock.form.set_value(TrainConfig(epochs=100_000, patience=100_000))
    qtbot.mouseClick(dock.job.button, LEFT)
    qtbot.waitUntil(lambda: len(dock._history.reports) >= 2, timeout=WAIT_MS)


def children() -> list[psutil.Process]:
    """Return the processes that fit for this one."""
    found = psutil.Process().children(recursive=True)
    return [child for child in found if "weno.mil.fit_apart" in child.cmdline()]


def test_a_closed_dock_takes_its_fit_along_and_loses_nothing(
    qtbot, viewer: Viewer, dock: TrainWidget, demo_project: Project
) -> None:
    begin_long_fit(qtbot, viewer, dock, demo_project.root)
    reported = dock._history.reports[-1].epoch
    (child,) = children()
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    qtbot.waitUntil(lambda: not child.is_running(), timeout=WAIT_MS)
    run = read_run(demo_project.run_dir("run-1"))
    assert run.epochs >= reported
    assert not run.finished

    # As after a restart: the run that was stopped is offered, with its settings.
    again = TrainWidget(viewer)
    qtbot.addWidget(again)
    assert again.name.text() == "run-1"
    assert again.form.value().epochs == 100_000
    qtbot.waitUntil(again.job.button.isEnabled, timeout=WAIT_MS)
    assert again.job.button.text() == "Resume"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_fit_that_dies_says_so_and_can_be_resumed(
    qtbot, viewer: Viewer, dock: TrainWidget, demo_project: Project
) -> None:
    said = []
    notification_manager.notification_ready.connect(said.append)
    begin_long_fit(qtbot, viewer, dock, demo_project.root)
    (child,) = children()
    child.kill()
    qtbot.waitUntil(lambda: not dock.job.running, timeout=WAIT_MS)
    notification_manager.notification_ready.disconnect(said.append)
    assert "signal 9" in dock.result.text()
    assert "signal 9" in said[-1].message
    assert dock.job.button.text() == "Resume"
    assert dock.job.button.isEnabled()


def test_a_closed_window_takes_its_fit_along(demo_project: Project) -> None:
    """In a process of its own, which must end as well."""
    program = (
        "import sys, napari, psutil\n"
        "from napari_weno.session import session_of, show_dock\n"
        "from weno.mil.config import TrainConfig\n"
        "from qtpy.QtCore import QTimer\n"
        "viewer = napari.Viewer(show=True)\n"
        "session_of(viewer).open_project(sys.argv[1])\n"
        "dock = show_dock(viewer, 'Train')\n"
        "dock.form.set_value(TrainConfig(epochs=100_000, patience=100_000))\n"
        "def step():\n"
        "    if not dock.job.running and dock.job.button.isEnabled():\n"
        "        dock.job.button.click()\n"
        "    if dock._history.reports:\n"
        "        timer.stop()\n"
        "        print(dock._history.reports[-1].epoch,\n"
        "              *(p.pid for p in psutil.Process().children()\n"
        "                if 'weno.mil.fit_apart' in p.cmdline()), flush=True)\n"
        "        viewer.window._qt_window.close(quit_app=True, confirm_need=False)\n"
        "timer = QTimer()\n"
        "timer.timeout.connect(step)\n"
        "timer.start(50)\n"
        "napari.run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(demo_project.root)],
        capture_output=True,
        text=True,
        timeout=WAIT_MS / 1000,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    epoch, child = (int(text) for text in done.stdout.split()[-2:])
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(WAIT_MS / 1000)
    assert read_run(demo_project.run_dir("run-1")).epochs >= epoch


@pytest.fixture
def report() -> EpochReport:
    return EpochReport(
        fold=0,
        folds=0,
        epoch=12,
        epochs=40,
        teacher_loss=0.4,
        student_loss=0.1,
        val_loss=0.5,
        val_teacher_auc=0.9,
        val_student_auc=0.8,
        val_student_top_auc=0.9,
        val_mixed_auc=None,
        mined=0.1,
        mining=True,
        val_loss_before_mining=0.5,
        label_limits=(0.0, 1.0),
        label_histogram=(99, *[0] * 18, 9),
        is_best=False,
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({}, "", id="well"),
        pytest.param({"mined": 0.6}, "hides 60% of the tiles", id="hides most"),
        pytest.param({"val_loss": 0.7}, "before mining it was 0.50", id="worse"),
    ],
)
def test_mining_that_goes_wrong_is_warned_of(
    dock: TrainWidget, report: EpochReport, change: dict[str, Any], said: str
) -> None:
    dock.job.reported.emit(replace(report, **change))
    assert (said in dock.result.text()) if said else not dock.result.text()


def test_a_run_near_chance_is_warned_of_at_its_end(
    qtbot, dock: TrainWidget, demo_project: Project
) -> None:
    path = demo_project.run_dir("demo") / "card.json"
    card = json.loads(path.read_text())
    card["metrics"]["val"] = {"teacher_loss": 0.69}
    path.write_text(json.dumps(card))
    run = read_run(demo_project.run_dir("demo"))
    dock.job.returned.emit(Trained(run, predicted=6, failed=0))
    assert "do not trust this run" in dock.result.text()
    session_of(dock._session.viewer).open_project(demo_project.root)
    # Neither text nor curves of another project stay.
    assert dock.result.text() == ""
    qtbot.waitUntil(lambda: dock.runs.rowCount() == 1, timeout=WAIT_MS)
    assert dock.runs.item(0, 2).text().endswith("⚠")
    assert "do not trust" in dock.runs.item(0, 2).toolTip()


def test_curves_and_pseudo_labels_are_drawn(
    qtbot, dock: TrainWidget, report: EpochReport
) -> None:
    for number in (1, 2, 3):
        dock.job.reported.emit(replace(report, epoch=number))
    qtbot.waitUntil(lambda: dock._drawn.isActive(), timeout=WAIT_MS)
    # What came while they rested is drawn when they have.
    qtbot.waitUntil(lambda: not dock._history.changed, timeout=WAIT_MS)
    epochs, losses = dock.curves.drawn("val_loss")
    assert (list(epochs), list(losses)) == ([1, 2, 3], [0.5, 0.5, 0.5])
    assert dock.curves.drawn("mined")[1][-1] == 0.1
    heights = dock.curves.labels.heights
    assert heights[0] == 2
    assert heights[19] == 1
    assert sum(heights) == 3


def test_a_look_that_takes_long_is_not_begun_again_and_again(
    qtbot,
    viewer: Viewer,
    dock: TrainWidget,
    demo_project: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = [], threading.Event()

    def slow(project: Project) -> Any:
        begun.append(project)
        go_on.wait(WAIT_MS / 1000)
        return (yield from look(project))

    monkeypatch.setattr("napari_weno.train.look", slow)
    session = session_of(viewer)
    session.open_project(demo_project.root)
    qtbot.waitUntil(lambda: len(begun) == 1, timeout=WAIT_MS)
    waits = []
    dock._timer.timeout.connect(lambda: waits.append(session.files_changed.emit()))
    session.files_changed.emit()
    qtbot.waitUntil(lambda: len(waits) > 3, timeout=WAIT_MS)
    assert len(begun) == 1
    go_on.set()
    qtbot.waitUntil(dock.job.button.isEnabled, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: len(begun) == 2, timeout=WAIT_MS)


def test_a_device_stays_chosen_when_another_one_comes_or_goes(
    qtbot, viewer: Viewer, dock: TrainWidget, demo_project: Project
) -> None:
    session_of(viewer).open_project(demo_project.root)
    qtbot.waitUntil(dock.job.button.isEnabled, timeout=WAIT_MS)
    one, two = Device("cuda:0", "one, 8 GiB free"), Device("cuda:1", "two, 9 GiB free")
    ready = replace(dock._ready, devices=(one, two))
    dock._look.returned.emit(ready)
    dock.device.setCurrentIndex(1)
    dock._look.returned.emit(replace(ready, devices=(Device("auto", "auto"), one, two)))
    assert dock.device.currentData() == "cuda:1"
    dock._look.returned.emit(replace(ready, devices=(replace(one, text="one, full"),)))
    assert dock.device.currentText() == "one, full"
    assert dock.device.count() == 1
