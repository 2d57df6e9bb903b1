"""What is asked when a slide is opened: never in the way, never twice.

The question for the pixel size, and the offer to let napari open slides with this
plugin without asking. A notification that fades unanswered changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import Notification, notification_manager
from qtpy.QtCore import QTimer

from napari_weno.preferences import (
    patterns_without_reader,
    preferences,
    read_slides_always,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_weno.opened import OpenedSlide
    from napari_weno.session import Session
    from weno.slides import Slide

_PAUSE_MS = 150


class Questions:
    """Asks about the slides that are opened in one window.

    Parameters
    ----------
    session : Session
        Of a viewer with a window.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asked: set[str] = set()
        self._offered = False
        # The window makes room for the layer first; napari would else put a
        # notification where it is cut off.
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._ask)
        session.slide_changed.connect(self._on_slide)

    def _on_slide(self, opened: OpenedSlide | None) -> None:
        if opened is not None:
            self._timer.start()

    def _ask(self) -> None:
        opened = self._session.opened
        if opened is None:
            return
        if not self._offered:
            self._offered = True
            offer_reader()
        path = str(opened.slide.path)
        question = mpp_question(opened.name, opened.slide)
        if question and path not in self._asked:
            self._asked.add(path)
            _ask(question, ("Set pixel size", self._enter_mpp))

    def _enter_mpp(self, _: object) -> None:
        from napari_weno.session import show_dock

        show_dock(self._session.viewer, "Slide").enter_mpp()


def mpp_question(name: str, slide: Slide) -> str:
    """Say what is wrong with the pixel size of a slide; empty if nothing is."""
    if slide.mpp is None:
        return f"{name} does not say its pixel size"
    if slide.mpp_source == "objective":
        return f"{name}: pixel size is a guess, {slide.mpp[0]:.3g} µm"
    return ""


def offer_reader() -> None:
    """Offer to open slides with this plugin, unless that was answered before."""
    kept = preferences("slides")
    if not kept.offer_reader or not patterns_without_reader():
        return

    def always(_: object) -> None:
        read_slides_always()
        kept.offer_reader = False

    def never(_: object) -> None:
        kept.offer_reader = False

    _ask(
        "Always open slides with WENO?", ("Always", always), ("Never ask again", never)
    )


def _ask(text: str, *answers: tuple[str, Callable[[object], None]]) -> None:
    notification_manager.dispatch(Notification(text, "info", answers))
