"""Take the pictures of the tour, and a recording, from the real window.

usage: python docs/tour.py DEMO_PROJECT --out docs/images [--only cohort train …]

DEMO_PROJECT is what ``weno demo`` makes; copies of it are worked in. With a second run
there (``weno fit --name seed-1 --seed 1``, ``weno predict --run seed-1``) the two are
compared. Without a display put
``xvfb-run -a -s "-screen 0 1600x1000x24"`` first.
"""

from __future__ import annotations

import argparse
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari.settings import get_settings
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QScrollArea

from napari_weno.export_box import save_figure
from napari_weno.preferences import preferences
from napari_weno.session import Session, session_of, show_dock
from napari_weno.train_runs import free_name
from weno.demo import slide_to_show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

_SIZE = (1400, 900)
_SHOWN = 1200  # px across
_RECORDED = 720


@dataclass
class Stage:
    """The window with a project, and what is made of it.

    Parameters
    ----------
    viewer : napari.Viewer
    session : Session
    out : Path
    """

    viewer: napari.Viewer
    session: Session
    out: Path
    frames: list[Image.Image] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def dock(self, name: str) -> Any:
        """Show a dock and return its widget."""
        widget = show_dock(self.viewer, name)
        QTest.qWait(1500)
        self.viewer.reset_view()
        return widget

    def picture(self, name: str) -> None:
        """Save what the window shows."""
        QTest.qWait(800)
        self.keep(self._pixels(), name)

    def keep(self, pixels: npt.NDArray[np.uint8], name: str) -> None:
        """Save a picture; WebP, since a palette would turn the colours of classes."""
        path = self.out / f"tour-{name}.webp"
        small(pixels, _SHOWN).save(path, quality=88, method=6)

    def frame(self, seconds: float) -> None:
        """Add what the window shows to the recording, for so long."""
        self.frames.append(small(self._pixels(), _RECORDED).quantize(64))
        self.seconds.append(seconds)

    def save_recording(self, name: str) -> None:
        """Save the recording as GIF."""
        first, *rest = self.frames
        durations = [round(1000 * s) for s in self.seconds]
        first.save(
            self.out / f"{name}.gif",
            save_all=True,
            append_images=rest,
            duration=durations,
            loop=0,
            optimize=True,
        )

    def _pixels(self) -> npt.NDArray[np.uint8]:
        pixels: npt.NDArray[np.uint8] = self.viewer.screenshot(
            canvas_only=False, flash=False
        )
        return pixels


def small(pixels: npt.NDArray[np.uint8], width: int) -> Image.Image:
    """Return a picture of a certain width."""
    image = Image.fromarray(pixels[..., :3])
    height = round(image.height * width / image.width)
    return image.resize((width, height), Image.Resampling.LANCZOS)


@contextmanager
def opened(folder: Path, out: Path, theme: str = "dark") -> Iterator[Stage]:
    """Open a copy of a project, and the slide with a lesion of its test split."""
    get_settings().appearance.theme = theme
    kept = preferences("slides")
    asks, kept.offer_reader = kept.offer_reader, False
    with TemporaryDirectory() as temporary:
        project = Path(shutil.copytree(folder, Path(temporary) / "my_project"))
        viewer = napari.Viewer(title="WENO")
        viewer.window.resize(*_SIZE)
        session = session_of(viewer)
        session.open_slide(slide_to_show(session.open_project(project)))
        yield Stage(viewer, session, out)
        viewer.close()
        QTest.qWait(500)
    kept.offer_reader = asks


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    """Let the window live until something has happened."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the window never came so far")
        QTest.qWait(50)


def cohort(stage: Stage) -> None:
    dock, session = stage.dock("Cohort"), stage.session
    rows = session.project.slides
    QTest.qWait(3000)
    dock.table.select_slide(rows[1].slide_id)
    stage.picture("cohort-table")
    table = session.project.root / "list.csv"
    table.write_text("Case;Slide name;Finding\n1;a;normal\n2;b;tumour\n")
    dock.new_button.click()
    dock.new_form.slides.setText(str(table))
    dock.new_form.imports.refresh()
    stage.picture("cohort-columns")
    dock.new_button.click()
    moved = rows[2].path
    moved.rename(session.project.root / moved.name)
    session.files_changed.emit()
    QTest.qWait(2000)
    stage.picture("cohort-moved")


def train(stage: Stage) -> None:
    dock = stage.dock("Train")
    bar = dock.findChild(QScrollArea).verticalScrollBar()
    wait_for(dock.job.button.isEnabled)
    dock.name.setText(free_name(stage.session.project))
    stage.picture("train-ready")
    dock.form.editors["seed"].editor.setValue(3)
    dock.job.button.click()
    wait_for(lambda: dock.live.text.text() and not dock.curves.isHidden())
    QTest.qWait(4000)
    bar.setValue(dock.job.y())
    stage.picture("train-training")
    wait_for(lambda: not dock.job.running)
    dock.runs.selectAll()
    dock.card.click()
    QTest.qWait(500)
    bar.setValue(bar.maximum())
    stage.picture("train-compare")


def explain(stage: Stage) -> None:
    dock = stage.dock("Explain")
    QTest.qWait(2500)
    dock.tabs.setCurrentWidget(dock.gallery)
    stage.picture("explain-gallery")
    with TemporaryDirectory() as folder:
        figure = Path(folder) / "figure.png"
        list(save_figure(dock.export.figure(), figure))
        stage.keep(np.asarray(Image.open(figure)), "explain-figure")
    dock.tabs.setCurrentWidget(dock.truth)
    dock.truth.boxes["misses"].setChecked(True)
    QTest.qWait(2500)
    stage.picture("explain-truth")
    dock.truth.boxes["misses"].setChecked(False)
    dock.tabs.setCurrentWidget(dock.compare)
    dock.compare.other.setCurrentIndex(1)
    if dock.compare.beside.isEnabled():
        dock.compare.beside.setChecked(True)
        QTest.qWait(2500)
        stage.picture("explain-compare")


def review(stage: Stage) -> None:
    dock = stage.dock("Review")
    stage.picture("review-start")
    dock.begin_open_slide(blind=True)
    QTest.qWait(2500)
    for key in (Qt.Key.Key_P, Qt.Key.Key_N, Qt.Key.Key_P):
        QTest.keyClick(dock.page, key)
        QTest.qWait(1500)
    stage.picture("review-round")
    dock.page.help.change.click()
    stage.picture("review-keys")


def recording(stage: Stage) -> None:
    """Record the way from a model in training to an answer."""
    train = stage.dock("Train")
    bar = train.findChild(QScrollArea).verticalScrollBar()
    wait_for(train.job.button.isEnabled)
    train.name.setText(free_name(stage.session.project))
    stage.frame(1.5)
    train.job.button.click()
    wait_for(lambda: bool(train.live.text.text()))
    bar.setValue(train.job.y())
    while train.job.running and len(stage.frames) < 14:
        stage.frame(0.4)
        QTest.qWait(700)
    wait_for(lambda: not train.job.running)
    stage.frame(1.5)
    explain = stage.dock("Explain")
    QTest.qWait(2500)
    stage.frame(1.5)
    slider = explain.overlays.threshold
    for value in (20, 40, 60, 80):
        slider.setValue(slider.minimum() + value * (slider.maximum()) // 100)
        QTest.qWait(300)
        stage.frame(0.6)
    review = stage.dock("Review")
    review.begin_open_slide(blind=True)
    QTest.qWait(2500)
    stage.frame(1.5)
    for key in (Qt.Key.Key_P, Qt.Key.Key_N, Qt.Key.Key_P, Qt.Key.Key_P):
        QTest.keyClick(review.page, key)
        QTest.qWait(1500)
        stage.frame(1.0)
    stage.save_recording("tour")


SCENES = {f.__name__: f for f in (cohort, train, explain, review, recording)}


def main() -> None:
    """Take what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("demo", type=Path, help="project that `weno demo` has made")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", nargs="*", choices=SCENES, default=list(SCENES))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        with opened(given.demo, given.out) as stage:
            SCENES[name](stage)


if __name__ == "__main__":
    main()
