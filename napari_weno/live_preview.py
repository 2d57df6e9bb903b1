"""Live preview: the overlays of the open slide, drawn from the weights in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_weno.canvas import of_kind
from napari_weno.docks import listen, notifying, say, text_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_weno.session import Session
    from weno.mil.reports import PreviewReport
    from weno.prediction import Prediction
    from weno.project import Project


@dataclass
class Wanted:
    """Which slide to predict; no widget, which only the main thread may let go of."""

    slide_id: str | None = None

    def __call__(self) -> str | None:
        return self.slide_id


class LivePreview(QWidget):
    """Decides whether a model in training may draw, and draws.

    It never does while a review goes on: blind, since nothing of a model may be seen,
    and otherwise since the answers are about another run. Choosing another run to look
    at ends it, until it is ticked again.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._project: Project | None = None
        self._run: str | None = None
        self._shown: Prediction | None = None
        self._wanted = Wanted()
        self.box = QCheckBox("Live preview on the open slide")
        self.text = text_label(name="preview")
        self.box.setChecked(True)
        self.box.setToolTip(
            "Watch it learn: after an epoch the overlays are drawn anew with the "
            "weights so far. It takes at most a tenth of the training's time, and "
            "waits while a review goes on"
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        layout.addWidget(self.text)
        say(self.text, "")
        self.box.toggled.connect(self._on_toggled)
        listen(self, session.slide_changed, self._look)
        listen(self, session.blind_changed, self._look)

    @property
    def slide_to_show(self) -> Callable[[], str | None]:
        """What tells, in any thread, which slide to predict now."""
        return self._wanted

    def begin(self) -> None:
        """Draw from now on: a fit begins."""
        self._project, self._run = self._session.project, self._session.run
        self._look()

    def show_report(self, report: PreviewReport) -> None:
        """Draw what the model in training says, if it may be seen and still fits."""
        self._look()
        prediction, session = report.prediction, self._session
        if self._wanted.slide_id != prediction.slide_id:
            return
        before, tile = session.prediction, session.tile
        with notifying():
            session.show_prediction(prediction)
            self._shown = prediction
            if before is not None and np.array_equal(
                before.origins, prediction.origins
            ):
                session.choose_tile(tile)
        say(self.text, f"The overlays are those of epoch {report.epoch}.")

    def end(self) -> None:
        """Show again what the chosen run predicts: the fit is over."""
        self._project = None
        self._look()
        self._take_away()

    def _on_toggled(self, on: bool) -> None:
        self._run = self._session.run
        self._look()
        if not on:
            self._take_away()

    def _look(self, _: object = None) -> None:
        session, opened = self._session, self._session.opened
        fits = self._project is not None and self._project is session.project
        if fits and self.box.isChecked() and session.run != self._run:
            self.box.setChecked(False)
        may = fits and self.box.isChecked() and not self._reviewing()
        self._wanted.slide_id = opened.slide_id if may and opened else None

    def _reviewing(self) -> bool:
        """Whether somebody is asked about a tile: then it is framed."""
        frames = of_kind(self._session.viewer, "outline")
        return self._session.blind or any(frame.visible for frame in frames)

    def _take_away(self) -> None:
        shown, self._shown = self._shown, None
        say(self.text, "")
        if shown is not None and self._session.prediction is shown:
            with notifying():
                self._session.load_prediction()
