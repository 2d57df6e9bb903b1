"""How long napari lives on when its window is closed in the middle of a job.

    python benchmarks/closing.py [--rounds 3] [--after 0.5]

Needs a screen; without one: xvfb-run -a -s "-screen 0 1600x1000x24" python ... A cohort
is painted and prepared in a temporary folder; each job runs in a napari of its own,
which is closed a while after the job has begun.

- loop: from closing until Qt's loop has ended, which is what napari itself takes, and
  what jobs are waited for.
- gone: from closing until the process is no more.
- nothing: the same without a job, what napari takes by itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

RUN = "done"
SLIDES, SIDE = 12, 4096
_BEAT_MS = 50
_READY_S = 3  # by then docks have looked up what they show at first
_LIMIT_S = 120


def make_project(folder: Path) -> Path:
    """Paint, prepare and fit a small cohort."""
    from weno.features import extract
    from weno.mil import PRESETS, fit_project, predict_project
    from weno.project import Project
    from weno.synthetic import make_cohort
    from weno.tiles import TileSpec

    root = folder / "project"
    deque(make_cohort(root / "cohort", slides=SLIDES, size=SIDE, workers=2), maxlen=0)
    project = Project.create(
        root, root / "cohort" / "slides.csv", spec=TileSpec(64, 0.5)
    )
    deque(extract(project), maxlen=0)
    config = replace(PRESETS["quick"], epochs=3, student_warmup=1)
    deque(fit_project(project, config, name=RUN, device="cpu"), maxlen=0)
    deque(predict_project(project, RUN, device="cpu"), maxlen=0)
    return root


def _extract(viewer: Viewer, dock: Any) -> Any:
    dock.prepare.choice.setCurrentIndex(2)
    return dock.prepare.job


def _fit(viewer: Viewer, dock: Any) -> Any:
    from weno.mil.config import TrainConfig

    dock.form.set_value(TrainConfig(epochs=100_000, patience=100_000))
    return dock.job


def _predict_all(viewer: Viewer, dock: Any) -> Any:
    dock.model.choice.setCurrentIndex(2)
    return dock.model.job


def _predict_open(viewer: Viewer, dock: Any) -> Any:
    dock.model.choice.setCurrentIndex(0)
    return dock.model.job


def _overlay(viewer: Viewer, dock: Any) -> Any:
    dock.export.beneath.setChecked(True)
    # The button would ask for the file.
    dock.export.overlay_job.start_requested.disconnect()
    dock.export.overlay_job.start_requested.connect(
        lambda: dock.export.save_overlay(Path(tempfile.mkdtemp()) / "overlay.ome.tif")
    )
    return dock.export.overlay_job


def _queue(viewer: Viewer, dock: Any) -> Any:
    return dock.setup.job


#: By name the dock, what makes ready and returns the job's bar, and what must not be
#: in the project.
JOBS: dict[str, tuple[str, Callable[[Viewer, Any], Any], str]] = {
    "nothing": ("Explain", lambda *_: None, ""),
    "extraction": ("Cohort", _extract, "features"),
    "fit": ("Train", _fit, ""),
    "prediction of all": ("Explain", _predict_all, ""),
    "prediction of one slide": ("Explain", _predict_open, ""),
    "overlay as OME-TIFF": ("Explain", _overlay, ""),
    "queue of a review": ("Review", _queue, ""),
}


def close_within(name: str, root: Path, after: float) -> None:
    """Be the napari that is closed; the last line of what is printed is JSON."""
    import napari
    from qtpy.QtCore import QTimer

    from napari_weno.session import session_of, show_dock

    dock_name, make_ready, _ = JOBS[name]
    viewer = napari.Viewer(show=True)
    session = session_of(viewer)
    project = session.open_project(root)
    session.open_slide(project.slides[0].slide_id)
    dock = show_dock(viewer, dock_name)
    found: dict[str, Any] = {}
    times: dict[str, float] = {}

    def step() -> None:
        now = time.perf_counter()
        if now - ready < _READY_S or (bars and not bars[0].button.isEnabled()):
            return
        if "begun" not in times:
            times["begun"] = now
            for bar in bars:
                bar.button.click()
        if now - times["begun"] < after:
            return
        timer.stop()
        found["runs"] = any(bar.running for bar in bars)
        times["closed"] = time.perf_counter()
        found["wall"] = time.time()
        viewer.window._qt_window.close(quit_app=True, confirm_need=False)

    ready, job = time.perf_counter(), make_ready(viewer, dock)
    bars = [] if job is None else [job]
    timer = QTimer()
    timer.timeout.connect(step)
    timer.start(_BEAT_MS)
    napari.run()
    loop = time.perf_counter() - times["closed"]
    print(json.dumps({"loop": loop, "wall": found["wall"], "runs": found["runs"]}))
    sys.stdout.flush()


def measure(
    name: str, root: Path, folder: Path, after: float
) -> tuple[float, float, bool]:
    """Close one napari; return the seconds of its loop and its life, and if it ran."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root, copy)
    if gone := JOBS[name][2]:
        shutil.rmtree(copy / gone)
    done = subprocess.run(
        [
            *(sys.executable, __file__, "--job", name),
            *("--project", str(copy), "--after", str(after)),
        ],
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    ended = time.time()
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found["loop"], ended - found["wall"], found["runs"]


def main() -> None:
    """Close a napari in the middle of each job and print the table."""
    parser = argparse.ArgumentParser(description="Seconds until a closed napari ends.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--after", type=float, default=0.5, help="seconds that the job has had"
    )
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--project", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        close_within(arguments.job, arguments.project, arguments.after)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        root = make_project(folder)
        print("| closed during, s | loop | gone | ran when closed |\n|---|---|---|---|")
        for name in JOBS:
            some = [
                measure(name, root, folder, arguments.after)
                for _ in range(arguments.rounds)
            ]
            loop, gone, ran = np.array(some, float).T
            cells = [f"{np.median(x):.2f} ({x.max():.2f})" for x in (loop, gone)]
            told = "-" if name == "nothing" else f"{ran.sum():.0f} of {len(ran)}"
            print(f"| {name} | {' | '.join(cells)} | {told} |", flush=True)


if __name__ == "__main__":
    main()
