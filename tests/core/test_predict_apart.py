from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from weno.errors import RunError
from weno.features import SlideFeatures, write_features
from weno.mil.config import PRESETS
from weno.mil.predict import predict_project
from weno.mil.predict_apart import predict_apart
from weno.mil.reports import PredictReport, PredictResult
from weno.mil.training import fit_project
from weno.prediction import read_prediction
from weno.project import Project
from weno.tiles import TileSpec

RUN = "one"
TILES = 30


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of features alone, with a run; s2 has no tiles, s3 no features."""
    folder = tmp_path_factory.mktemp("predicted")
    rng = np.random.default_rng(0)
    lines = ["slide_id,path,label", *(f"s{i},s{i}.svs,{i % 2}" for i in range(12))]
    table = folder / "in.csv"
    table.write_text("\n".join(lines) + "\n")
    project = Project.create(folder / "p", table, spec=TileSpec(64, 0.5))
    for row in project.slides:
        n = 0 if row.slide_id == "s2" else TILES
        features = rng.standard_normal((n, 8)).astype(np.float32)
        features[:10, 0] += 4 * (row.label or 0)
        origins = np.stack([np.zeros(n, np.int64), 128 * np.arange(n)], axis=1)
        spec = ("texture", project.spec, (0.5, 0.5), (128, 3840), row.slide_id)
        write_features(
            project.features_path(row.slide_id),
            SlideFeatures(row.slide_id, features, origins, *spec),
        )
    config = replace(PRESETS["quick"], epochs=2)
    deque(fit_project(project, config, name=RUN, device="cpu"), maxlen=0)
    project.features_path("s3").unlink()
    return project


def told(job: Any) -> tuple[list[PredictReport], PredictResult]:
    """Run a job to its end; return its reports and its result."""
    reports = []
    while True:
        try:
            report = next(job)
        except StopIteration as end:
            return reports, end.value
        if report is not None:
            reports.append(report)


def children() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [one for one in found if "weno.mil.predict_apart" in one.cmdline()]


def test_it_tells_and_writes_what_a_prediction_in_this_process_does(
    project: Project,
) -> None:
    ids = ["s0", "s2", "s3", "s5"]
    here = told(predict_project(project, RUN, ids, device="cpu"))
    paths = [project.prediction_path(RUN, slide_id) for slide_id in ("s0", "s5")]
    before = [read_prediction(path) for path in paths]
    for path in paths:
        path.unlink()
    assert told(predict_apart(project, RUN, ids, device="cpu")) == here
    for path, one in zip(paths, before, strict=True):
        again = read_prediction(path)
        np.testing.assert_allclose(again.probability, one.probability, rtol=1e-5)


def test_who_leaves_keeps_what_was_reported(project: Project) -> None:
    ids = [row.slide_id for row in project.slides]
    for slide_id in ids:
        project.prediction_path(RUN, slide_id).unlink(missing_ok=True)
    job = predict_apart(project, RUN, ids, device="cpu")
    first = next(report for report in job if report is not None)
    (child,) = children()
    job.close()
    assert not child.is_running()
    assert len(read_prediction(project.prediction_path(RUN, first.slide_id))) == TILES


def test_what_the_core_refuses_is_raised_here(project: Project, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere"):
        told(predict_apart(project, "nowhere", ["s0"], device="cpu"))
    assert not children()
