"""What has been answered so far: for the next fit, among reviewers, for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QGroupBox, QHBoxLayout, QPushButton, QVBoxLayout

from napari_weno.docks import listen, notifying, say, text_label
from napari_weno.jobs import JobBar, QuietJob
from napari_weno.review_jobs import Standing, export_csv, export_geojson, take_stock
from napari_weno.session import show_dock

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_weno.session import Session

_NOTHING = (
    "Nothing answered yet. Answers train the next model, are compared among reviewers, "
    "and can be exported."
)


class AnswersBox(QGroupBox):
    """Counts the answers, compares reviewers, and passes the answers on.

    Parameters
    ----------
    session : Session
    run : callable
        Returns the name of the run that is reviewed, empty if there is none.
    """

    def __init__(
        self, session: Session, run: Callable[[], str], parent: QWidget | None = None
    ) -> None:
        super().__init__("Answers", parent)
        self._session, self._run = session, run
        self.standing = text_label(name="standing")
        self.agreement = text_label(name="agreement")
        self.retrain = QPushButton("Retrain with these answers")
        self.csv = QPushButton("Export CSV")
        self.geojson = QPushButton("Export GeoJSON")
        self.exports = JobBar("", "Stop writing; files that are done stay")
        self._stock = QuietJob(self)
        self._explain()
        self._lay_out()
        self._connect()
        self.refresh()

    def refresh(self, _: object = None) -> None:
        """Count again what is on disk."""
        project = self._session.project
        self.setVisible(project is not None)
        answered = project is not None and any(project.review_dir.glob("*.jsonl"))
        for button in (self.csv, self.geojson):
            button.setEnabled(answered and not self.exports.running)
        if project is not None:
            self._stock.run(take_stock, project, self._run())

    def _explain(self) -> None:
        self.exports.button.hide()
        self.retrain.setEnabled(False)
        self.retrain.setToolTip(
            "Starts a new run with the settings of the chosen one in the Train dock, "
            "where it can be stopped; the answers take the place of what the model "
            "guessed for these tiles"
        )
        self.agreement.setToolTip(
            "Cohen's kappa: 1 is full agreement, 0 what chance would give. Only "
            "answers that were given blind count"
        )
        self.csv.setToolTip("All reviewers' answers as one table, in review/exports")
        self.geojson.setToolTip("One file per slide that QuPath opens, same folder")
        say(self.agreement, "")

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.csv)
        row.addWidget(self.geojson)
        layout = QVBoxLayout(self)
        for widget in (self.standing, self.retrain, self.agreement):
            layout.addWidget(widget)
        layout.addLayout(row)
        layout.addWidget(self.exports)

    def _connect(self) -> None:
        session = self._session
        listen(self, session.project_changed, self.refresh)
        listen(self, session.files_changed, self.refresh)
        self._stock.returned.connect(self._show)
        self._stock.failed.connect(lambda error: say(self.standing, str(error)))
        self.retrain.clicked.connect(self._retrain)
        self.csv.clicked.connect(lambda: self._export(export_csv))
        self.geojson.clicked.connect(lambda: self._export(export_geojson))
        self.exports.reported.connect(
            lambda step: self.exports.show_progress(step.done, step.total, step.text)
        )
        self.exports.returned.connect(self.exports.say)
        self.exports.ended.connect(self._on_exported)

    def _show(self, standing: Standing) -> None:
        say(self.standing, standing.text or _NOTHING)
        say(self.agreement, standing.agreement)
        self.retrain.setEnabled(standing.trains)

    def _retrain(self) -> None:
        """Show the Train dock and fit a new run there as the chosen one was fitted."""
        train: Any = show_dock(self._session.viewer, "Train")
        with notifying():
            train.fit_like(self._run() or None)
        train.job.button.setFocus()

    def _export(self, job: Any) -> None:
        self.exports.say("")
        self.exports.run(job, self._session.project, self._run())
        self.exports.button.show()  # it says Stop now
        self.refresh()

    def _on_exported(self) -> None:
        self.exports.button.hide()
        self.refresh()
