from __future__ import annotations

import csv
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.utils._proxies import PublicOnlyProxy
from napari.utils.notifications import notification_manager

from napari_weno.layers import slide_layer
from napari_weno.session import Session, session_of
from weno.errors import ProjectError, RunError
from weno.prediction import Prediction, write_prediction
from weno.project import Project
from weno.slides import Slide, open_slide
from weno.tiles import TileSpec

SPEC = TileSpec(40.0, 0.5, min_tissue=0.0)

Predict = Callable[..., Prediction]


@pytest.fixture
def viewer_model() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def session(viewer_model: ViewerModel) -> Session:
    """A session without any window."""
    return session_of(viewer_model)


def show(session: Session, slide: Slide) -> None:
    data, keywords, _ = slide_layer(slide)
    session.viewer.add_image(data, **keywords)


def heard(signal: object) -> list[object]:
    values: list[object] = []
    signal.connect(lambda *args: values.append(args[0] if args else None))
    return values


def test_all_docks_of_a_viewer_share_one_session(viewer_model: ViewerModel) -> None:
    # napari hands each dock a proxy of its own, which soon goes.
    session, other = session_of(PublicOnlyProxy(viewer_model)), ViewerModel()
    gc.collect()
    assert session_of(PublicOnlyProxy(viewer_model)) is session
    assert session_of(viewer_model) is session
    assert session_of(other) is not session


def test_a_session_does_not_keep_its_viewer_alive() -> None:
    viewer = ViewerModel()
    session_of(viewer)
    alive = weakref.ref(viewer)
    del viewer
    gc.collect()
    assert alive() is None


def test_open_project_tells_the_docks(session: Session, new_project: Project) -> None:
    told = heard(session.project_changed)
    project = session.open_project(new_project.root)
    assert told == [project]
    assert session.run is None
    with pytest.raises(ProjectError, match="not a project"):
        session.open_project(new_project.root / "cohort")
    assert session.project is project


def test_a_slide_takes_the_place_of_the_one_before(
    session: Session, new_project: Project
) -> None:
    session.open_project(new_project.root)
    session.open_slide("synthetic_000")
    session.open_slide("synthetic_001")
    (layer,) = session.viewer.layers
    assert layer.name == "synthetic_001"
    assert session.opened.slide_id == "synthetic_001"
    with pytest.raises(ProjectError, match="nobody"):
        session.open_slide("nobody")
    assert session.opened.slide_id == "synthetic_001"


def test_the_prediction_of_the_chosen_run_is_shown(
    session: Session, new_project: Project, predict_by_hand: Predict
) -> None:
    with new_project.open_slide("synthetic_001") as slide:
        prediction = predict_by_hand(slide, SPEC)
    write_prediction(new_project.prediction_path("demo", "synthetic_001"), prediction)
    session.open_project(new_project.root)
    session.open_slide("synthetic_001")
    assert session.prediction is None
    told = heard(session.prediction_changed)
    session.choose_run("demo")
    assert told == [session.prediction]
    assert session.prediction.teacher_probability == prediction.teacher_probability
    assert "P(tumour)" in session.viewer.layers
    session.open_slide("synthetic_000")
    assert session.prediction is None
    assert "P(tumour)" not in session.viewer.layers


def test_a_prediction_for_another_slide_is_refused(
    session: Session, odd_slide: Slide, new_project: Project, predict_by_hand: Predict
) -> None:
    session.open_project(new_project.root)
    session.open_slide("synthetic_000")
    with pytest.raises(RunError, match="other content"):
        session.show_prediction(predict_by_hand(odd_slide, SPEC))


def give_mpp(project: Project, mpp: float) -> None:
    """Let slides.csv give all slides another pixel size than they say."""
    path = project.root / "slides.csv"
    with path.open(newline="") as file:
        records = [row | {"mpp": str(mpp)} for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


@pytest.mark.parametrize("project_first", [True, False], ids=["drop", "open-later"])
def test_a_slide_file_gets_the_pixel_size_of_the_project(
    session: Session,
    new_project: Project,
    predict_by_hand: Predict,
    project_first: bool,
) -> None:
    give_mpp(new_project, 0.25)
    with new_project.open_slide("synthetic_001") as slide:
        prediction = predict_by_hand(slide, SPEC)
    write_prediction(new_project.prediction_path("demo", "synthetic_001"), prediction)
    session.run = "demo"
    if project_first:
        session.open_project(new_project.root)
        session.run = "demo"
    show(session, open_slide(new_project.slide("synthetic_001").path))
    if not project_first:
        assert session.opened.slide.mpp == pytest.approx((0.5, 0.5))
        session.open_project(new_project.root)
        session.choose_run("demo")
    assert session.opened.slide_id == "synthetic_001"
    assert session.opened.slide.mpp == (0.25, 0.25)
    assert tuple(session.opened.layer.scale) == (0.25, 0.25)
    assert session.viewer.layers[0] is session.opened.layer
    assert session.prediction.mpp == (0.25, 0.25)
    assert "attention" in session.viewer.layers


def test_a_prediction_for_another_pixel_size_is_refused(
    session: Session, odd_slide: Slide, predict_by_hand: Predict
) -> None:
    show(session, odd_slide)
    prediction = replace(predict_by_hand(odd_slide, SPEC), mpp=(0.25, 0.25))
    with pytest.raises(RunError, match=r"0\.25 x 0\.25 µm.*0\.27\d* x 0\.27\d* µm"):
        session.show_prediction(prediction)
    assert session.prediction is None


def test_a_slide_is_shown_even_if_its_prediction_is_damaged(
    session: Session, new_project: Project, predict_by_hand: Predict
) -> None:
    for slide_id in ("synthetic_000", "synthetic_001"):
        with new_project.open_slide(slide_id) as slide:
            prediction = predict_by_hand(slide, SPEC)
        write_prediction(new_project.prediction_path("demo", slide_id), prediction)
    path = new_project.prediction_path("demo", "synthetic_001")
    path.write_bytes(b"torn")
    session.open_project(new_project.root)
    session.choose_run("demo")
    session.open_slide("synthetic_000")
    assert session.prediction is not None
    session.open_slide("synthetic_001")
    assert path.name in notification_manager.records[-1].message
    assert session.opened.slide_id == "synthetic_001"
    assert session.prediction is None
    assert len(session.viewer.layers) == 1, "no overlay of the slide before is left"
    with pytest.raises(RunError, match=path.name):
        session.choose_run("demo")


def test_layers_keep_what_the_user_gave_them(
    session: Session, odd_slide: Slide, predict_by_hand: Predict
) -> None:
    show(session, odd_slide)
    session.show_prediction(predict_by_hand(odd_slide, SPEC))
    layer = session.viewer.layers["P(tumour)"]
    layer.opacity, layer.visible = 0.2, False
    layer.contrast_limits = (0.7, 0.9)
    session.show_prediction(predict_by_hand(odd_slide, TileSpec(50.0, 0.5)))
    assert session.viewer.layers["P(tumour)"] is layer
    assert (layer.opacity, layer.visible) == (0.2, False)
    assert layer.contrast_limits == [0.7, 1.0], "the threshold stays"
    assert layer.data.shape == session.prediction.grid.shape


def test_overlays_hidden_from_blind_work_wait_until_they_are_shown(
    session: Session, odd_slide: Slide, predict_by_hand: Predict
) -> None:
    show(session, odd_slide)
    session.show_prediction(predict_by_hand(odd_slide, SPEC))
    layers, other = session.viewer.layers, predict_by_hand(odd_slide, TileSpec(50, 0.5))
    before = layers["attention"].data
    last = len(other) - 1

    def show_another() -> None:
        session.show_prediction(other)
        session.show_verdicts({last: "positive"})

    # Seen all the same: what is seen must be of the slide that is shown.
    session.set_blind(True)
    show_another()
    assert layers["attention"].data.shape == other.grid.shape
    session.show_prediction(predict_by_hand(odd_slide, SPEC))

    for layer in session.overlays():
        layer.visible = False
    show_another()
    assert layers["attention"].data.shape == before.shape
    layers["attention"].visible = True
    for name in ("attention", "P(tumour)"):
        assert layers[name].data.shape == other.grid.shape
    assert layers["candidates"].features["verdict"][0] == "positive"

    layers["attention"].visible = False
    session.show_prediction(predict_by_hand(odd_slide, SPEC))
    assert layers["attention"].data.shape == other.grid.shape
    session.set_blind(False)
    np.testing.assert_array_equal(layers["attention"].data, before)
    session.set_blind(True)
    session.show_prediction(None)
    assert session.overlays() == []


def test_a_slide_that_is_taken_away_takes_its_overlays_along(
    session: Session, odd_slide: Slide, predict_by_hand: Predict
) -> None:
    show(session, odd_slide)
    session.show_prediction(predict_by_hand(odd_slide, SPEC))
    told = heard(session.slide_changed)
    session.viewer.layers.remove(session.opened.layer)
    assert session.opened is None
    assert told == [None]
    assert len(session.viewer.layers) == 0


def test_an_overlay_that_the_user_removed_may_come_back(
    session: Session, odd_slide: Slide, predict_by_hand: Predict
) -> None:
    show(session, odd_slide)
    session.show_prediction(predict_by_hand(odd_slide, SPEC))
    session.viewer.layers.remove("attention")
    session.set_display("raw")
    attention = session.viewer.layers["attention"]
    values = attention.data[attention.data > 0]
    assert values.sum() == pytest.approx(1, abs=1e-3)


def test_another_display_shows_the_same_layer_from_its_own_limits(
    session: Session, odd_slide: Slide, predict_by_hand: Predict
) -> None:
    show(session, odd_slide)
    session.show_prediction(predict_by_hand(odd_slide, SPEC))
    attention = session.viewer.layers["attention"]
    attention.visible = True
    session.set_display("percentile")
    assert session.viewer.layers["attention"] is attention
    assert attention.visible
    assert attention.contrast_limits == [0.75, 1.0]
    attention.contrast_limits = (0.9, 1.0)
    session.redraw()
    assert attention.contrast_limits == [0.9, 1.0]


def test_the_open_slide_can_join_the_project(
    session: Session, odd_slide: Slide, new_project: Project
) -> None:
    show(session, odd_slide)
    with pytest.raises(ProjectError, match="first"):
        session.add_open_slide()
    session.open_project(new_project.root)
    assert session.opened.slide_id is None
    files, slides = heard(session.files_changed), heard(session.slide_changed)
    edit = session.add_open_slide()
    assert edit.added == {"odd"}
    assert session.opened.slide_id == "odd"
    assert session.project.slide("odd").path == odd_slide.path
    assert files
    assert slides == [session.opened]


def test_a_given_pixel_size_goes_along_into_the_project(
    session: Session, odd_slide: Slide, new_project: Project
) -> None:
    show(session, odd_slide)
    session.set_mpp(0.37)
    session.open_project(new_project.root)
    session.add_open_slide()
    assert session.opened.slide.mpp == (0.37, 0.37)
    assert Project.open(new_project.root).slide("odd").mpp == 0.37


def test_a_slide_below_the_one_taken_away_is_the_open_one(
    session: Session, odd_slide: Slide
) -> None:
    show(session, odd_slide)
    with open_slide(odd_slide.path, mpp=0.3) as other:
        show(session, other)
        assert session.opened.slide is other
        session.viewer.layers.remove(session.opened.layer)
        assert session.opened.slide is odd_slide
        session.viewer.layers.remove(session.opened.layer)
        assert session.opened is None


def test_centre_on_moves_the_camera_to_the_tile(
    session: Session, odd_slide: Slide, predict_by_hand: Predict
) -> None:
    show(session, odd_slide)
    prediction = predict_by_hand(odd_slide, SPEC)
    session.show_prediction(prediction)
    told = heard(session.tile_changed)
    session.choose_tile(17, centre=True)
    assert told == [17]
    centre = session.viewer.scene.camera.center[-2:]
    assert session.tile_at(centre) == 17
    assert np.isfinite(session.viewer.scene.camera.zoom)


def test_a_tile_begins_at_the_edge_of_its_first_pixel(
    session: Session, odd_slide: Slide, predict_by_hand: Predict
) -> None:
    show(session, odd_slide)
    prediction = predict_by_hand(odd_slide, SPEC)
    session.show_prediction(prediction)
    # A pixel is drawn from half a pixel before its place to half a pixel after it.
    first, mpp = np.array(prediction.grid.start), np.array(odd_slide.mpp)
    assert session.tile_at(tuple((first - 0.4) * mpp)) == 0
    assert session.tile_at(tuple((first - 0.6) * mpp)) is None


def test_a_click_on_the_canvas_chooses_the_tile(
    viewer: Viewer, odd_slide: Slide, predict_by_hand: Predict, qtbot
) -> None:
    from qtpy.QtCore import QPoint, Qt

    session = session_of(viewer)
    show(session, odd_slide)
    prediction = predict_by_hand(odd_slide, SPEC)
    session.show_prediction(prediction)
    session.centre_on(30)
    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPoint(canvas.width() // 2, canvas.height() // 2)
    qtbot.mouseMove(canvas, middle)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=middle)
    assert session.tile == 30
    told = heard(session.tile_changed)
    aside = QPoint(middle.x() + canvas.height() // 9, middle.y())
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseMove(canvas, aside)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=aside)
    assert told == [], "dragging the slide about chooses nothing"


@pytest.mark.parametrize("name", ["Cohort", "Explain"])
def test_docks_open_from_the_command_palette(
    viewer: Viewer, name: str, cohort: Path
) -> None:
    from napari._app_model import get_app_model

    commands = get_app_model().commands
    commands.execute_command(f"napari-weno.show_{name.lower()}").result()
    assert any(name in dock for dock in viewer.window.dock_widgets)


def test_a_slide_opened_before_the_docks_is_adopted(
    viewer_model: ViewerModel, cohort: Path
) -> None:
    slide = open_slide(next((cohort / "slides").glob("*.tif")))
    data, keywords, _ = slide_layer(slide)
    viewer_model.add_image(data, **keywords)
    assert session_of(viewer_model).opened.slide is slide
