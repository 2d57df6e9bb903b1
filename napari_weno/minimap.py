"""A small picture of the whole slide that shows where one is, and takes one there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.notifications import show_error
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPixmap, QTransform
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_weno.camera import axes_on_screen, centre_of, look_at
from napari_weno.docks import listen
from napari_weno.jobs import QuietJob
from weno.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt
    from qtpy.QtGui import QMouseEvent, QPaintEvent

    from napari_weno.opened import OpenedSlide
    from napari_weno.session import Session
    from weno.slides import Slide

_OVERVIEW_PX = 640
_HEIGHT = 190
_MARK_PX = 7  # a view that is smaller than this is marked by a cross
_VIEW = QColor("#e6194b")


class MiniMap(QWidget):
    """Shows the slide as the canvas does, turned as it is, and what of it is in view.

    A click or a drag moves the camera.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._pixels: QPixmap | None = None
        self._job = QuietJob(self)
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Fixed)
        self.setToolTip("The whole slide; click or drag to go there")
        self.setCursor(Qt.CursorShape.CrossCursor)
        self._job.returned.connect(self._show)
        self._job.failed.connect(lambda error: show_error(str(error)))
        viewer = session.viewer
        listen(self, session.slide_changed, self._on_slide)
        listen(self, viewer.scene.camera.events.zoom, self._on_camera)
        listen(self, viewer.scene.camera.events.center, self._on_camera)
        listen(self, viewer.scene.camera.events.orientation, self._on_camera)
        listen(self, viewer.dims.events.order, self._on_camera)
        self._on_slide(session.opened)

    @property
    def loaded(self) -> bool:
        """Whether the picture of the slide is there."""
        return self._pixels is not None

    def sizeHint(self) -> QSize:
        return QSize(300, _HEIGHT)

    def place_of(self, y: float, x: float) -> QPointF:
        """Return where a pixel ``(y, x)`` of level 0 is in the widget."""
        return self._to_widget().map(QPointF(x, y))

    def _on_slide(self, opened: OpenedSlide | None) -> None:
        self._pixels = None
        self._job.cancel()
        if opened is not None:
            self._job.run(_overview, opened.slide)
        self.update()

    def _show(self, pixels: npt.NDArray[np.uint8] | None) -> None:
        if pixels is None:
            return
        height, width, _ = pixels.shape
        image = QImage(
            pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888
        )
        self._pixels = QPixmap.fromImage(image)
        self.update()

    def _on_camera(self, _: object = None) -> None:
        self.update()

    def _to_widget(self) -> QTransform:
        """Map ``(x, y)`` pixels of level 0 to where the widget draws them."""
        opened = self._session.opened
        if opened is None:
            return QTransform()
        axes = axes_on_screen(self._session.viewer)  # (down, right) of (y, x)
        size = np.array(opened.slide.shape)
        # The slide's own shape on screen; pixels need not be square.
        on_screen = np.abs(axes) @ (size * _mpp(opened))
        scale = min(self.height() / on_screen[0], self.width() / on_screen[1])
        down, right = axes * _mpp(opened) * scale  # (y, x) each
        turned = QTransform(right[1], down[1], right[0], down[0], 0, 0)
        middle = turned.map(QPointF(size[1] / 2, size[0] / 2))
        return turned * QTransform.fromTranslate(
            self.width() / 2 - middle.x(), self.height() / 2 - middle.y()
        )

    def paintEvent(self, _: QPaintEvent | None) -> None:
        opened = self._session.opened
        if opened is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        height, width = opened.slide.shape
        whole = QRectF(0, 0, width, height)
        to_widget = self._to_widget()
        if self._pixels is None:
            painter.fillRect(to_widget.mapRect(whole), QColor(128, 128, 128, 60))
        else:
            painter.setTransform(to_widget)
            painter.drawPixmap(whole, self._pixels, QRectF(self._pixels.rect()))
            painter.resetTransform()
        painter.setPen(QPen(_VIEW, 2))
        painter.setClipRect(self.rect())
        self._paint_view(painter, self._view(opened))

    def _paint_view(self, painter: QPainter, view: QRectF) -> None:
        if max(view.width(), view.height()) >= _MARK_PX:
            painter.drawRect(
                view.intersected(QRectF(self.rect()).adjusted(1, 1, -1, -1))
            )
            return
        middle = view.center()
        for way in (QPointF(_MARK_PX, 0), QPointF(0, _MARK_PX)):
            painter.drawLine(middle - way, middle + way)

    def _view(self, opened: OpenedSlide) -> QRectF:
        """Return what of the slide is on the canvas, in the widget."""
        viewer = self._session.viewer
        middle = self.place_of(*(centre_of(viewer) / _mpp(opened)))
        unit = self._to_widget().map(QPointF(1, 0)) - self._to_widget().map(
            QPointF(0, 0)
        )
        per_world = max(abs(unit.x()), abs(unit.y())) / _mpp(opened)[1]
        height, width = np.array(viewer.canvas.size) / viewer.scene.camera.zoom
        view = QRectF(0, 0, width * per_world, height * per_world)
        view.moveCenter(middle)
        return view

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._go(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._go(event)

    def _go(self, event: QMouseEvent) -> None:
        opened = self._session.opened
        if opened is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        to_slide, _ = self._to_widget().inverted()
        pixel = to_slide.map(event.position())
        height, width = opened.slide.shape
        y, x = np.clip((pixel.y(), pixel.x()), 0, (height - 1, width - 1))
        look_at(self._session.viewer, *((y, x) * _mpp(opened)))


def _mpp(opened: OpenedSlide) -> npt.NDArray[np.float64]:
    return np.array(opened.slide.mpp or (1.0, 1.0))


def _overview(slide: Slide) -> Generator[None, None, npt.NDArray[np.uint8] | None]:
    yield
    try:
        return slide.thumbnail(_OVERVIEW_PX)
    except SlideError:
        if slide.closed:
            return None  # nobody looks at it any more
        raise
