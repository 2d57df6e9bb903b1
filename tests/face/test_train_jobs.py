from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qtpy.QtGui import QColor

from napari_weno.curves import DARK, LIGHT, Palette
from napari_weno.train_jobs import History, Readiness, look, past_epochs, train
from napari_weno.train_runs import free_name, read_run, read_runs
from weno.mil.config import TrainConfig
from weno.project import Project


def epoch(number: int, fold: int = 0, folds: int = 0, **values: Any) -> SimpleNamespace:
    done = max(0, fold - 1) * 10 + number
    return SimpleNamespace(
        epoch=number,
        epochs=10,
        fold=fold,
        folds=folds,
        seconds=2.0,
        done=done,
        total=max(1, folds) * 10,
        **values,
    )


def test_history_leaves_out_what_is_not_known() -> None:
    history = History()
    history.add(epoch(1, student_loss=None))
    history.add(epoch(2, student_loss=0.5))
    assert history.series("student_loss") == ([2], [0.5])


def test_history_tells_the_time_left() -> None:
    history = History()
    assert history.seconds_left is None
    history.add(epoch(4))
    assert history.text == "Epoch 4 of at most 10 · 12 s left at most"
    history.add(epoch(1, fold=2, folds=3))
    assert len(history.reports) == 1
    assert history.text == "Fold 2 of 3, epoch 1 of at most 10 · 38 s left at most"


def test_an_epoch_made_again_replaces_the_lost_one() -> None:
    history = History()
    for number in (1, 2, 3, 2):
        history.add(epoch(number))
    assert [report.epoch for report in history.reports] == [1, 2]


def contrast(first: str, second: str) -> float:
    def light(color: str) -> float:
        parts = QColor(color).getRgbF()[:3]
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(first), light(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [DARK, LIGHT], ids=["dark", "light"])
def test_curves_can_be_read(palette: Palette) -> None:
    colors = asdict(palette)
    background = colors.pop("background")
    for name, color in colors.items():
        assert contrast(color, background) >= 4.5, name


def finish(job: Any) -> Any:
    try:
        while True:
            next(job)
    except StopIteration as end:
        return end.value


def test_all_that_stands_against_a_fit_is_said_at_once(new_project: Project) -> None:
    path = new_project.root / "slides.csv"
    path.write_text(path.read_text().replace(",tumour", ",").replace(",1", ","))
    ready: Readiness = finish(look(new_project))
    assert "3 slides have no features yet: synthetic_000" in ready.text
    assert "both classes are needed" in ready.text
    assert "3 slides without a label" in ready.note
    assert "abmil" in ready.teachers
    assert [device.name for device in ready.devices[:2]] == ["auto", "cpu"]


def test_a_prepared_project_is_ready(demo_project: Project) -> None:
    ready = finish(look(demo_project))
    assert ready.text == ""
    assert ready.note == ""


def test_slides_that_nothing_is_learnt_from_stop_no_fit(demo_project: Project) -> None:
    with demo_project.open_slide("synthetic_000") as slide:
        folder = slide.path.parent
    for name in ("unlabelled", "broken"):
        (folder / f"{name}.tif").write_bytes(b"")
    demo_project.add_slide(folder / "unlabelled.tif")
    demo_project.add_slide(folder / "broken.tif", label=1)
    ready = finish(look(demo_project))
    assert ready.unprepared == ("broken",)
    failures = demo_project.features_dir / "failures.json"
    failures.write_text(json.dumps({"broken": "not a slide", "synthetic_000": "old"}))
    ready = finish(look(demo_project))
    assert ready.text == ""
    assert ready.left_out == ("unlabelled", "broken")
    assert "2 slides" in ready.note


def test_runs_are_read_from_their_files(demo_project: Project) -> None:
    (run,) = read_runs(demo_project)
    assert run.name == "demo"
    assert run.teacher == "abmil"
    assert run.finished
    assert run.epochs == 8
    card = json.loads((demo_project.run_dir("demo") / "card.json").read_text())
    assert run.test_auc[0] == card["metrics"]["test"]["teacher_bag_auc"]
    assert free_name(demo_project) == "run-1"
    (demo_project.run_dir("demo") / "card.json").unlink()
    stopped = read_run(demo_project.run_dir("demo"))
    assert not stopped.finished
    assert stopped.text == "demo: stopped after epoch 8"


def test_a_resumed_run_tells_its_past(demo_project: Project) -> None:
    config = TrainConfig(epochs=4, student_warmup=1)
    options = {"name": "mine", "device": "cpu", "predict": False}
    job = train(demo_project, config, resume=False, **options)
    for report in job:
        if getattr(report, "epoch", 0) == 2 and hasattr(report, "teacher_loss"):
            break
    job.close()
    assert not read_run(demo_project.run_dir("mine")).finished
    history = History()
    for report in train(demo_project, config, resume=True, **options):
        if hasattr(report, "teacher_loss"):
            history.add(report)
    assert [report.epoch for report in history.reports] == [1, 2, 3, 4]


def test_an_epoch_cut_short_on_disk_is_not_told(demo_project: Project) -> None:
    folder = demo_project.run_dir("demo")
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:20] + "µ".encode()[:1])
    assert [report.epoch for report in past_epochs(folder)] == [1, 2, 3]


def test_folds_tell_their_past_in_the_order_in_which_they_train(
    demo_project: Project, tmp_path: Path
) -> None:
    (line, *_) = (
        (demo_project.run_dir("demo") / "metrics.jsonl").read_text().split("\n")
    )
    for fold in (10, 2, 1):
        values = json.loads(line) | {"fold": fold, "folds": 10}
        path = tmp_path / f"fold-{fold}" / "metrics.jsonl"
        path.parent.mkdir()
        path.write_text(json.dumps(values) + "\n")
    assert [report.fold for report in past_epochs(tmp_path)] == [1, 2, 10]
