"""What makes the life of a window harder: slow reads, fits and predictions."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from weno.project import Project
    from weno.slides._backend import Backend

RUN = "done"
SLIDES, TILES = 24, 600
_TIMES = 1000  # so that no child ends while the window is watched


def delay_reads(seconds: float) -> None:
    """Make every read of a tile, by slides opened from now on, take longer.

    As a slow disk would: the delay is outside of all locks and holds no lock of
    Python's.
    """
    from weno.slides import _slide
    from weno.slides._backend import TiledBackend

    quick = _slide.open_backend

    def opened(source: str) -> Backend:
        backend: Backend = quick(source)
        name = "read_tile" if isinstance(backend, TiledBackend) else "read"
        setattr(backend, name, _after(seconds, getattr(backend, name)))
        return backend

    _slide.open_backend = opened


def _after(seconds: float, read: Callable[..., Any]) -> Callable[..., Any]:
    def slow(*arguments: Any, **keywords: Any) -> Any:
        time.sleep(seconds)  # as a share on a network lets one wait
        return read(*arguments, **keywords)

    return slow


def make_project(folder: Path) -> Project:
    """Make a project of features alone, with a run that can predict."""
    from weno.features import SlideFeatures, write_features
    from weno.mil.config import PRESETS
    from weno.mil.fit_apart import fit_apart
    from weno.project import Project
    from weno.tiles import TileSpec

    rng = np.random.default_rng(0)
    lines = [f"s{k},s{k}.svs,{k % 2}" for k in range(SLIDES)]
    table = folder / "slides.csv"
    table.write_text(
        "\n".join(["slide_id,path,label", *lines]) + "\n", encoding="utf-8"
    )
    project = Project.create(folder / "project", table, spec=TileSpec(64, 0.5))
    for row in project.slides:
        features = rng.standard_normal((TILES, 195)).astype(np.float32)
        features[: TILES // 10 * (row.label or 0), :4] += 2
        origins = np.stack([np.zeros(TILES), 128 * np.arange(TILES)], 1).astype(int)
        spec = ("texture", project.spec, (0.5, 0.5), (128, 128 * TILES), row.slide_id)
        write_features(
            project.features_path(row.slide_id),
            SlideFeatures(row.slide_id, features, origins, *spec),
        )
    config = replace(PRESETS["quick"], epochs=2)
    deque(fit_apart(project, config, name=RUN, device="cpu"), maxlen=0)
    return project


def start_fit(project: Project, where: str) -> list[Any]:
    """Fit without an end, driven by napari's worker thread.

    Parameters
    ----------
    project : Project
    where : {"thread", "child"}
        In that thread, or as the Train dock does, in a child process.

    Returns
    -------
    list
        What the fit has reported so far.
    """
    from napari_weno.neighbour import prepare_torch
    from weno.mil.config import PRESETS
    from weno.mil.fit_apart import fit_apart

    config = replace(PRESETS["default"], epochs=100_000, patience=100_000)

    def in_thread() -> Iterator[Any]:
        from weno.mil import fit_project

        prepare_torch()
        yield from fit_project(project, config, name="endless", device="cpu")

    def in_child() -> Iterator[Any]:
        job = fit_apart(project, config, name="endless", device="cpu")
        yield from (report for report in job if report is not None)

    return _beside(in_thread if where == "thread" else in_child)


def start_predicting(project: Project, where: str) -> list[Any]:
    """Predict all slides again and again.

    Parameters
    ----------
    project : Project
    where : {"thread", "child"}
        In napari's worker thread, or as the Explain dock predicts many, in a child
        process.

    Returns
    -------
    list
        What was reported so far.
    """

    def in_thread() -> Iterator[Any]:
        from weno.mil import predict_project

        while True:
            yield from predict_project(project, RUN, device="cpu")

    def in_child() -> Iterator[Any]:
        from weno.mil.predict_apart import predict_apart

        ids = [row.slide_id for row in project.slides] * _TIMES
        job = predict_apart(project, RUN, ids, device="cpu")
        yield from (report for report in job if report is not None)

    return _beside(in_thread if where == "thread" else in_child)


def _beside(job: Callable[[], Iterator[Any]]) -> list[Any]:
    from napari.qt.threading import create_worker

    reports: list[Any] = []
    worker = create_worker(job)
    worker.yielded.connect(reports.append)
    worker.start()
    return reports
