"""One run of `window.py`: the Cohort dock is scrolled over 1,000 slides, then JSON.

Not to be started by hand. The slides are different files that share their content, so
that each thumbnail is read from a file of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import napari
import numpy as np
from window_case import Others, Watch, spin

from napari_weno.session import session_of, show_dock
from weno.project import Project
from weno.synthetic import make_cohort

SLIDES = 1000
_DIFFERENT = 8
_STEP_MS = 30
_WAIT_MS = 4000


def make_project(folder: Path) -> Path:
    """Make a project of 1,000 slides, each a file of its own."""
    root = folder / "cohort-1000"
    if (root / "project.toml").exists():
        return root
    for _ in make_cohort(folder / "painted", slides=_DIFFERENT, size=2048, workers=2):
        pass
    painted = sorted((folder / "painted" / "slides").glob("*.tif"))
    (root / "slides").mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(SLIDES):
        path = root / "slides" / f"slide_{number:04d}.tif"
        if not path.exists():
            os.link(painted[number % _DIFFERENT], path)
        label = ("negative", "positive")[number % 2]
        records.append({"slide_id": path.stem, "path": str(path), "label": label})
    Project.create(root, records)
    return root


def scroll(root: Path) -> dict[str, object]:
    """Scroll the table down row by row, then up page by page; return the gaps."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1400, 900)
    session_of(viewer).open_project(root)
    dock = show_dock(viewer, "Cohort")
    spin(_WAIT_MS)
    bar = dock.table.verticalScrollBar()
    watch, others = Watch(), Others()
    steps: list[float] = []
    own: list[float] = []

    def move(values: list[int]) -> None:
        for value in values:
            start, busy = time.perf_counter(), time.thread_time()
            bar.setValue(value)
            dock.table.viewport().repaint()
            steps.append(time.perf_counter() - start)
            own.append(time.thread_time() - busy)
            spin(_STEP_MS)

    down = list(range(bar.maximum() + 1))
    up = down[:: -max(1, bar.pageStep())]
    found: dict[str, object] = {
        "down": watch.during(lambda: move(down)),
        "up": watch.during(lambda: move(up)),
        "rows": dock.table.model().rowCount(),
        "others": others.cores(),
    }
    found["step"], found["own"] = _summary(steps), _summary(own)
    found["pictures"] = len(dock.table.slides.thumbnails)
    return found


def _summary(seconds: list[float]) -> dict[str, float]:
    p50, p95, p99, longest = np.percentile(seconds, (50, 95, 99, 100)) * 1e3
    return {"p50": p50, "p95": p95, "p99": p99, "longest": longest}


def main() -> None:
    """Run the case; the last line of what is printed is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(json.dumps(scroll(make_project(parser.parse_args().folder)), default=float))
    sys.stdout.flush()
    os._exit(0)  # a window that reads in threads is not waited for


if __name__ == "__main__":
    main()
