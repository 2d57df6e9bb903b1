from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from weno.errors import FeatureError, RunError
from weno.mil import Bag, EpochReport, StepReport, TrainConfig, fit, load_run
from weno.mil.checkpoint import FitState, load_tensors
from weno.mil.scores import best_threshold
from weno.mil.teachers import TEACHERS, TeacherOutput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTEXT = {
    "encoder": "texture",
    "spec": {"tile_um": 64.0},
    "class_names": ["no", "yes"],
}
CONFIG = TrainConfig(epochs=6, min_epochs=2, student_warmup=1, batch_size=64)


def make_bags(count: int = 16, seed: int = 0) -> list[Bag]:
    rng = np.random.default_rng(seed)
    bags = []
    for i in range(count):
        features = rng.standard_normal((30, 6)).astype(np.float32)
        features[:10, 0] += 4 * (i % 2)
        bags.append(Bag(f"s{i:02}", f"p{i:02}", i % 2, features))
    return bags


def job(run_dir: Path, config: TrainConfig = CONFIG, **values: Any) -> Iterator[Any]:
    values = {"bags": make_bags(), "device": "cpu", "context": CONTEXT, **values}
    return fit(run_dir, config=config, **values)


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_is_trained_by_one_at_a_time(tmp_path: Path) -> None:
    first = job(tmp_path / "run")
    next(r for r in first if isinstance(r, EpochReport))
    with pytest.raises(RunError, match="another process is training"):
        list(job(tmp_path / "run", resume=True))
    first.close()
    assert [
        r.epoch
        for r in job(tmp_path / "run", resume=True)
        if isinstance(r, EpochReport)
    ] == [2, 3, 4, 5, 6]


def test_a_run_folder_is_whole_and_holds_no_pickle(tmp_path: Path) -> None:
    reports = [r for r in job(tmp_path / "run") if isinstance(r, EpochReport)]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.json",
        "split.csv",
        "card.json",
        "environment.json",
        "metrics.jsonl",
        "last.safetensors",
        "best.safetensors",
    }
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert {**card, **CONTEXT} == card
    assert card["width"] == 6
    assert card["metrics"]["test"]["slides"] == 4
    assert [r.epoch for r in reports] == [
        line["epoch"] for line in lines(tmp_path / "run")
    ]
    assert reports[0].student_loss is None
    assert sum(reports[-1].label_histogram) == 5 * 30
    assert reports[-1].done == reports[-1].total == 6


@pytest.mark.parametrize("config", [CONFIG, dataclasses.replace(CONFIG, folds=2)])
def test_a_stopped_and_resumed_fit_ends_with_equal_weights(
    tmp_path: Path, config: TrainConfig
) -> None:
    mined = dataclasses.replace(config, mining="threshold", mining_start=2)
    list(job(tmp_path / "whole", mined))
    stopped = job(tmp_path / "stopped", mined)
    for report in stopped:
        torch.rand(3)  # whoever uses random numbers meanwhile changes nothing
        if isinstance(report, EpochReport) and report.epoch == 3:
            stopped.close()
            break
    folder = tmp_path / "stopped" / ("fold-1" if config.folds else "")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4}\n{"epo')  # killed while it wrote the next epoch
    list(job(tmp_path / "stopped", mined, resume=True))
    for name in ("last.safetensors", "best.safetensors"):
        for path in sorted((tmp_path / "whole").rglob(name)):
            other = tmp_path / "stopped" / path.relative_to(tmp_path / "whole")
            whole, resumed = load_tensors(path), load_tensors(other)
            assert whole.keys() == resumed.keys()
            for key, value in whole.items():
                assert value.equal(resumed[key]) or bool(value.isnan().all()), key
    assert [line["epoch"] for line in lines(folder)] == [1, 2, 3, 4, 5, 6]


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    weights = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        list(job(tmp_path / name, dataclasses.replace(CONFIG, seed=seed, epochs=2)))
        tensors = load_tensors(tmp_path / name / "best.safetensors")
        weights[name] = tensors["model.projector.linear.weight"]
    assert weights["a"].equal(weights["b"])
    assert not weights["a"].equal(weights["c"])


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    list(job(tmp_path / "run"))
    before = (tmp_path / "run" / "card.json").read_text()
    assert list(job(tmp_path / "run", resume=True)) == []
    assert (tmp_path / "run" / "card.json").read_text() == before


def test_a_run_is_not_overwritten_nor_resumed_with_other_settings(
    tmp_path: Path,
) -> None:
    list(job(tmp_path / "run"))
    with pytest.raises(RunError, match="there is a run already"):
        next(job(tmp_path / "run"))
    other = dataclasses.replace(CONFIG, learning_rate=0.5)
    with pytest.raises(RunError, match=r"learning_rate was 0\.0005, now 0\.5"):
        list(job(tmp_path / "run", other, resume=True))
    with pytest.raises(RunError, match="not those it began with"):
        list(job(tmp_path / "run", resume=True, bags=make_bags(seed=1)))


@pytest.mark.parametrize("name", ["last.safetensors", "environment.json"])
@pytest.mark.parametrize("text", ["not what it was", "{}"])
def test_a_damaged_file_of_a_run_is_named(tmp_path: Path, name: str, text: str) -> None:
    list(job(tmp_path / "run", dataclasses.replace(CONFIG, epochs=2)))
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(RunError, match=name):
        list(job(tmp_path / "run", dataclasses.replace(CONFIG, epochs=2), resume=True))


def test_wrong_bags_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="only label 1"):
        next(job(tmp_path / "run", bags=make_bags()[1::2]))
    assert not (tmp_path / "run").exists()


def test_bags_of_one_tile_train_and_empty_ones_are_listed(tmp_path: Path) -> None:
    bags = make_bags(8)
    small = [dataclasses.replace(bag, instances=bag.instances[:1]) for bag in bags]
    empty = dataclasses.replace(bags[0], slide_id="empty", patient_id="e")
    empty = dataclasses.replace(empty, instances=np.zeros((0, 6), np.float32))
    config = dataclasses.replace(CONFIG, epochs=3, mining="threshold", mining_start=0)
    list(job(tmp_path / "run", config, bags=[*small, empty]))
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["empty_slides"] == ["empty"]


def test_identical_tiles_train(tmp_path: Path) -> None:
    bags = [
        dataclasses.replace(bag, instances=np.ones_like(bag.instances))
        for bag in make_bags(8)
    ]
    reports = list(
        job(tmp_path / "run", dataclasses.replace(CONFIG, epochs=2), bags=bags)
    )
    losses = [r.teacher_loss for r in reports if isinstance(r, EpochReport)]
    assert np.isfinite(losses).all()


def test_a_cohort_without_validation_keeps_the_last_epoch(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, val=0.0, test=0.0)
    reports = [r for r in job(tmp_path / "run", config) if isinstance(r, EpochReport)]
    assert [r.is_best for r in reports] == [False, True, True, True, True, True]
    assert reports[0].val_loss is reports[0].val_teacher_auc is None
    (model,) = load_run(tmp_path / "run", device="cpu").models.values()
    assert 0 < model.threshold.item() < 1


def test_steps_are_reported_when_an_epoch_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weno.mil.training._SECONDS_PER_REPORT", 0.0)
    reports = list(job(tmp_path / "run", dataclasses.replace(CONFIG, epochs=2)))
    steps = [r for r in reports if isinstance(r, StepReport)]
    assert {r.stage for r in steps} == {"reading", "teacher", "student"}
    assert all(r.text and 0 <= r.done < r.total for r in steps)


class BrokenTeacher(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(1.0))

    def forward(
        self, z: torch.Tensor, keep: torch.Tensor | None = None
    ) -> TeacherOutput:
        scores = z[:, 0] * self.w
        attention = torch.softmax(scores, 0)
        return TeacherOutput(scores[:1] * torch.nan, scores, attention, scores)


def test_training_that_diverges_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TEACHERS, "broken", lambda dim, config: BrokenTeacher())
    with pytest.raises(RunError, match=r"diverged.*learning_rate"):
        list(job(tmp_path / "run", dataclasses.replace(CONFIG, teacher="broken")))


def test_patience_counts_from_the_best_epoch() -> None:
    config = dataclasses.replace(CONFIG, epochs=100, patience=2)
    state = FitState()
    for value in (float("inf"), float("inf"), float("inf"), 0.5, 0.6):
        state = state.after(value)
        assert not state.is_finished(config)
    assert state.after(0.5).is_finished(config)
    assert not state.after(0.4).is_finished(config)


@pytest.mark.parametrize(
    ("labels", "probabilities", "threshold"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9], 0.5),
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9], 0.25),
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], 0.5),
    ],
)
def test_threshold(
    labels: list[int], probabilities: list[float], threshold: float
) -> None:
    found = best_threshold(np.array(labels), np.array(probabilities))
    assert found == pytest.approx(threshold)


def test_mining_is_switched_off_when_validation_gets_worse_and_stays_off() -> None:
    config = dataclasses.replace(CONFIG, mining_patience=2)
    state = FitState()
    for loss in (0.7, 0.5, 0.6):  # nothing is hidden yet: the best counts
        state = state.after(1.0, loss)
    for loss, may in ((0.55, True), (0.45, True), (0.6, True), (0.6, False)):
        state = state.after(1.0, loss, mined=0.1)
        assert state.may_mine(config) is may
    assert not state.after(1.0, 0.1).may_mine(config)
    assert state.may_mine(dataclasses.replace(config, mining_patience=0))


def test_a_fit_stops_mining_and_resumes_without(tmp_path: Path) -> None:
    # Nothing can be learnt of noise: validation only gets worse.
    rng = np.random.default_rng(0)
    noise = [
        dataclasses.replace(bag, instances=rng.standard_normal((30, 6), np.float32))
        for bag in make_bags()
    ]
    config = dataclasses.replace(
        CONFIG,
        epochs=25,
        patience=25,
        critical_share=0.0,
        learning_rate=5e-3,
        mining="top_fraction",
        mining_spare=0.0,
        mining_start=8,
        mining_ramp=0,
        mining_patience=3,
    )
    stopped = job(tmp_path / "run", config, bags=noise)
    for report in stopped:
        if isinstance(report, EpochReport) and not report.mining:
            stopped.close()
            break
    off = report.epoch
    assert off < 25
    resumed = job(tmp_path / "run", config, bags=noise, resume=True)
    rest = [report for report in resumed if isinstance(report, EpochReport)]
    assert [report.epoch for report in rest] == list(range(off + 1, 26))
    assert all(report.mined == 0 and not report.mining for report in rest)
