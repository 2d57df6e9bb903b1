from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from napari.layers import Shapes
from qtpy.QtCore import Qt
from review_files import SLIDES

from napari_weno.canvas import of_kind
from napari_weno.region_shapes import regions_in, single_ring
from napari_weno.regions_box import RegionsBox, is_edited
from napari_weno.session import session_of, show_dock
from weno.geojson import Region
from weno.project import Project
from weno.review import labelled_path, read_labelled, write_labelled
from weno.tiles import tile_cover

LEFT = Qt.MouseButton.LeftButton
SLIDE = SLIDES[0]


def box(y: float, x: float, side: float, name: str) -> Region:
    ring = [(y, x), (y, x + side), (y + side, x + side), (y + side, x)]
    return Region((np.array(ring, float),), name)


@pytest.fixture
def regions(viewer: Viewer, predicted: Project) -> RegionsBox:
    session = session_of(viewer)
    session.open_project(predicted.root)
    dock = show_dock(viewer, "Review")
    assert dock.regions.isHidden()
    session.open_slide(SLIDE)
    assert not dock.regions.isHidden()
    assert dock.regions.save.isHidden()
    return dock.regions


def content_hash(project: Project) -> str:
    with project.open_slide(SLIDE) as slide:
        return slide.content_hash


def stored(project: Project) -> list[Region]:
    path = labelled_path(project.review_dir, SLIDE)
    return read_labelled(path, content_hash(project), project.classes)


def names_in(layer: Shapes) -> list[str]:
    return [region.name for region in regions_in(layer)]


def draw(qtbot, regions: RegionsBox) -> None:
    qtbot.mouseClick(regions.draw, LEFT)
    qtbot.waitUntil(lambda: regions.layer() is not None, timeout=20_000)


def test_regions_are_drawn_counted_and_saved(
    qtbot, viewer: Viewer, regions: RegionsBox, predicted: Project
) -> None:
    draw(qtbot, regions)
    layer = regions.layer()
    assert layer.mode == "add_polygon"
    assert viewer.layers.selection.active is layer
    # In pixels of the layer, which begin at their middle.
    layer.add(box(0, 0, 1024, "").rings[0] - 0.5, shape_type="polygon")
    assert regions_in(layer)[0].name == "tumour"
    qtbot.waitUntil(lambda: regions.table.rowCount() == 1, timeout=60_000)
    count = int(regions.table.item(0, 1).text())
    assert count > 0
    assert f"{count} tumour" in regions.text.text()
    assert "Not saved yet" in regions.text.text()
    qtbot.mouseClick(regions.save, LEFT)
    qtbot.waitUntil(lambda: not is_edited(layer), timeout=20_000)
    (region,) = stored(predicted)
    assert region.name == "tumour"
    np.testing.assert_allclose(region.rings[0].max(0), (1024, 1024))
    qtbot.waitUntil(lambda: "Not saved" not in regions.text.text(), timeout=20_000)


def test_a_selected_region_takes_another_class(
    qtbot, regions: RegionsBox, predicted: Project
) -> None:
    path = labelled_path(predicted.review_dir, SLIDE)
    drawn = [box(0, 0, 300, "tumour"), box(400, 400, 200, "normal")]
    write_labelled(path, drawn, content_hash(predicted), "tumour")
    draw(qtbot, regions)
    layer = regions.layer()
    assert [r.name for r in regions_in(layer)] == ["tumour", "normal"]
    colours = np.array(layer.edge_color)
    assert not np.allclose(colours[0], colours[1])
    layer.mode = "select"
    layer.selected_data = {0}
    regions.class_name.setCurrentText("ignore")
    regions.class_name.activated.emit(regions.class_name.currentIndex())
    assert [r.name for r in regions_in(layer)] == ["ignore", "normal"]
    assert not np.allclose(layer.edge_color[0], colours[0])
    np.testing.assert_allclose(layer.edge_color[1], colours[1])


def test_the_class_of_the_next_region_is_not_that_of_the_last(
    qtbot, regions: RegionsBox
) -> None:
    draw(qtbot, regions)
    layer = regions.layer()
    layer.add(box(0, 0, 300, "").rings[0], shape_type="polygon")
    layer.selected_data = {0}  # as napari leaves what has just been drawn
    regions.class_name.setCurrentText("normal")
    regions.class_name.activated.emit(regions.class_name.currentIndex())
    layer.add(box(400, 400, 300, "").rings[0], shape_type="polygon")
    assert [r.name for r in regions_in(layer)] == ["tumour", "normal"]
    assert not np.allclose(*layer.edge_color)


def test_a_line_of_the_table_selects_its_region(qtbot, regions: RegionsBox) -> None:
    draw(qtbot, regions)
    layer, table = regions.layer(), regions.table
    layer.add([[0, 0], [9, 9]], shape_type="line")  # has no area, and no line there
    for side in (300, 200):
        layer.add(box(0, 0, side, "").rings[0], shape_type="polygon")
    qtbot.waitUntil(lambda: table.rowCount() == 2, timeout=60_000)
    table.setCurrentCell(1, 0)
    assert layer.selected_data == {2}
    regions.class_name.activated.emit(0)  # after which nothing is selected
    place = table.visualItemRect(table.item(1, 0)).center()
    qtbot.mouseClick(table.viewport(), LEFT, pos=place)
    assert layer.selected_data == {2}
    layer.selected_data = {1}
    qtbot.keyClick(table, Qt.Key.Key_Delete)
    (left,) = regions_in(layer)
    assert np.ptp(left.rings[0]) == 300
    qtbot.waitUntil(lambda: table.rowCount() == 1, timeout=60_000)


def test_a_hole_is_saved_as_one(qtbot, regions: RegionsBox, predicted: Project) -> None:
    path = labelled_path(predicted.review_dir, SLIDE)
    outer, one, two = (
        box(y, x, side, "tumour").rings[0]
        for y, x, side in ((0, 0, 900), (100, 100, 300), (500, 500, 300))
    )
    write_labelled(
        path, [Region((outer, one, two), "tumour")], content_hash(predicted), "tumour"
    )
    draw(qtbot, regions)
    assert not is_edited(regions.layer())
    regions.layer().add(box(0, 0, 90, "").rings[0], shape_type="polygon")
    with qtbot.waitSignal(regions._save.returned, timeout=20_000):
        qtbot.mouseClick(regions.save, LEFT)
    first = stored(predicted)[0]
    for ring, wanted in zip(first.rings, (outer, one, two), strict=True):
        np.testing.assert_allclose(ring, wanted)


def test_a_file_of_asap_is_imported(
    qtbot, regions: RegionsBox, predicted: Project, tmp_path: Path
) -> None:
    corners = enumerate([(0, 0), (0, 500), (500, 500), (500, 0)])
    points = "".join(
        f'<Coordinate Order="{k}" X="{x}" Y="{y}"/>' for k, (y, x) in corners
    )
    shapes = "".join(
        f'<Annotation Name="{name}" Type="Polygon" PartOfGroup="{name}"><Coordinates>'
        f"{points}</Coordinates></Annotation>"
        for name in ("Normal", "stroma", "None")
    )
    path = tmp_path / "asap.xml"
    path.write_text(
        f"<ASAP_Annotations><Annotations>{shapes}</Annotations></ASAP_Annotations>"
    )
    regions.import_from(path)
    qtbot.waitUntil(lambda: regions.layer() is not None, timeout=20_000)
    layer = regions.layer()
    # What has no class gets the one that is chosen, what has another one waits for it.
    assert names_in(layer) == ["normal", "ignore", "tumour"]
    told = regions.text
    qtbot.waitUntil(
        lambda: "1 without a class got the class tumour" in told.text(), timeout=60_000
    )
    assert "1 with a class that the project does not have (stroma)" in told.text()
    assert layer.selected_data == {1}
    regions.class_name.setCurrentText("normal")
    regions.class_name.activated.emit(regions.class_name.currentIndex())
    assert names_in(layer) == ["normal", "normal", "tumour"]
    qtbot.waitUntil(lambda: "stroma" not in told.text(), timeout=60_000)
    assert stored(predicted) == []


def test_a_file_that_is_none_is_said(
    qtbot, regions: RegionsBox, tmp_path: Path
) -> None:
    path = tmp_path / "broken.geojson"
    path.write_text("{")
    regions.import_from(path)
    qtbot.waitUntil(lambda: "no GeoJSON" in regions.text.text(), timeout=20_000)
    assert regions.layer() is None


def test_what_is_not_saved_waits_for_its_slide(
    qtbot, viewer: Viewer, regions: RegionsBox
) -> None:
    draw(qtbot, regions)
    regions.layer().add(box(0, 0, 500, "").rings[0], shape_type="polygon")
    session_of(viewer).open_slide(SLIDES[1])
    assert regions.layer() is None
    assert [layer.visible for layer in of_kind(viewer, "regions")] == [False]
    session_of(viewer).open_slide(SLIDE)
    assert len(regions_in(regions.layer())) == 1
    assert regions.layer().visible


def test_what_is_saved_is_that_of_the_slide_it_was_drawn_on(
    qtbot, viewer: Viewer, regions: RegionsBox, predicted: Project
) -> None:
    draw(qtbot, regions)
    layer = regions.layer()
    layer.add(box(0, 0, 300, "").rings[0] - 0.5, shape_type="polygon")
    qtbot.mouseClick(regions.save, LEFT)
    session_of(viewer).open_slide(SLIDES[1])
    qtbot.waitUntil(lambda: not is_edited(layer), timeout=20_000)
    assert len(stored(predicted)) == 1


def test_a_region_that_goes_moves_no_camera(
    qtbot, viewer: Viewer, regions: RegionsBox
) -> None:
    draw(qtbot, regions)
    layer = regions.layer()
    for at in (0, 400):
        layer.add(box(at, at, 200, "").rings[0] - 0.5, shape_type="polygon")
    qtbot.waitUntil(lambda: regions.table.rowCount() == 2, timeout=60_000)
    regions.table.setCurrentCell(1, 0)
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], 250)
    layer.selected_data = {1}
    layer.remove_selected()
    qtbot.waitUntil(lambda: regions.table.rowCount() == 1, timeout=60_000)
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], 250)


def test_what_is_on_disk_is_kept_when_its_layer_goes_during_an_import(
    qtbot, viewer: Viewer, regions: RegionsBox, predicted: Project, tmp_path: Path
) -> None:
    path = labelled_path(predicted.review_dir, SLIDE)
    drawn = [box(0, 0, 300, "tumour")]
    write_labelled(path, drawn, content_hash(predicted), "tumour")
    draw(qtbot, regions)
    other = tmp_path / "more.geojson"
    write_labelled(other, [box(400, 400, 200, "normal")], "", "tumour")
    regions.import_from(other)
    viewer.layers.remove(regions.layer())
    qtbot.waitUntil(lambda: regions.layer() is not None, timeout=20_000)
    assert [r.name for r in regions_in(regions.layer())] == ["tumour", "normal"]


def test_regions_are_hidden_from_who_works_blind(
    qtbot, viewer: Viewer, regions: RegionsBox
) -> None:
    draw(qtbot, regions)
    regions.layer().add(box(0, 0, 500, "").rings[0], shape_type="polygon")
    session_of(viewer).set_blind(True)
    assert not regions.layer().visible
    session_of(viewer).set_blind(False)
    assert regions.layer().visible


def test_a_region_with_a_hole_covers_the_same_as_one_ring() -> None:
    hollow = Region((box(0, 0, 100, "").rings[0], box(20, 30, 40, "").rings[0]), "a")
    flat = Region((single_ring(hollow),), "a")
    origins = np.array([[0, 0], [0, 50], [50, 0], [50, 50]])
    np.testing.assert_allclose(
        tile_cover([flat], origins, (50, 50)), tile_cover([hollow], origins, (50, 50))
    )
