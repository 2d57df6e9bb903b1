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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Started = tuple[Callable[[], None], Any]

RUN = "done"
SLIDES, SIDE = 12, 4096
_READY_MS = 5000  # by then docks have looked up what they show at first
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


def _extract(dock: Any, _: Path) -> Started:
    dock.prepare.choice.setCurrentIndex(2)
    return dock.prepare.job.button.click, dock.prepare.job


def _tissue(dock: Any, _: Path) -> Started:
    return dock.tissue.find_button.click, dock.tissue._job


def _fit(dock: Any, _: Path) -> Started:
    from weno.mil.config import TrainConfig

    dock.form.set_value(TrainConfig(epochs=100_000, patience=100_000))
    return dock.job.button.click, dock.job


def _predict(choice: int) -> Callable[[Any, Path], Started]:
    def ready(dock: Any, _: Path) -> Started:
        dock.model.choice.setCurrentIndex(choice)
        return dock.model.job.button.click, dock.model.job

    return ready


def _figure(dock: Any, root: Path) -> Started:
    export = dock.export
    return partial(export.save_figure, root / "figure.png"), export.figure_job


def _overlay(dock: Any, root: Path) -> Started:
    export = dock.export
    export.beneath.setChecked(True)
    return partial(export.save_overlay, root / "overlay.ome.tif"), export.overlay_job


def _queue(dock: Any, _: Path) -> Started:
    return dock.setup.job.button.click, dock.setup.job


#: By name the dock, what returns how the job is begun and the job, and the folder that
#: must not be in the project.
JOBS: dict[str, tuple[str, Callable[[Any, Path], Started] | None, str]] = {
    "nothing": ("Explain", None, ""),
    "tissue of a slide": ("Cohort", _tissue, "tissue"),
    "extraction": ("Cohort", _extract, "features"),
    "fit": ("Train", _fit, ""),
    "prediction of all": ("Explain", _predict(2), ""),
    "prediction of one slide": ("Explain", _predict(0), ""),
    "figure": ("Explain", _figure, ""),
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
    job: Any = None
    closed = wall = 0.0
    ran = False

    def begin() -> None:
        nonlocal job
        if make_ready is not None:
            press, job = make_ready(dock, root)
            press()
        QTimer.singleShot(round(1e3 * after), close)

    def close() -> None:
        nonlocal ran, closed, wall
        ran = job is not None and job.running
        closed, wall = time.perf_counter(), time.time()
        viewer.window._qt_window.close(quit_app=True, confirm_need=False)

    QTimer.singleShot(_READY_MS, begin)
    napari.run()
    loop = time.perf_counter() - closed
    print(json.dumps({"loop": loop, "wall": wall, "runs": ran}))
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
