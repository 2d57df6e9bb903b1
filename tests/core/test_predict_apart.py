from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from feature_projects import TILES, project_of_features, told

from weno.errors import RunError
from weno.mil.config import PRESETS
from weno.mil.predict import predict_project
from weno.mil.predict_apart import predict_apart
from weno.mil.training import fit_project
from weno.prediction import read_prediction
from weno.project import Project

RUN = "one"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of features alone, with a run; s2 has no tiles, s3 no features."""
    folder = tmp_path_factory.mktemp("predicted")
    project = project_of_features(folder, empty="s2")
    config = replace(PRESETS["quick"], epochs=2)
    deque(fit_project(project, config, name=RUN, device="cpu"), maxlen=0)
    project.features_path("s3").unlink()
    return project


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
