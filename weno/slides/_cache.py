"""Decoded pixels that are kept for a while, within a bound of memory."""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]


class TileCache:
    """Decoded tiles by key, the least recently used dropped first.

    Safe to use from any number of threads. Tiles are shared, not copied, and are made
    read-only.

    Parameters
    ----------
    limit : int
        Bytes of pixels to keep at most; may be changed at any time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._nbytes = 0
        self._tiles: OrderedDict[Hashable, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tiles)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._tiles

    @property
    def nbytes(self) -> int:
        """Bytes of pixels kept now."""
        return self._nbytes

    @property
    def limit(self) -> int:
        """Bytes of pixels to keep at most."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        with self._lock:
            self._limit = limit
            self._shrink()

    def get(self, key: Hashable) -> Pixels | None:
        """Return a tile, now the most recently used, or None."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def put(self, key: Hashable, tile: Pixels) -> None:
        """Keep a tile; it must not be changed afterwards."""
        tile.flags.writeable = False
        with self._lock:
            before = self._tiles.pop(key, None)
            if before is not None:
                self._nbytes -= before.nbytes
            self._tiles[key] = tile
            self._nbytes += tile.nbytes
            self._shrink()

    def discard(self, owner: Hashable) -> None:
        """Drop the tiles whose key is a tuple that begins with `owner`."""
        with self._lock:
            for key in [
                k for k in self._tiles if isinstance(k, tuple) and k[0] == owner
            ]:
                self._nbytes -= self._tiles.pop(key).nbytes

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._tiles.clear()
            self._nbytes = 0

    def _shrink(self) -> None:
        while self._nbytes > self._limit and self._tiles:
            self._nbytes -= self._tiles.popitem(last=False)[1].nbytes


def lasting(pixels: Pixels) -> Pixels:
    """Copy pixels into memory that the system gets back when they are dropped.

    The C library keeps freed blocks of this size for itself, in pieces that fit
    nothing else: hours of looking at slides would take twice the cache's limit.
    """
    try:
        memory = np.frombuffer(mmap.mmap(-1, pixels.nbytes), np.uint8)
    except OSError:  # systems bound the number of such pieces
        return pixels.copy()
    copy: Pixels = memory.reshape(pixels.shape)
    copy[:] = pixels
    return copy
