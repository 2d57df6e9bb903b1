from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from qtpy.QtCore import Qt

from napari_weno.canvas import of_kind
from napari_weno.session import session_of, show_dock
from napari_weno.survey import Memory, survey
from napari_weno.tissue_box import drawn_in, is_edited, look_for
from weno.features import extract, read_header
from weno.geojson import Region
from weno.project import Project
from weno.tiles import IGNORE, TISSUE, tile_grid

LEFT = Qt.MouseButton.LeftButton
SLIDE = "synthetic_000"


@pytest.fixture
def dock(viewer: Viewer, new_project: Project, qtbot):
    """The Cohort dock with the outline of a slide on screen."""
    session = session_of(viewer)
    session.open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    assert dock.tissue.isHidden()
    session.open_slide(SLIDE)
    assert not dock.tissue.isHidden()
    assert dock.tissue.save_button.isHidden()
    find(dock, qtbot)
    return dock


def find(dock, qtbot) -> None:
    with qtbot.waitSignal(dock.tissue._job.returned, timeout=60_000):
        qtbot.mouseClick(dock.tissue.find_button, LEFT)


def layer_of(viewer: Viewer, kind: str):
    (layer,) = of_kind(viewer, kind)
    return layer


def grid_of(project: Project):
    with project.open_slide(SLIDE) as slide:
        return tile_grid(slide, project.spec, project.outline(SLIDE).find(slide))


def test_outline_and_tiles_are_shown(
    viewer: Viewer, dock, new_project: Project
) -> None:
    tissue, tiles = layer_of(viewer, "tissue"), layer_of(viewer, "grid")
    grid = grid_of(new_project)
    assert new_project.outline(SLIDE).path.is_file()
    assert len(tiles.data) == len(grid)
    first = (grid.origins[0] + (np.array(grid.tile_l0) - 1) / 2) * tissue.scale
    np.testing.assert_allclose(tiles.data[0], first)
    assert f"{len(grid):,} tiles, about" in dock.tissue.text.text()
    assert "MB on disk" in dock.tissue.text.text()
    # In the coordinates of the canvas the outline lies around the tiles.
    corners = np.concatenate(tissue.data) * tissue.scale
    assert (tiles.data > corners.min(0) - tiles.size[0] / 2).all()
    assert (tiles.data < corners.max(0) + tiles.size[0] / 2).all()
    assert set(tissue.features["class"]) <= {TISSUE, IGNORE}


def test_what_is_drawn_is_what_is_tiled(
    viewer: Viewer, dock, new_project: Project, qtbot
) -> None:
    layer = layer_of(viewer, "tissue")
    deque(extract(new_project, [SLIDE]), maxlen=0)
    before = read_header(new_project.features_path(SLIDE)).shape[0]
    layer.selected_data = set(range(len(layer.data)))
    layer.remove_selected()
    layer.add_rectangles([[-0.5, -0.5], [-0.5, 511.5], [511.5, 511.5], [511.5, -0.5]])
    dock.tissue.draw.setCurrentIndex(1)
    layer.add_ellipses([[127.5, 127.5], [127.5, 383.5], [383.5, 383.5], [383.5, 127.5]])
    assert list(layer.features["class"]) == [TISSUE, IGNORE]
    with qtbot.waitSignal(dock.tissue.saved, timeout=60_000):
        qtbot.mouseClick(dock.tissue.save_button, LEFT)
    assert new_project.outline(SLIDE).state == "edited"
    assert "(edited)" in dock.tissue.text.text()
    grid = grid_of(new_project)
    assert len(grid) == len(layer_of(viewer, "grid").data)
    # 16 tiles of 128 px, of which the ellipse takes four nearly whole.
    assert grid.shape == (8, 8)
    assert len(grid) == 12
    states = {
        s.row.slide_id: s
        for s in deque(survey(new_project, None, Memory()), 1)[0].states
    }
    assert not states[SLIDE].has_features, "they are of another outline"
    deque(extract(new_project, [SLIDE]), maxlen=0)
    assert read_header(new_project.features_path(SLIDE)).shape[0] == 12 != before


def test_a_saved_outline_changes_what_preparing_takes(
    viewer: Viewer, dock, new_project: Project, qtbot
) -> None:
    prepare = dock.prepare

    def told(count: int) -> bool:
        return prepare.preview.text().startswith(f"{count:,} tiles in 1 slide")

    prepare.choice.setCurrentIndex(0)
    before = len(grid_of(new_project))
    qtbot.waitUntil(lambda: told(before), timeout=60_000)
    layer = layer_of(viewer, "tissue")
    layer.selected_data = set(range(len(layer.data)))
    layer.remove_selected()
    layer.add_rectangles([[-0.5, -0.5], [-0.5, 511.5], [511.5, 511.5], [511.5, -0.5]])
    qtbot.mouseClick(dock.tissue.save_button, LEFT)
    qtbot.waitUntil(lambda: told(16), timeout=60_000)
    assert before != 16


def test_unsaved_edits_wait_for_their_slide(
    viewer: Viewer, dock, new_project: Project, qtbot
) -> None:
    session_of(viewer).open_slide("synthetic_001")
    assert not of_kind(viewer, "tissue"), "it is in its file"
    session_of(viewer).open_slide(SLIDE)
    find(dock, qtbot)
    layer = layer_of(viewer, "tissue")
    layer.add_polygons([[0, 0], [0, 400], [400, 400], [400, 0]])
    session_of(viewer).open_slide("synthetic_001")
    assert not layer.visible
    assert not of_kind(viewer, "grid")
    assert dock.tissue.save_button.isHidden()
    session_of(viewer).open_slide(SLIDE)
    assert layer.visible
    assert not dock.tissue.save_button.isHidden()
    count = len(layer.data)
    qtbot.mouseClick(dock.tissue.find_button, LEFT)
    assert "Save the outline" in dock.tissue.text.text()
    assert len(layer_of(viewer, "tissue").data) == count


def test_a_slide_is_not_prepared_by_an_outline_that_is_not_saved(
    viewer: Viewer, dock, new_project: Project, qtbot
) -> None:
    prepare, layer = dock.prepare, layer_of(viewer, "tissue")
    layer.add_rectangles([[0, 0], [0, 90], [90, 90], [90, 0]])
    assert "not saved" in dock.tissue.text.text()
    prepare.choice.setCurrentIndex(0)
    qtbot.waitUntil(prepare.job.button.isEnabled)
    qtbot.mouseClick(prepare.job.button, LEFT)
    assert f"the outline of {SLIDE} was edited" in prepare.job.text.text()
    assert not prepare.job.running
    with qtbot.waitSignal(dock.tissue.saved, timeout=60_000):
        qtbot.mouseClick(dock.tissue.save_button, LEFT)
    with qtbot.waitSignal(prepare.job.returned, timeout=60_000):
        qtbot.mouseClick(prepare.job.button, LEFT)
    assert new_project.features_path(SLIDE).is_file()


def test_nor_is_it_prepared_to_be_predicted(
    viewer: Viewer, demo_project: Project, qtbot
) -> None:
    demo_project.features_path(SLIDE).unlink()
    session = session_of(viewer)
    session.open_project(demo_project.root)
    session.open_slide(SLIDE)
    find(show_dock(viewer, "Cohort"), qtbot)
    layer_of(viewer, "tissue").add_rectangles([[0, 0], [0, 90], [90, 90], [90, 0]])
    model = show_dock(viewer, "Explain").model
    qtbot.mouseClick(model.job.button, LEFT)
    assert "is not saved" in model.job.text.text()
    assert not model.job.running


def test_what_is_drawn_while_it_saves_stays(
    viewer: Viewer, dock, new_project: Project, qtbot
) -> None:
    layer = layer_of(viewer, "tissue")
    layer.add_polygons([[0, 0], [0, 400], [400, 400], [400, 0]])
    with qtbot.waitSignal(dock.tissue.saved, timeout=60_000):
        qtbot.mouseClick(dock.tissue.save_button, LEFT)
        layer.add_polygons([[600, 600], [600, 900], [900, 900], [900, 600]])
    assert new_project.outline(SLIDE).state == "edited"
    assert layer_of(viewer, "tissue") is layer
    assert is_edited(layer)
    with qtbot.waitSignal(dock.tissue.saved, timeout=60_000):
        qtbot.mouseClick(dock.tissue.save_button, LEFT)
    assert not is_edited(layer_of(viewer, "tissue"))


def test_what_is_saved_is_saved_though_another_slide_is_opened(
    viewer: Viewer, dock, new_project: Project, qtbot
) -> None:
    session = session_of(viewer)
    layer = layer_of(viewer, "tissue")
    layer.add_polygons([[0, 0], [0, 400], [400, 400], [400, 0]])
    with qtbot.waitSignal(dock.tissue.saved, timeout=60_000):
        qtbot.mouseClick(dock.tissue.save_button, LEFT)
        assert not dock.tissue.save_button.isEnabled()
        session.open_slide("synthetic_001")
    assert new_project.outline(SLIDE).state == "edited"
    assert new_project.outline("synthetic_001").state != "edited"
    # Neither the outline nor the tiles of the one are on the other.
    assert not of_kind(viewer, "tissue")
    assert not of_kind(viewer, "grid")
    session.open_slide(SLIDE)
    find(dock, qtbot)
    assert dock.tissue.save_button.isEnabled()
    assert not is_edited(layer_of(viewer, "tissue"))


def test_an_outline_that_could_not_be_saved_can_be_saved_again(
    viewer: Viewer, dock, new_project: Project, qtbot, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = layer_of(viewer, "tissue")
    layer.add_polygons([[0, 0], [0, 400], [400, 400], [400, 0]])

    def fail(*_: object) -> Iterator[None]:
        yield
        raise OSError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr("napari_weno.tissue_box.look_for", fail)
        qtbot.mouseClick(dock.tissue.save_button, LEFT)
        qtbot.waitUntil(dock.tissue.save_button.isEnabled, timeout=60_000)
    assert "the disk is full" in dock.tissue.text.text()
    assert is_edited(layer)
    with qtbot.waitSignal(dock.tissue.saved, timeout=60_000):
        qtbot.mouseClick(dock.tissue.save_button, LEFT)
    assert new_project.outline(SLIDE).state == "edited"


def test_a_network_is_not_loaded_to_guess_the_time(new_project: Project) -> None:
    path = new_project.root / "project.toml"
    text = path.read_text("utf-8")
    assert 'encoder = "texture"' in text
    path.write_text(text.replace('encoder = "texture"', 'encoder = "uni"'), "utf-8")
    job = look_for(Project.open(new_project.root), SLIDE)
    while True:
        try:
            next(job)
        except StopIteration as stop:
            found = stop.value
            break
    assert found.text.endswith(f"{len(found.grid):,} tiles")


def test_a_damaged_outline_is_told(viewer: Viewer, new_project: Project, qtbot) -> None:
    path = new_project.outline(SLIDE).path
    path.parent.mkdir()
    path.write_text("{")
    session = session_of(viewer)
    session.open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    session.open_slide(SLIDE)
    with qtbot.waitSignal(dock.tissue._job.failed, timeout=60_000):
        qtbot.mouseClick(dock.tissue.find_button, LEFT)
    assert "no GeoJSON" in dock.tissue.text.text()
    assert not of_kind(viewer, "tissue")


def test_holes_and_islands_come_back(viewer: Viewer, new_project: Project) -> None:
    from napari_weno.layers import tissue_layer

    def box(low: float, high: float) -> np.ndarray:
        return np.array([[low, low], [low, high], [high, high], [high, low]])

    island = Region((box(200, 300),), TISSUE)
    around = Region((box(0, 500), box(100, 400)), TISSUE)
    with new_project.open_slide(SLIDE) as slide:
        data, keywords, _ = tissue_layer([island, around], slide)
        drawn = drawn_in(viewer.add_shapes(data, **keywords))
    assert [region.name for region in drawn] == [TISSUE, IGNORE, TISSUE]
    boxes = (box(0, 500), box(100, 400), box(200, 300))
    for region, corners in zip(drawn, boxes, strict=True):
        np.testing.assert_allclose(region.rings[0], corners)


def test_a_slide_without_tissue_can_be_outlined(
    viewer: Viewer, dock, new_project: Project, qtbot
) -> None:
    layer = layer_of(viewer, "tissue")
    layer.selected_data = set(range(len(layer.data)))
    layer.remove_selected()
    for _ in range(2):  # saved empty, shown empty
        with qtbot.waitSignal(dock.tissue.saved, timeout=60_000):
            qtbot.mouseClick(dock.tissue.save_button, LEFT)
    assert "0 tiles" in dock.tissue.text.text()
    layer = layer_of(viewer, "tissue")
    layer.add_polygons([[0, 0], [0, 400], [400, 400], [400, 0]])
    assert list(layer.features["class"]) == [TISSUE]
    assert Path(new_project.outline(SLIDE).path).is_file()
