"""Prediction on the workers of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weno.cluster import over_slides
from weno.errors import RunError
from weno.mil.predict import PredictReport, PredictResult, predict_project
from weno.project import Project

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from distributed import Client


def predict_on(
    client: Client,
    project: Project,
    run: str,
    slide_ids: Sequence[str] | None = None,
    *,
    device: str = "auto",
) -> Generator[PredictReport, None, PredictResult]:
    """Predict slides of a project on a cluster, one task each; see `predict_project`.

    Parameters
    ----------
    client : distributed.Client
    project : Project
        In a folder that all workers know by the same path.
    run : str
    slide_ids : sequence of str, optional
        None is all slides.
    device : str
        Where each worker computes.

    Yields
    ------
    PredictReport
        At least twice a second.

    Raises
    ------
    ClusterError
        If the scheduler is gone, or a worker runs another version of this package.
    RunError
        If there is no such run, or it cannot be loaded.
    """
    if run not in project.run_names():
        raise RunError(f"no run {run!r} in {project.runs_dir}")
    ids = [row.slide_id for row in project.slides] if slide_ids is None else slide_ids
    results: dict[str, PredictResult] = {}
    report = PredictReport("", 0, len(ids), None)
    for settled in over_slides(
        client, _predict, ids, str(project.root), project.positive, run, device
    ):
        if settled is not None:
            slide_id = settled.slide_id
            result = settled.result or PredictResult((), (), {slide_id: settled.error})
            results[slide_id] = result
            error = result.failed.get(slide_id)
            report = PredictReport(slide_id, len(results), len(ids), error)
        yield report
    in_order = [results[slide_id] for slide_id in ids]
    return PredictResult(
        predicted=tuple(i for result in in_order for i in result.predicted),
        empty=tuple(i for result in in_order for i in result.empty),
        failed={i: why for result in in_order for i, why in result.failed.items()},
    )


def _predict(
    slide_id: str, root: str, positive: str, run: str, device: str
) -> PredictResult:
    """Predict one slide, on a worker."""
    project = Project.open(root, positive)
    job = predict_project(project, run, [slide_id], device=device)
    while True:
        try:
            next(job)
        except StopIteration as end:
            result: PredictResult = end.value
            return result
