"""Take the pictures of the documentation from the real window.

usage: python docs/screenshots.py DEMO_PROJECT SLIDE_PROJECT --out docs/images

DEMO_PROJECT is what ``weno demo`` makes; SLIDE_PROJECT is any other project with a
predicted run. Without a display put ``xvfb-run -a -s "-screen 0 1600x1000x24"`` first.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import napari
from napari.settings import get_settings
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QScrollArea

from napari_weno.session import session_of, show_dock
from napari_weno.train_runs import free_name
from weno.demo import slide_to_show
from weno.prediction import read_prediction

if TYPE_CHECKING:
    from collections.abc import Callable

    from weno.project import Project

DOCKS = ("Slide", "Cohort", "Train", "Explain", "Review")


def most_positive(project: Project, run: str) -> str:
    """Id of the positive slide that the run is surest of."""
    positive = [row.slide_id for row in project.slides if row.label == 1]
    found = {s: read_prediction(project.prediction_path(run, s)) for s in positive}
    return max(found, key=lambda s: found[s].teacher_probability)


def take(
    folder: Path, name: str, theme: str, out: Path, docks: tuple[str, ...]
) -> None:
    """Open a project's slide and take one picture per dock."""
    get_settings().appearance.theme = theme
    viewer = napari.Viewer(title="WENO")
    viewer.window.resize(1500, 950)
    session = session_of(viewer)
    project = session.open_project(folder)
    tested = any(row.split == "test" for row in project.slides)
    slide_id = (
        slide_to_show(project) if tested else most_positive(project, session.run or "")
    )
    session.open_slide(slide_id)
    for dock in docks:
        widget = show_dock(viewer, dock)
        QTest.qWait(1500)
        viewer.reset_view()
        if dock == "Review":
            widget.begin_open_slide(blind=False)
            QTest.qWait(2500)
        viewer.screenshot(
            str(out / f"{name}-{dock.lower()}-{theme}.png"),
            canvas_only=False,
            flash=False,
        )
    viewer.close()


def take_train_tour(folder: Path, theme: str, out: Path) -> None:
    """Take the pictures of the Train dock's tour; a run is made in the project."""
    get_settings().appearance.theme = theme
    viewer = napari.Viewer(title="WENO")
    viewer.window.resize(1500, 950)
    session = session_of(viewer)
    session.open_slide(slide_to_show(session.open_project(folder)))
    dock = show_dock(viewer, "Train")
    bar = dock.findChild(QScrollArea).verticalScrollBar()

    def shoot(name: str) -> None:
        QTest.qWait(500)
        path = out / f"tour-train-{name}-{theme}.png"
        viewer.screenshot(str(path), canvas_only=False, flash=False)

    QTest.qWait(1500)
    viewer.reset_view()
    wait_for(dock.job.button.isEnabled)
    dock.name.setText(free_name(session.project))
    shoot("ready")
    dock.form.editors["seed"].editor.setValue(3)
    dock.job.button.click()
    wait_for(lambda: len(dock._history.reports) > 25 and dock.live.text.text())
    bar.setValue(dock.job.y())
    shoot("training")
    wait_for(lambda: not dock.job.running)
    dock.runs.selectAll()
    dock.card.click()
    QTest.qWait(500)
    bar.setValue(bar.maximum())
    shoot("compare")
    viewer.close()


def wait_for(condition: Callable[[], object], seconds: float = 300) -> None:
    """Let the window live until something has happened."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QTest.qWait(50)


def take_cohort_tour(folder: Path, out: Path) -> None:
    """Open a copy of a project and take the pictures of the tour of the Cohort dock."""
    get_settings().appearance.theme = "dark"
    with TemporaryDirectory() as temporary:
        project = Path(shutil.copytree(folder, Path(temporary) / "my project"))
        viewer = napari.Viewer(title="WENO")
        viewer.window.resize(1500, 950)
        session = session_of(viewer)
        rows = session.open_project(project).slides
        session.open_slide(rows[3].slide_id)
        dock = show_dock(viewer, "Cohort")
        QTest.qWait(3000)
        dock.table.select_slide(rows[1].slide_id)
        viewer.reset_view()
        QTest.qWait(1000)
        viewer.screenshot(
            str(out / "tour-cohort-table.png"), canvas_only=False, flash=False
        )
        moved = rows[2].path
        moved.rename(project / moved.name)
        session.files_changed.emit()
        QTest.qWait(2500)
        dock.grab().save(str(out / "tour-cohort-moved.png"))
        table = project / "list.csv"
        table.write_text("Case;Slide name;Finding\n1;a;normal\n2;b;tumour\n")
        dock.new_button.click()
        dock.new_form.slides.setText(str(table))
        dock.new_form.imports.refresh()
        QTest.qWait(1000)
        dock.grab().save(str(out / "tour-cohort-columns.png"))
        viewer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("slides", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--cohort", action="store_true", help="only that dock's tour")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    take_cohort_tour(arguments.demo, arguments.out)
    if arguments.cohort:
        return
    for theme in ("dark", "light"):
        take(arguments.demo, "demo", theme, arguments.out, DOCKS)
        take(arguments.slides, "slides", theme, arguments.out, ("Explain", "Review"))
        take_train_tour(arguments.demo, theme, arguments.out)


if __name__ == "__main__":
    main()
