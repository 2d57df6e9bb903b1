"""The corner of the canvas that says how large the slide is on screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.components.overlays import TextOverlay
from qtpy.QtCore import QTimer

from napari_weno.camera import scale_text

if TYPE_CHECKING:
    from napari_weno.opened import OpenedSlide
    from napari_weno.session import Session

# New text costs a frame of the whole window. While the wheel turns nobody reads it.
_PAUSE_MS = 120
_OVERLAY = "weno_magnification"


class Corner:
    """Shows magnification and µm per screen pixel while a slide is open.

    An overlay of its own: napari's text overlay stays the user's.

    Parameters
    ----------
    session : Session
        Of a viewer with a window.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._overlay = TextOverlay(visible=False)
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._show)
        viewer = session.viewer
        viewer.canvas.overlays[_OVERLAY] = self._overlay
        viewer.scene.camera.events.zoom.connect(self._show_soon)
        session.slide_changed.connect(self._on_slide)

    def _on_slide(self, opened: OpenedSlide | None) -> None:
        if opened is not None:
            self._show()
        self._overlay.visible = opened is not None

    def _show_soon(self, _: object = None) -> None:
        if self._session.opened is not None:
            self._timer.start()

    def _show(self) -> None:
        opened = self._session.opened
        if opened is None:
            return
        self._overlay.text = scale_text(
            self._session.viewer.scene.camera.zoom,
            in_um=opened.slide.mpp is not None,
            guess=opened.slide.mpp_source == "objective",
        )
