"""The Explain dock: a model, what it says of the open slide, and where it looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGroupBox, QLabel, QTabWidget, QVBoxLayout, QWidget

from napari_weno.candidate_table import CandidateTable
from napari_weno.compare_box import CompareBox
from napari_weno.docks import Dock, listen, notifying, on_mouse_move, say, text_label
from napari_weno.export_box import ExportBox
from napari_weno.gallery_box import GalleryBox
from napari_weno.model_box import ModelBox
from napari_weno.overlay_box import OverlayBox
from napari_weno.readout import (
    SMALL_PRINT,
    familiarity_text,
    patient_text,
    slide_text,
    tile_text,
)
from napari_weno.session import session_of
from napari_weno.truth_box import TruthBox, most_wrong
from weno.explain import Outcome, familiarity_of, patient_reading

if TYPE_CHECKING:
    import napari.viewer
    import numpy as np
    import numpy.typing as npt

    from weno.explain import Comparison, PatientReading
    from weno.prediction import Prediction

_BLIND = (
    "A review is going on blind: what the model says appears after each answer, or "
    "when the review is left."
)
_HOVER = "Point at a tile to read its values; click to choose it.\n"
_WRONG = {
    Outcome.MISSED: ("Missed", "Positive tiles that the student does not call"),
    Outcome.FALSE_ALARM: ("False alarms", "Negative tiles that the student calls"),
}
_CHANGED = ("Most changed", "The tiles on which the compared runs differ most")


class ExplainWidget(Dock):
    """Chooses a model, predicts, and reads out what the overlays show.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        session = self._session = session_of(viewer)
        self.model = ModelBox(session)
        self.slide = QLabel()
        self.patient = QLabel()
        self.warning = text_label(name="warning")
        self.small_print = text_label(SMALL_PRINT, "small_print")
        self.overlays = OverlayBox(session)
        self.tile = text_label(name="tile")
        self.gallery = GalleryBox(session)
        self.candidates = CandidateTable()
        self.truth = TruthBox(session)
        self.compare = CompareBox(session)
        self.export = ExportBox(session, lambda: self.overlays.layer)
        self.blind = text_label(_BLIND, "blind")
        self.tabs = QTabWidget()
        self._result = QGroupBox("Slide")
        self._found = QGroupBox("Tiles")
        self._lay_out()
        self._connect()
        self._on_prediction(session.prediction)

    def _lay_out(self) -> None:
        self.small_print.setStyleSheet("font-size: 8pt; font-style: italic")
        self.warning.setStyleSheet(
            "background: #f0e442; color: black; border-radius: 3px; padding: 4px"
        )
        result = QVBoxLayout(self._result)
        for label in (self.slide, self.patient):
            label.setTextFormat(Qt.TextFormat.RichText)
            label.setWordWrap(True)
            result.addWidget(label)
        result.addWidget(self.warning)
        result.addWidget(self.small_print)
        self._fill_tabs()
        found = QVBoxLayout(self._found)
        found.setContentsMargins(4, 4, 4, 4)
        found.addWidget(self.tile)
        found.addWidget(self.tabs, stretch=1)
        contents = QWidget()
        layout = QVBoxLayout(contents)
        layout.addWidget(self.model)
        layout.addWidget(self.blind)
        layout.addWidget(self._result)
        layout.addWidget(self.overlays)
        layout.addWidget(self._found, stretch=1)
        self.show_contents(contents)

    def _fill_tabs(self) -> None:
        for page, title, tooltip in (
            (self.gallery, "Gallery", "Tiles as pictures"),
            (self.candidates, "Table", "The mined candidates as a table"),
            (self.truth, "Truth", "What was found and what was missed"),
            (self.compare, "Compare", "Another run on the same slide"),
            (self.export, "Export", "Figures, and the overlay as a file"),
        ):
            row = self.tabs.addTab(page, title)
            self.tabs.setTabToolTip(row, tooltip)
        # Else the frame of the pages makes the dock wider than it may be.
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setDrawBase(False)

    def _connect(self) -> None:
        session = self._session
        listen(self, session.prediction_changed, self._on_prediction)
        listen(self, session.blind_changed, self._show_what_may_be_seen)
        listen(self, session.blind_changed, self._show_patient)
        listen(self, session.tile_changed, self._on_tile)
        listen(self, session.files_changed, self._show_patient)
        self.candidates.tile_chosen.connect(self._go_to)
        self.truth.outcomes_changed.connect(self._on_outcomes)
        self.compare.compared.connect(self._on_compared)
        self.overlays.display.currentIndexChanged.connect(self.compare.refresh)
        on_mouse_move(self, session.viewer, self._on_hover)

    def _on_prediction(self, prediction: Prediction | None) -> None:
        self.candidates.show_prediction(prediction)
        if prediction is not None:
            self.slide.setText(slide_text(prediction))
            say(self.warning, familiarity_text(familiarity_of(prediction)))
            count = len(self.candidates.candidates.tiles)
            self.tabs.setTabToolTip(1, f"The {count} mined candidates as a table")
            chosen = self._session.run
            learning = chosen is not None and prediction.run != chosen
            self._result.setTitle(
                f"Slide · by {prediction.run}, in training" if learning else "Slide"
            )
        self._show_patient()
        self._show_what_may_be_seen()
        self._on_tile(self._session.tile)

    def _show_patient(self, _: object = None) -> None:
        prediction, patient = self._session.prediction, self._patient()
        if prediction is None or patient is None:
            say(self.patient, "")
        else:
            say(self.patient, patient_text(patient, prediction.class_name))

    def _patient(self) -> PatientReading | None:
        """Sum up the patient, if the prediction is the project's and may be seen."""
        session = self._session
        project, run, opened = session.project, session.run, session.opened
        if session.blind or session.prediction is None:
            return None
        if project and run and opened and opened.slide_id:
            with notifying():
                return patient_reading(project, run, opened.slide_id)
        return None

    def _show_what_may_be_seen(self, _: object = None) -> None:
        """Keep the model's values from a reviewer who works blind."""
        session = self._session
        known = session.prediction is not None
        self.blind.setVisible(known and session.blind)
        for box in (self._result, self.overlays, self._found):
            box.setVisible(known and not session.blind)

    def _on_outcomes(self, outcomes: npt.NDArray[np.int8] | None) -> None:
        prediction = self._session.prediction
        wrong = (
            {}
            if prediction is None or outcomes is None
            else most_wrong(prediction, outcomes)
        )
        for outcome, (name, tooltip) in _WRONG.items():
            self.gallery.offer(name, tooltip, wrong.get(outcome))

    def _on_compared(self, comparison: Comparison | None) -> None:
        tiles = None if comparison is None else comparison.most_different()
        self.gallery.offer(*_CHANGED, tiles)

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
