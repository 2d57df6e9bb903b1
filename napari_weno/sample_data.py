"""File > Open Sample > WENO: the demo cohort, made and fitted in the background."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import napari
import numpy as np
from platformdirs import user_data_path
from qtpy.QtCore import QTimer

from napari_weno.docks import notifying
from napari_weno.jobs import start, task_of_napari
from napari_weno.neighbour import prepare_torch
from napari_weno.session import session_of, show_dock
from weno.demo import RUN, demo_steps, slide_to_show

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari.viewer import Viewer

    from napari_weno.layers import LayerData

_WAITING = "WENO demo: slides are being painted…"


def demo_cohort() -> list[LayerData]:
    """Make the demo project in the background and show it as it grows.

    A slide is opened as soon as the slides are there, its overlays when the model
    has been fitted. The project stays in the user's data folder, so that the second
    time everything is there at once.

    Returns
    -------
    list of LayerData
        An empty layer that says what is going on, since napari wants a sample to
        have a layer at once; it goes when the slide is there.
    """
    viewer = napari.current_viewer()
    folder = user_data_path("napari-weno") / "demo"
    stop = threading.Event()
    shown = {"desc": "WENO demo", "total": 0}
    worker = task_of_napari(stop, _make_demo, folder, _progress=shown)
    worker.yielded.connect(lambda step: _show(viewer, folder, step))
    start(worker, stop)
    # Points in pixels beside a slide in µm would make napari warn of mixed units.
    waiting = {"name": _WAITING, "units": ("um", "um")}
    return [(np.empty((0, 2)), waiting, "points")]


def _show(viewer: Viewer, folder: Path, step: str | None) -> None:
    """Show what a finished step has brought; None is a step under way."""
    if step is not None:
        with notifying():
            _show_step(viewer, folder, step)


def _show_step(viewer: Viewer, folder: Path, step: str) -> None:
    session = session_of(viewer)
    if step == "slides":
        slide_id = slide_to_show(session.open_project(folder))
        show_dock(viewer, "Cohort")
        session.open_slide(slide_id)
        # Once the dock that has just been shown has taken its room.
        QTimer.singleShot(0, viewer.reset_view)
        if _WAITING in viewer.layers:
            viewer.layers.remove(_WAITING)
    session.files_changed.emit()
    if step == "predict":
        session.choose_run(RUN)


def _make_demo(folder: Path) -> Generator[str | None, None, None]:
    """Run the demo's jobs; yield a step's name when it is done, None in between."""
    before = None
    for title, job in demo_steps(folder):
        if before is not None:
            yield before
        if title == "fit":
            prepare_torch()
        for _ in job:
            yield None
        before = title
    yield before
