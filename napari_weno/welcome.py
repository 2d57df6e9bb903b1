"""What the reader does for the window that a slide is about to appear in."""

from __future__ import annotations

import threading


def greet() -> None:
    """Make the window ready for slides: corner read-out, questions, preferences.

    Cheap, and does nothing where there is no window, no Qt, or in another thread than
    the main one.
    """
    import napari

    if threading.current_thread() is not threading.main_thread():
        return
    viewer = napari.current_viewer()
    if viewer is not None:
        from napari_weno.session import session_of

        session_of(viewer)
