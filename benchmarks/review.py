"""How long it takes from a key of the review to the next tile on the screen.

    python benchmarks/review.py [--slides CSV] [--tiles 5000] [--keys 200]

Needs a screen; without one: xvfb-run -a -s "-screen 0 1600x1000x24" python ... The
slides of the CSV (synthetic ones if none is given) get predictions of random values,
and a queue of so many tiles is begun: the next tile mostly lies on another slide. At
the moment at which the next tile is painted, tile and surroundings, the verdict file is
read: a verdict that is not in it by then is counted.

- looking: a key comes so many ms after the tile before was painted, as from a person.
- at once: a key comes as soon as the window has done all it does about the tile before.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weno.prediction import Prediction
    from weno.project import Project
    from weno.slides import Slide

_RUN = "random"
_LIMIT_S = 20.0
_KEYS = "pnus"


def make_project(folder: Path, slides: Path | None, tile_um: float) -> Project:
    """Make a project with a run that predicts every slide at random."""
    from weno.prediction import write_prediction
    from weno.project import Project
    from weno.synthetic import make_cohort
    from weno.tiles import TileSpec

    if slides is None:
        deque(make_cohort(folder / "cohort", slides=12, size=4096), maxlen=0)
        slides = folder / "cohort" / "slides.csv"
    spec = TileSpec(tile_um=tile_um, mpp=tile_um / 64, min_tissue=0.25)
    project = Project.create(folder / "project", slides, spec=spec)
    run = project.run_dir(_RUN)
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    rng = np.random.default_rng(0)
    for row in project.slides:
        with project.open_slide(row.slide_id) as slide:
            prediction = predict_at_random(row.slide_id, slide, project, rng)
        write_prediction(project.prediction_path(_RUN, row.slide_id), prediction)
    return project


def predict_at_random(
    slide_id: str, slide: Slide, project: Project, rng: np.random.Generator
) -> Prediction:
    """Return a prediction whose values mean nothing."""
    from weno.prediction import Prediction
    from weno.tiles import tile_grid

    grid = tile_grid(slide, project.spec)
    n = len(grid)
    values = rng.random((6, n), np.float32)
    rank = np.zeros(n, np.int32)
    rank[rng.permutation(n)[:50]] = np.arange(1, min(n, 50) + 1)
    return Prediction(
        slide_id=slide_id,
        run=_RUN,
        class_name=project.class_names[1],
        teacher_probability=0.9,
        student_probability=0.9,
        student_top_mean=0.8,
        threshold=0.5,
        encoder=project.encoder,
        spec=project.spec,
        mpp=slide.mpp or (1.0, 1.0),
        slide_shape=slide.shape,
        content_hash=slide.content_hash,
        origins=grid.origins,
        score=values[0],
        attention=values[1] / values[1].sum(),
        attention_percentile=values[1],
        pseudo_label=values[2],
        probability=values[3],
        re_attention=values[4],
        disagreement=2 * values[5] - 1,
        familiarity=values[2],
        easy_positive=np.zeros(n, bool),
        candidate_rank=rank,
    )


class Watched:
    """A review in a real window, and the clock beside it.

    Parameters
    ----------
    project : Project
    tiles : int
        Length of the queue.
    """

    def __init__(self, project: Project, tiles: int) -> None:
        import napari
        from qtpy.QtCore import QEvent, QObject

        from napari_weno.review import ReviewWidget
        from napari_weno.session import session_of, show_dock
        from weno.prediction import read_prediction
        from weno.review import build_queue

        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1500, 950)
        session_of(self.viewer).open_project(project.root)
        paths = sorted(project.predictions_dir(_RUN).glob("*.parquet"))
        queue = build_queue(map(read_prediction, paths), limit=tiles, per_slide=tiles)
        dock = show_dock(self.viewer, "Review")
        assert isinstance(dock, ReviewWidget)
        self.dock = dock
        self.dock.setup.reviewer.setText("ada")
        self.dock.setup.ready.emit(queue)
        self.tiles = len(queue)
        self.file = project.review_dir / "ada.jsonl"
        view = self.dock.page.crop
        outer = self

        class Painted(QObject):
            def eventFilter(self, watched: QObject, event: QEvent) -> bool:
                if event.type() == QEvent.Type.Paint:
                    outer._on_paint()
                return False

        self._filter = Painted()
        view.installEventFilter(self._filter)
        self._wanted: Any = None
        self._painted = 0.0
        self._lines = 0

    def _on_paint(self) -> None:
        view = self.dock.page.crop
        if self._wanted is not None and view.shown == self._wanted:
            self._painted = time.perf_counter()
            self._lines = self.file.read_bytes().count(b"\n")
            self._wanted = None

    def answer(self, key: str, wait_ms: int) -> tuple[float, bool]:
        """Press a key; return ms until the next tile is painted, and if it is saved."""
        from qtpy.QtTest import QTest
        from qtpy.QtWidgets import QApplication

        spin(wait_ms)
        before = self.file.read_bytes().count(b"\n") if self.file.exists() else 0
        current = self.dock.round
        assert current is not None
        following = current.queue[current.position + 1]
        self._wanted = following.tile
        start = time.perf_counter()
        QTest.keyClick(self.dock.page, key)
        while self._wanted is not None and time.perf_counter() - start < _LIMIT_S:
            QApplication.processEvents()
        if self._wanted is not None:
            raise RuntimeError("the next tile never came")
        return 1e3 * (self._painted - start), self._lines == before + 1


def spin(milliseconds: int) -> None:
    """Let the window live for a while, or until it has nothing left to do."""
    from qtpy.QtCore import QEventLoop, Qt, QTimer

    loop = QEventLoop()
    QTimer.singleShot(milliseconds, Qt.TimerType.PreciseTimer, loop.quit)
    loop.exec()


def measure(watched: Watched, keys: int, looking_ms: int) -> Iterator[str]:
    """Yield the lines of a table."""
    yield "| ms from key to tile | p50 | p95 | longest | verdicts on disk by then |"
    yield "|---|---|---|---|---|"
    watched.answer("p", 2000)
    for name, wait in ((f"looking {looking_ms} ms", looking_ms), ("at once", 0)):
        found = [watched.answer(_KEYS[k % 4], wait) for k in range(keys)]
        times = np.array([ms for ms, _ in found])
        p50, p95 = np.percentile(times, (50, 95))
        saved = sum(there for _, there in found)
        yield (
            f"| {name} | {p50:.0f} | {p95:.0f} | {times.max():.0f} | "
            f"{saved:,} of {keys:,} |"
        )


def main() -> None:
    """Make the project and print the table."""
    parser = argparse.ArgumentParser(description="From a key to the next tile.")
    parser.add_argument("--slides", type=Path, help="CSV with slide_id and path")
    parser.add_argument("--tiles", type=int, default=5000)
    parser.add_argument("--tile-um", type=float, default=64.0)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--looking", type=int, default=400)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # The question that comes with the first slide is answered.
        (folder / "napari-weno.yaml").write_text("slides:\n  offer_reader: false\n")
        os.environ["NAPARI_CONFIG"] = str(folder / "napari-settings.yaml")
        project = make_project(folder, arguments.slides, arguments.tile_um)
        watched = Watched(project, arguments.tiles)
        print(
            f"{watched.tiles:,} tiles queued, {len(project.slides):,} slides",
            file=sys.stderr,
        )
        for line in measure(watched, arguments.keys, arguments.looking):
            print(line, flush=True)
        watched.viewer.close()


if __name__ == "__main__":
    main()
