"""The Regions box of the Review dock: drawing what tiles show, instead of answering."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGridLayout,
    QGroupBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_weno.camera import look_at
from napari_weno.canvas import noted_on, of_kind
from napari_weno.docks import listen, may_shrink, say, text_label
from napari_weno.jobs import QuietJob
from napari_weno.region_jobs import (
    count_tiles,
    foreign_to,
    import_note,
    read_both,
    save_regions,
)
from napari_weno.region_shapes import (
    keep_width,
    regions_in,
    regions_layer,
    rgba_of,
)
from napari_weno.region_table import RegionTable
from napari_weno.tissue_box import with_area
from weno.geojson import Region, hash_of
from weno.review import IGNORED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Shapes

    from napari_weno.region_jobs import Cover, Tiles
    from napari_weno.session import Session
    from weno.slides import Slide

# Shapes change many times while one is drawn.
_COUNT_MS = 250
_FILES = "Regions of QuPath or ASAP (*.geojson *.json *.xml)"
_INTRODUCTION = (
    "Where a whole area is one class, draw it: every tile that lies in it by half or "
    "more gets its class in the next fit."
)


class RegionsBox(QGroupBox):
    """Draws, imports and saves the labelled regions of the open slide.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Regions", parent)
        self._session = session
        self._tiles: dict[str, Tiles] = {}
        self._shown_before_blind = False
        self._note = ""
        self._saved_from: Shapes | None = None
        self.draw = QPushButton("Draw regions")
        self.load = QPushButton("Import…")
        self.class_name = QComboBox()
        self.save = QPushButton("Save regions")
        self.table = RegionTable()
        self.text = text_label(name="regions")
        self._read, self._save, self._count = (QuietJob(self) for _ in range(3))
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_COUNT_MS)
        self._explain()
        self._lay_out()
        self._connect()
        self._on_project()

    def _explain(self) -> None:
        self.draw.setToolTip(
            "Show the regions of the open slide in a layer of their own, and draw "
            "more: click corner by corner, a double click or Esc ends a polygon"
        )
        self.load.setToolTip(
            "Add polygons of a file: GeoJSON as QuPath exports it, or XML of ASAP. "
            "Classes of the same name are taken over; those of others are selected, "
            "so that you can choose their class"
        )
        self.class_name.setToolTip(
            "Class of those drawn from now on, and of those that are selected, in the "
            "table or with napari's arrow tool; "
            f"tiles in {IGNORED!r} train nothing"
        )
        self.save.setToolTip(
            "Write them into the project, review/regions: the next fit learns from "
            "them. A verdict on a single tile wins over a region"
        )
        may_shrink(self.class_name)

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.addWidget(self.draw, 0, 0)
        grid.addWidget(self.load, 0, 1)
        grid.addWidget(self.class_name, 1, 0)
        grid.addWidget(self.save, 1, 1)
        layout = QVBoxLayout(self)
        layout.addWidget(text_label(_INTRODUCTION))
        layout.addLayout(grid)
        layout.addWidget(self.text)
        layout.addWidget(self.table)

    def _connect(self) -> None:
        session = self._session
        listen(self, session.project_changed, self._on_project)
        listen(self, session.slide_changed, self._on_slide)
        listen(self, session.blind_changed, self._on_blind)
        listen(self, session.files_changed, self._forget_tiles)
        listen(self, session.viewer.layers.events.removed, self._on_removed)
        listen(self, session.viewer.scene.camera.events.zoom, self._keep_width)
        self.draw.clicked.connect(self._show)
        self.load.clicked.connect(self._browse)
        self.save.clicked.connect(self._on_save)
        self.class_name.activated.connect(self._choose_class)
        self.table.chosen.connect(self._on_row)
        self.table.removed.connect(self._remove)
        self._soon.timeout.connect(self._look)
        self._read.returned.connect(self._add)
        self._save.returned.connect(self._on_saved)
        self._count.returned.connect(self._show_cover)
        for job in (self._read, self._save, self._count):
            job.failed.connect(lambda error: say(self.text, str(error)))

    def layer(self) -> Shapes | None:
        """Return the layer with the regions of the open slide, if it is shown."""
        opened = self._session.opened
        for layer in of_kind(self._session.viewer, "regions"):
            if opened and noted_on(layer)["path"] == str(opened.slide.path):
                return layer
        return None

    def import_from(self, path: Path) -> None:
        """Add the polygons of a file to the layer, which is shown first."""
        if self._slide_id() is None:
            return
        self._show(then=path)

    def _slide_id(self) -> str | None:
        opened = self._session.opened
        return opened.slide_id if opened and self._session.project else None

    def _on_project(self, _: object = None) -> None:
        project = self._session.project
        self._tiles = {}
        self.class_name.clear()
        if project is not None:
            self.class_name.addItems([*project.classes, IGNORED])
            self.class_name.setCurrentText(project.positive)
        self._on_slide()

    def _on_slide(self, _: object = None) -> None:
        for job in (self._read, self._count):
            job.cancel()
        self._note = ""
        self.setVisible(self._slide_id() is not None)
        say(self.text, "")
        mine, opened = self.layer(), self._session.opened
        for layer in of_kind(self._session.viewer, "regions"):
            # What is drawn but not saved waits until its slide is shown again.
            layer.visible = layer is mine and not self._session.blind
            if layer is not mine and not is_edited(layer):
                self._session.viewer.layers.remove(layer)
        if mine is not None and opened is not None:
            mine.scale, mine.units = opened.slide.mpp or (1.0, 1.0), opened.layer.units
        self._soon.start(0)
        self._show_choices()

    def _on_removed(self, event: Any) -> None:
        if noted_on(event.value).get("kind") == "regions":
            self._show_choices()

    def _on_blind(self, blind: bool) -> None:
        """Keep what others have drawn from a reviewer who works blind."""
        layer = self.layer()
        if layer is None:
            return
        if blind:
            self._shown_before_blind = layer.visible
            layer.visible = False
        elif self._shown_before_blind:
            layer.visible = True

    def _forget_tiles(self, _: object = None) -> None:
        self._tiles.clear()

    def _show_choices(self) -> None:
        shown = self.layer() is not None
        for widget in (self.class_name, self.save, self.table):
            widget.setVisible(shown)
        if not shown:
            self.table.setRowCount(0)

    def _show(self, _: object = None, then: Path | None = None) -> None:
        """Show the layer, with what is on disk if it is new."""
        slide_id, project = self._slide_id(), self._session.project
        if slide_id is None or project is None:
            return
        if self.layer() is None or then is not None:
            self._read.run(read_both, project, slide_id, then)
        else:
            self._begin_drawing()

    def _browse(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Import regions", "", _FILES)
        if name:
            self.import_from(Path(name))

    def _add(self, found: tuple[list[Region], list[Region]]) -> None:
        """Show regions of the project's file if they are not, add those of another."""
        saved, more = found
        opened, project = self._session.opened, self._session.project
        if opened is None or project is None:
            return
        layer = self.layer()
        if layer is None:
            data, keywords, _ = regions_layer(saved, opened.slide, project.positive)
            layer = self._session.viewer.add_shapes(data, **keywords)
            noted_on(layer)["shown"] = hash_of(regions_in(layer))
            listen(self, layer.events.data, self._look_soon)
        chosen, first = self.class_name.currentText(), len(layer.data)
        foreign = foreign_to(project, more)
        names = [r.name or chosen for r in more]
        for k in foreign:
            names[k] = IGNORED
        added = [Region(r.rings, n) for r, n in zip(more, names, strict=True)]
        self._append(layer, added, opened.slide, project.positive)
        self._begin_drawing()
        if foreign:
            self._select({first + k for k in foreign})
        self._soon.start(0)
        self._show_choices()
        self._note = import_note(more, project, chosen)

    def _append(
        self, layer: Shapes, regions: Sequence[Region], slide: Slide, positive: str
    ) -> None:
        if not regions:
            return
        data, keywords, _ = regions_layer(regions, slide, positive)
        before = layer.features["class"].tolist()
        layer.add(
            data,
            shape_type="polygon",
            edge_color=keywords["edge_color"],
            face_color="transparent",
            edge_width=layer.current_edge_width,
        )
        layer.features = {
            "class": np.array([*before, *(r.name for r in regions)], object)
        }

    def _begin_drawing(self) -> None:
        layer = self.layer()
        if layer is not None:
            layer.visible = True
            self._session.viewer.layers.selection.active = layer
            layer.mode = "add_polygon"
            self._keep_width()
            self._choose_class()

    def _choose_class(self, _: object = None) -> None:
        """Give the class to selected shapes, and to those drawn from now on.

        What was drawn last is selected as well, though nobody has chosen it: the class
        that is chosen while drawing is the next shape's alone.
        """
        layer, project = self.layer(), self._session.project
        name = self.class_name.currentText()
        if layer is None or project is None or not name:
            return
        picking = layer.mode in ("select", "direct")
        selected = sorted(layer.selected_data) if picking else []
        if selected:
            self._note = ""
            layer.features.loc[selected, "class"] = name
            colors = np.array(layer.edge_color)
            colors[selected] = rgba_of(name, project.positive)
            layer.edge_color = colors
        layer.selected_data = set()
        layer.feature_defaults = {"class": [name]}
        layer.current_edge_color = rgba_of(name, project.positive)
        layer.current_face_color = "transparent"
        self._soon.start()

    def _keep_width(self, _: object = None) -> None:
        layer = self.layer()
        if layer is not None:
            keep_width(layer, self._session.viewer.scene.camera.zoom)

    def _on_save(self) -> None:
        layer, slide_id = self.layer(), self._slide_id()
        if layer is not None and slide_id is not None:
            drawn = regions_in(layer)
            self._saved_from = layer
            self._save.run(save_regions, self._session.project, slide_id, drawn)

    def _on_saved(self, saved: str) -> None:
        # Another slide may be open by now.
        if self._saved_from is not None:
            noted_on(self._saved_from)["shown"] = saved
        self._session.files_changed.emit()
        self._look()

    def _look_soon(self, _: object = None) -> None:
        self._soon.start()

    def _look(self) -> None:
        """Count in the background what the regions cover now."""
        layer, slide_id = self.layer(), self._slide_id()
        if layer is not None and slide_id is not None:
            if slide_id not in self._tiles:
                say(self.text, "Looking for the tiles of this slide…")
            self._count.run(
                count_tiles,
                self._session.project,
                slide_id,
                regions_in(layer),
                self._tiles,
            )

    def _show_cover(self, cover: Cover) -> None:
        layer = self.layer()
        if layer is None:
            return
        regions = regions_in(layer)
        if len(regions) != len(cover.tiles):  # drawn since; it is counted again
            return
        rows = zip((region.name for region in regions), cover.tiles, strict=True)
        self.table.show_rows(list(rows))
        state = ["Not saved yet.", self._note] if is_edited(layer) else []
        say(self.text, " ".join(filter(None, [cover.text, *state])))

    def _on_row(self, row: int) -> None:
        """Go to a region and select it."""
        layer, opened = self.layer(), self._session.opened
        regions = [] if layer is None else regions_in(layer)
        if opened is None or not 0 <= row < len(regions):
            return
        ring, mpp = regions[row].rings[0], np.array(opened.slide.mpp or (1.0, 1.0))
        low, high = ring.min(0) * mpp, ring.max(0) * mpp
        viewer = self._session.viewer
        zoom = min(viewer.canvas.size) / (1.5 * max(float((high - low).max()), 1.0))
        y, x = (low + high) / 2
        look_at(viewer, y, x, zoom)
        self._select({with_area(layer)[row]})

    def _select(self, shapes: set[int]) -> None:
        """Select shapes: what class is chosen now, they get."""
        layer = self.layer()
        if layer is not None:
            self._session.viewer.layers.selection.active = layer
            layer.mode = "select"
            layer.selected_data = shapes

    def _remove(self, row: int) -> None:
        layer = self.layer()
        if layer is not None:
            self._select({with_area(layer)[row]})
            layer.remove_selected()


def is_edited(layer: Shapes) -> bool:
    """Tell whether a layer holds other regions than those on disk."""
    return noted_on(layer).get("shown") != hash_of(regions_in(layer))
