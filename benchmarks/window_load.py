"""What makes the life of a window harder: slow reads, and a fit beside it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from weno.slides._backend import Backend


def delay_reads(seconds: float) -> None:
    """Make every read of a tile, by slides opened from now on, take longer.

    As a slow disk would: the delay is outside of all locks and holds no lock of
    Python's.
    """
    from weno.slides import _slide
    from weno.slides._backend import TiledBackend

    quick = _slide.open_backend

    def opened(source: str) -> Backend:
        backend: Any = quick(source)
        name = "read_tile" if isinstance(backend, TiledBackend) else "read"
        setattr(backend, name, _after(seconds, getattr(backend, name)))
        return backend  # type: ignore[no-any-return]

    _slide.open_backend = opened


def _after(seconds: float, read: Callable[..., Any]) -> Callable[..., Any]:
    def slow(*arguments: Any, **keywords: Any) -> Any:
        time.sleep(seconds)
        return read(*arguments, **keywords)

    return slow


def start_fit() -> list[Any]:
    """Fit as the Train dock does, in napari's worker thread, without an end.

    Returns
    -------
    list
        What the fit has reported so far.
    """
    from napari.qt.threading import create_worker

    from napari_weno.neighbour import prepare_torch
    from weno.mil import PRESETS, fit
    from weno.mil.bags import Bag

    rng = np.random.default_rng(0)
    bags = []
    for k in range(24):
        features = rng.standard_normal((600, 195)).astype(np.float32)
        features[: 60 * (k % 2), :4] += 2  # what a positive slide has
        bags.append(Bag(f"s{k}", f"p{k}", k % 2, features))
    config = replace(PRESETS["default"], epochs=100_000, patience=100_000)
    folder = Path(tempfile.mkdtemp()) / "run"

    def job() -> Iterator[Any]:
        prepare_torch()
        yield from fit(folder, bags, config, device="cpu", context={})

    reports: list[Any] = []
    worker = create_worker(job)
    worker.yielded.connect(reports.append)
    worker.start()
    return reports
