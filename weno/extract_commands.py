"""``weno extract`` and ``weno init --features``; how jobs run on many machines."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weno.errors import WenoError
from weno.terminal import complain, follow, say

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from distributed import Client

    from weno.features import Encoder, ExtractReport, ExtractResult
    from weno.project import Project

_NAMED = 10
_PANEL = "More than one machine"

SchedulerOption = Annotated[
    str | None,
    typer.Option(
        help="Address of a dask.distributed scheduler, as tcp://10.0.0.1:8786: each "
        "slide becomes a task of its workers, which know PROJECT by the same path.",
        rich_help_panel=_PANEL,
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        help="Start so many worker processes on this machine instead.",
        min=1,
        rich_help_panel=_PANEL,
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        help="What a network multiplies in: fp32, bf16, fp16; auto is fp32 on a CPU "
        "and on a GPU what the model is commonly run in.",
    ),
]


@contextmanager
def workers_of(scheduler: str | None, workers: int | None) -> Iterator[Client | None]:
    """Give what runs tasks elsewhere, or None if this process is to do the work."""
    from weno.cluster import connected, local_workers

    if scheduler and workers:
        raise WenoError("give --scheduler or --workers, not both")
    if not scheduler and not workers:
        yield None
        return
    with connected(scheduler) if scheduler else local_workers(workers or 1) as client:
        say(f"Dashboard: {client.dashboard_link}")
        yield client


def extract_project(
    project: Project,
    device: str,
    precision: str,
    scheduler: str | None,
    workers: int | None,
) -> dict[str, Any]:
    """Extract the features of a project; return what ``--json`` prints."""
    from weno.features import extract, extract_on, get_encoder

    with workers_of(scheduler, workers) as client:
        if client is None:
            encoder = get_encoder(project.encoder, device=device, precision=precision)
            expected = _announced(project, encoder)
            job = extract(project, encoder=encoder)
        else:
            expected = _announced(project)
            job = extract_on(client, project, device=device, precision=precision)
        result: ExtractResult = follow(_telling(job), "extract")
    for slide_id, reason in result.failed.items():
        complain(slide_id, reason)
    say(
        f"Features of {len(result.extracted)} slides in {project.features_dir}"
        f" ({len(result.skipped)} were there already, {len(result.failed)} failed)"
    )
    return {
        "extracted": list(result.extracted),
        "skipped": list(result.skipped),
        "empty": list(result.empty),
        "failed": dict(result.failed),
        "expected": expected,
    }


def _announced(
    project: Project, encoder: Encoder | None = None
) -> dict[str, Any] | None:
    """Say what is going to be done, and refuse what the disk has no room for."""
    from weno.features import estimate

    ids = [
        row.slide_id
        for row in project.slides
        if not project.features_path(row.slide_id).exists()
    ]
    if not ids:
        return None
    expected = follow(estimate(project, ids, encoder), "estimate")
    if expected.sampled:
        say(str(expected))
        expected.check_room(project.features_dir)
    return asdict(expected)


def adopt_features(
    root: Path, folder: Path, slides: Path | None, **how: Any
) -> dict[str, Any]:
    """Make a project of features of others; return what ``--json`` prints."""
    from weno.features import adopt

    made = follow(adopt(root, folder, slides, **how), "features")
    for slide_id, reason in made.failed.items():
        complain(slide_id, reason)
    project, spec = made.project, made.project.spec
    say(
        f"Made {project.root} with the features of {len(made.adopted)} slides: "
        f"{project.encoder}, tiles of {spec.tile_um:g} µm at {spec.mpp:g} µm/px"
    )
    for what, ids in {
        "slides without a features file": made.without,
        "features files of slides that are not in the table, left out": made.unlisted,
        "slides whose mpp is now the one that their tiles were cut by": made.resized,
    }.items():
        if ids:
            more = " …" if len(ids) > _NAMED else ""
            say(f"{len(ids)} {what}: {', '.join(ids[:_NAMED])}{more}")
    say("Next: weno fit, once slides.csv has labels")
    return {
        "project": str(project.root),
        "encoder": project.encoder,
        "tile_um": spec.tile_um,
        "mpp": spec.mpp,
        "adopted": list(made.adopted),
        "without": list(made.without),
        "unlisted": list(made.unlisted),
        "resized": list(made.resized),
        "failed": made.failed,
    }


def _telling(
    job: Generator[ExtractReport, None, ExtractResult],
) -> Generator[ExtractReport, None, ExtractResult]:
    """Pass on the reports of a job; say what they note, but nothing twice in a row."""
    said = ""
    try:
        while True:
            report = next(job)
            if report.note and (told := f"{report.slide_id}: {report.note}") != said:
                complain("note", told)
                said = told
            yield report
    except StopIteration as end:
        result: ExtractResult = end.value
        return result
    finally:
        job.close()
