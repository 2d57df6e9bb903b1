"""The gallery of the Explain dock: which tiles, by which value."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QVBoxLayout, QWidget

from napari_weno.docks import listen, may_shrink, say, text_label
from napari_weno.gallery import Gallery
from napari_weno.readout import column_name, column_text
from weno.explain import COLUMNS, picked

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_weno.session import Session
    from weno.explain.ranking import Column
    from weno.prediction import Prediction

    Tiles = npt.NDArray[np.int64]

_PICKS = {
    "candidates": (
        "Candidates",
        "What the teacher finds once the obvious is hidden, the first first",
    ),
    "highest": ("Highest", "The tiles with the most of the value"),
    "lowest": ("Lowest", "The tiles with the least of the value"),
    "disagreeing": (
        "Most disagreeing",
        "The tiles on which teacher and student disagree most, whoever sees more",
    ),
}
_EMPTY = {
    "candidates": "There are no candidates: the teacher finds nothing once the obvious "
    "is hidden. Choose Highest to see what it attends to.",
}
_NO_TILES = "There is no such tile on this slide."
_SHARED = "Click a tile, or go with the arrow keys: the slide centres there"


class GalleryBox(QWidget):
    """Shows the top, bottom, candidate and most disagreeing tiles of the prediction.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._offers: dict[str, Tiles] = {}
        self.which = QComboBox()
        self.by = QComboBox()
        self.gallery = Gallery()
        self.hint = text_label(name="gallery_hint")
        self._fill()
        self._lay_out()
        self.which.currentIndexChanged.connect(self.refresh)
        self.by.currentIndexChanged.connect(self.refresh)
        self.gallery.tile_chosen.connect(self._go_to)
        self.gallery.failed.connect(partial(say, self.hint))
        listen(self, session.prediction_changed, self._on_prediction)
        listen(self, session.tile_changed, self.gallery.show_tile)
        self._on_prediction(session.prediction)

    def offer(self, name: str, tooltip: str, tiles: Tiles | None) -> None:
        """Offer more tiles to look at, beside the usual choices.

        Parameters
        ----------
        name : str
        tooltip : str
        tiles : ndarray of shape (n,) or None
            None takes the choice away.
        """
        row = self.which.findData(name)
        if tiles is None:
            self._offers.pop(name, None)
            if row >= 0:
                self.which.removeItem(row)
            return
        self._offers[name] = tiles
        if row < 0:
            self.which.addItem(name, name)
            self._explain_item(self.which.count() - 1, tooltip)
        elif self.which.currentIndex() == row:
            self.refresh()

    def refresh(self, _: object = None) -> None:
        """Show the tiles that are asked for."""
        session = self._session
        prediction, which = session.prediction, self.which.currentData()
        by = self.by.currentData()
        self.by.setEnabled(which in ("highest", "lowest"))
        if prediction is None:
            self.gallery.show_tiles(None, None, [])
            return
        if which in _PICKS:
            tiles = picked(prediction, which, by)
        else:
            tiles = self._offers[which]
        column: Column = by if self.by.isEnabled() else "probability"
        if which == "disagreeing":
            column = "disagreement"
        caption = partial(column_text, prediction, column)
        if which == "candidates":
            caption = partial(_rank_text, prediction)
        slide = session.opened.slide if session.opened else None
        self.gallery.show_tiles(slide, prediction, tiles.tolist(), caption)
        self.gallery.show_tile(session.tile)
        say(self.hint, "" if len(tiles) else _EMPTY.get(which, _NO_TILES))

    def _fill(self) -> None:
        for which, (text, tooltip) in _PICKS.items():
            self.which.addItem(text, which)
            self._explain_item(self.which.count() - 1, tooltip)
        for combo in (self.which, self.by):
            may_shrink(combo)
        self.which.setToolTip("Which tiles to look at")
        self.by.setToolTip("The value that tiles are ranked by")
        self.gallery.setToolTip(_SHARED)

    def _explain_item(self, row: int, tooltip: str) -> None:
        self.which.setItemData(row, tooltip, Qt.ItemDataRole.ToolTipRole)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.which, stretch=1)
        row.addWidget(self.by, stretch=1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(row)
        layout.addWidget(self.hint)
        layout.addWidget(self.gallery, stretch=1)

    def _on_prediction(self, prediction: Prediction | None) -> None:
        chosen = self.by.currentIndex()
        with QSignalBlocker(self.by):
            self.by.clear()
            for column in COLUMNS:
                name = column_name(column, prediction)
                self.by.addItem(f"by {name}", column)
            self.by.setCurrentIndex(max(0, chosen))
        self.refresh()

    def _go_to(self, tile: int) -> None:
        self._session.choose_tile(tile, centre=True)


def _rank_text(prediction: Prediction, tile: int) -> str:
    return f"{prediction.candidate_rank[tile]}."
