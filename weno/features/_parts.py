"""What is done of an extraction that is not yet whole."""

from __future__ import annotations

import json
import shutil
import threading
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from weno.atomic import replacing
from weno.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path
    from typing import Self

    import numpy.typing as npt

    Features = npt.NDArray[np.float32]

_ROWS = 4096  # read or copied at a time


class Parts:
    """The features of one slide so far, in a folder; for several threads at a time.

    A batch is written to its place in ``features.f32``; then a line in ``done.txt``
    says so: first tile, number of tiles, check sum. A batch without its line, or of
    another check sum, has never been, whatever stopped the job between the two.

    Parameters
    ----------
    folder : Path
    count, dim : int
        Tiles of the slide, and features of a tile.
    job : dict
        All that the features depend on. Parts of another job are dropped.
    """

    def __init__(
        self, folder: Path, count: int, dim: int, job: dict[str, object]
    ) -> None:
        self._folder = folder
        self._row = dim * np.dtype(np.float32).itemsize
        self._there = np.zeros(count, bool)
        self._lock = threading.Lock()
        self._begin(job)
        self._data = _opened(folder / "features.f32")
        self._log = _opened(folder / "done.txt")
        self._find_done()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._data.close()
        self._log.close()

    def _begin(self, job: dict[str, object]) -> None:
        path = self._folder / "job.json"
        text = json.dumps(job, indent=1, sort_keys=True)
        try:
            same = path.read_text(encoding="utf-8") == text
        except (FileNotFoundError, UnicodeDecodeError):
            same = False
        if not same:
            if self._folder.exists():
                shutil.rmtree(self._folder)
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def _find_done(self) -> None:
        """Read which batches are there, and make ready to add to the list."""
        text = self._log.readall().decode("ascii", "replace")
        if text and not text.endswith("\n"):  # cut short
            _write(self._log, b"\n")
        for line in text.splitlines():
            try:
                first, count, checksum = map(int, line.split())
            except ValueError:
                continue
            batch = range(first, first + count)
            if 0 <= first < batch.stop <= len(self._there) and (
                zlib.crc32(self._read(batch)) == checksum
            ):
                self._there[first : batch.stop] = True

    def _read(self, batch: range) -> bytes:
        self._data.seek(batch.start * self._row)
        return self._data.read(len(batch) * self._row)

    @property
    def done(self) -> int:
        """Number of tiles that are on disk."""
        return int(self._there.sum())

    def missing(self) -> list[range]:
        """Return the runs of tiles that are not on disk."""
        steps = np.flatnonzero(np.diff(self._there, prepend=True, append=True))
        return [range(start, stop) for start, stop in list(pairwise(steps))[::2]]

    def commit(self, first: int, features: Features) -> None:
        """Put the features (n, F) of a batch on disk; they outlive this process.

        Raises
        ------
        OSError
            If the disk is full or not there any more.
        """
        content = np.ascontiguousarray(features, np.float32).tobytes()
        line = f"{first} {len(features)} {zlib.crc32(content)}\n"
        with self._lock:
            self._data.seek(first * self._row)
            _write(self._data, content)
            _write(self._log, line.encode("ascii"))
            self._there[first : first + len(features)] = True

    def rows(self) -> Iterator[Features]:
        """Yield the features of all tiles in order, some at a time."""
        for first in range(0, len(self._there), _ROWS):
            batch = range(first, min(first + _ROWS, len(self._there)))
            content = self._read(batch)
            if len(content) != len(batch) * self._row or not self._there[batch].all():
                raise FeatureError(
                    f"{self._folder}: was changed while the job ran; extract again"
                )
            yield np.frombuffer(content, np.float32).reshape(len(batch), -1)

    def remove(self) -> None:
        """Remove the folder; nothing can be committed any more."""
        self._data.close()
        self._log.close()
        shutil.rmtree(self._folder)


def _opened(path: Path) -> FileIO:
    path.touch()
    return path.open("r+b", buffering=0)


def _write(file: FileIO, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
