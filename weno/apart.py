"""A job in a process of its own: both ends of the pipes between it and its parent.

What is said is JSON, one object a line, and never anything that is unpickled. The child
ends when its standard input does, and so with its parent, however that ends. It is
started anew, never forked: a fork of a process with a window in it inherits locks that
nobody will ever release.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from weno import errors
from weno.errors import RunError, WenoError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    Message = Mapping[str, Any]
    Task = Callable[[Message, Callable[[], Message]], Generator[Message, None, None]]

#: Seconds after which one who waits for a child is told that there is nothing new.
BEAT_S = 0.1
#: Seconds after which a child that was to end is killed.
KILL_S = 0.9
_LEAVE_S = 0.7  # before, it leaves by itself, at a report or wherever it is
_TAIL = 2_000  # characters of what it wrote before it died


class Apart:
    """A child process that does one job; a context manager that ends it.

    Parameters
    ----------
    module : str
        Run as ``python -m``; it calls `serve`.
    request : mapping
        What it is to do.
    """

    def __init__(self, module: str, request: Message) -> None:
        # Not a pipe, which would have to be read lest the child wait at a full one.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        # -P: the folder that napari was started in may hold a file named as a module.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            creationflags=_window_flags(),
        )
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.send(request)

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: Message) -> None:
        """Tell the child something; one that has died is told nothing."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(_line(message))
            self._process.stdin.flush()

    def messages(self) -> Iterator[dict[str, Any] | None]:
        """Yield what the child says; None where it has been silent for a while.

        Raises
        ------
        WenoError
            As the child has raised it; a `RunError` if it died.
        OSError
            As the child has raised it.
        RuntimeError
            With the child's traceback, if that was not foreseen.
        """
        while True:
            try:
                line = self._lines.get(timeout=BEAT_S)
            except queue.Empty:
                yield None
                continue
            if line is None:
                self._check_end()
                return
            message: dict[str, Any] = json.loads(line)
            if "error" in message:
                raise _error_of(message)
            yield message

    def close(self) -> None:
        """End the child, within two seconds; what it has reported is on disk."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        self._process.stdout.close()
        self._errors.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # The last line of one that was killed may be a part of one.
            if line.endswith(b"\n"):
                self._lines.put(line)
        self._lines.put(None)

    def _check_end(self) -> None:
        code = self._process.wait()
        if code == 0:
            return
        self._errors.seek(0)
        told = self._errors.read().decode(errors="replace").strip()[-_TAIL:]
        raise RunError(
            f"the process that did the work has died ({_how(code)}); what it had "
            f"reported is on disk. {told}".strip()
        )


def _window_flags() -> int:
    """Return Windows' flags for a child without a console, of low priority."""
    if sys.platform != "win32":
        return 0
    return subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS


def _how(code: int) -> str:
    if code == -9:
        return "signal 9, often for want of memory"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _line(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _error_of(message: Message) -> Exception:
    name, text = message["error"], message["text"]
    if name == "OSError":
        return OSError(text)
    if name == "RuntimeError":
        return RuntimeError(text)
    kind = getattr(errors, name, WenoError)
    try:
        error: Exception = kind(text)
    except TypeError:  # made of something else than its text
        error = WenoError(text)
    return error


def serve(task: Task) -> None:
    """Be the child: read what to do, do it, say what the task yields.

    Parameters
    ----------
    task : generator function
        Takes the request and a function that returns the newest message of the parent;
        yields messages. It is closed at a yield once the parent is gone.
    """
    # Whatever else prints, prints to standard error.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    heard = _Heard()
    job = task(heard.first(), lambda: heard.newest)
    try:
        for message in job:
            out.write(_line(message))
            if heard.parent_gone.is_set():
                break
    except (WenoError, OSError) as error:
        known = type(error).__name__ if isinstance(error, WenoError) else "OSError"
        _last_words(out, known, str(error))
    except Exception:  # noqa: BLE001 - the parent shows it
        _last_words(out, "RuntimeError", traceback.format_exc())
    finally:
        job.close()


def _last_words(out: Any, name: str, text: str) -> None:
    with suppress(OSError):
        out.write(_line({"error": name, "text": text}))


class _Heard:
    """What the parent says, read in a thread of its own."""

    def __init__(self) -> None:
        self.newest: Message = {}
        self.parent_gone = threading.Event()
        self._lines = self._read()
        self._request: Message = next(self._lines)
        threading.Thread(target=self._listen, daemon=True).start()

    def first(self) -> Message:
        """Return the request."""
        return self._request

    def _listen(self) -> None:
        for message in self._lines:
            self.newest = message
        self.parent_gone.set()
        threading.Event().wait(_LEAVE_S)
        # Nothing is lost: files are whole or not there.
        os._exit(1)

    @staticmethod
    def _read() -> Iterator[Message]:
        """Yield messages; not through Python's buffer, whose lock outlives a thread."""
        rest = b""
        while data := os.read(0, 2**16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield json.loads(line)
