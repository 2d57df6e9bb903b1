from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from feature_projects import project_of_features, told

from weno.errors import RunError
from weno.features import read_features, write_features
from weno.mil.checkpoint import load_tensors
from weno.mil.config import TrainConfig
from weno.mil.fit_apart import fit_apart
from weno.mil.preview import Allowance
from weno.mil.reports import EpochReport, PredictReport, PreviewReport
from weno.mil.training import fit_project
from weno.project import Project

CONFIG = TrainConfig(epochs=6, min_epochs=2, student_warmup=1, patience=6)
LONG = TrainConfig(epochs=100_000, patience=100_000)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_of_features(tmp_path)


def epochs_of(reports: list[Any]) -> list[int]:
    return [report.epoch for report in reports if isinstance(report, EpochReport)]


def first_epochs(job: Any, count: int) -> None:
    while count:
        count -= isinstance(next(job), EpochReport)


def test_it_fits_and_predicts_as_in_this_process(project: Project) -> None:
    project.features_path("s3").unlink()
    (project.features_dir / "failures.json").write_text(json.dumps({"s3": "broken"}))
    reports, predicted = told(
        fit_apart(project, CONFIG, name="one", device="cpu", predict=True)
    )
    assert epochs_of(reports) == [1, 2, 3, 4, 5, 6]
    assert len([r for r in reports if isinstance(r, PredictReport)]) == 12
    assert predicted["s0"] is None
    assert "no features" in predicted["s3"]
    assert project.prediction_path("one", "s0").is_file()


def test_left_and_resumed_it_ends_with_the_weights_of_a_plain_fit(
    project: Project,
) -> None:
    job = fit_apart(project, CONFIG, name="left", device="cpu")
    first_epochs(job, 2)
    job.close()
    assert not (project.run_dir("left") / "card.json").exists()
    began = json.loads((project.run_dir("left") / "environment.json").read_text())
    assert began["threads"] == max(1, (os.cpu_count() or 2) - 1)
    told(fit_apart(project, CONFIG, name="left", device="cpu", resume=True))
    before = torch.get_num_threads()
    torch.set_num_threads(began["threads"])
    list(fit_project(project, CONFIG, name="whole", device="cpu"))
    torch.set_num_threads(before)
    whole, left = (
        load_tensors(project.run_dir(name) / "last.safetensors")
        for name in ("whole", "left")
    )
    assert all(value.equal(left[key]) for key, value in whole.items())
    lines = (project.run_dir("left") / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_what_the_core_refuses_is_raised_here(project: Project) -> None:
    CONFIG.write(project.run_dir("one") / "config.json")
    with pytest.raises(RunError, match="there is a run already"):
        told(fit_apart(project, CONFIG, name="one", device="cpu"))


def test_the_slide_that_is_looked_at_is_predicted_meanwhile(project: Project) -> None:
    job = fit_apart(project, LONG, name="one", device="cpu", slide_to_show=lambda: "s1")
    preview = next(r for r in job if isinstance(r, PreviewReport))
    job.close()
    assert preview.epoch >= 1
    assert preview.prediction.slide_id == "s1"
    assert preview.prediction.run == "one"
    assert len(preview.prediction) == 30


@pytest.mark.parametrize("slide_id", ["s1", "added since"])
def test_a_slide_that_cannot_be_predicted_stops_no_fit(
    project: Project, slide_id: str
) -> None:
    if slide_id == "s1":
        project.features_path("s1").unlink()
        failures = project.features_dir / "failures.json"
        failures.write_text(json.dumps({"s1": "broken"}))
    else:  # of the window's project, not of the one that the child has read
        features = replace(
            read_features(project.features_path("s1")), slide_id=slide_id
        )
        write_features(project.features_path(slide_id), features)
    show = {"slide_to_show": lambda: slide_id}
    job = fit_apart(project, LONG, name="one", device="cpu", **show)
    reports: list[Any] = []
    # Long enough for the first preview to be tried.
    while sum(r.seconds for r in reports if isinstance(r, EpochReport)) < 2.5:
        reports.append(next(job))
    job.close()
    assert not any(isinstance(report, PreviewReport) for report in reports)


def test_previews_take_no_more_than_their_share() -> None:
    now = 0.0
    allowance = Allowance(share=0.1, clock=lambda: now)
    spent = done = 0.0
    for cost in [0.5, 0.1, 3.0, 0.1, 0.1, 0.1] * 20:
        while not allowance.allows():
            now += 0.05
        assert spent <= 0.1 * (now - spent)
        now += cost
        spent += cost
        allowance.spend(cost)
        done += 1
    # A dear one is paid for by waiting, and does not end the previews.
    assert done == 120
    assert now < spent * 13


def test_previews_leave_a_window_time_to_draw() -> None:
    now = 100.0
    allowance = Allowance(clock=lambda: now)
    assert not allowance.allows()
    now = 200.0
    assert allowance.allows()
    allowance.spend(0.001)
    now = 200.9
    assert not allowance.allows()
    now = 201.1
    assert allowance.allows()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a class")
def test_on_a_processor_it_takes_only_what_others_leave(project: Project) -> None:
    before = set(psutil.Process().children())
    job = fit_apart(project, LONG, name="idle", device="cpu")
    first_epochs(job, 1)
    (child,) = set(psutil.Process().children()) - before
    assert os.sched_getscheduler(child.pid) == os.SCHED_IDLE
    job.close()
