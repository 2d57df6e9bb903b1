"""The Train dock: choose settings, fit in the background, watch it learn."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_weno.curves import Curves
from napari_weno.device_choice import DeviceChoice
from napari_weno.docks import (
    Dock,
    listen,
    may_shrink,
    notifying,
    say,
    single_shot,
    text_label,
)
from napari_weno.form import DataclassForm
from napari_weno.jobs import JobBar, QuietJob
from napari_weno.live_preview import LivePreview
from napari_weno.run_cards import RunCards
from napari_weno.session import session_of, show_dock
from napari_weno.train_jobs import History, look, train
from napari_weno.train_runs import (
    ABOUT_NAME,
    RunTable,
    free_name,
    name_to_offer,
    state_of,
)
from weno.errors import ProjectError, WenoError
from weno.mil.config import PRESETS, TrainConfig
from weno.mil.reports import EpochReport, PreviewReport, StepReport

if TYPE_CHECKING:
    import napari.viewer

    from napari_weno.session import Session
    from napari_weno.train_jobs import Readiness, Trained
    from napari_weno.train_runs import RunRow
    from weno.project import Project

_NO_PROJECT = "No project is open yet. Open one, or try the demo cohort."
# Files may change many times a second while a job runs.
_LOOK_MS = 200
# Epochs of a small cohort come faster than anyone can look at curves.
_DRAW_MS = 250


class TrainWidget(Dock):
    """Fits WENO on the slides of the project.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._session: Session = session_of(viewer)
        self._history = History()
        self._ready: Readiness | None = None
        self._runs: tuple[RunRow, ...] = ()
        self._training: tuple[Project | None, str] = (None, "")
        self._start_after_look = False
        self.hint = text_label(name="hint")
        self.way_out = QPushButton("Go to Cohort")
        self.preset = QComboBox()
        self.form = DataclassForm(
            PRESETS["default"], choices={"teacher": (PRESETS["default"].teacher,)}
        )
        self.name = QLineEdit()
        self.device = DeviceChoice()
        self.predict = QCheckBox("Predict all slides afterwards")
        self.job = JobBar("Start", _START_TIP)
        self.live = LivePreview(self._session)
        self.result = text_label(name="result")
        self.curves = Curves()
        self.runs = RunTable()
        self.card = QPushButton("Card")
        self.cards = RunCards()
        self._look = QuietJob(self)
        self._timer = single_shot(self, _LOOK_MS)
        self._drawn = single_shot(self, _DRAW_MS)
        self._explain()
        self._lay_out()
        self._connect()
        self._on_theme()
        self._take_project()

    def fit_like(self, run: str | None) -> None:
        """Fit a new run with the settings of another, as soon as the check is over.

        What stands against it is said as a notification.

        Parameters
        ----------
        run : str or None
            None takes the settings of the form.

        Raises
        ------
        ProjectError
            If no project is open, or a fit runs already.
        WenoError
            If the settings cannot be read.
        """
        project = self._session.project
        if project is None:
            raise ProjectError(_NO_PROJECT)
        if self.job.running:
            raise ProjectError("a fit runs already: stop it, or wait until it is done")
        if run is None:
            settings = self.form.value()
        else:
            settings = TrainConfig.read(project.run_dir(run) / "config.json")
        self.name.setText(free_name(project))
        self.form.set_value(settings)
        # What was found before may be of a time without features or labels.
        self._ready, self._start_after_look = None, True
        self._look.run(look, project)
        self._check()

    def _explain(self) -> None:
        for name in PRESETS:
            self.preset.addItem(name, name)
        self.preset.setPlaceholderText("changed by hand")
        self.preset.setToolTip("Settings to begin with")
        self.name.setToolTip("Name of the run; becomes a folder in runs/")
        self.predict.setChecked(True)
        self.predict.setToolTip("So that overlays, candidates and the review are there")
        self.way_out.setToolTip("Open a project and prepare its slides there")
        self.card.setCheckable(True)
        self.card.setToolTip(
            "Figures, settings and data of the run that is selected above; of several, "
            "side by side, with the settings in which they differ"
        )
        say(self.result, "")

    def _lay_out(self) -> None:
        self.form.add_rows(
            {"Name": self.name, "Preset": self.preset, "Device": self.device}
        )
        self.settings = QWidget()
        settings = QVBoxLayout(self.settings)
        settings.setContentsMargins(0, 0, 0, 0)
        settings.addWidget(self.form)
        settings.addWidget(self.predict)
        contents = QWidget()
        layout = QVBoxLayout(contents)
        for widget in (
            self.hint,
            self.way_out,
            self.settings,
            self.job,
            self.live,
            self.result,
            self.curves,
            self.runs,
            self.card,
            self.cards,
        ):
            layout.addWidget(widget)
        layout.addStretch()
        # Scroll rather than squeeze the fields.
        policy = QSizePolicy.Policy
        contents.setSizePolicy(policy.Preferred, policy.Minimum)
        may_shrink(self.preset)
        self.show_contents(contents)

    def _connect(self) -> None:
        session = self._session
        listen(self, session.project_changed, self._on_project)
        listen(self, session.files_changed, self._look_soon)
        listen(self, session.prediction_changed, self._mark_run)
        listen(self, session.viewer.events.theme, self._on_theme)
        self.preset.currentIndexChanged.connect(self._on_preset)
        self.form.changed.connect(self._on_form)
        self.name.textChanged.connect(self._on_name)
        self.way_out.clicked.connect(self._show_cohort)
        self.job.start_requested.connect(self._start)
        self.job.reported.connect(self._on_report)
        self.job.returned.connect(self._on_result)
        self.job.failed.connect(lambda error: say(self.result, str(error)))
        self.job.ended.connect(self._on_end)
        self.runs.chosen.connect(self._on_run_chosen)
        self.runs.itemSelectionChanged.connect(self._show_cards)
        self.card.toggled.connect(self._show_cards)
        self._drawn.timeout.connect(self._draw)
        self._timer.timeout.connect(self._run_look)
        self._look.returned.connect(self._on_look)
        self._look.failed.connect(self._on_look_failed)

    def _on_project(self, _: object = None) -> None:
        if not self.job.running:  # what is shown is of a run of the project before
            self.curves.hide()
            say(self.result, "")
        self._take_project()

    def _take_project(self) -> None:
        project = self._session.project
        self._ready, self._start_after_look = None, False
        self._look.cancel()
        self._show_runs(())
        if project is not None and not self.job.running:
            self.name.setText(name_to_offer(project))
        self._look_soon()
        self._check()

    def _look_soon(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _run_look(self) -> None:
        if self._look.running:  # of a large project it takes longer than the files do
            self._timer.start()
        elif self._session.project is not None:
            self._start_after_look = False  # by one that failed in its own way
            self._look.run(look, self._session.project)

    def _on_look(self, ready: Readiness) -> None:
        self._ready = ready
        self.form.offer("teacher", ready.teachers)
        self.device.offer(ready.devices)
        if ready.runs != self._runs:
            self._show_runs(ready.runs)
        self._check()
        if self._start_after_look:
            self._start_after_look = False
            if self.job.button.isEnabled():
                self._start()
            else:
                show_error(ready.text or self.job.text.text())

    def _on_look_failed(self, error: Exception) -> None:
        say(self.hint, str(error))
        if self._start_after_look:
            self._start_after_look = False
            show_error(str(error))

    def _check(self, _: object = None) -> None:
        """Say what stands against a fit, and what the button would do."""
        project, ready = self._session.project, self._ready
        text = _NO_PROJECT if project is None else ready.text if ready else ""
        say(self.hint, text or (ready.note if project and ready else ""))
        self.way_out.setVisible(bool(text))
        self.settings.setVisible(project is not None)
        self.job.setVisible(project is not None)
        self.live.setVisible(project is not None)
        for widget in (self.runs, self.card):
            widget.setVisible(project is not None and self.runs.rowCount() > 0)
        state = self._state_of_name()
        self.settings.setEnabled(not self.job.running)
        # Settings of a run that was begun cannot change.
        self.form.set_editable(state != "stopped")
        self.preset.setEnabled(state != "stopped")
        if not self.job.running:
            can_start = ready is not None and not text and state in ("free", "stopped")
            self.job.set_start_text("Resume" if state == "stopped" else "Start")
            self.job.button.setEnabled(can_start)
            waiting = "Checking labels and features…" if ready is None else ""
            self.job.say(ABOUT_NAME.get(state, waiting))

    def _state_of_name(self) -> str:
        """Tell whether a run of the name given is free, stopped, finished or bad."""
        return state_of(self._session.project, self.name.text().strip())

    def _on_name(self) -> None:
        """Show the settings of a run that was begun: it goes on with those."""
        project, name = self._session.project, self.name.text().strip()
        if project is not None and self._state_of_name() == "stopped":
            with suppress(WenoError):
                self.form.set_value(
                    TrainConfig.read(project.run_dir(name) / "config.json")
                )
        self._check()

    def _show_cohort(self) -> None:
        show_dock(self._session.viewer, "Cohort")

    def _on_theme(self, _: object = None) -> None:
        from napari.utils.theme import get_theme

        background = get_theme(self._session.viewer.theme).background
        self.curves.set_theme(dark=sum(background.as_rgb_tuple()[:3]) < 384)

    def _on_preset(self, index: int) -> None:
        if index >= 0:
            self.form.set_value(PRESETS[self.preset.itemData(index)])

    def _on_form(self) -> None:
        """Say which preset the settings are, if they are one."""
        config = None
        with suppress(WenoError):
            config = self.form.value()
        same = [name for name, preset in PRESETS.items() if preset == config]
        self.preset.blockSignals(True)
        self.preset.setCurrentIndex(self.preset.findData(same[0]) if same else -1)
        self.preset.blockSignals(False)

    def _on_run_chosen(self, name: str) -> None:
        """Take a run: show its overlays, or offer to go on with it."""
        project = self._session.project
        if project is None or self.job.running:
            return
        self.name.setText(name)
        if self._state_of_name() != "stopped":
            with notifying():
                self._session.choose_run(name)
        self._mark_run()

    def _start(self) -> None:
        project, name = self._session.project, self.name.text().strip()
        resume = self._state_of_name() == "stopped"
        try:
            config = self.form.value()
            if project is not None and resume:
                config = TrainConfig.read(project.run_dir(name) / "config.json")
        except WenoError as error:
            self.job.say(str(error))
            return
        self._history, self._training = History(), (project, name)
        say(self.result, "")
        self.curves.hide()
        self.live.begin()
        self.job.run(
            train,
            project,
            config,
            name=name,
            device=self.device.currentData(),
            resume=resume,
            predict=self.predict.isChecked(),
            slide_to_show=self.live.slide_to_show,
        )
        self._check()
        self.job.say("Starting…")

    def _on_report(self, report: Any) -> None:
        if isinstance(report, PreviewReport):
            self.live.show_report(report)
        elif isinstance(report, EpochReport):
            self._history.add(report)
            say(self.result, report.warning)
            self.job.show_progress(report.done, report.total, self._history.text)
            if not self._drawn.isActive():
                self._draw()
        elif isinstance(report, StepReport):
            # A run that goes on has epochs, yet first it reads features like any other.
            at_work = self._history.reports and report.done
            text = self._history.text if at_work else report.text
            self.job.show_progress(report.done, report.total, text)
        elif report is not None:
            text = f"Predicting {report.text}"
            self.job.show_progress(report.done, report.total, text)
            if report.done == 1:  # the run is a finished one by now
                self._session.files_changed.emit()

    def _draw(self) -> None:
        """Draw the curves, if there is something new, and rest for a while."""
        if self._history.changed:
            self._history.changed = False
            self.curves.show_history(self._history)
            self._drawn.start()

    def _on_result(self, trained: Trained) -> None:
        told = [trained.run.text, trained.run.warning, self._history.warning]
        if trained.predicted or trained.failed:
            told.append(f"{trained.predicted:,} slides predicted")
        if trained.failed:
            told.append(f"{trained.failed:,} could not be: see Explain")
        say(self.result, "\n".join(filter(None, told)))

    def _on_end(self) -> None:
        """Make what the run has left known to all docks, and offer what is next."""
        self._draw()
        self.live.end()
        project, name = self._training
        if project is None or project is not self._session.project:
            self._take_project()
            return
        if state_of(project, name) == "finished":
            with notifying():
                self._session.choose_run(name)
            self.name.setText(free_name(project))
        self._session.files_changed.emit()
        self._check()

    def _show_runs(self, runs: tuple[RunRow, ...]) -> None:
        self._runs = runs
        self._mark_run()
        self._show_cards()

    def _mark_run(self, _: object = None) -> None:
        """Show which of the runs is looked at."""
        self.runs.show_runs(self._runs, self._session.run)

    def _show_cards(self, _: object = None) -> None:
        """Show the cards of the runs that are selected, if asked for."""
        project, names = self._session.project, self.runs.selected
        self.card.setText(f"Compare {len(names)} runs" if len(names) > 1 else "Card")
        self.card.setEnabled(bool(names) or self.card.isChecked())
        shown = project is not None and self.card.isChecked()
        self.cards.show_runs(
            [project.run_dir(name) for name in names] if project and shown else []
        )


_START_TIP = (
    "Fit teacher and student in the background. Stop keeps every epoch that is done; "
    "Resume goes on from there, also after napari was closed"
)
