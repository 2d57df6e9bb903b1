"""Opening napari from the command line, on a slide or a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_weno.reader import read_slides
from napari_weno.session import session_of, show_dock
from weno.slides import is_slide

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_weno.review import ReviewWidget

_SETTINGS = "project.toml"


def view(project: Path, slide: str | None, run: str | None) -> None:
    """Open napari and return when its window is closed.

    Parameters
    ----------
    project : Path
        Project folder; need not be one if `slide` is a path or an address.
    slide : str, optional
        A slide, or the id of a slide of the project.
    run : str, optional
        Run whose predictions are shown; the newest if not given.
    """
    import napari

    is_path = slide is not None and (Path(slide).is_file() or is_slide(slide))
    viewer = napari.Viewer(title="WENO")
    if (project / _SETTINGS).is_file():
        session = session_of(viewer)
        session.open_project(project)
        if run is not None:
            session.choose_run(run)
        show_dock(viewer, "Cohort")
        if slide is not None and not is_path:
            session.open_slide(slide)
    if slide is not None and is_path:
        # Not viewer.open: who names a plain image here means it to be a slide.
        ((data, keywords, _),) = read_slides(slide)
        viewer.add_image(data, **keywords)
    napari.run()


def show_demo(project: Path, slide_id: str, screenshot: Path | None) -> None:
    """Open napari on a predicted slide with overlays and the Review dock.

    Parameters
    ----------
    project : Path
    slide_id : str
    screenshot : Path, optional
        Save a picture of the whole window there and close it again.
    """
    import napari

    viewer = napari.Viewer(title="WENO demo")
    viewer.window.resize(1500, 950)
    begin_demo(viewer, project, slide_id)
    if screenshot is None:
        napari.run()
    else:
        save_screenshot(viewer, screenshot)
        viewer.close()


def begin_demo(viewer: Viewer, project: Path, slide_id: str) -> ReviewWidget:
    """Show a predicted slide and start to review it; return the Review dock."""
    session = session_of(viewer)
    session.open_project(project)
    session.open_slide(slide_id)
    review: ReviewWidget = show_dock(viewer, "Review")
    # The whole slide is to be seen first, not the first tile alone.
    review.setup.ready.connect(lambda _: viewer.reset_view())
    # A blind review would begin by hiding what the demo is to show.
    review.begin_open_slide(blind=False)
    return review


def save_screenshot(viewer: Viewer, path: Path) -> None:
    """Save a picture of the whole window once everything is drawn."""
    from qtpy.QtTest import QTest

    QTest.qWait(1500)
    path.parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(path), canvas_only=False, flash=False)
