"""The Slide dock: finding one's way about a slide, and what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QGroupBox, QVBoxLayout, QWidget

from napari_weno.docks import Dock, listen, text_label
from napari_weno.minimap import MiniMap
from napari_weno.session import session_of
from napari_weno.slide_details import DetailsBox
from napari_weno.view_box import ViewBox

if TYPE_CHECKING:
    import napari.viewer

    from napari_weno.opened import OpenedSlide

_NO_SLIDE = "No slide is open. Drop one on the canvas, or open one in the Cohort dock."


class SlideWidget(Dock):
    """Minimap, view, distances and details of the open slide.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._session = session_of(viewer)
        self.no_slide = text_label(_NO_SLIDE)
        self.minimap = MiniMap(self._session)
        self.view = ViewBox(self._session, self)
        self.details = DetailsBox(self._session, self)
        self._details = QGroupBox("Slide")
        inside = QVBoxLayout(self._details)
        inside.setContentsMargins(2, 2, 2, 2)
        inside.addWidget(self.details)
        contents = QWidget()
        layout = QVBoxLayout(contents)
        for widget in (self.no_slide, self.minimap, self.view, self._details):
            layout.addWidget(widget)
        layout.addStretch()
        self.show_contents(contents)
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self)
        escape.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        escape.activated.connect(self._session.ruler.stop)
        listen(self, self._session.slide_changed, self._on_slide)
        self._on_slide(self._session.opened)

    def enter_mpp(self) -> None:
        """Let the user type the pixel size of the slide."""
        self.details.enter_mpp()

    def _on_slide(self, opened: OpenedSlide | None) -> None:
        self.no_slide.setVisible(opened is None)
        for widget in (self.minimap, self.view, self._details):
            widget.setVisible(opened is not None)
