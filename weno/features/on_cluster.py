"""Extraction on the workers of a cluster."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING

from weno.cluster import over_slides
from weno.features.encoders import TextureEncoder, get_encoder
from weno.features.extraction import chosen, extract, record
from weno.features.reports import ExtractReport, ExtractResult
from weno.project import Project

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from distributed import Client

    from weno.features.encoders import Encoder

_ONE_NETWORK = threading.Lock()


def extract_on(
    client: Client,
    project: Project,
    slide_ids: Sequence[str] | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
) -> Generator[ExtractReport, None, ExtractResult]:
    """Extract the features of a project's slides on a cluster; see `extract`.

    Each slide is a task of one worker. With the built-in encoder it takes one of the
    worker's threads; a network takes the worker for itself.

    Parameters
    ----------
    client : distributed.Client
    project : Project
        In a folder that all workers know by the same path, as are the slides.
    slide_ids : sequence of str, optional
        All slides if not given.
    device, precision : str
        Where each worker computes, and in what; as of `get_encoder`.

    Yields
    ------
    ExtractReport
        At least twice a second.

    Raises
    ------
    ClusterError
        If the scheduler is gone, or a worker runs another version of this package.
    ProjectError, FeatureError, WenoError
        As `extract`, here or on a worker.
    """
    ids = chosen(project, slide_ids)
    results: dict[str, ExtractResult] = {}
    report = ExtractReport("", 0, 0, 0, len(ids), finished=False, error=None)
    yield report
    for settled in over_slides(
        client, _extract, ids, str(project.root), device, precision
    ):
        if settled is not None:
            slide_id = settled.slide_id
            if settled.result is None:
                record(project, slide_id, settled.error)
                result, tiles = ExtractResult((), (), (), {slide_id: settled.error}), 0
            else:
                result, tiles = settled.result
            results[slide_id] = result
            report = ExtractReport(
                slide_id,
                tiles,
                tiles,
                len(results),
                len(ids),
                finished=True,
                error=result.failed.get(slide_id),
            )
        yield report
    in_order = [results[slide_id] for slide_id in ids]
    return ExtractResult(
        extracted=tuple(i for result in in_order for i in result.extracted),
        skipped=tuple(i for result in in_order for i in result.skipped),
        empty=tuple(i for result in in_order for i in result.empty),
        failed={i: why for result in in_order for i, why in result.failed.items()},
    )


def _extract(
    slide_id: str, root: str, device: str, precision: str
) -> tuple[ExtractResult, int]:
    """Extract one slide, on a worker; return how many tiles it has, too."""
    project = Project.open(root)
    encoder = _encoder(project.encoder, device, precision)
    alone = not isinstance(encoder, TextureEncoder)
    tiles = 0
    with _ONE_NETWORK if alone else nullcontext():
        job = extract(
            project, [slide_id], encoder=encoder, threads=None if alone else 1
        )
        while True:
            try:
                tiles = next(job).total
            except StopIteration as end:
                return end.value, tiles


@lru_cache(maxsize=1)
def _encoder(name: str, device: str, precision: str) -> Encoder:
    return get_encoder(name, device=device, precision=precision)
