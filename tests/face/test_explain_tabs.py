"""The Explain dock's galleries, truth, comparison and exports, and the status bar."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel

from napari_weno.canvas import of_kind
from napari_weno.explain import ExplainWidget
from napari_weno.gallery import read_thumbnails
from napari_weno.layers import slide_layer, tile_centres
from napari_weno.readout import patient_text, status_text
from napari_weno.session import Session, session_of, show_dock
from weno.explain import PatientReading
from weno.geojson import Region
from weno.prediction import Prediction, read_prediction, write_prediction
from weno.project import Project
from weno.review import labelled_path, write_labelled
from weno.slides import Slide, open_slide
from weno.tiles import TileSpec

Predict = Callable[..., Prediction]

LEFT = Qt.MouseButton.LeftButton
SPEC = TileSpec(40.0, 0.5, min_tissue=0.0)
SLIDE = "synthetic_001"
SVG = "{http://www.w3.org/2000/svg}"


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


@pytest.fixture
def dock(shown: Viewer) -> ExplainWidget:
    return show_dock(shown, "Explain")


def choose(qtbot, combo: QComboBox, text: str) -> None:
    """Choose an item with the keyboard."""
    qtbot.keyClick(combo, Qt.Key.Key_Home)
    for _ in range(combo.findText(text)):
        qtbot.keyClick(combo, Qt.Key.Key_Down)
    assert combo.currentText() == text


def tiles_in(dock: ExplainWidget) -> list[int]:
    return dock.gallery.gallery.pictures.tiles


def captions(dock: ExplainWidget) -> list[str]:
    pictures = dock.gallery.gallery.pictures
    return [pictures.index(row, 0).data() for row in range(pictures.rowCount())]


def click(qtbot, gallery, row: int) -> None:
    place = gallery.visualRect(gallery.model().index(row, 0)).center()
    qtbot.mouseClick(gallery.viewport(), LEFT, pos=place)


def test_the_gallery_ranks_by_what_is_asked(
    dock: ExplainWidget, prediction: Prediction, qtbot
) -> None:
    box, last = dock.gallery, len(prediction) - 1
    assert tiles_in(dock) == [last, last - 1, last - 2]
    assert not box.by.isEnabled()
    choose(qtbot, box.which, "Highest")
    assert tiles_in(dock)[:2] == [0, 1], "P falls by index"
    choose(qtbot, box.by, "by attention")
    assert tiles_in(dock)[:2] == [last, last - 1]
    choose(qtbot, box.which, "Lowest")
    assert tiles_in(dock)[:2] == [0, 1]
    choose(qtbot, box.which, "Most disagreeing")
    assert set(tiles_in(dock)[:2]) == {0, last}
    index = box.gallery.model().index(0, 0)
    assert index.data() == "-1.00"
    tooltip = index.data(Qt.ItemDataRole.ToolTipRole)
    assert "P(tumour) 1.00" in tooltip
    assert "familiarity 0.50" in tooltip


def test_thumbnails_are_the_pixels_of_their_tiles(
    corners_slide: Slide, corners, predict_by_hand: Predict
) -> None:
    prediction = predict_by_hand(corners_slide, TileSpec(64.0, 0.5, min_tissue=0.0))
    last = len(prediction) - 1
    read = dict(read_thumbnails(corners_slide, prediction, [last, 0]))
    assert list(read) == [last, 0]
    assert (read[0] == corners["top left"]).all()
    assert (read[last] == corners["bottom right"]).all()


def test_pictures_come_in_the_background(dock: ExplainWidget, qtbot) -> None:
    pictures = dock.gallery.gallery.pictures
    qtbot.waitUntil(lambda: not pictures.missing(), timeout=20_000)
    picture = pictures.index(0, 0).data(Qt.ItemDataRole.DecorationRole)
    colour = picture.toImage().pixelColor(8, 8)
    assert (colour.red(), colour.green(), colour.blue()) == (190, 150, 180)


def test_no_picture_is_read_for_a_gallery_that_nobody_sees(
    shown: Viewer, dock: ExplainWidget, prediction: Prediction, qtbot
) -> None:
    session, gallery = session_of(shown), dock.gallery.gallery
    pictures = gallery.pictures
    for hide in (session.set_blind, dock.setHidden):
        hide(True)
        session.show_prediction(dataclasses.replace(prediction))
        assert not gallery.job.running
        assert pictures.missing() == pictures.tiles != []
        hide(False)
        qtbot.waitUntil(lambda: not pictures.missing(), timeout=20_000)


def test_gallery_table_and_canvas_share_the_chosen_tile(
    shown: Viewer, dock: ExplainWidget, prediction: Prediction, qtbot
) -> None:
    gallery, session = dock.gallery.gallery, session_of(shown)
    click(qtbot, gallery, 1)
    second = len(prediction) - 2
    assert session.tile == second
    assert session.tile_at(shown.scene.camera.center) == second
    assert dock.candidates.selectionModel().selectedRows()[0].data() == "2"
    qtbot.keyClick(gallery, Qt.Key.Key_Right)
    assert session.tile == second - 1
    assert session.tile_at(shown.scene.camera.center) == second - 1
    session.choose_tile(len(prediction) - 1)
    assert [index.row() for index in gallery.selectedIndexes()] == [0]
    session.choose_tile(0)
    assert not gallery.selectedIndexes()
    shown.scene.camera.center = (0, 0, 0)
    session.choose_tile(second)
    click(qtbot, gallery, 1)
    assert session.tile_at(shown.scene.camera.center) == second, "again"


def test_a_slide_without_candidates_says_what_to_do(
    shown: Viewer, dock: ExplainWidget, prediction: Prediction
) -> None:
    session_of(shown).show_prediction(
        dataclasses.replace(
            prediction, candidate_rank=np.zeros(len(prediction), np.int32)
        )
    )
    assert tiles_in(dock) == []
    assert "Choose Highest" in dock.gallery.hint.text()


def test_the_status_bar_speaks_of_the_tile_under_the_mouse(
    shown: Viewer, prediction: Prediction
) -> None:
    session = session_of(shown)
    session.show_verdicts({30: "positive"})
    (centre,) = tile_centres(prediction, np.array([30]))

    def status() -> str:
        shown.cursor.position = tuple(centre)
        shown.update_status_from_cursor()
        said = shown.status
        return said if isinstance(said, str) else said["coordinates"]

    told = status_text(prediction, 30, "positive")
    assert "P(tumour)" in told
    assert "percentile" in told
    assert told.endswith("verdict positive")
    assert status().startswith(told)
    said = shown.window._qt_window.statusBar().findChildren(QLabel)
    assert any("P(tumour)" in label.text() for label in said)
    session.set_blind(True)
    assert "Tile" not in str(shown.status), "also before the mouse moves"
    assert "Tile" not in status()


def test_an_overlay_without_anything_to_show_says_so(
    shown: Viewer, dock: ExplainWidget, prediction: Prediction
) -> None:
    nothing = dock.overlays.nothing
    assert nothing.isHidden()
    faint = dataclasses.replace(prediction, probability=prediction.probability * 0.3)
    session_of(shown).show_prediction(faint)
    assert "No tile reaches 0.50, the highest has 0.30" in nothing.text()
    shown.layers["P(tumour)"].contrast_limits = (0.2, 1.0)
    assert nothing.isHidden()


def test_the_box_speaks_of_the_overlay_that_is_seen(
    shown: Viewer, dock: ExplainWidget, prediction: Prediction
) -> None:
    session, box = session_of(shown), dock.overlays
    assert box.overlay.currentText() == "P(tumour)"
    session.show_prediction(None)
    session.show_prediction(prediction)
    assert box.overlay.currentText() == "P(tumour)"
    assert box.shown.isChecked()


def test_a_patient_is_read_out_by_the_worst_slide() -> None:
    several = PatientReading("p<1>", 3, ("b", "a"), 0.61, 0.94, is_positive=True)
    told = patient_text(several, "tumour")
    assert "Patient p&lt;1&gt;: tumour found" in told
    assert "teacher <b>0.61</b>, student <b>0.94</b>" in told
    assert "2 predicted of 3 slides" in told
    assert "most on b" in told
    alone = dataclasses.replace(several, slides=1)
    assert "only slide" in patient_text(alone, "tumour")


def test_an_unfamiliar_slide_is_warned_of(
    shown: Viewer, dock: ExplainWidget, prediction: Prediction
) -> None:
    assert dock.warning.isHidden()
    session_of(shown).show_prediction(
        dataclasses.replace(prediction, familiarity_limit=1.3)
    )
    assert not dock.warning.isHidden()
    assert "Unlike the training: 20 %" in dock.warning.text()


@pytest.fixture
def opened(viewer: Viewer, predicted: Project) -> Session:
    """A window with a predicted slide of a project that a second run has predicted."""
    first = read_prediction(predicted.prediction_path("demo", SLIDE))
    probability = first.probability.copy()
    probability[5] = 0.0
    changed = {"run": "second", "probability": probability, "teacher_probability": 0.3}
    folder = predicted.run_dir("second")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    write_prediction(
        predicted.prediction_path("second", SLIDE),
        dataclasses.replace(first, **changed),
    )
    truth = predicted.root / "truth.csv"
    with truth.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["slide_id", "y", "x", "size", "positive"])
        for tile, positive in ((0, 1), (len(first) - 1, 1), (1, 0), (3, 0)):
            y, x = first.origins[tile]
            table.writerow([SLIDE, y, x, first.grid.tile_l0[0], positive])
    session = session_of(viewer)
    session.open_project(predicted.root)
    session.choose_run("demo")
    session.open_slide(SLIDE)
    return session


@pytest.fixture
def judged(opened: Session, qtbot) -> ExplainWidget:
    """The dock with what is known of the slide."""
    dock = show_dock(opened.viewer, "Explain")
    qtbot.waitUntil(lambda: dock.truth.result.text() != "", timeout=20_000)
    dock.tabs.setCurrentWidget(dock.truth)
    return dock


def test_truth_is_found_beside_the_slides_and_counted(
    judged: ExplainWidget, opened: Session, qtbot
) -> None:
    told = judged.truth.result.text()
    assert [label.text() for label in judged.truth.names] == ["normal", "tumour"]
    assert "1 of 2 positive tiles found, 1 missed, 2 false alarms among 2" in told
    layer = opened.viewer.layers["P(tumour)"]
    first = opened.prediction.probability
    layer.contrast_limits = (float(first[1] + first[0]) / 2, 1.0)
    assert "0 false alarms" in judged.truth.result.text()


def test_misses_and_truth_are_layers(judged: ExplainWidget, opened: Session, qtbot):
    layers, prediction = opened.viewer.layers, opened.prediction
    assert "misses" not in layers
    for box in judged.truth.boxes.values():
        qtbot.keyClick(box, Qt.Key.Key_Space)
    cells = prediction.grid.cells
    misses, truth = layers["misses"].data, layers["truth"].data
    last = len(prediction) - 1
    assert [misses[tuple(cells[t])] for t in (0, last, 1)] == [2, 3, 4]
    assert [truth[tuple(cells[t])] for t in (0, last, 1, 2)] == [1, 1, 0, -1]
    qtbot.keyClick(judged.truth.boxes["truth"], Qt.Key.Key_Space)
    assert "truth" not in layers
    opened.set_blind(True)
    assert "misses" not in layers
    opened.set_blind(False)
    assert "misses" in layers


def test_the_gallery_shows_what_was_missed(
    judged: ExplainWidget, opened: Session, qtbot
) -> None:
    judged.tabs.setCurrentWidget(judged.gallery)
    choose(qtbot, judged.gallery.which, "Lowest")
    choose(qtbot, judged.gallery.by, "by familiarity")
    choose(qtbot, judged.gallery.which, "Missed")
    assert tiles_in(judged) == [len(opened.prediction) - 1]
    probability = opened.prediction.probability
    assert captions(judged) == [f"{probability[-1]:.2f}"]
    choose(qtbot, judged.gallery.which, "False alarms")
    assert tiles_in(judged) == [1, 3]
    opened.show_prediction(None)
    assert judged.gallery.which.findText("Missed") == -1
    assert tiles_in(judged) == []


def test_drawn_regions_are_truth_where_no_table_is(
    judged: ExplainWidget, opened: Session, qtbot
) -> None:
    project, prediction = opened.project, opened.prediction
    for table in project.root.rglob("truth.csv"):
        table.unlink()
    tall, wide = prediction.grid.tile_l0
    y, x = prediction.origins[0]
    square = [(0, 0), (0, wide), (tall, wide), (tall, 0)]
    drawn = [Region((np.add(square, (y, x)),), "tumour")]
    path = labelled_path(project.review_dir, SLIDE)
    write_labelled(path, drawn, prediction.content_hash, "tumour")
    opened.files_changed.emit()
    result = judged.truth.result
    qtbot.waitUntil(lambda: "1 of 1 positive" in result.text(), timeout=20_000)
    assert "Regions drawn" in judged.truth.file.text()
    path.unlink()
    opened.files_changed.emit()
    qtbot.waitUntil(lambda: "No truth" in judged.truth.file.text())
    assert not judged.truth.boxes["misses"].isEnabled()


def test_a_file_that_is_no_truth_is_said(
    judged: ExplainWidget, tmp_path: Path, qtbot, monkeypatch
) -> None:
    path = tmp_path / "nothing.csv"
    path.write_text("a,b\n")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    qtbot.mouseClick(judged.truth.choose, LEFT)
    qtbot.waitUntil(lambda: "not tile truth" in judged.truth.file.text())
    assert not judged.truth.boxes["misses"].isEnabled()


@pytest.fixture
def compared(opened: Session, qtbot) -> ExplainWidget:
    dock = show_dock(opened.viewer, "Explain")
    dock.tabs.setCurrentWidget(dock.compare)
    choose(qtbot, dock.compare.other, "second")
    return dock


def visible(session: Session, kind: str) -> list[str]:
    return [layer.name for layer in of_kind(session.viewer, kind) if layer.visible]


def test_two_runs_are_compared_in_numbers(
    compared: ExplainWidget, opened: Session, qtbot
) -> None:
    table = compared.compare.table
    rows = {
        table.item(row, 0).text(): [table.item(row, c).text() for c in (1, 2)]
        for row in range(table.rowCount())
    }
    assert rows["tumour found"] == ["yes", "no"]
    assert rows["teacher"] == ["0.90", "0.30"]
    assert rows["shared candidates"][0] == "3"
    compared.tabs.setCurrentWidget(compared.gallery)
    choose(qtbot, compared.gallery.which, "Most changed")
    assert tiles_in(compared)[0] == 5


def test_a_loaded_model_is_compared_like_a_run(opened: Session, qtbot) -> None:
    dock, prediction = show_dock(opened.viewer, "Explain"), opened.prediction
    loaded = dataclasses.replace(prediction, run="far", teacher_probability=0.1)
    folder = Path("elsewhere/far")
    opened.loaded[folder, prediction.content_hash] = loaded
    opened.loaded[folder, "another slide"] = loaded
    dock.compare.refresh()
    choose(qtbot, dock.compare.other, "far (loaded)")
    assert dock.compare.table.horizontalHeaderItem(2).text() == "far"
    assert dock.compare.table.item(1, 2).text() == "0.10"
    assert dock.compare.apart.isHidden(), "it has no table of slides"
    opened.choose_run(None)
    opened.show_prediction(loaded)
    offered = [
        dock.compare.other.itemText(k) for k in range(dock.compare.other.count())
    ]
    assert "far (loaded)" not in offered
    choose(qtbot, dock.compare.other, "demo")
    assert dock.compare.table.item(1, 2).text() == "0.90"


def test_the_slides_on_which_runs_differ_are_listed_and_open(
    compared: ExplainWidget, opened: Session, qtbot
) -> None:
    apart = compared.compare.apart
    qtbot.waitUntil(lambda: not apart.isHidden())
    assert apart.table.rowCount() == 0, "the second run has no table of slides yet"
    for run, others in (("demo", 0.9), ("second", 0.2)):
        path = opened.project.predictions_dir(run) / "slides.csv"
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["slide_id", "teacher_probability", "threshold"])
            table.writerow([SLIDE, 0.9, 0.5])
            table.writerow(["synthetic_000", others, 0.5])
    opened.files_changed.emit()
    qtbot.waitUntil(lambda: apart.table.rowCount() == 2)
    assert "1 of 2 slides" in apart.summary.text()
    cells = [apart.table.item(0, column).text() for column in range(4)]
    assert cells == ["synthetic_000", "0.90 +", "0.20", "-0.70"]
    apart.table.setCurrentCell(0, 0)
    qtbot.keyClick(apart.table, Qt.Key.Key_Return)
    assert opened.opened.slide_id == "synthetic_000"
    opened.set_blind(True)
    assert apart.isHidden()


def test_flipping_shows_the_other_run_in_place_of_this_one(
    compared: ExplainWidget, opened: Session, qtbot
) -> None:
    assert visible(opened, "heatmap") == ["P(tumour)"]
    qtbot.keyClick(compared.compare.flip, Qt.Key.Key_Space)
    assert visible(opened, "heatmap") == []
    assert visible(opened, "candidates") == []
    assert visible(opened, "compared") == ["P(tumour) · second", "candidates · second"]
    figure = compared.export.figure()
    assert "Overlays of run second." in figure.caption
    assert figure.bar is not None, "both have the same colours"
    other = opened.viewer.layers["P(tumour) · second"]
    cell = tuple(opened.prediction.grid.cells[5])
    assert other.data[cell] == 0
    assert compared.compare.shortcut.key().toString() == "F"
    compared.compare.shortcut.activated.emit()
    assert visible(opened, "heatmap") == ["P(tumour)"]
    assert visible(opened, "compared") == []
    opened.viewer.layers["P(tumour)"].contrast_limits = (0.8, 1.0)
    assert other.contrast_limits == [0.8, 1.0]


def test_side_by_side_the_other_run_alone_is_on_the_right(
    compared: ExplainWidget, opened: Session, qtbot
) -> None:
    viewer = opened.viewer
    zoom = viewer.scene.camera.zoom
    qtbot.keyClick(compared.compare.beside, Qt.Key.Key_Space)
    grid = viewer.canvas.grid
    assert grid.enabled
    assert viewer.scene.camera.zoom == pytest.approx(zoom / 2), "as much in each half"
    viewer.add_points([[0, 0]], name="of the user")

    def sides() -> dict[str, int]:
        return {
            layer.name: grid.position(index, viewer.layers)[1]
            for index, layer in enumerate(viewer.layers)
            if layer.visible
        }

    qtbot.waitUntil(
        lambda: (
            sides()
            == {
                SLIDE: 0,
                "P(tumour)": 0,
                "candidates": 0,
                "of the user": 0,
                f"{SLIDE} again": 1,
                "P(tumour) · second": 1,
                "candidates · second": 1,
            }
        )
    )
    assert compared.compare.hint.text().startswith("Left: demo, right: second.")
    assert "Left this run, right run second." in compared.export.figure().caption
    viewer.layers["P(tumour)"].visible = False
    viewer.layers["candidates"].visible = False
    viewer.layers["attention"].visible = True
    assert visible(opened, "compared") == ["attention · second"]
    opened.open_slide("synthetic_000")
    assert not grid.enabled
    assert not of_kind(viewer, "compared", "slide again")
    assert opened.opened.slide_id == "synthetic_000"


def test_who_works_blind_has_nothing_compared_or_summed_up(
    compared: ExplainWidget, opened: Session, monkeypatch
) -> None:
    patient = PatientReading("p", 2, (SLIDE,), 0.6, 0.9, is_positive=True)
    monkeypatch.setattr("napari_weno.explain.patient_reading", lambda *_: patient)
    opened.set_blind(True)
    assert not of_kind(opened.viewer, "compared")
    opened.load_prediction()
    assert not of_kind(opened.viewer, "compared")
    assert compared.patient.text() == ""
    compared.compare.shortcut.activated.emit()
    assert visible(opened, "compared") == []
    opened.set_blind(False)
    assert compared.compare.other.currentText() == "second"
    assert "P(tumour) · second" in opened.viewer.layers
    assert "Patient p" in compared.patient.text()


def test_a_run_that_predicts_meanwhile_is_offered(
    compared: ExplainWidget, opened: Session
) -> None:
    project, other = opened.project, compared.compare.other
    assert [other.itemText(row) for row in range(other.count())][1:] == ["second"]
    third = project.run_dir("third")
    third.mkdir()
    (third / "config.json").write_text("{}")
    write_prediction(project.prediction_path("third", SLIDE), opened.prediction)
    opened.files_changed.emit()
    assert other.findText("third") > 0
    assert other.currentText() == "second"


def test_without_a_second_run_the_box_says_what_to_do(dock: ExplainWidget) -> None:
    assert "fit a second run" in dock.compare.hint.text()
    assert not dock.compare.beside.isEnabled()


def save(qtbot, monkeypatch, job, path: Path) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    with qtbot.waitSignal(job.ended, timeout=60_000):
        qtbot.mouseClick(job.button, LEFT)


def test_a_figure_is_saved_with_all_that_explains_it(
    shown: Viewer, dock: ExplainWidget, tmp_path: Path, qtbot, monkeypatch
) -> None:
    dock.tabs.setCurrentWidget(dock.export)
    path = tmp_path / "figure.svg"
    save(qtbot, monkeypatch, dock.export.figure_job, path)
    assert f"{path} saved" in dock.export.figure_job.text.text()
    root = ElementTree.parse(path).getroot()
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert "P(tumour) of a tile, by the student" in words
    assert "Research use only" in words
    assert any("odd, run demo. P(tumour): teacher 0.90" in word for word in words)
    assert shown.canvas.overlays.scale_bar.visible, "the canvas keeps its own"
    (bar,) = root.findall(f".//{SVG}rect[@id='scale-bar']")
    scale = next(word for word in words if word.endswith("µm"))
    um = float(scale.removesuffix(" µm")) / float(bar.get("width", ""))
    assert um == pytest.approx(1 / shown.scene.camera.zoom, rel=0.01)


def test_a_picture_is_as_fine_as_is_asked(
    shown: Viewer, dock: ExplainWidget, tmp_path: Path, qtbot, monkeypatch
) -> None:
    dock.tabs.setCurrentWidget(dock.export)
    pixels = dock.export.figure().pixels
    choose(qtbot, dock.export.scale, "twice as fine")
    figure = dock.export.figure()
    assert figure.pixels.shape[0] == 2 * pixels.shape[0]
    assert figure.um_per_px == pytest.approx(0.5 / shown.scene.camera.zoom, rel=0.01)
    path = tmp_path / "figure"
    save(qtbot, monkeypatch, dock.export.figure_job, path)
    image = QImage(str(path.with_name("figure.png")))
    assert image.width() == figure.pixels.shape[1]
    assert image.height() > figure.pixels.shape[0]
    middle = figure.pixels[figure.pixels.shape[0] // 2, image.width() // 2]
    drawn = image.pixelColor(image.width() // 2, figure.pixels.shape[0] // 2)
    assert np.abs(middle - [drawn.red(), drawn.green(), drawn.blue()]).max() <= 3


def test_an_overlay_is_saved_as_it_is_shown(
    shown: Viewer,
    dock: ExplainWidget,
    prediction: Prediction,
    tmp_path: Path,
    qtbot,
    monkeypatch,
) -> None:
    shown.layers["P(tumour)"].contrast_limits = (0.9, 1.0)
    shown.layers["P(tumour)"].opacity = 0.25
    dock.tabs.setCurrentWidget(dock.export)
    path = tmp_path / "overlay"
    save(qtbot, monkeypatch, dock.export.overlay_job, path)
    with open_slide(tmp_path / "overlay.ome.tif") as slide:
        assert slide.mpp == pytest.approx((4.0, 4.0), rel=0.02)
        pixels = slide.read(0, 0, 0, *slide.shape).astype(int)
        mpp = np.array(slide.mpp)
    centres = prediction.origins + np.array(prediction.grid.tile_l0) / 2
    inside = (centres < prediction.slide_shape).all(1)  # of tiles at the edge
    rows, columns = (centres * prediction.mpp / mpp).astype(int)[inside].T
    away = np.abs(pixels[rows, columns] - (190, 150, 180)).max(1)
    called = prediction.probability[inside] >= 0.9
    assert called.any()
    assert (away[called] > 5).all()
    assert away.max() <= 0.25 * 255 + 1
    assert (away[~called] <= 1).all()


def test_a_file_that_cannot_be_written_is_said(
    dock: ExplainWidget, tmp_path: Path, qtbot, monkeypatch
) -> None:
    (tmp_path / "file").touch()
    dock.tabs.setCurrentWidget(dock.export)
    job = dock.export.figure_job
    save(qtbot, monkeypatch, job, tmp_path / "file" / "figure.png")
    assert "cannot be written" in job.text.text()
