"""The extraction job: tissue, grid, tiles, features; resumable.

Beside the file of a slide that is being extracted lies a folder ``<slide_id>.parts``
with all batches that are done, so that a killed job loses the one it was at and no
other; when all are there they are joined into the features file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from filelock import Timeout

from weno.atomic import lock_of, replacing
from weno.errors import FeatureError, NoRoom, WenoError
from weno.features._parts import Parts
from weno.features._pipeline import BatchSize, Work, encode_missing
from weno.features.encoders import get_encoder
from weno.features.reports import ExtractReport, ExtractResult
from weno.features.store import (
    AS_STORED,
    BY_PROFILE,
    FeatureHeader,
    read_header,
    write_rows,
)
from weno.tiles import QUALITY, level_for, tile_grid, tissue_mask, tissue_model

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from weno.features.encoders import Encoder
    from weno.project import Project
    from weno.slides import Slide
    from weno.tiles import TileGrid, TileSpec, TissueMask

_FULL = (errno.ENOSPC, errno.EDQUOT)
_ELSEWHERE = "another process is at it"
_LOOK_AGAIN_S = 0.25


def extract_slide(
    slide: Slide,
    slide_id: str,
    spec: TileSpec,
    encoder: Encoder,
    path: Path,
    *,
    tissue: TissueMask | None = None,
    batch: BatchSize | int | None = None,
    threads: int | None = None,
) -> Generator[ExtractReport, None, Path]:
    """Extract the features of one slide, going on where an earlier job stopped.

    Parameters
    ----------
    slide : Slide
        Must stay open.
    slide_id : str
    spec : TileSpec
    encoder : Encoder
    path : Path
        The features file to write.
    tissue : TissueMask, optional
        Found by `tissue_mask` if not given.
    batch : int, optional
        Tiles that the encoder gets at a time; left out, the number finds itself.
    threads : int, optional
        That read tiles, and with the built-in encoder encode them; left out, what the
        machine has.

    Yields
    ------
    ExtractReport
        The last one is `finished`; the file is on disk by then.

    Raises
    ------
    SlideError
        If the slide cannot be read.
    FeatureError
        If the encoder gives something that is not finite, or the device has no memory
        for a single tile.
    NoRoom
        If the disk is full, or would be; what is done is kept.
    """
    report = ExtractReport(slide_id, 0, 0, 0, 1, finished=False, error=None)
    yield report
    tissue = tissue or tissue_mask(slide)
    grid = tile_grid(slide, spec, tissue)
    report = replace(report, total=len(grid))
    yield report
    folder = path.with_suffix(".parts")
    job = _job(slide, spec, encoder, grid)
    if not isinstance(batch, BatchSize):
        batch = BatchSize(encoder, batch)
    work = Work(slide, grid, spec, encoder, batch, threads)
    columns = encoder.dim + len(QUALITY)
    with _disk_watched(folder), Parts(folder, len(grid), columns, job) as parts:
        check_room(folder, 4 * columns * (2 * len(grid) - parts.done))
        steps = encode_missing(work, parts)
        with closing(steps):
            for done in steps:
                yield replace(report, done=done, note=batch.take_note())
        header = _header(slide, slide_id, spec, encoder, len(grid), tissue.outline)
        share = tissue.share(grid.origins, grid.tile_l0)  # (N,)
        measured = [part[:, encoder.dim :] for part in parts.rows()]
        none = np.empty((0, len(QUALITY)), np.float32)
        quality = np.column_stack([share, np.concatenate([none, *measured])])
        features = (part[:, : encoder.dim] for part in parts.rows())
        write_rows(path, header, grid.origins, features, quality)
        parts.remove()
    yield replace(report, done=len(grid), slides_done=1, finished=True)
    return path


@contextmanager
def _disk_watched(folder: Path) -> Iterator[None]:
    """Say what to do when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise NoRoom(
            f"{folder}: the disk is full; what is done is kept: make room and start "
            "again"
        ) from error


def check_room(folder: Path, needed: int) -> None:
    """Refuse to write so many bytes where there is no room for them."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoRoom(
            f"{folder}: {needed / 1e6:,.0f} MB are needed there and {free / 1e6:,.0f} "
            "MB are free: make room and start again"
        )


def _header(
    slide: Slide,
    slide_id: str,
    spec: TileSpec,
    encoder: Encoder,
    count: int,
    outline: str,
) -> FeatureHeader:
    assert slide.mpp is not None, "tile_grid has checked it"
    level = level_for(slide, spec)
    downsample = slide.downsamples[level]
    return FeatureHeader(
        slide_id=slide_id,
        encoder=encoder.name,
        spec=spec,
        mpp=slide.mpp,
        slide_shape=slide.shape,
        content_hash=slide.content_hash,
        shape=(count, encoder.dim),
        colour=_colour(slide, spec),
        outline=outline,
        precision=encoder.precision,
        level=level,
        level_mpp=(slide.mpp[0] * downsample, slide.mpp[1] * downsample),
    )


def _colour(slide: Slide, spec: TileSpec) -> str:
    """Tell what colours `read_tiles` gives."""
    return BY_PROFILE if spec.icc and slide.to_srgb is not None else AS_STORED


def _job(
    slide: Slide, spec: TileSpec, encoder: Encoder, grid: TileGrid
) -> dict[str, object]:
    """Everything that the features of a part depend on."""
    return {
        "encoder": encoder.name,
        "precision": encoder.precision,
        "dim": encoder.dim,
        "spec": spec.to_dict(),
        "content_hash": slide.content_hash,
        "origins": hashlib.sha256(grid.origins.tobytes()).hexdigest(),
    }


def extract(
    project: Project,
    slide_ids: Sequence[str] | None = None,
    *,
    encoder: Encoder | None = None,
    threads: int | None = None,
) -> Generator[ExtractReport, None, ExtractResult]:
    """Extract the features of a project's slides.

    Slides whose file is there and fits are skipped. One that fails is recorded, in
    ``failures.json`` beside the features too, and the others go on. Several processes
    may extract the same project at a time: each takes the slides that no other is at,
    and waits for those at the end.

    Parameters
    ----------
    project : Project
    slide_ids : sequence of str, optional
        All slides if not given.
    encoder : Encoder, optional
        Made by the project's encoder name if not given.
    threads : int, optional
        As of `extract_slide`.

    Yields
    ------
    ExtractReport
        At least one per slide; with `finished` its state is on disk.

    Raises
    ------
    ProjectError
        If the project has no such slide.
    FeatureError
        If the encoder is not the project's.
    NoRoom
        If the disk is full.
    WenoError
        If there is no such tissue model as the project's.
    """
    ids = chosen(project, slide_ids)
    tissue_model(project.tissue)
    encoder = encoder or get_encoder(project.encoder)
    if encoder.name != project.encoder:
        raise FeatureError(
            f"the project's encoder is {project.encoder}, not {encoder.name}: "
            "change project.toml or the encoder"
        )
    how = _How(encoder, BatchSize(encoder), threads)
    outcomes: dict[str, _Outcome] = {}
    waiting = list(ids)
    for patient in (False, True):
        left, waiting = waiting, []
        for slide_id in left:
            report = ExtractReport(
                slide_id, 0, 0, len(outcomes), len(ids), finished=False, error=None
            )
            outcome = yield from _settled(project, how, report, patient)
            if outcome is None:
                waiting.append(slide_id)
                continue
            outcomes[slide_id] = outcome
            yield replace(
                report,
                done=outcome.tiles,
                total=outcome.tiles,
                slides_done=len(outcomes),
                finished=True,
                error=outcome.error,
            )
    return _result(outcomes)


def chosen(project: Project, slide_ids: Sequence[str] | None) -> list[str]:
    """Return the ids of the slides that are asked for, all if None."""
    if slide_ids is None:
        return [row.slide_id for row in project.slides]
    return [project.slide(slide_id).slide_id for slide_id in slide_ids]


class _How(NamedTuple):
    """What encodes, and how much at a time."""

    encoder: Encoder
    batch: BatchSize
    threads: int | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What has become of a slide."""

    fresh: bool
    tiles: int
    error: str | None = None


def _result(outcomes: dict[str, _Outcome]) -> ExtractResult:
    done = {i: o for i, o in outcomes.items() if o.error is None}
    return ExtractResult(
        extracted=tuple(i for i, outcome in done.items() if outcome.fresh),
        skipped=tuple(i for i, outcome in done.items() if not outcome.fresh),
        empty=tuple(i for i, outcome in done.items() if outcome.tiles == 0),
        failed={i: o.error for i, o in outcomes.items() if o.error is not None},
    )


def _settled(
    project: Project, how: _How, report: ExtractReport, patient: bool
) -> Generator[ExtractReport, None, _Outcome | None]:
    """Extract a slide, or record why not; None if another process is at it.

    If `patient`, wait for that process instead.
    """
    slide_id, error = report.slide_id, None
    try:
        outcome = yield from _one(project, how, report)
        while outcome is None and patient:
            yield replace(report, note=_ELSEWHERE)
            time.sleep(_LOOK_AGAIN_S)
            outcome = yield from _one(project, how, report)
    except NoRoom:
        raise
    except WenoError as problem:
        error = str(problem)
        outcome = _Outcome(fresh=False, tiles=0, error=error)
    if outcome is not None:
        record(project, slide_id, error)
    return outcome


def _one(
    project: Project, how: _How, report: ExtractReport
) -> Generator[ExtractReport, None, _Outcome | None]:
    """Extract a slide unless it is done, or another process is at it."""
    slide_id = report.slide_id
    path = project.features_path(slide_id)
    with project.open_slide(slide_id) as slide:
        outline = project.outline(slide_id)
        with _disk_watched(outline.path.parent):
            tissue = outline.find(slide)
        wanted = (slide, project.spec, how.encoder, tissue.outline)
        count = _tiles_in(path, *wanted)
        if count is not None:
            return _Outcome(fresh=False, tiles=count)
        try:
            held = lock_of(path).acquire(timeout=0)
        except Timeout:
            return None
        with held:
            count = _tiles_in(path, *wanted)
            if count is not None:  # since a moment ago
                return _Outcome(fresh=False, tiles=count)
            job = extract_slide(
                slide,
                slide_id,
                project.spec,
                how.encoder,
                path,
                tissue=tissue,
                batch=how.batch,
                threads=how.threads,
            )
            with closing(job):
                for step in job:
                    count = step.total
                    if not step.finished:
                        yield replace(
                            report, done=step.done, total=step.total, note=step.note
                        )
    return _Outcome(fresh=True, tiles=count or 0)


def _tiles_in(
    path: Path, slide: Slide, spec: TileSpec, encoder: Encoder, outline: str
) -> int | None:
    """Count the tiles of a features file, None if it is not of this very job."""
    try:
        header = read_header(path)
    except FeatureError:
        return None
    found = (
        header.encoder,
        header.spec,
        header.content_hash,
        header.mpp,
        header.slide_shape,
        header.outline,
    )
    wanted = (encoder.name, spec, slide.content_hash, slide.mpp, slide.shape, outline)
    return header.shape[0] if found == wanted else None


def record(project: Project, slide_id: str, error: str | None) -> None:
    """Keep the list of failed slides on disk: add one, or take it off."""
    path = project.features_dir / "failures.json"
    if error is None and not path.exists():
        return
    with lock_of(path):
        try:
            failures = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            failures = {}
        if failures.get(slide_id) == error:
            return
        if error is None:
            del failures[slide_id]
        else:
            failures[slide_id] = error
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(failures, indent=1), encoding="utf-8")
