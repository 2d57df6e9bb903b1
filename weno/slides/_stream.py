"""Pixels for a screen that must not wait.

A window asks for the region that it shows. What is in memory is copied, what can be
decoded within a few milliseconds is waited for, and the rest is drawn from a coarser
level and comes later: readers work in the background, the newest request first, and
tell when something has arrived.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from weno.errors import SlideError
from weno.slides._cache import TileCache, lasting
from weno.slides._pyramid import HalvedLevel, halved, levels_of
from weno.slides._readers import Superseded, readers

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from weno.slides._readers import ChunkKey
    from weno.slides._slide import Slide

    Pixels = npt.NDArray[np.uint8]
    Box = tuple[int, int, int, int]  # y, x, height, width

_CACHE_BYTES = 512 * 2**20
_BUDGET_S = 0.006
_PAPER = 242  # shade of what nothing is known about yet
_HATCH_PX = 16
_KEPT_ABOVE = 2  # levels above one that is made
_AHEAD = 64  # chunks that are read ahead of a view, at most


@cache
def screen_cache() -> TileCache:
    """Return the cache that all slides on screen share."""
    return TileCache(_CACHE_BYTES)


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """What makes pixels different in the cache: the file, and how it is coloured."""

    token: tuple[object, ...]
    colour: Callable[[Pixels], Pixels] | None


class TileStream:
    """A slide as a window draws it: never late, sharp as soon as can be.

    `view` is for one thread, that of the window; the callbacks are called in the
    threads of the readers.

    Parameters
    ----------
    slide : Slide
        Must stay open as long as the stream is used.
    tiles : TileCache, optional
        `screen_cache` if not given.

    Attributes
    ----------
    levels : list
        As `Slide.pyramid` has them: ``shape`` and ``chunk`` of each.
    on_arrival : callable
        Called when a chunk has come that the last view lacked.
    on_error : callable
        Called with the first `SlideError`; what is damaged is drawn hatched.
    """

    def __init__(self, slide: Slide, tiles: TileCache | None = None) -> None:
        self.slide = slide
        self.levels = levels_of(slide)
        self.on_arrival: Callable[[], None] = _nothing
        self.on_error: Callable[[SlideError], None] = _nothing
        self._tiles = screen_cache() if tiles is None else tiles
        self._look = _Look(slide.token, None)
        self._mark = object()  # what failed is filed under, for this stream alone
        self._overview: dict[ChunkKey, Pixels] = {}  # the coarsest level stays
        self._lacking: set[ChunkKey] = set()  # in the last view
        self._seconds_per_read = 0.0
        self._failed = False

    @property
    def pending(self) -> int:
        """How many chunks the last view lacks."""
        return readers().pending(self)

    @property
    def has_overview(self) -> bool:
        """Whether the coarsest level has come, which is kept from then on."""
        return all(self._get(key) is not None for key in self._overview_keys())

    def overview(self) -> Pixels | None:
        """Return the coarsest level (H, W, 3) if it has come, else None."""
        if not self.has_overview:
            return None
        level = len(self.levels) - 1
        out = np.empty(self.levels[level].shape, np.uint8)
        self._compose(out, level, (0, 0), _whiten)
        return out

    def set_colour(
        self, colour: Callable[[Pixels], Pixels] | None, name: str = ""
    ) -> None:
        """Choose what pixels are passed through before they are kept and shown.

        Parameters
        ----------
        colour : callable or None
            Takes and returns pixels (H, W, 3); called in the readers' threads.
        name : str
            What tells its results from others' in the cache.
        """
        readers().ask(self, ())
        self._look = _Look((*self.slide.token, name), colour)
        self._overview = {}

    def close(self) -> None:
        """Stop reading for this stream."""
        self.on_arrival = self.on_error = _nothing
        readers().ask(self, ())
        self._tiles.discard((self._look.token, self._mark))

    def view(
        self,
        level: int,
        y: int,
        x: int,
        height: int,
        width: int,
        *,
        budget: float = _BUDGET_S,
    ) -> Pixels:
        """Return a region as good as it can be had in time.

        Chunks that are missing are read in the background from now on; what an
        earlier call asked for is not, unless it is still needed.

        Parameters
        ----------
        level : int
            Index into `levels`.
        y, x, height, width : int
            Region inside the level, in its pixels.
        budget : float
            Seconds that may be waited for what is missing. Nothing is waited for
            where reading is known to take longer.

        Returns
        -------
        ndarray of shape (height, width, 3), uint8
            Enlarged from a coarser level where chunks are `pending`.
        """
        keys = self._keys(level, (y, x, height, width))
        missing = [key for key in keys if self._get(key) is None]
        readers().ask(self, _inside_out(missing), self._ahead(level, keys))
        if missing and self._seconds_per_read < budget:
            readers().wait(self, budget)
        lacking = set()

        def draw_missing(key: ChunkKey, part: Pixels, at: tuple[int, int]) -> None:
            lacking.add(key)
            self._draw_coarser(part, level, *at)

        out = np.empty((height, width, 3), np.uint8)
        self._compose(out, level, (y, x), draw_missing)
        # The coarsest level is missed even where a finer one is shown.
        lacking.update(key for key in self._overview_keys() if self._get(key) is None)
        self._lacking = lacking
        if any(self._get(key) is not None for key in lacking):
            self.on_arrival()  # it has come while the rest was drawn
        return out

    def load(self, key: ChunkKey, check: Callable[[], None]) -> None:
        """Read a chunk and keep it; for the readers."""
        look = self._look
        self._load(key, key[0], look, check)
        if look is not self._look:
            raise Superseded

    def arrived(self, key: ChunkKey) -> None:
        """Pass on that a chunk has come that was missed; for the readers."""
        if key in self._lacking:
            self.on_arrival()

    def _load(
        self, key: ChunkKey, target: int, look: _Look, check: Callable[[], None]
    ) -> tuple[Pixels, bool]:
        """Return a chunk from memory or the file, and whether it is sound."""
        for sound, token in ((True, look.token), (False, (look.token, self._mark))):
            chunk = self._tiles.get((token, key))
            if chunk is not None:
                return chunk, sound
        check()
        level = self.levels[key[0]]
        y, x, height, width = self._box(key)
        if isinstance(level, HalvedLevel):
            above = level.span_above(y, x, y + height, x + width)
            fine, sound = np.empty((*above[2:], 3), np.uint8), True
            for one in self._keys(key[0] - 1, above):
                top, left, rows, columns = self._box(one)
                place = slice(top - above[0], top - above[0] + rows)
                part = fine[place, left - above[1] : left - above[1] + columns]
                whole, whole_sound = self._load(one, target, look, check)
                part[:] = whole[: part.shape[0], : part.shape[1]]
                sound = sound and whole_sound
            chunk = halved(fine, height, width)
        else:
            chunk, sound = self._read(level.level, (y, x, height, width), look)
        # A level far below a large one is made of more than the cache can hold.
        if target - key[0] <= _KEPT_ABOVE:
            chunk = lasting(chunk)
            # What failed is not for whoever opens the slide again.
            token = look.token if sound else (look.token, self._mark)
            self._tiles.put((token, key), chunk)
        return chunk, sound

    def _read(self, level: int, box: Box, look: _Look) -> tuple[Pixels, bool]:
        start = time.perf_counter()
        try:
            pixels = self.slide.read(level, *box)
            if look.colour is not None:
                pixels = look.colour(pixels)
        except Exception as error:  # noqa: BLE001
            # Whatever it is, the thread must go on and the window must hear of it.
            if not isinstance(error, SlideError):
                error = SlideError(self.slide.path, f"cannot be read: {error!r}")
            if not self._failed and not self.slide.closed:
                self._failed = True
                self.on_error(error)
            return _hatched(*box[2:]), False
        taken = time.perf_counter() - start
        self._seconds_per_read += 0.2 * (taken - self._seconds_per_read)
        return pixels, True

    def _get(self, key: ChunkKey) -> Pixels | None:
        chunk = self._overview.get(key)
        if chunk is None:
            token = self._look.token
            chunk = self._tiles.get((token, key))
            if chunk is None:
                chunk = self._tiles.get(((token, self._mark), key))
            if chunk is not None and key[0] == len(self.levels) - 1:
                self._overview[key] = chunk
        return chunk

    def _compose(
        self,
        out: Pixels,
        level: int,
        at: tuple[int, int],
        draw_missing: Callable[[ChunkKey, Pixels, tuple[int, int]], None],
    ) -> None:
        """Fill a region, whose corner ``(y, x)`` is given, from the chunks at hand."""
        (y, x), (height, width) = at, out.shape[:2]
        for key in self._keys(level, (y, x, height, width)):
            top, left, rows, columns = self._box(key)
            first_y, last_y = max(top, y), min(top + rows, y + height)
            first_x, last_x = max(left, x), min(left + columns, x + width)
            part = out[first_y - y : last_y - y, first_x - x : last_x - x]
            chunk = self._get(key)
            if chunk is None:
                draw_missing(key, part, (first_y, first_x))
            else:
                part[:] = chunk[
                    first_y - top : last_y - top, first_x - left : last_x - left
                ]

    def _keys(self, level: int, box: Box) -> list[ChunkKey]:
        y, x, height, width = box
        rows, columns = self.levels[level].chunk
        return [
            (level, row, column)
            for row in range(y // rows, -(-(y + height) // rows))
            for column in range(x // columns, -(-(x + width) // columns))
        ]

    def _box(self, key: ChunkKey) -> Box:
        level = self.levels[key[0]]
        (rows, columns), (height, width) = level.chunk, level.shape[:2]
        y, x = key[1] * rows, key[2] * columns
        return y, x, min(rows, height - y), min(columns, width - x)

    def _ahead(self, level: int, keys: list[ChunkKey]) -> list[ChunkKey]:
        """Return what lies round a view, then what a step of the zoom would show."""
        top, left, _, _ = self._box(keys[0])
        y, x, rows, columns = self._box(keys[-1])
        height, width = y + rows - top, x + columns - left
        more_y, more_x = self.levels[level].chunk
        round_it = top - more_y, left - more_x, height + 2 * more_y, width + 2 * more_x
        ahead = self._keys(level, self._clipped(level, round_it))
        for other in (level - 1, level + 1):
            if 0 <= other < len(self.levels):
                ratio = self.levels[other].shape[0] / self.levels[level].shape[0]
                first_y = (top + height / 2) * ratio - height / 2
                first_x = (left + width / 2) * ratio - width / 2
                box = int(first_y), int(first_x), height, width
                ahead += self._keys(other, self._clipped(other, box))
        known = {*keys, *self._overview}
        ahead = [*self._overview_keys(), *ahead]
        # What is read ahead must not push out what is on screen.
        room = self._tiles.limit // (more_y * more_x * 3) - 2 * len(keys)
        ahead = [k for k in ahead if k not in known and self._get(k) is None]
        return ahead[: max(0, min(_AHEAD, room))]

    def _overview_keys(self) -> list[ChunkKey]:
        last = len(self.levels) - 1
        return self._keys(last, (0, 0, *self.levels[last].shape[:2]))

    def _clipped(self, level: int, box: Box) -> Box:
        height, width = self.levels[level].shape[:2]
        y, x = max(0, box[0]), max(0, box[1])
        bottom, right = min(height, box[0] + box[2]), min(width, box[1] + box[3])
        return y, x, max(0, bottom - y), max(0, right - x)

    def _draw_coarser(self, part: Pixels, level: int, y: int, x: int) -> None:
        """Fill a part of a view, whose corner is given, from a level below."""
        height, width = self.levels[level].shape[:2]
        for other in range(level + 1, len(self.levels)):
            below_height, below_width = self.levels[other].shape[:2]
            rows = (np.arange(y, y + len(part)) + 0.5) * (below_height / height)
            columns = (np.arange(x, x + part.shape[1]) + 0.5) * (below_width / width)
            top, left = int(rows[0]), int(columns[0])
            box = top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
            keys = self._keys(other, box)
            if all(self._get(key) is not None for key in keys):
                coarse = np.empty((*box[2:], 3), np.uint8)
                self._compose(coarse, other, box[:2], _whiten)
                times_y = np.bincount(rows.astype(int) - top)
                times_x = np.bincount(columns.astype(int) - left)
                part[:] = _repeated(coarse, times_y, times_x)
                return
        part[:] = _PAPER


def _whiten(_: ChunkKey, part: Pixels, at: tuple[int, int]) -> None:
    """Fill what has been dropped from the cache in the meantime."""
    part[:] = _PAPER


def _repeated(
    pixels: Pixels, times_y: npt.NDArray[np.int_], times_x: npt.NDArray[np.int_]
) -> Pixels:
    """Repeat rows and columns; a pixel as one item is several times as fast."""
    whole = pixels.view("V3")[..., 0].repeat(times_x, axis=1)
    return whole.view(np.uint8).reshape(*whole.shape, 3).repeat(times_y, axis=0)


def _inside_out(keys: list[ChunkKey]) -> list[ChunkKey]:
    """Sort chunks by how near they are to the middle of a view."""
    if not keys:
        return keys
    places = np.array(keys)[:, 1:]  # (n, 2)
    off_centre = np.abs(places - (places.min(axis=0) + places.max(axis=0)) / 2)
    return [keys[k] for k in np.argsort(off_centre.max(axis=1), kind="stable")]


def _hatched(height: int, width: int) -> Pixels:
    """Return what stands for damaged pixels: grey stripes, as no tissue has."""
    y, x = np.indices((height, width))
    stripes = np.where((y + x) // _HATCH_PX % 2, 200, 235).astype(np.uint8)  # (H, W)
    return np.repeat(stripes[..., None], 3, axis=2)


def _nothing(*_: object) -> None:
    pass
