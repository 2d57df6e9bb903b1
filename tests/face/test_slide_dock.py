from __future__ import annotations

from pathlib import Path

import pytest
from napari import Viewer
from napari.settings import get_plugin_settings
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QScrollArea, QWidget

from napari_weno.camera import centre_of, look_at, turn
from napari_weno.colours import shows_icc
from napari_weno.layers import slide_layer
from napari_weno.session import Session, session_of, show_dock
from napari_weno.slide_dock import SlideWidget
from weno.errors import ProjectError
from weno.project import Project
from weno.slides import Slide, open_slide

SVS = "slides/cmu-1-small-region.svs"
PROFILED = "slides/boxes.tiff"


@pytest.fixture
def session(viewer: Viewer, corners_slide: Slide) -> Session:
    """A slide of 1536 x 1024 px and 0.5 µm/px is shown."""
    return show(viewer, corners_slide)


@pytest.fixture
def dock(viewer: Viewer, session: Session) -> SlideWidget:
    return show_dock(viewer, "Slide")


def show(viewer: Viewer, slide: Slide) -> Session:
    data, keywords, _ = slide_layer(slide)
    viewer.add_image(data, **keywords)
    return session_of(viewer)


def shown_mpp(session: Session) -> float:
    return float(session.opened.layer.scale[0])


def last_message() -> str:
    return notification_manager.records[-1].message


def test_the_dock_opens_from_the_command_palette(viewer: Viewer) -> None:
    from napari._app_model import get_app_model

    get_app_model().commands.execute_command("napari-weno.show_slide").result()
    assert any("Slide" in name for name in viewer.window.dock_widgets)


def test_a_magnification_is_set_exactly(viewer: Viewer, dock: SlideWidget) -> None:
    dock.view.powers[20.0].click()
    assert viewer.scene.camera.zoom == pytest.approx(2.0)
    assert dock.view.scale.text() == "20x · 0.5 µm/px"
    dock.view.powers[2.5].click()
    assert 1 / viewer.scene.camera.zoom == pytest.approx(4.0), "µm per screen pixel"


@pytest.mark.parametrize(
    ("unit", "text", "centre"),
    [("px", "1000, 200", (500, 100)), ("um", "700.5; 20", (700.5, 20))],
)
def test_go_to_a_coordinate(
    viewer: Viewer,
    dock: SlideWidget,
    unit: str,
    text: str,
    centre: tuple[float, float],
    qtbot: QtBot,
) -> None:
    turn(viewer, 1)
    view = dock.view
    view.unit.setCurrentIndex(view.unit.findData(unit))
    view.place.setText(text)
    qtbot.keyClick(view.place, Qt.Key.Key_Return)
    assert centre_of(viewer) == pytest.approx(centre)


@pytest.mark.parametrize(
    ("text", "message"),
    [("1000", "two numbers"), ("1600, 5", "ends at 1536, 1024 px"), ("", "two")],
)
def test_a_coordinate_that_is_none_is_said(
    viewer: Viewer, dock: SlideWidget, text: str, message: str, qtbot: QtBot
) -> None:
    before = centre_of(viewer)
    dock.view.place.setText(text)
    qtbot.keyClick(dock.view.place, Qt.Key.Key_Return)
    assert message in last_message()
    assert centre_of(viewer) == before


def test_the_centre_can_be_copied(viewer: Viewer, dock: SlideWidget) -> None:
    look_at(viewer, 100, 250)
    dock.view.copy.click()
    assert QGuiApplication.clipboard().text() == "200, 500"
    dock.view.unit.setCurrentIndex(dock.view.unit.findData("um"))
    dock.view.copy.click()
    assert QGuiApplication.clipboard().text() == "100.0, 250.0"


def test_the_view_can_be_turned_and_set_upright(
    viewer: Viewer, dock: SlideWidget
) -> None:
    order = viewer.dims.order
    dock.view.left.click()
    assert viewer.dims.order != order
    dock.view.right.click()
    assert viewer.dims.order == order
    dock.view.right.click()
    dock.view.upright.click()
    assert viewer.dims.order == order


def test_measuring_is_switched_on_and_off(viewer: Viewer, dock: SlideWidget) -> None:
    ruler = session_of(viewer).ruler
    dock.view.measure.click()
    assert ruler.measuring
    ruler.stop()
    assert not dock.view.measure.isChecked()


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_the_minimap_takes_one_there(
    viewer: Viewer, dock: SlideWidget, quarters: int, qtbot: QtBot
) -> None:
    qtbot.waitUntil(lambda: dock.minimap.loaded)
    turn(viewer, quarters)
    there = dock.minimap.place_of(300, 900)
    qtbot.mouseClick(dock.minimap, Qt.MouseButton.LeftButton, pos=there.toPoint())
    # A pixel of the minimap is some eight of the slide, which has 0.5 µm/px.
    assert centre_of(viewer) == pytest.approx((150, 450), abs=4)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_the_minimap_shows_the_slide_as_it_is_turned(
    viewer: Viewer,
    dock: SlideWidget,
    corners: dict[str, tuple[int, int, int]],
    quarters: int,
    qtbot: QtBot,
) -> None:
    qtbot.waitUntil(lambda: dock.minimap.loaded)
    turn(viewer, quarters)
    # The mark of so small a view hides nothing but the middle.
    look_at(viewer, 384, 256, 1000.0)
    picture = dock.minimap.grab().toImage()
    places = {
        "top left": (200, 200),
        "top right": (200, 800),
        "bottom left": (1300, 200),
        "bottom right": (1300, 800),
    }
    for corner, place in places.items():
        colour = picture.pixelColor(dock.minimap.place_of(*place).toPoint())
        assert colour.getRgb()[:3] == pytest.approx(corners[corner], abs=3)
    inside = dock.minimap.rect().adjusted(-1, -1, 1, 1)
    assert inside.contains(dock.minimap.place_of(1535, 1023).toPoint())
    # Turned by a quarter to the right, the slide's top is on the right.
    top, bottom = dock.minimap.place_of(0, 512), dock.minimap.place_of(1535, 512)
    way = bottom - top
    assert [way.y() > 1, way.x() < -1, way.y() < -1, way.x() > 1][quarters]


def test_the_minimap_frames_the_view(
    viewer: Viewer, dock: SlideWidget, qtbot: QtBot
) -> None:
    qtbot.waitUntil(lambda: dock.minimap.loaded)
    viewer.reset_view()
    look_at(viewer, 192, 128, min(viewer.canvas.size) / 200)
    picture = dock.minimap.grab().toImage()
    # The view is 200 µm, or 400 px, high, about pixel (384, 256).
    edge = dock.minimap.place_of(384 - 200, 256).toPoint()
    colours = [picture.pixelColor(edge.x(), edge.y() + k).name() for k in (-1, 0, 1)]
    assert "#e6194b" in colours


def test_the_details_of_a_slide(viewer: Viewer, test_data: Path) -> None:
    dock = show_dock(viewer, "Slide")
    assert not dock.no_slide.isHidden()
    with open_slide(test_data / SVS) as slide:
        show(viewer, slide)
        facts = {name: label.text() for name, label in dock.details.facts.items()}
    assert dock.no_slide.isHidden()
    assert facts["File"] == "cmu-1-small-region.svs"
    assert facts["Vendor"] == "aperio"
    assert facts["Objective"] == "20x"
    assert facts["Pixel size"] == "0.499 µm, by the slide"
    assert facts["Size"] == "2,967 x 2,220 px\n1.48 x 1.11 mm"
    assert facts["Levels"] == "1"
    assert facts["ICC profile"] == "no"
    assert not dock.details.icc.isEnabled()
    assert "no ICC profile" in dock.details.icc.toolTip()


def test_levels_are_listed(dock: SlideWidget) -> None:
    assert dock.details.facts["Levels"].text() == "2, shrunk 1, 2 times"


def test_a_guessed_pixel_size_is_shown_as_a_guess(
    viewer: Viewer, guessed_slide: Path
) -> None:
    dock = show_dock(viewer, "Slide")
    with open_slide(guessed_slide) as slide:
        show(viewer, slide)
        text = dock.details.facts["Pixel size"].text()
        assert text == "0.5 µm: a guess from the 20x objective"
        dock.view.powers[10.0].click()
        assert dock.view.scale.text() == "10x · 1 µm/px (guess)"
        dock.details.use_mpp.click()
    assert dock.details.facts["Pixel size"].text() == "0.5 µm, as given"
    assert dock.view.scale.text() == "10x · 1 µm/px"


def test_the_pixel_size_can_be_set(viewer: Viewer, slide_without_mpp: Path) -> None:
    dock = show_dock(viewer, "Slide")
    with open_slide(slide_without_mpp) as slide:
        session = show(viewer, slide)
        layer = session.opened.layer
        look_at(viewer, 400, 600, 0.5)
        assert dock.view.scale.text().startswith("50 % of full size")
        assert not dock.view.powers[10.0].isEnabled()
        dock.details.use_mpp.click()
        assert "pixel size is a number" in last_message()
        dock.details.mpp.setValue(0.25)
        dock.details.use_mpp.click()
    assert session.opened.layer is layer
    assert session.opened.slide.mpp == (0.25, 0.25)
    assert shown_mpp(session) == 0.25
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert centre_of(viewer) == pytest.approx((100, 150)), "the same tissue, in µm"
    assert viewer.scene.camera.zoom == pytest.approx(2.0)
    assert dock.view.scale.text() == "20x · 0.5 µm/px"
    assert dock.view.powers[10.0].isEnabled()


def test_the_project_keeps_the_pixel_size(viewer: Viewer, new_project: Project) -> None:
    session = session_of(viewer)
    session.open_project(new_project.root)
    session.open_slide("synthetic_001")
    labels = [row.label for row in new_project.slides]
    session.set_mpp(0.26)
    assert shown_mpp(session) == 0.26
    assert session.opened.slide_id == "synthetic_001"
    again = Project.open(new_project.root)
    assert again.slide("synthetic_001").mpp == pytest.approx(0.26)
    assert again.slide("synthetic_000").mpp is None
    assert [row.label for row in again.slides] == labels
    with pytest.raises(ProjectError, match="nobody"):
        again.set_mpp("nobody", 0.5)
    with pytest.raises(ProjectError, match="no pixel size"):
        again.set_mpp("synthetic_000", -1.0)


def test_a_label_is_shown_on_request_only(
    viewer: Viewer, corners_slide: Slide, test_data: Path, qtbot: QtBot
) -> None:
    dock = show_dock(viewer, "Slide")
    pictures = dock.details.pictures
    with open_slide(test_data / SVS) as slide:
        show(viewer, slide)
        label = pictures.buttons["label"]
        assert label.text() == "Show label (may show a patient's name)"
        assert pictures.picture.pixmap().isNull()
        label.click()
        qtbot.waitUntil(lambda: not pictures.picture.pixmap().isNull())
        height, width, _ = slide.associated("label").shape
        shown = pictures.picture.pixmap()
        assert shown.width() / shown.height() == pytest.approx(width / height, 0.02)
        assert label.text() == "Hide label"
        label.click()
        assert pictures.picture.pixmap().isNull()
        label.click()
        qtbot.waitUntil(lambda: not pictures.picture.pixmap().isNull())
        show(viewer, corners_slide)
    assert pictures.picture.pixmap().isNull(), "not beside another slide"
    assert pictures.buttons == {}


def test_colours_by_the_profile(viewer: Viewer, test_data: Path) -> None:
    dock = show_dock(viewer, "Slide")
    with open_slide(test_data / PROFILED) as slide:
        session = show(viewer, slide)
        assert dock.details.facts["ICC profile"].text() == "yes"
        assert dock.details.icc.isEnabled()
        assert not dock.details.icc.isChecked()
        dock.details.icc.click()
        assert shows_icc(session.opened.layer)
        dock.details.icc.click()
        assert not shows_icc(session.opened.layer)


def test_colours_by_the_profile_from_the_start(viewer: Viewer, test_data: Path) -> None:
    get_plugin_settings("napari-weno").slides.icc_profile = True
    dock = show_dock(viewer, "Slide")
    with open_slide(test_data / PROFILED) as slide:
        session = show(viewer, slide)
        assert shows_icc(session.opened.layer)
        assert dock.details.icc.isChecked()
    with open_slide(test_data / SVS) as slide:
        session = show(viewer, slide)
        assert not shows_icc(session.opened.layer)


def test_nothing_is_cut_off_in_a_narrow_dock(
    viewer: Viewer, test_data: Path, qtbot: QtBot
) -> None:
    viewer.window.resize(1400, 500)
    with open_slide(test_data / SVS) as slide:
        show(viewer, slide)
        dock = show_dock(viewer, "Slide")
        dock.setFixedWidth(320)
        area = dock.findChild(QScrollArea)
        qtbot.waitUntil(area.verticalScrollBar().isVisible)
        qtbot.waitUntil(lambda: area.widget().width() <= area.viewport().width())
        parts = area.widget().findChildren(QWidget)
        ends = [
            part.mapTo(area.widget(), part.rect().topRight()).x()
            for part in parts
            if part.isVisible()
        ]
    assert len(ends) > 30
    assert max(ends) < area.viewport().width()
