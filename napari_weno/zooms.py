"""A tile at three zooms: by itself, with what surrounds it, and in its slide."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_weno.crops import read_crop
from napari_weno.docks import picture_of
from napari_weno.jobs import QuietJob
from weno.errors import ReviewError

if TYPE_CHECKING:
    from collections.abc import Generator, MutableMapping, Sequence

    import numpy as np
    import numpy.typing as npt
    from qtpy.QtGui import QMouseEvent, QPaintEvent

    from weno.project import Project
    from weno.review import ReviewTile

    Pixels = npt.NDArray[np.uint8]

#: Sides of what is shown in sides of the tile; the last is the whole slide.
_CONTEXTS = (1.0, 5.0)
_NAMES = ("tile", "around", "slide")
_OVERVIEW_PX = 384
_KEPT = 8  # views of a tile are 1 to 2 MB
_KEPT_SLIDES = 64  # half a MB each
_GAP = 4
_MARK_PX = 8


@dataclass(frozen=True, slots=True, eq=False)
class TileViews:
    """The pixels of a tile at three zooms.

    Parameters
    ----------
    tile : ReviewTile
    pictures : tuple of ndarray of shape (H, W, 3), uint8
        The tile, the tile in the middle of its surroundings, and the slide.
    frames : tuple of QRectF or None
        Where the tile is in each, in shares of its width and height; None if it is
        all of it.
    """

    tile: ReviewTile
    pictures: tuple[Pixels, ...]
    frames: tuple[QRectF | None, ...]


def read_views(
    project: Project,
    tiles: Sequence[ReviewTile],
    overviews: MutableMapping[str, Pixels],
) -> Generator[TileViews, None, None]:
    """Read tiles at three zooms, one after the other.

    Parameters
    ----------
    project : Project
    tiles : sequence of ReviewTile
    overviews : mapping of str to ndarray
        Slides that were read before, by their content hash; of no other thread, since
        more are added.

    Raises
    ------
    SlideError
        If a slide cannot be read.
    ReviewError
        If a slide is not the one it was.
    """
    for tile in tiles:
        with project.open_slide(tile.slide_id) as slide:
            if slide.content_hash != tile.content_hash:
                raise ReviewError(
                    f"Slide {tile.slide_id} is not the one it was any more."
                )
            crops = [read_crop(slide, tile, context) for context in _CONTEXTS]
            whole = overviews.get(tile.content_hash)
            if whole is None:
                whole = overviews[tile.content_hash] = slide.thumbnail(_OVERVIEW_PX)
            height, width = slide.shape
        (y, x), (down, across) = tile.origin, tile.size
        share = 1 / _CONTEXTS[1]
        middle = QRectF((1 - share) / 2, (1 - share) / 2, share, share)
        on_slide = QRectF(x / width, y / height, across / width, down / height)
        yield TileViews(tile, (*crops, whole), (None, middle, on_slide))


class ZoomView(QWidget):
    """Shows a tile large and the two other zooms beside it; a click swaps them.

    Tiles that are going to be asked for can be read ahead.
    """

    #: The tile asked for is on screen, or it is said there why it cannot be.
    settled = Signal()
    #: Another zoom is the large one: 0 the tile, 1 its surroundings, 2 the slide.
    swapped = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._job, self._ahead = QuietJob(self), QuietJob(self)
        self._kept: OrderedDict[ReviewTile, TileViews] = OrderedDict()
        self._overviews: dict[str, Pixels] = {}
        self._shown: TileViews | None = None
        self._wanted: ReviewTile | None = None
        self._pixmaps: list[QPixmap] = []
        self._text = ""
        self.large = 0
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setToolTip(
            "The tile, what lies around it, and where it is on the slide; click one "
            "to see it large"
        )
        self._job.reported.connect(self._on_views)
        self._job.failed.connect(self._on_failure)
        self._ahead.reported.connect(self._on_views)

    @property
    def shown(self) -> ReviewTile | None:
        """The tile whose pixels are on screen."""
        return self._shown.tile if self._shown else None

    def ask(self, project: Project, tile: ReviewTile) -> None:
        """Show a tile: at once if it has been read, else when it is read."""
        self._wanted = tile
        if tile in self._kept:
            self._job.cancel()
            self._show(self._kept[tile])
            return
        self._shown = None
        self._show_text("")
        self._job.run(read_views, project, [tile], dict(self._overviews))

    def read_ahead(self, project: Project, tiles: Sequence[ReviewTile]) -> None:
        """Read tiles that are likely to be asked for, the likeliest first."""
        missing = [tile for tile in tiles if tile not in self._kept]
        if missing:
            self._ahead.run(read_views, project, missing, dict(self._overviews))

    def clear(self, text: str = "") -> None:
        """Show a text in place of a tile."""
        self._job.cancel()
        self._wanted = self._shown = None
        self._show_text(text)

    def forget(self) -> None:
        """Drop what has been read; it may be of another project."""
        self._ahead.cancel()
        self._kept.clear()
        self.clear()

    def swap(self, large: int | None = None) -> None:
        """Show another zoom large; the next one if none is given."""
        self.large = (self.large + 1) % len(_NAMES) if large is None else large
        self.update()
        self.swapped.emit(self.large)

    def place_of(self, zoom: int) -> QRectF:
        """Return where a zoom is shown in the widget."""
        side = min(self.width() - _GAP, self.height() * 1.5) / 1.5
        small = (side - _GAP) / 2
        left = (self.width() - side - _GAP - small) / 2
        if zoom == self.large:
            return QRectF(left, 0, side, side)
        row = [k for k in range(len(_NAMES)) if k != self.large].index(zoom)
        return QRectF(left + side + _GAP, row * (small + _GAP), small, small)

    def heightForWidth(self, width: int) -> int:
        """Be as high as the large square."""
        return min(round((width - _GAP) / 1.5), 448)

    def hasHeightForWidth(self) -> bool:
        """Be as high as the large square."""
        return True

    def sizeHint(self) -> QSize:
        """Fill a dock of usual width."""
        return QSize(370, 244)

    def minimumSizeHint(self) -> QSize:
        """Leave the cells of a tile visible."""
        return QSize(250, 166)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Show what is clicked large."""
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            for zoom in range(len(_NAMES)):
                if self.place_of(zoom).contains(event.position()):
                    self.swap(zoom)
                    return

    def paintEvent(self, _: QPaintEvent | None) -> None:
        """Draw the three zooms, and where the tile is in each."""
        painter = QPainter(self)
        if self._shown is None:
            painter.drawText(self.rect(), int(_CENTRED), self._text)
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        for zoom, frame in enumerate(self._shown.frames):
            self._paint_zoom(painter, zoom, frame)

    def _paint_zoom(self, painter: QPainter, zoom: int, frame: QRectF | None) -> None:
        pixmap, place = self._pixmaps[zoom], self.place_of(zoom)
        scale = min(place.width() / pixmap.width(), place.height() / pixmap.height())
        target = QRectF(0, 0, pixmap.width() * scale, pixmap.height() * scale)
        target.moveCenter(place.center())
        painter.drawPixmap(target, pixmap, QRectF(pixmap.rect()))
        if frame is None:
            return
        box = QRectF(
            0,
            0,
            max(_MARK_PX, frame.width() * target.width()),
            max(_MARK_PX, frame.height() * target.height()),
        )
        middle = frame.center()
        box.moveCenter(
            QPointF(
                target.left() + middle.x() * target.width(),
                target.top() + middle.y() * target.height(),
            )
        )
        # Seen on pale and on dark tissue.
        for width, color in ((3, QColor(0, 0, 0, 160)), (1, QColor("#39ff14"))):
            painter.setPen(QPen(color, width))
            painter.drawRect(box)

    def _on_views(self, views: TileViews) -> None:
        self._kept[views.tile] = views
        self._overviews[views.tile.content_hash] = views.pictures[-1]
        while len(self._overviews) > _KEPT_SLIDES:
            del self._overviews[next(iter(self._overviews))]
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        if views.tile == self._wanted and self._shown is None:
            self._show(views)

    def _show(self, views: TileViews) -> None:
        self._kept.move_to_end(views.tile)
        self._shown = views
        self._pixmaps = [picture_of(pixels) for pixels in views.pictures]
        # Now: what else the answer sets going must not come before it.
        self.repaint()
        self.settled.emit()

    def _on_failure(self, error: Exception) -> None:
        self._show_text(f"{error}\n\nGo on with → or skip this tile.")
        self.settled.emit()

    def _show_text(self, text: str) -> None:
        self._text = text
        self.update()


_CENTRED = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
