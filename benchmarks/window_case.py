"""One run of `window.py`: a napari window that is moved and watched, then JSON.

Not to be started by hand. The window runs in Qt's own event loop: one that is spun by
``processEvents`` never takes down what was deleted, such as the spinner of napari's
progress bar, whose every turn then costs a repaint of the whole window.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
import openslide
import psutil
import tifffile
from qtpy.QtCore import QEventLoop, Qt, QTimer
from window_load import delay_reads, make_project, start_fit, start_predicting

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from napari.layers import Image

    Pixels = npt.NDArray[np.uint8]

BEAT_MS = 5
SHARP_MS = 250
VIEWS = 10
OPEN_LIMIT_MS = 60_000
MEMORY_LIMIT = 12 * 2**30  # address space of a reader that loads the slide whole
_CROP = 192  # side of what is compared with the slide, in screen pixels


class Watch:
    """Beats in the thread of the window; what is between two beats is a gap."""

    def __init__(self) -> None:
        self._gaps: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start(BEAT_MS)

    def _beat(self) -> None:
        now = time.perf_counter()
        self._gaps.append(now - self._last)
        self._last = now

    def during(self, move: Callable[[], None]) -> dict[str, float]:
        """Return what the gaps were during a script, in ms."""
        self._gaps.clear()
        self._last = time.perf_counter()
        move()
        gaps = np.array(self._gaps) * 1e3
        p50, p95, p99 = np.percentile(gaps, (50, 95, 99))
        return {
            "p50": p50,
            "p95": p95,
            "p99": p99,
            "longest": gaps.max(),
            "over 50": gaps[gaps > 50].sum(),
        }


class Others:
    """What else the machine does, the server that draws the screen among it."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._busy = self._busy_elsewhere()

    def cores(self) -> float:
        """Return how many cores others have had since."""
        seconds = time.perf_counter() - self._start
        return (self._busy_elsewhere() - self._busy) / seconds

    @staticmethod
    def _busy_elsewhere() -> float:
        machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
        waiting = machine.idle + getattr(machine, "iowait", 0.0)
        return sum(machine[:8]) - waiting - own.user - own.system


class Window:
    """A napari window with a slide in it.

    Parameters
    ----------
    path : Path
        What the reader is given.
    reader : str
        Name of the plugin, ``"floor"`` for an array in memory.
    """

    def __init__(self, path: Path, reader: str) -> None:
        self.path, self.reader = path, reader
        self.viewer = napari.Viewer(show=True)
        # No public way leads to the moment at which a frame is on the screen.
        self._canvas: Any = self.viewer.window._qt_viewer.canvas.native
        self._floor = floor_of(path) if reader == "floor" else None
        with tifffile.TiffFile(path) as file:
            self.side = (
                len(self._floor[0]) if self._floor else file.pages[0].imagelength
            )
        self._layer: Image | None = None
        spin(1000)

    def open(self, path: Path) -> dict[str, Any]:
        """Open the slide; return milliseconds until it is on the screen.

        A frame counts if it was drawn after the layer had come into the window, be
        that before the reader returned.
        """
        frames: list[float] = []
        loop = QEventLoop()
        self._canvas.frameSwapped.connect(lambda: frames.append(time.perf_counter()))
        self._canvas.frameSwapped.connect(loop.quit)
        inserted = self.viewer.layers.events.inserted
        inserted.connect(lambda _: frames.clear(), position="last")
        start = time.perf_counter()
        if self._floor is not None:
            self._layer = self.viewer.add_image(self._floor, multiscale=True, rgb=True)
        else:
            self._layer = self.viewer.open(str(path), plugin=self.reader)[0]
        if not frames:
            QTimer.singleShot(OPEN_LIMIT_MS, loop.quit)
            loop.exec()
        self._canvas.frameSwapped.disconnect()
        seconds = (frames or [time.perf_counter()])[0] - start
        spin(2000)
        return {"ms": seconds * 1e3}

    def close_slide(self) -> None:
        """Take the slide out of the window."""
        self.viewer.layers.clear()
        spin(500)

    def look(self, y: float, x: float, zoom: float) -> None:
        """Move the camera.

        Parameters
        ----------
        y, x : float
            Centre in level-0 pixels.
        zoom : float
            Pixels of the screen per level-0 pixel.
        """
        assert self._layer is not None
        unit = float(self._layer.scale[-1])
        camera = self.viewer.scene.camera
        camera.center = (0, y * unit, x * unit)
        camera.zoom = zoom / unit

    @property
    def whole_slide(self) -> float:
        """Zoom at which the slide fills the canvas."""
        return min(self._canvas.width(), self._canvas.height()) / self.side

    def step_moves(self) -> None:
        """Zoom in by five steps, then pan twenty times at full resolution."""
        start = min(30_000, self.side // 4)
        for zoom in (0.02, 0.1, 0.2, 0.5, 1.0):
            self.look(start, start, max(zoom, self.whole_slide / 2))
            spin(500)
        for k in range(20):
            self.look(start + 400 * k, start + 300 * k, 1.0)
            spin(150)

    def hand_moves(self) -> None:
        """Drag in forty small steps, then turn the wheel all the way and back."""
        y, x = self.side * 0.6, self.side * 0.3
        self.look(y, x, 1.0)
        spin(500)
        for k in range(40):
            self.look(y + 40 * k, x + 30 * k, 1.0)
            spin(30)
        steps = np.geomspace(self.whole_slide, 1.0, 35)
        for zoom in [*steps, *steps[::-1]]:
            self.look(y, x, float(zoom))
            spin(40)

    def sharp_share(self, views: int) -> float:
        """Return the share of views that show the slide's own pixels in time."""
        rng = np.random.default_rng(1)
        sharp = 0
        # So that a pixel of the screen is one of the slide, not parts of two.
        half_y, half_x = self._canvas.height() % 2 / 2, self._canvas.width() % 2 / 2
        for y, x in rng.integers(2000, self.side - 2000, (views, 2)).tolist():
            self.look(y + 0.5 - half_y, x + 0.5 - half_x, 1.0)
            spin(SHARP_MS)
            sharp += self._is_sharp(self._grab(), y, x)
        return sharp / views

    def _grab(self) -> Pixels:
        image = self._canvas.grabFramebuffer()
        image = image.convertToFormat(image.Format.Format_RGB888)
        rows = np.frombuffer(image.constBits().asstring(image.sizeInBytes()), np.uint8)
        rows = rows.reshape(image.height(), image.bytesPerLine())
        return rows[:, : 3 * image.width()].reshape(image.height(), -1, 3).copy()

    def _is_sharp(self, shown: Pixels, y: int, x: int) -> bool:
        """Look for the middle of the canvas in the slide, a few pixels around."""
        top, left = (shown.shape[0] - _CROP) // 2, (shown.shape[1] - _CROP) // 2
        middle = shown[top : top + _CROP, left : left + _CROP]
        corner = y - _CROP // 2, x - _CROP // 2
        truth = self._truth(corner[0] - 3, corner[1] - 3, _CROP + 6)
        return any(
            np.array_equal(middle, truth[i : i + _CROP, j : j + _CROP])
            for i in range(7)
            for j in range(7)
        )

    def _truth(self, y: int, x: int, side: int) -> Pixels:
        if self._floor is not None:
            return self._floor[0][y : y + side, x : x + side]
        return true_pixels(self.path, y, x, side)

    def memory_moves(self) -> dict[str, float]:
        """Pan 200 views; return MB taken since before the slide was opened."""
        before = _megabytes()
        self.open(self.path)
        taken = {"opened": _megabytes() - before}
        rng = np.random.default_rng(2)
        places = rng.integers(2000, self.side - 2000, (200, 2)).tolist()
        for k, (y, x) in enumerate(places, start=1):
            self.look(y, x, 1.0)
            spin(120)
            if k % 50 == 0:
                taken[f"{k} views"] = _megabytes() - before
        return taken


def floor_of(path: Path) -> list[Pixels]:
    """Return a pyramid in memory, of a part of the slide, repeated."""
    base = np.tile(true_pixels(path, 0, 0, 2048), (8, 8, 1))
    return [base, base[::4, ::4].copy(), base[::16, ::16].copy()]


def true_pixels(path: Path, y: int, x: int, side: int) -> Pixels:
    """Read a square of level 0 with OpenSlide, (side, side, 3)."""
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((x, y), 0, (side, side)).convert("RGB"))


def spin(milliseconds: int) -> None:
    """Let the window live for a while."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, Qt.TimerType.PreciseTimer, loop.quit)
    loop.exec()


def _megabytes() -> float:
    return float(psutil.Process().memory_info().rss / 2**20)


def start_work(arguments: argparse.Namespace) -> list[list[Any]]:
    """Start what is to go on beside the window; return what each has reported."""
    if not (arguments.fit or arguments.predict):
        return []
    project = make_project(Path(tempfile.mkdtemp()))
    beside = []
    if arguments.fit:
        beside.append(start_fit(project, arguments.fit))
    if arguments.predict:
        beside.append(start_predicting(project, arguments.predict))
    return beside


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do what the case asks for and return its figures."""
    if arguments.delay:
        delay_reads(arguments.delay / 1e3)
    window = Window(arguments.slide, arguments.reader)
    if arguments.memory:
        return {"memory": window.memory_moves()}
    found: dict[str, Any] = {"cold": window.open(arguments.slide)}
    if arguments.scale_bar:
        window.viewer.canvas.overlays.scale_bar.visible = True
    if arguments.only_open:
        return found
    beside = start_work(arguments)
    while not all(beside):
        spin(100)  # until it has loaded what it needs
    spin(500)
    watch, others = Watch(), Others()
    found["steps"] = watch.during(window.step_moves)
    found["hand"] = watch.during(window.hand_moves)
    found["others"] = others.cores()
    found["sharp"] = window.sharp_share(VIEWS)
    found["reports"] = [len(reports) for reports in beside]
    window.close_slide()
    found["warm"] = window.open(arguments.again)
    return found


def main() -> None:
    """Run one case; the last line of what is printed is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("again", type=Path)
    parser.add_argument("--reader", default="floor")
    parser.add_argument("--delay", type=float, default=0.0)
    for work in ("--fit", "--predict"):
        parser.add_argument(work, choices=("thread", "child"))
    for flag in ("--memory", "--only-open", "--bounded", "--scale-bar"):
        parser.add_argument(flag, action="store_true")
    arguments = parser.parse_args()
    if arguments.bounded:
        with suppress(ImportError):
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    try:
        found = run(arguments)
    except MemoryError as error:
        found = {"failed": f"out of memory: {error}"}
    print(json.dumps(found, default=float))
    sys.stdout.flush()
    os._exit(0)  # a window that reads and fits in threads is not waited for


if __name__ == "__main__":
    main()
