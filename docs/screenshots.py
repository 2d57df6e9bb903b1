"""Take the pictures of the documentation from the real window.

usage: python docs/screenshots.py DEMO_PROJECT SLIDE_PROJECT --out docs/images

DEMO_PROJECT is what ``weno demo`` makes; SLIDE_PROJECT is any other project with a
predicted run. Without a display put ``xvfb-run -a -s "-screen 0 1600x1000x24"`` first.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import napari
from napari.settings import get_settings
from qtpy.QtTest import QTest

from napari_weno.session import session_of, show_dock
from weno.demo import slide_to_show
from weno.prediction import read_prediction

if TYPE_CHECKING:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("slides", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for theme in ("dark", "light"):
        take(arguments.demo, "demo", theme, arguments.out, DOCKS)
        take(arguments.slides, "slides", theme, arguments.out, ("Explain", "Review"))


if __name__ == "__main__":
    main()
