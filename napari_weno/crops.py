"""Pictures of tiles with what lies around them, read in the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_weno.docks import picture_of
from napari_weno.jobs import QuietJob

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    import numpy.typing as npt
    from qtpy.QtGui import QPaintEvent

    from weno.review import ReviewTile
    from weno.slides import Slide

_SIDE_PX = 448


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A tile with its surroundings.

    Parameters
    ----------
    tile : ReviewTile
    pixels : ndarray of shape (H, W, 3), uint8
    context : float
        Sides of the crop in sides of the tile, which lies in its middle.
    """

    tile: ReviewTile
    pixels: npt.NDArray[np.uint8]
    context: float


def read_crop(
    slide: Slide, tile: ReviewTile, context: float = 3.0
) -> Generator[None, None, Crop]:
    """Read a tile with its surroundings at about the size it is shown in.

    Parameters
    ----------
    slide : Slide
    tile : ReviewTile
    context : float
        Sides of the crop in sides of the tile.

    Raises
    ------
    SlideError
        If the slide's data are damaged.
    """
    yield
    wanted = max(tile.size) * context / _SIDE_PX
    levels = range(len(slide.downsamples))
    fitting = [level for level in levels if slide.downsamples[level] <= wanted]
    level = max(fitting, key=lambda level: slide.downsamples[level], default=0)
    downsample = slide.downsamples[level]
    y, x = (
        round((origin - (context - 1) / 2 * side) / downsample)
        for origin, side in zip(tile.origin, tile.size, strict=True)
    )
    height, width = (max(1, round(side * context / downsample)) for side in tile.size)
    return Crop(tile, slide.read(level, y, x, height, width), context)


class CropView(QWidget):
    """Shows one tile with its surroundings and a frame round the tile."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._job = QuietJob(self)
        self._crop: Crop | None = None
        self._pixmap: QPixmap | None = None
        self._text = ""
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self._job.returned.connect(self._on_crop)
        self._job.failed.connect(lambda error: self._show_text(str(error)))

    @property
    def shown(self) -> ReviewTile | None:
        """The tile whose pixels are on screen."""
        return self._crop.tile if self._crop else None

    def ask(self, slide: Slide, tile: ReviewTile) -> None:
        """Read a tile and show it, unless another is asked for meanwhile."""
        self._crop = self._pixmap = None
        self._show_text("")
        self._job.run(read_crop, slide, tile)

    def clear(self, text: str = "") -> None:
        """Show a text in place of a tile."""
        self._job.cancel()
        self._crop = self._pixmap = None
        self._show_text(text)

    def heightForWidth(self, width: int) -> int:
        """Be square."""
        return min(width, _SIDE_PX)

    def hasHeightForWidth(self) -> bool:
        """Be square."""
        return True

    def sizeHint(self) -> QSize:
        """Be square."""
        return QSize(300, 300)

    def minimumSizeHint(self) -> QSize:
        """Leave the cells of a tile visible."""
        return QSize(160, 160)

    def paintEvent(self, _: QPaintEvent | None) -> None:
        """Draw the crop, as large as fits, and the frame."""
        painter = QPainter(self)
        if self._crop is None or self._pixmap is None:
            painter.drawText(self.rect(), int(_CENTRED), self._text)
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        side = min(self.width(), self.height())
        left, top = (self.width() - side) / 2, (self.height() - side) / 2
        target = QRectF(left, top, side, side)
        painter.drawPixmap(target, self._pixmap, QRectF(self._pixmap.rect()))
        inset = side * (1 - 1 / self._crop.context) / 2
        frame = target.adjusted(inset, inset, -inset, -inset)
        # Seen on pale and on dark tissue.
        for width, color in ((3, QColor(0, 0, 0, 160)), (1, QColor("#39ff14"))):
            painter.setPen(QPen(color, width))
            painter.drawRect(frame)

    def _on_crop(self, crop: Crop) -> None:
        self._crop, self._pixmap = crop, picture_of(crop.pixels)
        self.update()

    def _show_text(self, text: str) -> None:
        self._text = text
        self.update()


_CENTRED = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
