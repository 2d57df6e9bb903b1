"""A folder of synthetic slides with labels, splits and the truth about every cell."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import threading
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for_end
from typing import TYPE_CHECKING

import tifffile

from weno.atomic import replacing
from weno.synthetic.anatomy import CELL, truth_cells
from weno.synthetic.scanner import write_slide
from weno.synthetic.slide import SlideRecipe, paint_slide, plan_slide

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

MPP = 0.5  # µm per level-0 pixel: a 20x objective
EDITION = 1  # counted up when equal recipes give other pixels, to replace old slides
REPORT_SECONDS = 0.4  # between reports at most
MAX_WORKERS = 8  # each holds some 300 MB for a slide of 4,096 px
TEST_SHARE = 0.4  # of a class, so that metrics on a small test split mean something
MIN_TEST = 3  # slides of each class in the test split, if half the class allows it


@dataclass(frozen=True, slots=True)
class SyntheticReport:
    """Progress: `done` of `total` slides are whole; `slide_id` is the latest."""

    slide_id: str
    done: int
    total: int

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, in [0, 1]."""
        return self.done / self.total

    @property
    def text(self) -> str:
        """What is being done, in a few words."""
        return f"{self.done} of {self.total} slides"


@dataclass(frozen=True, slots=True)
class _Entry:
    slide_id: str
    patient_id: str
    split: str
    recipe: SlideRecipe

    @property
    def path(self) -> str:
        return f"slides/{self.slide_id}.tif"

    @property
    def comment(self) -> str:
        recipe = self.recipe
        return json.dumps(
            {
                "maker": "weno.synthetic",
                "edition": EDITION,
                "seed": recipe.seed,
                "ordinal": recipe.ordinal,
                "size": recipe.size,
                "positive": recipe.positive,
            }
        )


def make_cohort(
    folder: Path,
    *,
    slides: int = 20,
    size: int = 4096,
    seed: int = 0,
    workers: int | None = None,
) -> Generator[SyntheticReport, None, Path]:
    """Write a cohort of synthetic slides; every second one is positive.

    Slides that are there already, whole and of the same recipe, are kept. Closing the
    generator drops the slides being drawn, so that only whole files are left.

    Parameters
    ----------
    folder : Path
        Gets ``slides/<slide_id>.tif``, ``slides.csv`` and ``truth.csv``.
    slides : int
        How many.
    size : int
        Level-0 pixels per side; a multiple of 256, at least 1024.
    seed : int
        Of everything: equal seeds give equal pixels with any number of workers.
    workers : int, optional
        Processes, or 1 for none but this one; by default one per processor, at
        most MAX_WORKERS.

    Yields
    ------
    SyntheticReport
        After every slide, and a few times a second in between.

    Returns
    -------
    Path
        ``slides.csv`` with the columns slide_id, path, label, patient_id, split.
    """
    entries = plan_cohort(slides, size, seed)
    pool = _start_pool(workers or min(os.cpu_count() or 1, MAX_WORKERS, slides))
    try:
        jobs = {pool.submit(_make_slide, folder, entry): entry for entry in entries}
        waiting = set(jobs)
        slide_id = ""
        while waiting:
            done, waiting = wait(waiting, REPORT_SECONDS, FIRST_COMPLETED)
            for job in done:
                job.result()
                slide_id = jobs[job].slide_id
            yield SyntheticReport(slide_id, slides - len(waiting), slides)
    except GeneratorExit:
        _interrupt(pool)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    truths = (
        (entry.slide_id, y, x, CELL, positive)
        for job, entry in jobs.items()
        for y, x, positive in job.result().tolist()
    )
    _write_csv(folder / "truth.csv", ("slide_id", "y", "x", "size", "positive"), truths)
    rows = (
        (e.slide_id, e.path, int(e.recipe.positive), e.patient_id, e.split)
        for e in entries
    )
    header = ("slide_id", "path", "label", "patient_id", "split")
    return _write_csv(folder / "slides.csv", header, rows)


def plan_cohort(slides: int, size: int, seed: int) -> list[_Entry]:
    """Give every slide its recipe, its patient and its split.

    Classes alternate. Every third patient of a class and split has two slides; no
    patient is in two splits. What is not "test" is "train": the fit takes its own
    validation slides from there.
    """
    entries = []
    for ordinal in range(slides):
        positive = ordinal % 2 == 1
        of_class = (slides + 1 - positive) // 2
        rank = ordinal // 2
        tested = min(max(MIN_TEST, round(TEST_SHARE * of_class)), of_class // 2)
        split = "test" if rank >= of_class - tested else "train"
        within = rank - (of_class - tested if split == "test" else 0)
        patient = within - within // 4  # 0, 1, 2, 3, 3, 4, 5, 6, 6: some come twice
        group = f"{'P' if positive else 'N'}{split[:2].upper()}"
        recipe = SlideRecipe(seed, ordinal, size, positive)
        slide_id = f"synthetic_{ordinal:03d}"
        entries.append(_Entry(slide_id, f"{group}{patient:03d}", split, recipe))
    return entries


def _start_pool(workers: int) -> Executor:
    """Start processes: half of the work is small steps, where threads would queue."""
    if workers == 1:
        return ThreadPoolExecutor(1)  # alone, it need not queue
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with)


def _interrupt(pool: Executor) -> None:
    """Make the processes of a pool drop what they are at; a thread ends it first."""
    # A pool has no public way to its processes before Python 3.14.
    for process in list(getattr(pool, "_processes", {}).values()):
        process.terminate()


def _end_with() -> None:
    """Make a worker drop its slide when asked to, or when its parent is gone."""
    signal.signal(signal.SIGTERM, _drop)
    parent = parent_process()
    if parent is not None:
        ends = [parent.sentinel]
        watch = threading.Thread(
            target=lambda: (wait_for_end(ends), os._exit(1)), daemon=True
        )
        watch.start()


_dropped = threading.Event()


def _drop(*_: object) -> None:
    """Leave the slide at hand, by an exception so that half a file is removed."""
    _dropped.set()  # the pool has handed the next one on already
    sys.exit(1)


def _make_slide(folder: Path, entry: _Entry) -> npt.NDArray[np.int64]:
    """Write a slide unless it is there; return its truth cells."""
    if _dropped.is_set():
        sys.exit(1)
    anatomy = plan_slide(entry.recipe)
    path = folder / entry.path
    if _comment_of(path) != entry.comment:
        pixels = paint_slide(entry.recipe, anatomy)
        with replacing(path) as temporary:
            write_slide(temporary, pixels, MPP, comment=entry.comment)
    return truth_cells(anatomy)


def _comment_of(path: Path) -> str | None:
    """Image description of a TIFF, or None if there is no readable file."""
    try:
        with tifffile.TiffFile(path) as tiff:
            return str(tiff.pages.first.description)
    except (OSError, tifffile.TiffFileError):
        return None


def _write_csv(
    path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]
) -> Path:
    """Write a CSV unless it already says the same."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    content = text.getvalue().encode()
    if not path.is_file() or path.read_bytes() != content:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return path
