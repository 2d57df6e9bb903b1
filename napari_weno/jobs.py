"""Running a job of the core in the background, with a button to stop it.

Jobs run in threads of their own, not in Qt's pool: napari waits for that without a
limit when it quits, and a job may hang, at a share that is gone. What a job has told of
is on disk, so that the program may leave without it.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils.notifications import show_error
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import create_worker as create_quiet_worker

from napari_weno.docks import EXPECTED
from weno.apart import BEAT_S, KILL_S

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from qtpy.QtCore import QCoreApplication

    from weno.terminal import Report

_STEPS = 1000
# For all jobs together to end when the program does; what waits for a child process
# looks up now and then, and then ends that.
_LEAVE_S = BEAT_S + KILL_S + 0.1


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
        worker = task_of_napari(self._stop, job, *args, _ignore_errors=True, **kwargs)
        self._worker = worker
        worker.yielded.connect(self.reported)
        worker.returned.connect(self._on_returned)
        worker.errored.connect(self._on_error)
        worker.finished.connect(self._on_finished)
        self.button.setText("Stop")
        self.show_progress(0, 0)
        start(worker, self._stop)

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

    def show_report(self, report: Report | None) -> None:
        """Show how far a job of the core is; None says nothing new."""
        if report is not None:
            done = round(_STEPS * report.fraction)
            self.show_progress(done, _STEPS, report.text)

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
    #: It is over, in whatever way, and no other has taken its place.
    ended = Signal()

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
        start(worker, stop)

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
            if not stop.is_set():  # its owner may be gone
                self.ended.emit()


_STOPPED = object()


class _Worker(GeneratorWorker[Any, Any, Any]):
    """One that napari may ask to quit.

    By itself it would leave the job where it stands, with all threads that the job has.
    """

    stop: threading.Event

    def quit(self) -> None:
        self.stop.set()


def task_of_napari(
    stop: threading.Event,
    job: Callable[..., Generator[Any, None, Any]],
    *args: Any,
    _ignore_errors: bool = False,
    _progress: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Make a worker of a job that napari asks about when its window is closed.

    Parameters
    ----------
    stop : Event
        The job ends at its next report after this is set.
    job : generator function
        Called with all that follows.

    Returns
    -------
    napari.qt.threading.GeneratorWorker
        To be given to `start`.
    """
    worker = create_worker(
        _until_stopped,
        stop,
        job,
        args,
        kwargs,
        _ignore_errors=_ignore_errors,
        _progress=_progress,
        _worker_class=_Worker,
    )
    worker.stop = stop
    return worker


# Held until the main thread has heard all that they have said.
_at_work: dict[Any, tuple[threading.Thread, threading.Event]] = {}


def start(worker: Any, stop: threading.Event) -> None:
    """Run a worker in a thread, which the program asks to end before it does.

    Parameters
    ----------
    worker : superqt.utils.WorkerBase
        Not started yet.
    stop : Event
        Its job ends soon after this is set.
    """
    _leave_with(QApplication.instance())
    thread = threading.Thread(target=worker.run, name="weno-job", daemon=True)
    _at_work[worker] = thread, stop
    worker.finished.connect(lambda: _at_work.pop(worker))
    thread.start()


@cache
def _leave_with(app: QCoreApplication) -> None:
    app.aboutToQuit.connect(_end_all)


def _end_all() -> None:
    for _, stop in _at_work.values():
        stop.set()
    until = time.monotonic() + _LEAVE_S
    for thread, _ in _at_work.values():
        thread.join(max(0.0, until - time.monotonic()))


def loading(module: str) -> Generator[None, None, None]:
    """Import a module in a thread of its own: whoever leaves need not wait for it.

    torch takes seconds, in which a job could not end. What stands against the module
    is raised where it is imported to be used.
    """

    def load() -> None:
        with suppress(Exception):
            import_module(module)

    thread = threading.Thread(target=load, name="weno-import", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(BEAT_S)
        yield


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
                return _STOPPED if stop.is_set() else end.value
            yield report
        return _STOPPED
    finally:
        generator.close()
