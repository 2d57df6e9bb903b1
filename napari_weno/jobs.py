"""Running a job of the core in the background, with a button to stop it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import create_worker as create_quiet_worker

from napari_weno.docks import EXPECTED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from weno.terminal import Report

_STEPS = 1000


class JobBar(QWidget):
    """A Start button that becomes Stop, a progress bar and a line of text.

    One job at a time. The job is a generator function of the core; it runs in
    napari's worker thread and all signals arrive in the main thread. Stop takes
    effect at the job's next report and closes the generator.

    Parameters
    ----------
    start_text : str
        Text of the button while nothing runs.
    tooltip : str
        What the button does.
    """

    #: The button was pressed while nothing ran.
    start_requested = Signal()
    #: One report of the running job.
    reported = Signal(object)
    #: What the job returned; not emitted if it was stopped or failed.
    returned = Signal(object)
    #: What it failed with.
    failed = Signal(object)
    #: The job is over, in whatever way.
    ended = Signal()

    def __init__(
        self, start_text: str, tooltip: str = "", parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._start_text = start_text
        self._worker: Any = None
        self._stop = threading.Event()
        self.button = QPushButton(start_text)
        self.button.setToolTip(tooltip)
        self.progress = QProgressBar()
        self.progress.setVisible(False)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setVisible(False)
        row = QHBoxLayout()
        row.addWidget(self.button)
        row.addWidget(self.progress, stretch=1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.text)
        self.button.clicked.connect(self._on_clicked)

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        return self._worker is not None

    def run(
        self, job: Callable[..., Generator[Any, None, Any]], *args: Any, **kwargs: Any
    ) -> None:
        """Start a job in the background; one that runs already goes on instead."""
        if self.running:
            return
        self._stop = _event_of(self)
        worker = create_worker(
            _until_stopped, self._stop, job, args, kwargs, _ignore_errors=True
        )
        self._worker = worker
        worker.yielded.connect(self.reported)
        worker.returned.connect(self._on_returned)
        worker.errored.connect(self._on_error)
        worker.finished.connect(self._on_finished)
        self.button.setText("Stop")
        self.show_progress(0, 0)
        worker.start()

    def stop(self) -> None:
        """Ask the running job to end at its next report."""
        if self.running:
            self._stop.set()
            self.button.setText("Stopping…")
            self.button.setEnabled(False)

    def set_start_text(self, text: str) -> None:
        """Say what the button does while nothing runs."""
        self._start_text = text
        if not self.running:
            self.button.setText(text)

    def show_progress(self, done: int, total: int, text: str = "") -> None:
        """Show how far the job is; a total of 0 shows that it is busy."""
        self.progress.setVisible(True)
        self.progress.setRange(0, total)
        self.progress.setValue(done)
        if text:
            self.say(text)

    def show_report(self, report: Report) -> None:
        """Show how far a job of the core is."""
        self.show_progress(round(_STEPS * report.fraction), _STEPS, report.text)

    def say(self, text: str) -> None:
        """Show a line of text under the button."""
        self.text.setText(text)
        self.text.setVisible(bool(text))

    def _on_clicked(self) -> None:
        if self.running:
            self.stop()
        else:
            self.start_requested.emit()

    def _on_returned(self, result: Any) -> None:
        if result is not _STOPPED:
            self.returned.emit(result)

    def _on_error(self, error: BaseException) -> None:
        self.say(str(error) or type(error).__name__)
        self.failed.emit(error)
        if isinstance(error, EXPECTED):
            show_error(str(error))
        else:
            # Not foreseen: napari shows it with its traceback.
            raise error

    def _on_finished(self) -> None:
        self._worker = None
        self.button.setText(self._start_text)
        self.button.setEnabled(True)
        self.progress.setVisible(False)
        self.ended.emit()


class QuietJob(QObject):
    """A small job without a button, such as an estimate that follows the choices.

    A new one replaces the one that runs; what the old one still says is dropped. It
    is no task of napari's: closing the window does not ask about it.
    """

    #: One report of the job that was asked for last.
    reported = Signal(object)
    #: What it returned.
    returned = Signal(object)
    #: The `WenoError` or `OSError` that it failed with.
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._stop = threading.Event()
        self._running: threading.Event | None = None

    @property
    def running(self) -> bool:
        """Whether the job that was asked for last still runs."""
        return self._running is not None

    def run(
        self, job: Callable[..., Generator[Any, None, Any]], *args: Any, **kwargs: Any
    ) -> None:
        """Start a job in the background in place of the one that runs."""
        self.cancel()
        stop = self._stop = self._running = _event_of(self)
        worker = create_quiet_worker(
            _until_stopped, stop, job, args, kwargs, _ignore_errors=True
        )
        worker.yielded.connect(lambda report: self._pass_on(stop, "reported", report))
        worker.returned.connect(lambda result: self._pass_on(stop, "returned", result))
        worker.errored.connect(lambda error: self._on_error(stop, error))
        worker.finished.connect(lambda: self._on_finished(stop))
        worker.start()

    def cancel(self) -> None:
        """Forget the running job; it ends at its next report."""
        self._stop.set()
        self._running = None

    def _pass_on(self, stop: threading.Event, signal: str, value: Any) -> None:
        if not stop.is_set() and value is not _STOPPED:
            getattr(self, signal).emit(value)

    def _on_error(self, stop: threading.Event, error: BaseException) -> None:
        if stop.is_set():
            return
        if not isinstance(error, EXPECTED):
            raise error
        self.failed.emit(error)

    def _on_finished(self, stop: threading.Event) -> None:
        if stop is self._running:
            self._running = None


_STOPPED = object()


def _event_of(owner: QObject) -> threading.Event:
    """Return an event that is also set when `owner` is destroyed."""
    event = threading.Event()
    owner.destroyed.connect(event.set)
    return event


def _until_stopped(
    stop: threading.Event,
    job: Callable[..., Generator[Any, None, Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Generator[Any, None, Any]:
    """Run a job until it ends or is to stop, then close it in its own thread."""
    generator = job(*args, **kwargs)
    try:
        while not stop.is_set():
            try:
                report = next(generator)
            except StopIteration as end:
                return end.value
            yield report
        return _STOPPED
    finally:
        generator.close()
