"""The extraction job: tissue, grid, tiles, features; resumable.

Beside the file of a slide that is being extracted lies a folder ``<slide_id>.parts``:
what the parts are of (``job.json``) and one ``.npy`` per part. A part is written
under another name and renamed, so that a killed job loses the part it was at and no
other; when all are there they are joined into the features file.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from weno.atomic import replacing
from weno.errors import FeatureError, WenoError
from weno.features._parts import PART, Parts
from weno.features.encoders import get_encoder
from weno.features.store import (
    AS_STORED,
    BY_PROFILE,
    SlideFeatures,
    read_header,
    write_features,
)
from weno.tiles import (
    QUALITY,
    level_for,
    read_tiles,
    tile_grid,
    tile_quality,
    tissue_mask,
    tissue_model,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    import numpy.typing as npt

    from weno.features.encoders import Encoder
    from weno.project import Project
    from weno.slides import Slide
    from weno.tiles import TileGrid, TileSpec, TissueMask

    Features = npt.NDArray[np.float32]

_BATCH = 16  # tiles; small, so that a slow encoder still reports in time
_READERS = 2
_AHEAD = 4  # batches that are decoded or being decoded
_REPORT_S = 0.1


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """How far an extraction is.

    Parameters
    ----------
    slide_id : str
    done, total : int
        Tiles of this slide.
    slides_done, slides_total : int
    finished : bool
        This slide is done: its file is on disk, or it has failed.
    error : str or None
        Why it has failed.
    """

    slide_id: str
    done: int
    total: int
    slides_done: int
    slides_total: int
    finished: bool
    error: str | None

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, in [0, 1]."""
        within = 0.0 if self.finished else self.done / max(1, self.total)
        return (self.slides_done + within) / max(1, self.slides_total)

    @property
    def text(self) -> str:
        """What is being done, in a few words."""
        return f"{self.slide_id}: {self.done} of {self.total} tiles"


@dataclass(frozen=True, slots=True)
class ExtractResult:
    """What an extraction has done.

    Parameters
    ----------
    extracted, skipped : tuple of str
        Ids of slides that were extracted, and that had been before.
    empty : tuple of str
        Those of both that have no tissue: their files hold no tile.
    failed : dict of str to str
        Why, by slide id.
    """

    extracted: tuple[str, ...]
    skipped: tuple[str, ...]
    empty: tuple[str, ...]
    failed: dict[str, str]


def extract_slide(
    slide: Slide,
    slide_id: str,
    spec: TileSpec,
    encoder: Encoder,
    path: Path,
    *,
    tissue: TissueMask | None = None,
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

    Yields
    ------
    ExtractReport
        The last one is `finished`; the file is on disk by then.

    Raises
    ------
    SlideError
        If the slide cannot be read.
    FeatureError
        If the encoder gives something that is not finite.
    """
    report = ExtractReport(slide_id, 0, 0, 0, 1, finished=False, error=None)
    yield report
    tissue = tissue or tissue_mask(slide)
    grid = tile_grid(slide, spec, tissue)
    report = replace(report, total=len(grid))
    yield report
    parts = Parts(path.with_suffix(".parts"), len(grid), encoder.dim + len(QUALITY))
    parts.begin(_job(slide, spec, encoder, grid))
    batches = parts.missing(_BATCH)
    with closing(_decoded(slide, grid, spec, batches)) as decoded:
        for done in _encoded(decoded, encoder, parts):
            report = replace(report, done=done)
            yield report
    assert slide.mpp is not None, "tile_grid has checked it"
    joined, level = parts.joined(), level_for(slide, spec)
    share = tissue.share(grid.origins, grid.tile_l0)
    features = SlideFeatures(
        slide_id=slide_id,
        features=joined[:, : encoder.dim],
        origins=grid.origins,
        encoder=encoder.name,
        spec=spec,
        mpp=slide.mpp,
        slide_shape=slide.shape,
        content_hash=slide.content_hash,
        colour=_colour(slide, spec),
        outline=tissue.outline,
        level=level,
        level_mpp=(
            slide.mpp[0] * slide.downsamples[level],
            slide.mpp[1] * slide.downsamples[level],
        ),
        quality=np.column_stack([share, joined[:, encoder.dim :]]).astype(np.float32),
    )
    write_features(path, features)
    parts.remove()
    yield replace(report, done=len(grid), slides_done=1, finished=True)
    return path


def _colour(slide: Slide, spec: TileSpec) -> str:
    """Tell what colours `read_tiles` gives."""
    return BY_PROFILE if spec.icc and slide.to_srgb is not None else AS_STORED


def _job(
    slide: Slide, spec: TileSpec, encoder: Encoder, grid: TileGrid
) -> dict[str, object]:
    """Everything that the features of a part depend on."""
    return {
        "encoder": encoder.name,
        "dim": encoder.dim,
        "spec": spec.to_dict(),
        "content_hash": slide.content_hash,
        "origins": hashlib.sha256(grid.origins.tobytes()).hexdigest(),
        "part": PART,
    }


def _decoded(
    slide: Slide, grid: TileGrid, spec: TileSpec, batches: Sequence[range]
) -> Generator[tuple[range, npt.NDArray[np.uint8]], None, None]:
    """Read batches of tiles in order, a few ahead, in threads."""
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="weno-tiles")
    waiting = deque(batches)
    reading: deque[tuple[range, Future[npt.NDArray[np.uint8]]]] = deque()
    try:
        while waiting or reading:
            while waiting and len(reading) < _AHEAD:
                batch = waiting.popleft()
                reading.append(
                    (batch, pool.submit(read_tiles, slide, grid, spec, batch))
                )
            batch, tiles = reading.popleft()
            yield batch, tiles.result()
    finally:
        # Wait: the slide may be closed by the caller right after.
        pool.shutdown(wait=True, cancel_futures=True)


def _encoded(
    decoded: Iterator[tuple[range, npt.NDArray[np.uint8]]],
    encoder: Encoder,
    parts: Parts,
) -> Iterator[int]:
    """Encode and commit; yield the number of tiles that are done, now and then."""
    done = parts.done()
    yield done
    last = time.monotonic()
    part: list[Features] = []
    for batch, tiles in decoded:
        features = np.asarray(encoder.encode(tiles), np.float32)  # (n, F)
        if (
            features.shape != (len(batch), encoder.dim)
            or not np.isfinite(features).all()
        ):
            raise FeatureError(
                f"the encoder {encoder.name} gave features of shape {features.shape} "
                f"that do not fit, or are not finite, for tiles from {batch[0]} on"
            )
        part.append(np.concatenate([features, tile_quality(tiles)], axis=1))
        done += len(batch)
        if parts.is_end(batch.stop):
            parts.commit(batch.stop, np.concatenate(part))
            part.clear()
        if not part or time.monotonic() - last >= _REPORT_S:
            yield done
            last = time.monotonic()


def extract(
    project: Project,
    slide_ids: Sequence[str] | None = None,
    *,
    encoder: Encoder | None = None,
) -> Generator[ExtractReport, None, ExtractResult]:
    """Extract the features of a project's slides.

    Slides whose file is there and fits are skipped. One that fails is recorded, in
    ``failures.json`` beside the features too, and the others go on.

    Parameters
    ----------
    project : Project
    slide_ids : sequence of str, optional
        All slides if not given.
    encoder : Encoder, optional
        Made by the project's encoder name if not given.

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
    WenoError
        If there is no such tissue model as the project's.
    """
    ids = [row.slide_id for row in project.slides] if slide_ids is None else slide_ids
    for slide_id in ids:
        project.slide(slide_id)
    tissue_model(project.tissue)
    encoder = encoder or get_encoder(project.encoder)
    if encoder.name != project.encoder:
        raise FeatureError(
            f"the project's encoder is {project.encoder}, not {encoder.name}: "
            "change project.toml or the encoder"
        )
    outcomes: dict[str, tuple[bool, int]] = {}
    failed: dict[str, str] = {}
    for number, slide_id in enumerate(ids):
        report = ExtractReport(slide_id, 0, 0, number, len(ids), False, None)
        try:
            outcomes[slide_id] = yield from _one(project, encoder, report)
        except WenoError as error:
            failed[slide_id] = str(error)
        _record(project.features_dir / "failures.json", slide_id, failed.get(slide_id))
        _, count = outcomes.get(slide_id, (False, 0))
        yield ExtractReport(
            slide_id, count, count, number + 1, len(ids), True, failed.get(slide_id)
        )
    return ExtractResult(
        extracted=tuple(i for i, (fresh, _) in outcomes.items() if fresh),
        skipped=tuple(i for i, (fresh, _) in outcomes.items() if not fresh),
        empty=tuple(i for i, (_, count) in outcomes.items() if count == 0),
        failed=failed,
    )


def _one(
    project: Project, encoder: Encoder, report: ExtractReport
) -> Generator[ExtractReport, None, tuple[bool, int]]:
    """Extract a slide unless it is done; tell whether it was, and count its tiles."""
    slide_id = report.slide_id
    path = project.features_path(slide_id)
    with project.open_slide(slide_id) as slide:
        tissue = project.outline(slide_id).find(slide)
        count = _tiles_in(path, slide, project.spec, encoder, tissue.outline)
        if count is not None:
            return False, count
        job = extract_slide(slide, slide_id, project.spec, encoder, path, tissue=tissue)
        with closing(job):
            for step in job:
                count = step.total
                if not step.finished:
                    yield replace(report, done=step.done, total=step.total)
    return True, count or 0


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


def _record(path: Path, slide_id: str, error: str | None) -> None:
    """Keep the list of failed slides on disk: add one, or take it off."""
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
