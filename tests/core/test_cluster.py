"""Jobs on a real cluster: a scheduler and two worker processes on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from pyarrow.parquet import read_table
from typer.testing import CliRunner

from weno.cli import app
from weno.cluster import connected
from weno.errors import ClusterError
from weno.features import ExtractReport, extract, extract_on, read_features
from weno.mil.slide_table import read_rows
from weno.project import Project
from weno.tiles import TileSpec

distributed = pytest.importorskip(
    "distributed", reason='needs pip install "napari-weno[cluster]"'
)

T = TypeVar("T")

pytestmark = [
    # What a killed worker leaves open, and old ways of tornado, are not ours.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SPEC = TileSpec(tile_um=39.68, mpp=0.62, min_tissue=0.1)


def run(job: Generator[ExtractReport, None, T]) -> tuple[list[ExtractReport], T]:
    reports = []
    while True:
        try:
            reports.append(next(job))
        except StopIteration as end:
            return reports, end.value


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster


def project(root: Path, test_data: Path, names: list[str]) -> Project:
    root.mkdir()
    folder = test_data / "gland_cohort"
    lines = [f"{n},{folder / n}.tif,{k % 2}" for k, n in enumerate(names)]
    source = root / "source.csv"
    source.write_text("\n".join(["slide_id,path,label", *lines]), encoding="utf-8")
    return Project.create(root / "project", source, spec=SPEC)


def test_every_slide_is_there_once_though_a_worker_is_killed(
    cluster: distributed.LocalCluster, test_data: Path, tmp_path: Path
) -> None:
    names = [p.stem for p in sorted((test_data / "gland_cohort").glob("*.tif"))[:8]]
    own = project(tmp_path / "a", test_data, names)
    alone = project(tmp_path / "b", test_data, names)
    finished = []
    with connected(cluster.scheduler_address) as client:
        workers = client.run(os.getpid)
        assert len(set(workers.values())) == 2
        job = extract_on(client, own)
        for report in job:
            if report.finished:
                finished.append(report.slide_id)
                break
        # One that is at a slide right now.
        busy = [pid for at, pid in workers.items() if client.processing()[at]]
        os.kill(busy[0], signal.SIGKILL)
        reports, result = run(job)
        survivors = client.run(os.getpid)
        assert set(survivors.values()) != set(workers.values())
    finished += [r.slide_id for r in {r.slides_done: r for r in reports}.values()]
    assert sorted(set(finished)) == names
    assert result.extracted == tuple(names)
    assert result.failed == {}
    assert reports[-1].slides_done == len(names)
    run(extract(alone))
    for name in names:
        one, other = (read_features(p.features_path(name)) for p in (own, alone))
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.origins, other.origins)
    assert sorted(p.name for p in own.features_dir.glob("*.*")) == sorted(
        [".locks", *(f"{name}.h5" for name in names)]
    )


def weno(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def predictions(own: Project) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    folder = own.predictions_dir("run")
    tiles = {path.stem: read_table(path) for path in folder.glob("*.parquet")}
    return tiles, read_rows(folder / "slides.csv")


def test_commands_predict_on_a_cluster_what_they_predict_alone(
    cluster: distributed.LocalCluster, test_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    names = [p.stem for p in sorted((test_data / "gland_cohort").glob("*.tif"))[:8]]
    own = project(tmp_path / "a", test_data, names)
    assert weno("extract", own.root, "--workers", 2)["extracted"] == names
    weno("fit", own.root, "--name", "run", "--epochs", 2, "--device", "cpu")
    weno("predict", own.root, "--device", "cpu")
    tiles, rows = predictions(own)
    assert sorted(tiles) == sorted(rows) == names
    shutil.rmtree(own.root / "predictions")
    address = cluster.scheduler_address
    told = weno("predict", own.root, "--device", "cpu", "--scheduler", address)
    assert told["predicted"] == names
    again, rows_again = predictions(own)
    assert rows_again == rows
    assert all(again[name].equals(tiles[name]) for name in names)


def test_a_slide_that_fails_on_a_worker_is_recorded(
    cluster: distributed.LocalCluster, test_data: Path, tmp_path: Path
) -> None:
    own = project(tmp_path / "a", test_data, ["gland_11_01", "missing"])
    with connected(cluster.scheduler_address) as client:
        _, result = run(extract_on(client, own))
        _, again = run(extract_on(client, own, ["gland_11_01"]))
    assert result.extracted == ("gland_11_01",)
    assert again.skipped == ("gland_11_01",)
    assert list(result.failed) == list(own.failed_slides()) == ["missing"]


def test_an_address_where_nobody_answers_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("weno.cluster._CONNECT_S", 1)
    with (
        pytest.raises(ClusterError, match=r"no scheduler answers at tcp://127.0.0.1:9"),
        connected("tcp://127.0.0.1:9"),
    ):
        pass


def test_workers_of_another_version_are_refused(
    cluster: distributed.LocalCluster,
    test_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = project(tmp_path / "a", test_data, ["gland_11_01"])
    monkeypatch.setattr("weno.cluster.__version__", "0.0.0")
    with (
        connected(cluster.scheduler_address) as client,
        pytest.raises(ClusterError, match=r"the job comes from 0\.0\.0"),
    ):
        run(extract_on(client, own))
