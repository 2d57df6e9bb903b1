"""A small picture of the whole slide that shows where one is, and takes one there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap, QTransform
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_weno.camera import axes_on_screen, centre_of, look_at
from napari_weno.docks import listen, picture_of
from napari_weno.streaming import screen_of

if TYPE_CHECKING:
    import numpy.typing as npt
    from qtpy.QtGui import QMouseEvent, QPaintEvent

    from napari_weno.opened import OpenedSlide
    from napari_weno.session import Session
    from napari_weno.streaming import Screen

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
        self._screen: Screen | None = None
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Fixed)
        self.setToolTip("The whole slide; click or drag to go there")
        self.setCursor(Qt.CursorShape.CrossCursor)
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
        if self._screen is not None:
            self._screen.overview_came.disconnect(self._on_overview)
        self._pixels = None
        self._screen = None if opened is None else screen_of(opened.layer.data)
        if self._screen is not None:
            self._screen.overview_came.connect(self._on_overview)
            self._on_overview()
        self.update()

    def _on_overview(self) -> None:
        pixels = None if self._screen is None else self._screen.stream.overview()
        if pixels is None:
            return
        self._pixels = picture_of(pixels).scaled(
            QSize(_OVERVIEW_PX, _OVERVIEW_PX),
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
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
