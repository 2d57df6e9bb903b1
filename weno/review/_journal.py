"""A file of lines that only grows, has one writer, and survives being killed."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING

from weno.errors import ReviewError

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

# A name becomes a file name: no separator, no leading dot, nothing Windows bends.
_NAME = re.compile(r"[^\W_][\w.\-+@'() ]*")
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)
_MAX_NAME_BYTES = 120

# Windows locks bytes, and others cannot read them: lock one that is never there.
_LOCKED_BYTE = 2**30


def safe_name(name: str, what: str) -> str:
    """Return a name in the one spelling that a file may have, or refuse it.

    Parameters
    ----------
    name : str
    what : str
        What is named, for the message.
    """
    name = unicodedata.normalize("NFC", name)
    if (
        not _NAME.fullmatch(name)
        or name.endswith((".", " "))
        or _RESERVED.fullmatch(name)
        or len(name.encode()) > _MAX_NAME_BYTES
    ):
        raise ReviewError(
            f"{name!r} cannot be the name of a {what}: it names a file; start with a "
            "letter or digit, then letters, digits, spaces and . _ - + @ ' ( )"
        )
    return name


def read_lines(path: Path) -> list[bytes]:
    """Read the whole lines of a journal, without one cut short at its end."""
    try:
        return _whole_lines(path.read_bytes())[0]
    except OSError as error:
        raise ReviewError(f"{path} cannot be read: {error}") from error


def _whole_lines(data: bytes) -> tuple[list[bytes], int]:
    """Return the lines that were written to their end, and where that is."""
    *lines, tail = data.split(b"\n")
    if _is_json(tail):  # complete: an editor took the line break away
        return [*lines, tail], len(data)
    return lines, len(data) - len(tail)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class Journal:
    """A journal open for appending, locked against other writers.

    The lock is the operating system's and ends with the process. Some network shares
    have none; there a second writer is noticed at the next append.

    Parameters
    ----------
    path : Path
        Made if missing, with its folder.

    Attributes
    ----------
    lines : list of bytes
        What the file held when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: FileIO = path.open("ab+", buffering=0)
        except OSError as error:
            raise ReviewError(f"{path} cannot be written: {error}") from error
        try:
            self._lock()
            self._file.seek(0)
            data = self._file.read()
        except BaseException:
            self._file.close()
            raise
        self.lines, self._end = _whole_lines(data)
        self._size = len(data)
        self._needs_break = data[self._end - 1 : self._end] not in (b"", b"\n")

    def close(self) -> None:
        """Give up the lock."""
        self._file.close()

    def append(self, line: bytes) -> None:
        """Write one line and wait until it is on disk.

        A line cut short at the end is cut off first: it was never reported as
        written.

        Raises
        ------
        ReviewError
            If it could not be written; the file is as before, but for a line cut
            short.
        """
        if self._file.closed:
            raise ReviewError(f"{self.path} is closed; open the review again")
        self._check_unchanged()
        data = (b"\n" if self._needs_break else b"") + line + b"\n"
        try:
            if self._size > self._end:
                self._file.truncate(self._end)
            self._write(data)
            os.fsync(self._file.fileno())
        except OSError as error:
            self._take_back()
            raise ReviewError(
                f"{self.path}: the verdict is not saved ({error}); "
                "those before it are; make room or mend the folder, then answer again"
            ) from error
        self._end += len(data)
        self._size = self._end
        self._needs_break = False

    def _write(self, data: bytes) -> None:
        while data:
            data = data[self._file.write(data) :]

    def _take_back(self) -> None:
        # Where not even this works, the next append tries again.
        with suppress(OSError):
            self._file.truncate(self._end)
        self._size = os.fstat(self._file.fileno()).st_size

    def _check_unchanged(self) -> None:
        opened = os.fstat(self._file.fileno())
        with suppress(OSError):
            there = self.path.stat()
            if os.path.samestat(opened, there) and there.st_size == self._size:
                return
        raise ReviewError(
            f"{self.path} was changed or replaced by another program since it was "
            "opened; the verdict is not saved: open the review again"
        )

    def _lock(self) -> None:
        try:
            _lock_file(self._file)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise ReviewError(
                    f"{self.path} is being written by another window or person; "
                    "close that review or choose another reviewer name"
                ) from error
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise ReviewError(f"{self.path} cannot be locked: {error}") from error


if sys.platform == "win32":
    import msvcrt

    def _lock_file(file: FileIO) -> None:
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock_file(file: FileIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
