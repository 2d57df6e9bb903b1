"""One button from the answers of a review to the next fit."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from napari import Viewer
from qtpy.QtCore import Qt

from napari_weno.review import ReviewWidget
from napari_weno.session import session_of, show_dock
from napari_weno.train_runs import read_run
from weno.mil.config import TrainConfig
from weno.prediction import read_prediction
from weno.project import Project
from weno.review import ReviewStore, ReviewTile, Verdict

LEFT = Qt.MouseButton.LeftButton
WAIT_MS = 240_000


@pytest.fixture
def review(qtbot, viewer: Viewer, demo_project: Project) -> ReviewWidget:
    """The Review dock beside a project in which one tile is answered."""
    slide_id = demo_project.slides[0].slide_id
    prediction = read_prediction(demo_project.prediction_path("demo", slide_id))
    tile = ReviewTile(slide_id, prediction.content_hash, (0, 0), (128, 128))
    with ReviewStore(demo_project.review_dir, "ada") as store:
        store.answer(tile, Verdict.POSITIVE, run="demo", blind=True)
    session_of(viewer).open_project(demo_project.root)
    widget = show_dock(viewer, "Review")
    qtbot.waitUntil(widget.answers.retrain.isEnabled, timeout=WAIT_MS)
    return widget


def test_one_click_fits_again_with_the_settings_of_the_run(
    qtbot, viewer: Viewer, review: ReviewWidget, demo_project: Project
) -> None:
    # Not the run that is shown, but the one that is reviewed.
    other = shutil.copytree(demo_project.run_dir("demo"), demo_project.run_dir("other"))
    config = replace(TrainConfig.read(other / "config.json"), seed=7)
    config.write(other / "config.json")
    session_of(viewer).files_changed.emit()
    review.setup.run.setCurrentText("other")
    assert session_of(viewer).run == "demo"
    qtbot.mouseClick(review.answers.retrain, LEFT)
    train = show_dock(viewer, "Train")
    qtbot.waitUntil(lambda: train.job.running, timeout=WAIT_MS)
    assert train.isVisible()
    assert train.job.button.text() == "Stop"
    run = demo_project.run_dir("run-1")
    qtbot.waitUntil(lambda: read_run(run).epochs > 0, timeout=WAIT_MS)
    qtbot.mouseClick(train.job.button, LEFT)
    qtbot.waitUntil(lambda: not train.job.running, timeout=WAIT_MS)
    assert TrainConfig.read(run / "config.json") == config


def test_what_stands_against_it_is_said(
    qtbot,
    viewer: Viewer,
    review: ReviewWidget,
    demo_project: Project,
    said: list[str],
) -> None:
    first = demo_project.slides[0].slide_id
    demo_project.features_path(first).unlink()
    qtbot.mouseClick(review.answers.retrain, LEFT)
    qtbot.waitUntil(lambda: bool(said), timeout=WAIT_MS)
    assert f"no features yet: {first}" in said[-1]
    train = show_dock(viewer, "Train")
    assert not train.job.running
    assert first in train.hint.text()
    # It was asked for once: what changes later starts nothing by itself.
    assert not demo_project.run_dir("run-1").exists()


def test_settings_that_cannot_be_read_start_nothing(
    qtbot,
    viewer: Viewer,
    review: ReviewWidget,
    demo_project: Project,
    said: list[str],
) -> None:
    (demo_project.run_dir("demo") / "config.json").write_text("{")
    qtbot.mouseClick(review.answers.retrain, LEFT)
    assert "config.json" in said[-1]
    train = show_dock(viewer, "Train")
    qtbot.waitUntil(train.job.button.isEnabled, timeout=WAIT_MS)
    assert not train.job.running


def test_a_fit_that_runs_is_left_alone(
    qtbot,
    viewer: Viewer,
    review: ReviewWidget,
    demo_project: Project,
    said: list[str],
) -> None:
    train = show_dock(viewer, "Train")
    qtbot.waitUntil(train.job.button.isEnabled, timeout=WAIT_MS)
    train.form.set_value(TrainConfig(epochs=100_000, patience=100_000))
    qtbot.mouseClick(train.job.button, LEFT)
    run = demo_project.run_dir("run-1")
    qtbot.waitUntil(lambda: read_run(run).epochs > 0, timeout=WAIT_MS)
    qtbot.mouseClick(review.answers.retrain, LEFT)
    assert "runs already" in said[-1]
    assert train.name.text() == "run-1"
    assert train.job.running
    qtbot.mouseClick(train.job.button, LEFT)
    qtbot.waitUntil(lambda: not train.job.running, timeout=WAIT_MS)


def test_a_run_that_was_stopped_does_not_hide_the_one_before(
    viewer: Viewer, demo_project: Project
) -> None:
    folder = demo_project.run_dir("later")
    folder.mkdir()
    TrainConfig().write(folder / "config.json")
    assert not read_run(folder).finished
    assert demo_project.run_names()[-1] == "later"
    session = session_of(viewer)
    session.open_project(demo_project.root)
    session.open_slide(demo_project.slides[0].slide_id)
    assert session.prediction.run == session.run == "demo"
    # Nor does one that predicts nothing yet; if all are so, it is the newest.
    (folder / "card.json").write_text("{}")
    assert session.open_project(demo_project.root)
    assert session.run == "demo"
    for path in demo_project.predictions_dir("demo").glob("*.parquet"):
        path.unlink()
    session.open_project(demo_project.root)
    assert session.run == "later"
