"""A gallery: tiles as small pictures, read in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QSignalBlocker,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListView

from napari_weno.docks import picture_of
from napari_weno.jobs import QuietJob
from napari_weno.readout import all_values_text
from weno.tiles import read_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    import numpy as np
    import numpy.typing as npt
    from qtpy.QtGui import QHideEvent, QShowEvent
    from qtpy.QtWidgets import QWidget

    from weno.prediction import Prediction
    from weno.slides import Slide

    Pixels = npt.NDArray[np.uint8]

SIDE_PX = 72


def read_thumbnails(
    slide: Slide, prediction: Prediction, tiles: Sequence[int]
) -> Generator[tuple[int, Pixels], None, None]:
    """Read tiles as the model saw them, one after the other.

    Raises
    ------
    SlideError
        If the slide's data are damaged.
    """
    grid, spec = prediction.grid, prediction.spec
    for tile in tiles:
        yield tile, read_tiles(slide, grid, spec, [tile])[0]


class GalleryModel(QAbstractListModel):
    """The tiles of a gallery, in the order in which they are to be looked at."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tiles: list[int] = []
        self._prediction: Prediction | None = None
        self._caption: Callable[[int], str] = str
        self._pictures: dict[int, QPixmap] = {}
        self._blank = QPixmap(SIDE_PX, SIDE_PX)
        self._blank.fill(QColor(128, 128, 128, 60))

    def show_tiles(
        self,
        prediction: Prediction | None,
        tiles: Sequence[int],
        caption: Callable[[int], str] = str,
    ) -> None:
        """Show tiles of a prediction, each with a caption."""
        self.beginResetModel()
        if prediction is not self._prediction:
            self._pictures = {}
        self._prediction, self._caption = prediction, caption
        self.tiles = list(tiles)
        self.endResetModel()

    def missing(self) -> list[int]:
        """Return the tiles whose pictures have not been read."""
        return [tile for tile in self.tiles if tile not in self._pictures]

    def show_picture(self, tile: int, pixels: Pixels) -> None:
        """Show the picture of a tile."""
        self._pictures[tile] = picture_of(pixels).scaled(
            SIDE_PX,
            SIDE_PX,
            Qt.AspectRatioMode.IgnoreAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        if tile in self.tiles:
            index = self.index(self.tiles.index(tile), 0)
            self.dataChanged.emit(index, index)

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.tiles)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if self._prediction is None:
            return None
        tile = self.tiles[index.row()]
        if role == Qt.ItemDataRole.DecorationRole:
            return self._pictures.get(tile, self._blank)
        if role == Qt.ItemDataRole.DisplayRole:
            return self._caption(tile)
        if role == Qt.ItemDataRole.ToolTipRole:
            return all_values_text(self._prediction, tile)
        if role == Qt.ItemDataRole.UserRole:
            return tile
        return None


class Gallery(QListView):
    """Shows tiles as pictures; arrow keys and clicks choose one."""

    #: Index of the tile in the prediction.
    tile_chosen = Signal(int)
    #: Why pictures could not be read.
    failed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.pictures = GalleryModel(self)
        self.setModel(self.pictures)
        self.job = QuietJob(self)
        self._slide: Slide | None = None
        self._prediction: Prediction | None = None
        self._set_looks()
        self.selectionModel().currentChanged.connect(lambda now, _: self._choose(now))
        self.clicked.connect(self._choose)
        self.activated.connect(self._choose)
        self.job.reported.connect(lambda read: self.pictures.show_picture(*read))
        self.job.failed.connect(lambda error: self.failed.emit(str(error)))

    def show_tiles(
        self,
        slide: Slide | None,
        prediction: Prediction | None,
        tiles: Sequence[int],
        caption: Callable[[int], str] = str,
    ) -> None:
        """Show tiles of a prediction; their pictures come as they are read.

        Nothing is read for a gallery that nobody sees.
        """
        self.job.cancel()
        self._slide, self._prediction = slide, prediction
        with QSignalBlocker(self.selectionModel()):
            self.pictures.show_tiles(prediction, tiles, caption)
        self.scrollToTop()
        if self.isVisible():
            self._read()

    def showEvent(self, event: QShowEvent | None) -> None:
        super().showEvent(event)
        self._read()

    def hideEvent(self, event: QHideEvent | None) -> None:
        super().hideEvent(event)
        self.job.cancel()

    def _read(self) -> None:
        slide, prediction, missing = (
            self._slide,
            self._prediction,
            self.pictures.missing(),
        )
        if slide is not None and prediction is not None and missing:
            self.job.run(read_thumbnails, slide, prediction, missing)

    def show_tile(self, tile: int | None) -> None:
        """Select a tile, none if it is not among those shown."""
        with QSignalBlocker(self.selectionModel()):
            self.clearSelection()
            if tile in self.pictures.tiles:
                index = self.pictures.index(self.pictures.tiles.index(tile), 0)
                self.setCurrentIndex(index)
                self.scrollTo(index)
        self.viewport().update()

    def _set_looks(self) -> None:
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setIconSize(QSize(SIDE_PX, SIDE_PX))
        text = self.fontMetrics().height()
        self.setGridSize(QSize(SIDE_PX + 6, SIDE_PX + text + 10))
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(2 * (SIDE_PX + text + 10) + 8)
        self.setAccessibleName("Gallery of tiles")

    def _choose(self, index: QModelIndex) -> None:
        if index.isValid():
            self.tile_chosen.emit(self.pictures.tiles[index.row()])
