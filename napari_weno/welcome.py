"""What the reader does for the window that a slide is about to appear in."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING
from weakref import ref

from napari_weno.streaming import follow

if TYPE_CHECKING:
    from napari.viewer import Viewer

# Turns of the event loop that a window gets for itself after a slide was opened. A
# single timer would run out while the slide is still being opened.
_TURNS = 6
_TURN_MS = 60


def greet() -> None:
    """Make the window ready for slides: corner read-out, questions, preferences.

    Cheap, and does nothing where there is no window, no Qt, or in another thread than
    the main one. What the first picture does not need comes after it.
    """
    import napari

    if threading.current_thread() is not threading.main_thread():
        return
    viewer = napari.current_viewer()
    if viewer is None:
        return
    follow(viewer)
    _prepare(ref(viewer), _TURNS)


def _prepare(waiting: ref[Viewer], turns: int) -> None:
    """Load what a session needs, later and in a thread, then make the session."""
    if turns:
        from qtpy.QtCore import QTimer

        QTimer.singleShot(_TURN_MS, lambda: _prepare(waiting, turns - 1))
        return
    from napari.utils.notifications import show_error
    from superqt.utils import create_worker

    worker = create_worker(importlib.import_module, "napari_weno.session")
    worker.returned.connect(lambda _: _make_session(waiting()))
    worker.errored.connect(lambda error: show_error(str(error)))
    worker.start()


def _make_session(viewer: Viewer | None) -> None:
    from napari_weno.session import session_of

    if viewer is not None:
        session_of(viewer)
