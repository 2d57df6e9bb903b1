"""First page of the Review dock: who reviews what."""

from __future__ import annotations

import getpass
import re
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_weno.docks import form_layout, listen, may_shrink, say, text_label
from napari_weno.jobs import JobBar
from napari_weno.preferences import preferences
from napari_weno.review_jobs import collect_queue, predicted_slides
from napari_weno.session import show_dock

if TYPE_CHECKING:
    from napari_weno.session import Session
    from weno.review import Queue

_INTRODUCTION = (
    "The model brings you the tiles that were hardest to find: mined candidates first, "
    "then those where teacher and student disagree, then the least certain ones, with "
    "a random sample in between. Answer with a key each."
)


class ReviewSetup(QWidget):
    """Chooses reviewer, run and slides, and builds the queue.

    Parameters
    ----------
    session : Session
    """

    #: The `Queue` to be answered.
    ready = Signal(object)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        usual = preferences("review")
        self.reviewer = QLineEdit(file_name(usual.reviewer) or login_name())
        self.run = QComboBox()
        self.slides = QComboBox()
        for combo in (self.run, self.slides):
            may_shrink(combo)
        self.limit = QSpinBox()
        self.audit = QSpinBox()
        self.job = JobBar("Start review", "Build the queue and show its first tile")
        self.hint = text_label(name="hint")
        self.way_out = QPushButton()
        self._missing_dock = "Cohort"
        self._predicted: list[str] = []  # ids of slides, by the run
        self._explain()
        self.limit.setValue(usual.tiles)
        self.audit.setValue(usual.audit_percent)
        self._lay_out()
        self._connect()
        self.refresh()

    def refresh(self, _: object = None) -> None:
        """Show what there is to review, or what to do so that there is something."""
        project = self._session.project
        runs = project.run_names() if project else []
        chosen = self.run.currentText()
        if chosen not in runs:
            chosen = self._session.run or ""
        self.run.blockSignals(True)
        self.run.clear()
        self.run.addItems(runs[::-1])
        self.run.setCurrentText(chosen)
        self.run.blockSignals(False)
        self._count_slides()

    def _explain(self) -> None:
        self.reviewer.setToolTip(
            "Your answers go to review/NAME.jsonl in the project; one file per person"
        )
        self.run.setToolTip("The model whose candidates are reviewed; the newest first")
        self.slides.setToolTip("Where the tiles are taken from")
        self.limit.setRange(1, 100_000)
        self.limit.setSuffix(" tiles")
        self.limit.setToolTip("Length of the queue. What is answered stays answered")
        self.audit.setRange(0, 90)
        self.audit.setSuffix(" %")
        self.audit.setToolTip(
            "Share of tiles drawn at random. They measure the model: always shown "
            "blind, never used to train"
        )

    def _lay_out(self) -> None:
        self.form = QWidget()
        form = form_layout(self.form)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Reviewer", self.reviewer)
        form.addRow("Run", self.run)
        form.addRow("From", self.slides)
        form.addRow("At most", self.limit)
        form.addRow("Random audit", self.audit)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(text_label(_INTRODUCTION))
        layout.addWidget(self.form)
        layout.addWidget(self.hint)
        layout.addWidget(self.way_out)
        layout.addWidget(self.job)

    def _connect(self) -> None:
        session = self._session
        for signal in (session.project_changed, session.files_changed):
            listen(self, signal, self.refresh)
        listen(self, session.prediction_changed, self._check)
        self.run.currentTextChanged.connect(self._count_slides)
        self.slides.currentIndexChanged.connect(self._check)
        self.reviewer.textChanged.connect(self._check)
        self.reviewer.returnPressed.connect(self.job.button.click)
        self.way_out.clicked.connect(self._show_missing_dock)
        self.job.start_requested.connect(self._start)
        self.job.reported.connect(self._on_report)
        self.job.returned.connect(self._on_queue)
        self.job.ended.connect(self._check)

    def _count_slides(self, _: object = None) -> None:
        project, run = self._session.project, self.run.currentText()
        self._predicted = predicted_slides(project, run) if project and run else []
        count = len(self._predicted)
        which = self.slides.currentData() or "all"
        self.slides.blockSignals(True)
        self.slides.clear()
        self.slides.addItem(f"all predicted slides ({count:,})", "all")
        self.slides.addItem("the slide shown", "open")
        self.slides.setCurrentIndex(self.slides.findData(which))
        self.slides.blockSignals(False)
        self._check()

    def _chosen(self) -> list[str]:
        """Return the ids of the slides that the queue is made from."""
        if self.slides.currentData() == "all":
            return self._predicted
        opened = self._session.opened
        return [s for s in self._predicted if opened and s == opened.slide_id]

    def _check(self, _: object = None) -> None:
        """Say what is missing, and offer the dock that helps."""
        text, dock = self._missing()
        say(self.hint, text)
        self._missing_dock = dock
        self.way_out.setText(f"Go to {dock}")
        self.way_out.setVisible(bool(dock))
        self.form.setVisible(self._session.project is not None)
        self.job.button.setEnabled(not text or self.job.running)

    def _missing(self) -> tuple[str, str]:
        """Return what is missing, and which dock helps; empty if nothing."""
        project, run = self._session.project, self.run.currentText()
        if project is None:
            return "No project is open yet. Open one, or try the demo cohort.", "Cohort"
        if not run:
            return "This project has no model yet: train one first.", "Train"
        if not self._predicted:
            return f"Run {run} has not predicted any slide yet.", "Explain"
        if not self._chosen():
            return f"Run {run} has not predicted the slide shown.", "Explain"
        if not self.reviewer.text().strip():
            return "Give the name of the reviewer.", ""
        return "", ""

    def _show_missing_dock(self) -> None:
        show_dock(self._session.viewer, self._missing_dock)

    def _start(self) -> None:
        preferences("review").reviewer = self.reviewer.text().strip()
        self.job.run(
            collect_queue,
            self._session.project,
            self.run.currentText(),
            self._chosen(),
            limit=self.limit.value(),
            audit_share=self.audit.value() / 100,
        )

    def _on_report(self, report: Any) -> None:
        self.job.show_progress(report.done, report.total, report.text)

    def _on_queue(self, queue: Queue) -> None:
        self.job.say("" if len(queue) else "There is no tile to review.")
        if len(queue):
            self.ready.emit(queue)


def login_name() -> str:
    """Return a reviewer's name to begin with: the login name, if it can be a file."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = ""
    return file_name(name) or "reviewer"


def file_name(name: str) -> str:
    """Return what of a reviewer's name can name a file, which may be nothing."""
    return re.sub(r"[^\w.\-+@' ]", "", name).strip(" .")
