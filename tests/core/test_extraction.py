from __future__ import annotations

import csv
import errno
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from dask.system import CPU_COUNT
from threadpoolctl import threadpool_info

from weno.atomic import lock_of
from weno.errors import (
    FeatureError,
    OutOfMemory,
    ProjectError,
    SlideError,
    WenoError,
)
from weno.features import (
    ExtractReport,
    ExtractResult,
    TextureEncoder,
    TimmEncoder,
    extract,
    extract_slide,
    read_features,
)
from weno.features._pipeline import BatchSize
from weno.project import Project
from weno.slides import Slide, open_slide
from weno.tiles import TileSpec, TissueMask

T = TypeVar("T")

CELLS = TileSpec(tile_um=79.36, mpp=0.62)
#: Four tiles a cell, so that a slide has many batches.
QUARTERS = TileSpec(tile_um=39.68, mpp=0.62, min_tissue=0.1)


class Died(Exception):
    pass


class CountingEncoder(TextureEncoder):
    """The built-in encoder; counts tiles, may spoil one, may die on its way."""

    def __init__(self, *, spoil: bool = False, dies_after: int | None = None) -> None:
        self.tiles = 0
        self._spoil = spoil
        self._dies_after = dies_after
        self._lock = threading.Lock()

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        if self._dies_after is not None and self.tiles >= self._dies_after:
            raise Died
        with self._lock:
            self.tiles += len(tiles)
        features = super().encode(tiles)
        if self._spoil:
            features[-1, 0] = np.nan
        return features


class OtherEncoder(CountingEncoder):
    name = "other"

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        return super().encode(tiles) + 1


@pytest.fixture
def cohort(test_data: Path) -> Path:
    return test_data / "gland_cohort"


@pytest.fixture
def slide(cohort: Path) -> Iterator[Slide]:
    with open_slide(cohort / "gland_11_01.tif") as slide:
        yield slide


def run(job: Generator[ExtractReport, None, T]) -> tuple[list[ExtractReport], T]:
    reports = []
    while True:
        try:
            reports.append(next(job))
        except StopIteration as end:
            return reports, end.value


def readers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("weno-tiles")]


def project(root: Path, lines: list[str], spec: TileSpec = CELLS) -> Project:
    root.mkdir(parents=True, exist_ok=True)
    source = root / "source.csv"
    source.write_text("\n".join(["slide_id,path,label", *lines]), encoding="utf-8")
    return Project.create(root / "project", source, spec=spec)


def test_every_cell_with_tissue_is_a_tile(cohort: Path, tmp_path: Path) -> None:
    with (cohort / "tiles.csv").open() as file:
        cells = [
            (int(row["y"]), int(row["x"]))
            for row in csv.DictReader(file)
            if row["slide_id"] == "gland_11_01"
        ]
    with open_slide(cohort / "gland_11_01.tif") as slide:
        path = tmp_path / "a.h5"
        reports, value = run(extract_slide(slide, "a", CELLS, TextureEncoder(), path))
        found = read_features(path)
        index = [found.grid.index_at(y + 64, x + 64) for y, x in cells]
        tissue = [i for i, (y, x) in zip(index, cells, strict=True) if i is not None]
        assert value == path
        assert len(tissue) >= 0.9 * len(cells)
        for i, (y, x) in zip(index, cells, strict=True):
            tile = slide.read(0, y, x, 128, 128)
            if i is None:  # glass, or nearly so
                assert (tile.mean(axis=2) > 200).mean() > 0.4
                continue
            assert found.origins[i].tolist() == [y, x]
            wanted = TextureEncoder().encode(tile[None])[0]
            np.testing.assert_array_equal(found.features[i], wanted)
    assert reports[-1] == ExtractReport(
        "a", len(found.origins), len(found.origins), 1, 1, finished=True, error=None
    )
    assert [report.finished for report in reports[:-1]] == [False] * (len(reports) - 1)
    done = [report.done for report in reports]
    assert done == sorted(done)


BEGUN = 96


def begin(slide: Slide, path: Path) -> None:
    """Let a job die after some batches of 16."""
    encoder = CountingEncoder(dies_after=BEGUN)
    with pytest.raises(Died):
        run(extract_slide(slide, "a", QUARTERS, encoder, path, threads=1))
    assert encoder.tiles == BEGUN
    assert not readers()
    assert not path.exists()


def test_a_dead_job_goes_on_at_its_last_batch(slide: Slide, tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.h5", tmp_path / "resumed.h5"
    run(extract_slide(slide, "a", QUARTERS, TextureEncoder(), whole))
    total = len(read_features(whole).origins)
    begin(slide, resumed)
    encoder = CountingEncoder()
    reports, _ = run(extract_slide(slide, "a", QUARTERS, encoder, resumed))
    assert encoder.tiles == total - BEGUN
    assert min(report.done for report in reports[2:]) >= BEGUN
    np.testing.assert_array_equal(
        read_features(resumed).features, read_features(whole).features
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["resumed.h5", "whole.h5"]


def spoil_a_byte(parts: Path) -> None:
    data = parts / "features.f32"
    content = bytearray(data.read_bytes())
    content[20 * 4 * TextureEncoder.dim] ^= 1  # of the second batch
    data.write_bytes(content)


def cut_the_list_short(parts: Path) -> None:
    done = parts / "done.txt"
    done.write_bytes(done.read_bytes()[:-3])


@pytest.mark.parametrize("damage", [spoil_a_byte, cut_the_list_short])
def test_a_damaged_batch_is_done_again_and_no_other(
    slide: Slide, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "a.h5"
    run(extract_slide(slide, "a", QUARTERS, TextureEncoder(), whole))
    begin(slide, path)
    damage(tmp_path / "a.parts")
    first, second = CountingEncoder(dies_after=32), CountingEncoder()
    with pytest.raises(Died):
        run(extract_slide(slide, "a", QUARTERS, first, path, threads=1))
    run(extract_slide(slide, "a", QUARTERS, second, path))
    wanted = read_features(whole)
    assert first.tiles == 32
    assert first.tiles + second.tiles == len(wanted.origins) - BEGUN + 16
    np.testing.assert_array_equal(read_features(path).features, wanted.features)


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (7, 3), (500, 2)])
def test_batches_and_threads_do_not_change_a_bit(
    slide: Slide, tmp_path: Path, batch: int, threads: int
) -> None:
    found = []
    for name, how in {"a": {}, "b": {"batch": batch, "threads": threads}}.items():
        path = tmp_path / f"{name}.h5"
        run(extract_slide(slide, "a", QUARTERS, TextureEncoder(), path, **how))
        found.append(path.read_bytes())
    assert found[0] == found[1]


class DeviceEncoder:
    """Stands for a network on a device with memory for some tiles.

    What it was given is in `batches`. With `late`, the device says only in the end that
    the memory is short. On a processor several threads may call it; with `together`,
    the first calls wait for one another.
    """

    name = "device"
    dim = TextureEncoder.dim
    precision = "fp32"

    def __init__(
        self, device: str, most: int = 10**9, *, late: bool = False, together: int = 0
    ) -> None:
        self.device = device
        self.batches: list[int] = []
        self.cores: set[int] = set()
        self._first = threading.Barrier(together) if together else None
        self._most = most
        self._late = late
        self._busy = threading.Lock()

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        return self.start(tiles)()

    def start(self, tiles: np.ndarray) -> Callable[[], np.ndarray]:
        one_at_a_time = self.device != "cpu"
        if one_at_a_time:
            assert self._busy.acquire(blocking=False), "one thread at a time"
        try:
            features = self._encode(tiles)
        finally:
            if one_at_a_time:
                self._busy.release()

        def finish() -> np.ndarray:
            if len(tiles) > self._most:
                raise OutOfMemory("no room")
            return features

        return finish

    def _encode(self, tiles: np.ndarray) -> np.ndarray:
        self.batches.append(len(tiles))
        self.cores |= {
            pool["num_threads"]
            for pool in threadpool_info()
            if pool["user_api"] == "openmp"
        }
        if self._first is not None and len(self.batches) <= self._first.parties:
            self._first.wait(60)
        if len(tiles) > self._most and not self._late:
            raise OutOfMemory("no room")
        return TextureEncoder().encode(tiles)


@pytest.mark.parametrize("late", [False, True])
def test_out_of_memory_halves_the_batch_and_is_said_once(
    slide: Slide, tmp_path: Path, *, late: bool
) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "a.h5"
    run(extract_slide(slide, "a", QUARTERS, DeviceEncoder("cpu"), whole))
    encoder = DeviceEncoder("mps", most=9, late=late)
    reports, _ = run(extract_slide(slide, "a", QUARTERS, encoder, path, batch=40))
    assert path.read_bytes() == whole.read_bytes()
    assert max(encoder.batches[-20:]) == 5
    assert len([size for size in encoder.batches if size > 9]) <= 4
    notes = [report.note for report in reports if report.note]
    assert notes[-1] == "out of memory: batches of 5 tiles from now on"
    assert len(notes) <= 3


def test_on_a_processor_several_threads_encode_and_share_the_cores(
    slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")  # brings the OpenMP whose threads are limited
    monkeypatch.setattr("weno.features._pipeline.CPU_COUNT", 6)
    whole, path = tmp_path / "whole.h5", tmp_path / "a.h5"
    run(extract_slide(slide, "a", QUARTERS, TextureEncoder(), whole))
    encoder = DeviceEncoder("cpu", together=2)
    run(extract_slide(slide, "a", QUARTERS, encoder, path, threads=2))
    np.testing.assert_array_equal(
        read_features(path).features, read_features(whole).features
    )
    assert encoder.cores == {3}


def test_threads_that_lack_memory_at_once_halve_the_batch_once(
    slide: Slide, tmp_path: Path
) -> None:
    encoder = DeviceEncoder("cpu", most=1, together=2)
    path = tmp_path / "a.h5"
    job = extract_slide(slide, "a", QUARTERS, encoder, path, batch=2, threads=2)
    reports, _ = run(job)
    assert len(read_features(path).origins) > BEGUN
    assert {report.note for report in reports if report.note} == {
        "out of memory: batches of 1 tiles from now on"
    }
    assert encoder.batches.count(2) <= 4


def test_a_device_without_memory_for_one_tile_is_an_error(
    slide: Slide, tmp_path: Path
) -> None:
    job = extract_slide(
        slide, "a", CELLS, DeviceEncoder("mps", most=0), tmp_path / "a.h5"
    )
    with pytest.raises(FeatureError, match=r"not even one tile fits.*--device cpu"):
        run(job)


def test_a_network_gives_the_same_in_any_batch(slide: Slide, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    encoder = TimmEncoder("resnet18", device="cpu", pretrained=False)
    spec = TileSpec(tile_um=317.44, mpp=1.24)
    found = []
    for batch, threads in ((1, 1), (5, 3)):
        path = tmp_path / f"{batch}.h5"
        run(
            extract_slide(slide, "a", spec, encoder, path, batch=batch, threads=threads)
        )
        found.append(read_features(path).features)
    assert len(found[0]) > 5
    scale = np.linalg.norm(found[0], axis=1).max()
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-5 * scale / 20)


def test_a_batch_grows_while_that_pays() -> None:
    sizes = []
    batch = BatchSize(DeviceEncoder("cuda:0"))
    now = 0.0
    for _ in range(200):
        sizes.append(batch.tiles)
        now += 0.1 * (1 + batch.tiles / 100)  # a fixed cost, and one of every tile
        batch.record(batch.tiles, now)
    assert sorted(set(sizes)) == [32, 64, 128, 256, 512, 1024]
    assert sizes == sorted(sizes)

    batch = BatchSize(DeviceEncoder("cuda:0"))
    for now in range(100):
        sizes.append(batch.tiles)
        batch.record(batch.tiles, float(now))
        if batch.tiles == 128:
            break
    for now in range(100, 200):
        batch.record(batch.tiles, float(now) * batch.tiles / 64)  # no faster than 64
    assert batch.tiles == 64


@pytest.mark.parametrize(
    ("spec", "encoder"),
    [
        pytest.param(QUARTERS, OtherEncoder(), id="other encoder"),
        pytest.param(
            TileSpec(tile_um=39.68, mpp=0.62, min_tissue=0.2),
            CountingEncoder(),
            id="other spec",
        ),
    ],
)
def test_parts_of_another_job_are_not_mixed_in(
    slide: Slide, tmp_path: Path, spec: TileSpec, encoder: CountingEncoder
) -> None:
    path = tmp_path / "a.h5"
    begin(slide, path)
    run(extract_slide(slide, "a", spec, encoder, path))
    found = read_features(path)
    assert encoder.tiles == len(found.origins)
    assert (found.encoder, found.spec) == (encoder.name, spec)


def test_a_slide_without_tissue_gives_an_empty_file(
    slide: Slide, tmp_path: Path
) -> None:
    glass = TissueMask(np.zeros((19, 21), bool), (128.0, 128.0), (79.36, 79.36))
    path = tmp_path / "a.h5"
    encoder = CountingEncoder()
    reports, _ = run(extract_slide(slide, "a", CELLS, encoder, path, tissue=glass))
    assert read_features(path).features.shape == (0, TextureEncoder.dim)
    assert encoder.tiles == 0
    assert reports[-1].finished


def test_features_that_are_not_finite_are_not_kept(
    slide: Slide, tmp_path: Path
) -> None:
    job = extract_slide(
        slide, "a", CELLS, CountingEncoder(spoil=True), tmp_path / "a.h5"
    )
    with pytest.raises(FeatureError, match="not finite"):
        run(job)
    assert (tmp_path / "a.parts" / "done.txt").read_text() == ""
    assert not readers()


def test_a_slide_that_cannot_be_read_is_an_error(
    test_data: Path, tmp_path: Path
) -> None:
    with (
        open_slide(test_data / "slides" / "unreadable.svs", mpp=0.5) as slide,
        pytest.raises(SlideError, match=r"unreadable\.svs"),
    ):
        run(extract_slide(slide, "a", TileSpec(), TextureEncoder(), tmp_path / "a.h5"))
    assert not (tmp_path / "a.h5").exists()


def test_a_failed_slide_is_recorded_and_the_others_go_on(
    test_data: Path, cohort: Path, tmp_path: Path
) -> None:
    own = project(
        tmp_path,
        [
            f"bad,{test_data / 'slides' / 'unopenable.tiff'},0",
            f"good,{cohort / 'gland_11_01.tif'},1",
        ],
    )
    reports, result = run(extract(own))
    assert isinstance(result, ExtractResult)
    assert result.extracted == ("good",)
    assert list(result.failed) == ["bad"]
    assert "unopenable.tiff" in result.failed["bad"]
    finished = [report for report in reports if report.finished]
    assert [(r.slide_id, r.slides_done, r.slides_total) for r in finished] == [
        ("bad", 1, 2),
        ("good", 2, 2),
    ]
    assert finished[0].error == result.failed["bad"]
    assert finished[1].error is None
    record = own.features_dir / "failures.json"
    assert json.loads(record.read_text()) == result.failed
    assert read_features(own.features_path("good")).slide_id == "good"


def test_a_slide_that_works_again_is_off_the_record(
    cohort: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "a.tif"
    copy.write_bytes(b"no slide")
    own = project(tmp_path, [f"a,{copy},1"])
    run(extract(own))
    copy.write_bytes((cohort / "gland_11_01.tif").read_bytes())
    _, result = run(extract(own))
    assert result.failed == {}
    record = own.features_dir / "failures.json"
    assert json.loads(record.read_text()) == {}


def test_what_is_done_is_not_done_again(cohort: Path, tmp_path: Path) -> None:
    own = project(tmp_path, [f"a,{cohort / 'gland_11_01.tif'},1"])
    run(extract(own))
    encoder = CountingEncoder()
    reports, result = run(extract(own, encoder=encoder))
    assert encoder.tiles == 0
    assert result == ExtractResult((), ("a",), (), {})
    assert [report.finished for report in reports] == [True]
    assert reports[0].done == reports[0].total > 0


@pytest.mark.parametrize("change", ["other slide", "damaged file"])
def test_what_does_not_fit_is_done_again(
    cohort: Path, tmp_path: Path, change: str
) -> None:
    copy = tmp_path / "a.tif"
    copy.write_bytes((cohort / "gland_11_01.tif").read_bytes())
    own = project(tmp_path, [f"a,{copy},1"])
    run(extract(own))
    if change == "other slide":
        copy.write_bytes((cohort / "gland_11_02.tif").read_bytes())
    else:
        path = own.features_path("a")
        path.write_bytes(path.read_bytes()[:1000])
    encoder = CountingEncoder()
    _, result = run(extract(own, encoder=encoder))
    assert result.extracted == ("a",)
    assert encoder.tiles == len(read_features(own.features_path("a")).origins) > 0


def test_only_the_slides_asked_for_are_extracted(cohort: Path, tmp_path: Path) -> None:
    own = project(
        tmp_path,
        [f"{name},{cohort / name}.tif," for name in ("gland_11_00", "gland_11_01")],
    )
    _, result = run(extract(own, ["gland_11_01"]))
    assert result.extracted == ("gland_11_01",)
    assert not own.features_path("gland_11_00").exists()
    with pytest.raises(ProjectError, match="no slide 'gland'"):
        run(extract(own, ["gland_11_00", "gland"]))
    assert not own.features_path("gland_11_00").exists()


class PausingEncoder(CountingEncoder):
    """Goes on past 64 tiles only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        if self.tiles >= 64:
            self.go_on.wait()
        return super().encode(tiles)


def test_leaving_the_job_keeps_what_is_committed(cohort: Path, tmp_path: Path) -> None:
    own = project(tmp_path, [f"a,{cohort / 'gland_11_01.tif'},1"], QUARTERS)
    first, second = PausingEncoder(), CountingEncoder()
    job = extract(own, encoder=first)
    done = next(report.done for report in job if report.done >= 64)
    assert readers()
    first.go_on.set()
    job.close()
    assert not readers()
    run(extract(own, encoder=second))
    total = len(read_features(own.features_path("a")).origins)
    assert done <= first.tiles < total
    assert first.tiles + second.tiles == total


def test_a_slide_that_another_process_is_at_is_waited_for(
    cohort: Path, tmp_path: Path
) -> None:
    lines = [f"{name},{cohort / name}.tif," for name in ("gland_11_00", "gland_11_01")]
    own = project(tmp_path, lines)
    other = lock_of(own.features_path("gland_11_00"))
    other.acquire()
    finished = []
    job = extract(own)
    for report in job:
        if report.finished:
            finished.append(report.slide_id)
        if report.note:
            assert report.note == "another process is at it"
            assert finished == ["gland_11_01"]
            other.release()
            break
    _, result = run(job)
    assert result.extracted == ("gland_11_01", "gland_11_00")


COUNTED = """
import sys
from weno.features import TextureEncoder, extract
from weno.project import Project

class Told(TextureEncoder):
    def encode(self, tiles):
        features = super().encode(tiles)
        with open(sys.argv[2], "a") as told:
            print(len(tiles), file=told)
        return features

for report in extract(Project.open(sys.argv[1]), encoder=Told()):
    assert report.error is None
"""


def start(own: Project, told: Path) -> subprocess.Popen[bytes]:
    """Extract a project in another process, which tells of each batch once done."""
    return subprocess.Popen([sys.executable, "-c", COUNTED, str(own.root), str(told)])


def counted(*told: Path) -> int:
    return sum(int(n) for path in told for n in path.read_text().split())


def test_a_killed_process_leaves_at_most_a_batch_of_each_thread_to_do_again(
    cohort: Path, tmp_path: Path
) -> None:
    line = [f"a,{cohort / 'gland_11_01.tif'},1"]
    own, unharmed = (project(tmp_path / n, line, QUARTERS) for n in ("a", "b"))
    first, second = tmp_path / "first", tmp_path / "second"
    process = start(own, first)
    while not first.exists() or counted(first) < 100:
        assert process.poll() is None
    process.kill()
    process.wait()
    assert not own.features_path("a").exists()
    assert start(own, second).wait() == 0
    run(extract(unharmed))
    assert own.features_path("a").read_bytes() == (
        unharmed.features_path("a").read_bytes()
    )
    total = len(read_features(own.features_path("a")).origins)
    assert total <= counted(first, second) <= total + 16 * CPU_COUNT


def test_two_processes_share_the_slides_of_a_project(
    cohort: Path, tmp_path: Path
) -> None:
    names = [f"gland_11_0{k}" for k in range(3)]
    own = project(tmp_path, [f"{n},{cohort / n}.tif," for n in names], QUARTERS)
    told = [tmp_path / "one", tmp_path / "two"]
    processes = [start(own, path) for path in told]
    assert [process.wait() for process in processes] == [0, 0]
    total = sum(len(read_features(own.features_path(n)).origins) for n in names)
    assert counted(*(path for path in told if path.exists())) == total


def test_a_disk_without_room_stops_the_job_before_it_begins(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = project(tmp_path, [f"a,{cohort / 'gland_11_01.tif'},1"])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    encoder = CountingEncoder()
    with pytest.raises(WenoError, match=r"MB are needed there and 0 MB are free"):
        run(extract(own, encoder=encoder))
    assert encoder.tiles == 0
    assert own.failed_slides() == {}


class FullDisk(TextureEncoder):
    def encode(self, tiles: np.ndarray) -> np.ndarray:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_gets_full_is_said(slide: Slide, tmp_path: Path) -> None:
    with pytest.raises(WenoError, match="the disk is full; what is done is kept"):
        run(extract_slide(slide, "a", CELLS, FullDisk(), tmp_path / "a.h5"))


def test_an_encoder_that_is_not_the_projects_is_refused(
    cohort: Path, tmp_path: Path
) -> None:
    own = project(tmp_path, [f"a,{cohort / 'gland_11_01.tif'},1"])
    with pytest.raises(FeatureError, match="encoder is texture, not other"):
        run(extract(own, encoder=OtherEncoder()))
