from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QComboBox, QWidget

from napari_weno.candidate_table import CandidateModel
from napari_weno.layers import slide_layer
from napari_weno.overlay_box import OverlayBox
from napari_weno.readout import legend, run_text, slide_text, tile_text
from napari_weno.session import session_of, show_dock
from weno.errors import RunError
from weno.prediction import Prediction
from weno.project import Project
from weno.slides import Slide
from weno.tiles import TileSpec

Predict = Callable[..., Prediction]

LEFT = Qt.MouseButton.LeftButton
SPEC = TileSpec(40.0, 0.5, min_tissue=0.0)


@pytest.fixture
def prediction(odd_slide: Slide, predict_by_hand: Predict) -> Prediction:
    return predict_by_hand(odd_slide, SPEC)


@pytest.fixture
def shown(viewer: Viewer, odd_slide: Slide, prediction: Prediction) -> Viewer:
    """A window with a slide and its overlays."""
    data, keywords, _ = slide_layer(odd_slide)
    viewer.add_image(data, **keywords)
    session_of(viewer).show_prediction(prediction)
    return viewer


def choose(qtbot, combo: QComboBox, text: str) -> None:
    """Choose an item with the keyboard."""
    qtbot.keyClick(combo, Qt.Key.Key_Home)
    for _ in range(combo.findText(text)):
        qtbot.keyClick(combo, Qt.Key.Key_Down)
    assert combo.currentText() == text


def test_the_read_out_speaks_of_the_class_by_its_name(prediction: Prediction) -> None:
    told = slide_text(prediction)
    assert "tumour found" in told
    assert "teacher <b>0.90</b>, student <b>1.00</b>" in told
    assert "threshold of 0.40" in told
    assert "positive" not in told


def test_the_read_out_of_a_tile(prediction: Prediction) -> None:
    last = len(prediction) - 1
    told = tile_text(prediction, last)
    share = prediction.attention[last] * len(prediction)
    assert "candidate 1" in told
    assert "P(tumour) 0.00" in told
    assert f"attention {share:.3g}x, percentile 100" in told
    assert "candidate" not in tile_text(prediction, 0)


@pytest.mark.parametrize(
    ("overlay", "display", "value", "text"),
    [
        ("attention", "log", 1.0, "10x"),
        ("re-attention", "percentile", 0.75, "75 %"),
        ("attention", "raw", 0.0123, "0.012"),
        ("P(tumour)", "log", 0.5, "0.50"),
        ("disagreement", "log", -0.5, "-0.50"),
        ("familiarity", "raw", 1.5, "1.50"),
    ],
)
def test_the_legend_names_what_is_shown(overlay, display, value, text) -> None:
    means = legend(overlay, display)
    assert means.caption.startswith(overlay)
    assert means.tick(value) == text


def card(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    values = {
        "encoder": "texture",
        "spec": TileSpec().to_dict(),
        "class_names": ["normal", "tumour"],
        "slides": 20,
        "folds": [{"threshold": 0.4}],
        "metrics": {
            "test": {"slides": 6, "teacher_bag_auc": 0.875, "student_bag_auc": None}
        },
    }
    (folder / "card.json").write_text(json.dumps(values | changes))
    (folder / "config.json").write_text(json.dumps({"teacher": "abmil"}))
    return folder


def test_a_run_sums_itself_up(tmp_path: Path) -> None:
    told = run_text(card(tmp_path / "run"))
    assert "abmil teacher, texture encoder\ntiles of 128 µm at 0.5 µm/px" in told
    assert "test AUC (6 slides): teacher 0.88, student unknown" in told
    assert "threshold on P(tumour): 0.40" in told
    folds = [{"threshold": 0.4}, {"threshold": 0.6}]
    assert "0.40 to 0.60" in run_text(card(tmp_path / "folds", folds=folds))


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no finished run.*card\.json"):
        run_text(tmp_path)
    damaged = {"spec": {"what": 1}, "folds": [], "metrics": [], "class_names": ["one"]}
    for number, (name, value) in enumerate(damaged.items()):
        with pytest.raises(RunError, match="damaged"):
            run_text(card(tmp_path / f"damaged {number}", **{name: value}))
    card(tmp_path / "run")
    (tmp_path / "run" / "card.json").write_text("{")
    with pytest.raises(RunError, match="not readable"):
        run_text(tmp_path / "run")


def test_candidates_are_listed_by_rank(prediction: Prediction, qtbot) -> None:
    model = CandidateModel()
    model.show_prediction(prediction)
    last = len(prediction) - 1
    assert model.tiles == [last, last - 1, last - 2]
    row = [model.index(0, column).data() for column in range(model.columnCount())]
    share = f"{prediction.attention[last] * len(prediction):.3g}x"
    assert row == ["1", "0.00", share, share]
    model.show_prediction(None)
    assert model.rowCount() == 0


def test_threshold_and_contrast_limit_follow_each_other(shown: Viewer, qtbot) -> None:
    box = show_dock(shown, "Explain").overlays
    layer = shown.layers["P(tumour)"]
    assert box.overlay.currentText() == "P(tumour)"
    assert box.value.text() == "≥ 0.50"
    layer.contrast_limits = (0.7, 1.0)
    assert box.value.text() == "≥ 0.70"
    assert box.low.text() == "0.70"
    before = box.threshold.value()
    qtbot.keyClick(box.threshold, Qt.Key.Key_Right)
    assert box.threshold.value() > before
    assert layer.contrast_limits[0] > 0.7
    qtbot.keyClick(box.threshold, Qt.Key.Key_End)
    low, high = layer.contrast_limits
    assert low < high <= layer.contrast_limits_range[1]
    assert low > 0.99


def test_choosing_an_overlay_shows_it_alone(shown: Viewer, qtbot) -> None:
    box: OverlayBox = show_dock(shown, "Explain").overlays
    choose(qtbot, box.overlay, "attention")
    visible = {one.name for one in shown.layers if one.visible}
    assert "attention" in visible
    assert "P(tumour)" not in visible
    assert "odd" in visible
    choose(qtbot, box.display, "rank within the slide")
    assert "rank" in box.caption.text()
    assert box.low.text() == "75 %"
    assert shown.layers["attention"].contrast_limits == [0.75, 1.0]
    qtbot.keyClick(box.shown, Qt.Key.Key_Space)
    assert not shown.layers["attention"].visible
    shown.layers["attention"].visible = True
    assert box.shown.isChecked()


def test_an_overlay_that_is_taken_away_leaves_the_box_whole(shown: Viewer) -> None:
    box = show_dock(shown, "Explain").overlays
    shown.layers.remove("P(tumour)")
    assert box.overlay.findText("P(tumour)") == -1
    assert box.overlay.currentText()
    session_of(shown).show_prediction(None)
    assert box.isHidden()


def test_hover_row_and_canvas_speak_of_the_same_tile(
    shown: Viewer, prediction: Prediction, qtbot
) -> None:
    dock, session = show_dock(shown, "Explain"), session_of(shown)
    table = dock.candidates
    dock.tabs.setCurrentWidget(table)
    row = table.visualRect(table.model().index(1, 0)).center()
    qtbot.mouseClick(table.viewport(), LEFT, pos=row)
    second = len(prediction) - 2
    assert session.tile == second
    assert session.tile_at(shown.scene.camera.center) == second
    assert f"Tile {second:,}" in dock.tile.text()
    canvas = shown.window._qt_viewer.canvas.native

    def read_out_in_the_middle() -> str:
        # The window may still be making room for the dock.
        session.centre_on(30)
        qtbot.mouseMove(canvas, canvas.rect().center() - QPoint(3, 3))
        qtbot.mouseMove(canvas, canvas.rect().center())
        return dock.tile.text()

    qtbot.waitUntil(lambda: read_out_in_the_middle().startswith("Tile 30 "))
    middle = canvas.rect().center()
    qtbot.mouseClick(canvas, LEFT, pos=middle)
    assert session.tile == 30
    assert not table.selectionModel().hasSelection()
    session.centre_on(len(prediction) - 3)
    centre = shown.scene.camera.center
    qtbot.mouseClick(canvas, LEFT, pos=middle)
    assert table.selectionModel().selectedRows()[0].data() == "3"
    assert shown.scene.camera.center == centre, "a click must not move the slide"


def test_blind_review_hides_what_the_model_says(shown: Viewer) -> None:
    dock, session = show_dock(shown, "Explain"), session_of(shown)
    values = (dock.slide, dock.tile, dock.gallery, dock.overlays)
    session.set_blind(True)
    assert not dock.blind.isHidden()
    assert not any(value.isVisibleTo(dock) for value in values)
    session.set_blind(False)
    assert all(value.isVisibleTo(dock) for value in values)


def test_without_a_model_the_dock_says_what_to_do(viewer: Viewer) -> None:
    dock = show_dock(viewer, "Explain")
    assert "Train dock" in dock.model.card.text()
    assert not dock.model.job.button.isEnabled()
    assert dock.overlays.isHidden()


def test_predict_and_overlay(viewer: Viewer, demo_project: Project, qtbot) -> None:
    shutil.rmtree(demo_project.predictions_dir("demo"))
    session = session_of(viewer)
    session.open_project(demo_project.root)
    dock = show_dock(viewer, "Explain")
    model = dock.model
    assert model.run.currentText() == "demo"
    assert "abmil" in model.card.text()
    assert "Open a slide" in model.hint.text()
    session.open_slide("synthetic_003")
    assert "attention" not in viewer.layers
    with qtbot.waitSignal(model.job.ended, timeout=60_000):
        qtbot.mouseClick(model.job.button, LEFT)
    assert {"attention", "P(tumour)", "candidates"} <= {
        layer.name for layer in viewer.layers
    }
    assert demo_project.prediction_path("demo", "synthetic_003").is_file()
    assert "tumour" in dock.slide.text()
    assert dock.candidates.model().rowCount() == len(viewer.layers["candidates"].data)
    choose(qtbot, dock.overlays.overlay, "attention")
    assert viewer.layers["attention"].visible
    choose(qtbot, model.choice, model.choice.itemText(2))
    with qtbot.waitSignal(model.job.ended, timeout=60_000):
        qtbot.mouseClick(model.job.button, LEFT)
    assert "6 slides predicted" in model.job.text.text()
    predicted = demo_project.predictions_dir("demo").glob("*.parquet")
    assert len(list(predicted)) == 6


def test_a_slide_without_features_is_prepared_on_the_way(
    viewer: Viewer, demo_project: Project, qtbot
) -> None:
    shutil.rmtree(demo_project.features_dir)
    shutil.rmtree(demo_project.predictions_dir("demo"))
    session = session_of(viewer)
    session.open_project(demo_project.root)
    session.open_slide("synthetic_001")
    job = show_dock(viewer, "Explain").model.job
    with qtbot.waitSignal(job.ended, timeout=60_000):
        qtbot.mouseClick(job.button, LEFT)
    assert session.prediction.slide_id == "synthetic_001"
    assert demo_project.features_path("synthetic_001").is_file()


def test_a_model_from_a_folder_predicts_a_slide_of_no_project(
    viewer: Viewer, fitted: Path, tmp_path: Path, qtbot
) -> None:
    run = shutil.copytree(fitted / "runs" / "demo", tmp_path / "elsewhere")
    slide = shutil.copy(
        fitted / "cohort/slides/synthetic_001.tif", tmp_path / "new.tif"
    )
    dock = show_dock(viewer, "Explain")
    model = dock.model
    qtbot.mouseClick(model.load_button, LEFT)
    qtbot.keyClicks(model.path, str(tmp_path))
    qtbot.keyClick(model.path, Qt.Key.Key_Return)
    assert "no finished run" in model.card.text()
    model.path.selectAll()
    qtbot.keyClicks(model.path, str(run))
    qtbot.mouseClick(model.load, LEFT)
    assert model.run.currentText() == "elsewhere (loaded)"
    assert model.load_row.isHidden()
    viewer.open(slide, plugin="napari-weno")
    with qtbot.waitSignal(model.job.ended, timeout=60_000):
        qtbot.mouseClick(model.job.button, LEFT)
    session = session_of(viewer)
    assert session.project is None
    assert session.prediction.slide_id == "new"
    assert "P(tumour)" in viewer.layers
    assert "tumour" in dock.slide.text()
    with np.errstate(all="raise"):
        assert np.isclose(session.prediction.attention.sum(), 1, atol=1e-4)


@pytest.mark.parametrize("width", [320, 420])
def test_nothing_is_cut_off_in_a_narrow_dock(shown: Viewer, width: int, qtbot) -> None:
    dock = show_dock(shown, "Explain")
    dock.setFixedWidth(width)
    qtbot.waitUntil(lambda: dock.width() == width)
    for page in range(dock.tabs.count()):
        dock.tabs.setCurrentIndex(page)
        for child in dock.findChildren(QWidget):
            # What a list scrolls or a bar hides may lie outside.
            if child.isVisible() and not child.visibleRegion().isEmpty():
                right = child.mapTo(dock, child.rect().topRight()).x()
                assert right <= width, child
    dock.tabs.setCurrentWidget(dock.candidates)
    header = dock.candidates.horizontalHeader()
    assert header.length() <= dock.candidates.viewport().width() + 1
