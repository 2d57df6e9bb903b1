"""The committed parts of an extraction that is not yet whole."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Final

import numpy as np

from weno.atomic import replacing
from weno.errors import FeatureError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Features = npt.NDArray[np.float32]

PART: Final = 256  # tiles; some tenths of a second to some seconds of work


class Parts:
    """The committed parts of one slide, in a folder.

    Parameters
    ----------
    folder : Path
    count, dim : int
        Tiles of the slide, and features of a tile.
    """

    def __init__(self, folder: Path, count: int, dim: int) -> None:
        self._folder = folder
        self._count = count
        self._dim = dim

    def begin(self, job: dict[str, object]) -> None:
        """Keep the parts of the same job, drop those of another."""
        path = self._folder / "job.json"
        text = json.dumps(job, indent=1, sort_keys=True)
        try:
            same = path.read_text(encoding="utf-8") == text
        except (FileNotFoundError, UnicodeDecodeError):
            same = False
        if not same:
            self.remove()
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def remove(self) -> None:
        """Remove the folder if it is there."""
        if self._folder.exists():
            shutil.rmtree(self._folder)

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:09d}.npy"

    def _load(self, first: int) -> Features | None:
        try:
            part: Features = np.load(self._path(first), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        shape = (min(PART, self._count - first), self._dim)
        return part if part.shape == shape and part.dtype == np.float32 else None

    def missing(self, batch: int) -> list[range]:
        """Tiles that no part holds, in batches that stay within one part."""
        return [
            range(start, min(start + batch, first + PART, self._count))
            for first in range(0, self._count, PART)
            if self._load(first) is None
            for start in range(first, min(first + PART, self._count), batch)
        ]

    def is_end(self, tile: int) -> bool:
        """Tell whether a part ends before this tile."""
        return tile % PART == 0 or tile == self._count

    def commit(self, end: int, features: Features) -> None:
        """Put a part on disk whose last tile comes before `end`."""
        with replacing(self._path(end - len(features))) as temporary:
            np.save(temporary, features, allow_pickle=False)

    def done(self) -> int:
        """Count the tiles in committed parts."""
        firsts = range(0, self._count, PART)
        parts = (self._load(first) for first in firsts)
        return sum(len(part) for part in parts if part is not None)

    def joined(self) -> Features:
        """Return all parts in one, of shape (N, F)."""
        joined = np.empty((self._count, self._dim), np.float32)
        for first in range(0, self._count, PART):
            part = self._load(first)
            if part is None:
                raise FeatureError(
                    f"{self._path(first)}: this part was damaged while the job ran; "
                    "extract again"
                )
            joined[first : first + PART] = part
        return joined
