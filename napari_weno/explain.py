"""The Explain dock: a model, what it says of the open slide, and where it looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGroupBox, QLabel, QVBoxLayout, QWidget

from napari_weno.candidate_table import CandidateTable
from napari_weno.docks import Dock, listen, on_mouse_move, text_label
from napari_weno.model_box import ModelBox
from napari_weno.overlay_box import OverlayBox
from napari_weno.readout import SMALL_PRINT, slide_text, tile_text
from napari_weno.session import session_of

if TYPE_CHECKING:
    import napari.viewer

    from weno.prediction import Prediction

_BLIND = (
    "A review is going on blind: what the model says appears after each answer, or "
    "when the review is left."
)
_HOVER = "Point at a tile to read its values; click to choose it.\n"


class ExplainWidget(Dock):
    """Chooses a model, predicts, and reads out what the overlays show.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._session = session_of(viewer)
        self.model = ModelBox(self._session)
        self.slide = QLabel()
        self.small_print = text_label(SMALL_PRINT, "small_print")
        self.overlays = OverlayBox(self._session)
        self.tile = text_label(name="tile")
        self.candidates = CandidateTable()
        self.blind = text_label(_BLIND, "blind")
        self._result = QGroupBox("Slide")
        self._found = QGroupBox("Candidates")
        self._lay_out()
        self._connect()
        self._on_prediction(self._session.prediction)

    def _lay_out(self) -> None:
        self.slide.setTextFormat(Qt.TextFormat.RichText)
        self.slide.setWordWrap(True)
        self.small_print.setStyleSheet("font-size: 8pt; font-style: italic")
        result = QVBoxLayout(self._result)
        result.addWidget(self.slide)
        result.addWidget(self.small_print)
        found = QVBoxLayout(self._found)
        found.setContentsMargins(4, 4, 4, 4)
        found.addWidget(self.tile)
        found.addWidget(self.candidates, stretch=1)
        contents = QWidget()
        layout = QVBoxLayout(contents)
        layout.addWidget(self.model)
        layout.addWidget(self.blind)
        layout.addWidget(self._result)
        layout.addWidget(self.overlays)
        layout.addWidget(self._found, stretch=1)
        self.show_contents(contents)

    def _connect(self) -> None:
        session = self._session
        listen(self, session.prediction_changed, self._on_prediction)
        listen(self, session.blind_changed, self._show_what_may_be_seen)
        listen(self, session.tile_changed, self._on_tile)
        self.candidates.tile_chosen.connect(self._go_to)
        on_mouse_move(self, session.viewer, self._on_hover)

    def _on_prediction(self, prediction: Prediction | None) -> None:
        self.candidates.show_prediction(prediction)
        if prediction is not None:
            self.slide.setText(slide_text(prediction))
            count = len(self.candidates.candidates.tiles)
            self._found.setTitle(f"Candidates ({count})")
            chosen = self._session.run
            learning = chosen is not None and prediction.run != chosen
            self._result.setTitle(
                f"Slide · by {prediction.run}, in training" if learning else "Slide"
            )
        self._show_what_may_be_seen()
        self._on_tile(self._session.tile)

    def _show_what_may_be_seen(self, _: object = None) -> None:
        """Keep the model's values from a reviewer who works blind."""
        session = self._session
        known = session.prediction is not None
        self.blind.setVisible(known and session.blind)
        for box in (self._result, self.overlays, self._found):
            box.setVisible(known and not session.blind)

    def _on_tile(self, tile: int | None) -> None:
        self.candidates.show_tile(tile)
        self._read_out(tile)

    def _on_hover(self, position: tuple[float, ...]) -> None:
        self._read_out(self._session.tile_at(position))

    def _go_to(self, tile: int) -> None:
        self._session.choose_tile(tile, centre=True)

    def _read_out(self, tile: int | None) -> None:
        """Read out a tile; without one, the tile that is chosen."""
        shown = self._session.tile if tile is None else tile
        prediction = self._session.prediction
        if prediction is None or shown is None:
            self.tile.setText(_HOVER)
        else:
            self.tile.setText(tile_text(prediction, shown))
