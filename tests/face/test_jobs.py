"""Jobs at work when their dock or the window is closed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import pytest
from qtpy.QtWidgets import QWidget

from napari_weno.jobs import JobBar, QuietJob, loading
from weno.features import read_features
from weno.project import Project

WAIT_S = 240

# A window that is closed as soon as `ready()` is true.
WINDOW = """
import sys, threading, napari
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from qtpy.QtCore import QTimer
from napari_weno.jobs import JobBar, QuietJob
from napari_weno.session import session_of, show_dock
viewer = napari.Viewer(show=True)
{body}
def step():
    if ready():
        timer.stop()
        viewer.window._qt_window.close(quit_app=True, confirm_need=False)
timer = QTimer()
timer.timeout.connect(step)
timer.start(20)
napari.run()
"""

# Work goes on in a pool, whose threads Python waits for when it ends.
POOLED = """
began, left = threading.Event(), Path(sys.argv[1])
def work(stop):
    began.set()
    stop.wait()
def job():
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work, stop)
        try:
            while True:
                stop.wait(0.01)
                yield
        finally:
            stop.set()
            left.touch()
ready = began.is_set
runner = {runner}
runner.run(job)
"""

# As a read from a share that is gone.
HUNG = """
began = threading.Event()
def job():
    began.set()
    threading.Event().wait()
    yield
ready = began.is_set
runner = {runner}
runner.run(job)
"""

RUNNERS = [
    pytest.param("JobBar('Start', parent=viewer.window._qt_window)", id="with button"),
    pytest.param("QuietJob(viewer.window._qt_window)", id="quiet"),
]


def close_window(body: str, *arguments: str) -> str:
    """Close a window in the middle of a job; return what the program has printed."""
    done = subprocess.run(
        [sys.executable, "-c", WINDOW.format(body=body), *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_closed_window_ends_the_threads_of_a_job(runner: str, tmp_path: Path) -> None:
    # A pool of Python's is waited for at the end: it would never come.
    left = tmp_path / "left"
    close_window(POOLED.format(runner=runner), str(left))
    assert left.exists()


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_closed_window_does_not_wait_for_a_job_that_hangs(runner: str) -> None:
    close_window(HUNG.format(runner=runner))


def test_a_window_closed_in_the_middle_keeps_what_was_prepared(
    new_project: Project,
) -> None:
    body = """
project = session_of(viewer).open_project(sys.argv[1])
dock = show_dock(viewer, 'Cohort')
dock.prepare.choice.setCurrentIndex(2)
told = []
dock.prepare.job.reported.connect(told.append)
clicked = []
def ready():
    if not clicked and dock.prepare.job.button.isEnabled() and dock.prepare._unprepared:
        clicked.append(dock.prepare.job.button.click())
    finished = [report.slide_id for report in told if report.finished]
    if finished:
        print(*finished, flush=True)
    return bool(finished)
"""
    finished = close_window(body, str(new_project.root)).split()
    assert finished
    for slide_id in finished:
        assert len(read_features(new_project.features_path(slide_id)).features)
    assert len(list(new_project.features_dir.glob("*.h5"))) < len(new_project.slides)


@pytest.mark.parametrize("kind", [JobBar, QuietJob])
def test_a_job_ends_with_its_dock(qtbot, kind: type) -> None:
    dock = QWidget()
    job = JobBar("Start", parent=dock) if kind is JobBar else QuietJob(dock)
    began, left = threading.Event(), threading.Event()

    def work() -> Generator[None, None, None]:
        try:
            while True:
                began.set()
                threading.Event().wait(0.01)
                yield
        finally:
            left.set()

    job.run(work)
    assert began.wait(WAIT_S)
    with qtbot.waitSignal(dock.destroyed):
        dock.deleteLater()
    qtbot.waitUntil(left.is_set)


def test_a_job_can_be_left_while_it_loads_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setitem(sys.modules, "the_gate", SimpleNamespace(wait=gate.wait))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_to_load.py").write_text("import the_gate\nthe_gate.wait()\n")
    job = loading("slow_to_load")
    next(job)
    next(job)
    job.close()  # while it waits at the gate
    gate.set()
    deque(loading("slow_to_load"), maxlen=0)
    assert hasattr(sys.modules.pop("slow_to_load"), "the_gate")


def test_what_cannot_be_loaded_is_left_to_who_uses_it() -> None:
    deque(loading("weno.no_such_module"), maxlen=0)
