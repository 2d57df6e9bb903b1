from __future__ import annotations

import csv
import json
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from weno.errors import FeatureError, ProjectError, SlideError
from weno.features import (
    ExtractReport,
    ExtractResult,
    TextureEncoder,
    extract,
    extract_slide,
    read_features,
)
from weno.features.extraction import PART
from weno.project import Project
from weno.slides import Slide, open_slide
from weno.tiles import TileSpec, TissueMask

T = TypeVar("T")

CELLS = TileSpec(tile_um=79.36, mpp=0.62)
#: Four tiles a cell, so that a slide has more than one part.
QUARTERS = TileSpec(tile_um=39.68, mpp=0.62, min_tissue=0.1)


class Died(Exception):
    pass


class CountingEncoder(TextureEncoder):
    """The built-in encoder; counts tiles, may spoil one, may die on its way."""

    def __init__(self, *, spoil: bool = False, dies_after: int | None = None) -> None:
        self.tiles = 0
        self._spoil = spoil
        self._dies_after = dies_after

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        if self._dies_after is not None and self.tiles >= self._dies_after:
            raise Died
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


def begin(slide: Slide, path: Path) -> None:
    """Run a job up to its first committed part, and leave it."""
    job = extract_slide(slide, "a", QUARTERS, TextureEncoder(), path)
    for report in job:
        if report.done >= PART:
            break
    assert readers()
    job.close()
    assert not readers()
    assert [p.name for p in path.parent.iterdir()] == ["a.parts"]


def test_a_killed_job_goes_on_at_its_last_part(slide: Slide, tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.h5", tmp_path / "resumed.h5"
    run(extract_slide(slide, "a", QUARTERS, TextureEncoder(), whole))
    total = len(read_features(whole).origins)
    assert total > PART + 50, "the slide is to have more than one part"

    first = CountingEncoder(dies_after=PART + 32)
    with pytest.raises(Died):
        run(extract_slide(slide, "a", QUARTERS, first, resumed))
    assert not resumed.exists()
    assert first.tiles == PART + 32
    assert not readers()

    second = CountingEncoder()
    reports, _ = run(extract_slide(slide, "a", QUARTERS, second, resumed))
    assert second.tiles == total - PART
    assert PART in [report.done for report in reports]
    np.testing.assert_array_equal(
        read_features(resumed).features, read_features(whole).features
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["resumed.h5", "whole.h5"]


def test_a_damaged_part_is_done_again(slide: Slide, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    begin(slide, path)
    (part,) = (tmp_path / "a.parts").glob("*.npy")
    part.write_bytes(part.read_bytes()[:-4])
    encoder = CountingEncoder()
    run(extract_slide(slide, "a", QUARTERS, encoder, path))
    assert encoder.tiles == len(read_features(path).origins)


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
    assert not list(tmp_path.rglob("*.npy"))
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


def test_leaving_the_job_keeps_what_is_committed(cohort: Path, tmp_path: Path) -> None:
    own = project(tmp_path, [f"a,{cohort / 'gland_11_01.tif'},1"], QUARTERS)
    job = extract(own)
    for report in job:
        if report.done >= PART:
            break
    job.close()
    assert not readers()
    encoder = CountingEncoder()
    run(extract(own, encoder=encoder))
    assert encoder.tiles == len(read_features(own.features_path("a")).origins) - PART


def test_an_encoder_that_is_not_the_projects_is_refused(
    cohort: Path, tmp_path: Path
) -> None:
    own = project(tmp_path, [f"a,{cohort / 'gland_11_01.tif'},1"])
    with pytest.raises(FeatureError, match="encoder is texture, not other"):
        run(extract(own, encoder=OtherEncoder()))
