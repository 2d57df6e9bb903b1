"""Threads that read for screens: what was asked for last is read first."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: ``(level, row, column)`` of a chunk.
ChunkKey = tuple[int, int, int]

_IDLE_S = 0.06  # a view that stands so long is looked at: what lies round it comes next
# Where reading is mostly waiting, for a disk far away, more threads than processors
# help; where it is decoding, they would only take time from the window.
_WAITING = 0.7
_MOST_THREADS = 8


class Superseded(Exception):
    """Nobody wants any more what a reader is at work on."""


class Source(Protocol):
    """What the readers read from."""

    def load(self, key: ChunkKey, check: Callable[[], None]) -> None:
        """Read a chunk and keep it, and call `check` now and then."""

    def arrived(self, key: ChunkKey) -> None:
        """Take note that a chunk has come."""


@dataclass(eq=False, slots=True)
class _Request:
    """What one source has been asked for last, the most urgent first."""

    wanted: dict[ChunkKey, None]
    ahead: dict[ChunkKey, None]
    since: float = field(default_factory=time.monotonic)


class Readers:
    """A few threads that serve all sources.

    They begin when they are first needed, and end with the program.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: dict[Source, _Request] = {}  # the newest last
        self._underway: set[tuple[Source, ChunkKey]] = set()
        self._threads = 0
        self._waiting_share = 0.0

    def ask(
        self,
        source: Source,
        wanted: Iterable[ChunkKey],
        ahead: Iterable[ChunkKey] = (),
    ) -> None:
        """Replace what a source has been asked for.

        Parameters
        ----------
        source : Source
        wanted : iterable of ChunkKey
            For the view on screen, the most urgent first.
        ahead : iterable of ChunkKey
            What may be wanted next; read when there is nothing else to do.
        """
        with self._changed:
            self._requests.pop(source, None)
            request = _Request(dict.fromkeys(wanted), dict.fromkeys(ahead))
            if request.wanted or request.ahead:
                self._requests[source] = request
                self._start_threads()
            self._changed.notify_all()

    def pending(self, source: Source) -> int:
        """Return how many chunks a source still lacks for its view."""
        request = self._requests.get(source)
        return 0 if request is None else len(request.wanted)

    def wait(self, source: Source, seconds: float) -> None:
        """Wait until the view of a source is complete, but no longer than that."""
        with self._changed:
            self._changed.wait_for(lambda: not self.pending(source), seconds)

    @property
    def _limit(self) -> int:
        far_away = self._waiting_share > _WAITING
        return _MOST_THREADS if far_away else min(_MOST_THREADS, os.cpu_count() or 2)

    def _start_threads(self) -> None:
        while self._threads < self._limit:
            self._threads += 1
            threading.Thread(target=self._work, name="weno-reader", daemon=True).start()

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    while (job := self._next()) is None:
                        self._changed.wait(_IDLE_S if self._requests else None)
                    self._underway.add(job)
                self._load(*job)
        finally:
            with self._changed:
                self._threads -= 1

    def _next(self) -> tuple[Source, ChunkKey] | None:
        if len(self._underway) >= self._limit:
            return None
        for source, request in reversed(self._requests.items()):
            for key in request.wanted:
                if (source, key) not in self._underway:
                    return source, key
        # One thread looks ahead, the others stay free for what is wanted.
        if not self._underway:
            for source, request in reversed(self._requests.items()):
                if request.ahead and time.monotonic() - request.since > _IDLE_S:
                    return source, next(iter(request.ahead))
        return None

    def _load(self, source: Source, key: ChunkKey) -> None:
        start, computing = time.perf_counter(), time.thread_time()
        came = True
        try:
            source.load(key, partial(self._check, source, key))
        except Superseded:
            came = False
        finally:
            with self._changed:
                self._underway.discard((source, key))
                if came:
                    self._tick_off(source, key)
                    taken = time.perf_counter() - start
                    waiting = 1 - (time.thread_time() - computing) / max(taken, 1e-9)
                    self._waiting_share += 0.2 * (waiting - self._waiting_share)
                self._changed.notify_all()
        if came:
            source.arrived(key)

    def _tick_off(self, source: Source, key: ChunkKey) -> None:
        request = self._requests.get(source)
        if request is not None:
            request.wanted.pop(key, None)
            request.ahead.pop(key, None)
            if not request.wanted and not request.ahead:
                del self._requests[source]

    def _check(self, source: Source, key: ChunkKey) -> None:
        with self._changed:
            request = self._requests.get(source)
            if request is not None and key in request.wanted:
                return
            busy = any(one.wanted for one in self._requests.values())
            if request is None or key not in request.ahead or busy:
                raise Superseded


@cache
def readers() -> Readers:
    """Return the readers that all slides on screen share."""
    return Readers()


if hasattr(os, "register_at_fork"):
    # A forked process has none of the threads.
    os.register_at_fork(after_in_child=readers.cache_clear)
