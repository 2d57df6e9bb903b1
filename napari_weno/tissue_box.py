"""The Tissue box of the Cohort dock: the outline of the open slide, and its tiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QGroupBox, QHBoxLayout, QPushButton, QVBoxLayout

from napari_weno.canvas import noted_on, of_kind
from napari_weno.docks import listen, say, text_label
from napari_weno.jobs import QuietJob
from napari_weno.layers import TISSUE_COLORS, grid_layer, tissue_layer
from napari_weno.matching import slides_of
from weno.geojson import Region, hash_of, read_regions
from weno.tiles import IGNORE, TISSUE, tile_grid

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence

    import numpy.typing as npt
    from napari.layers import Shapes
    from qtpy.QtWidgets import QWidget

    from napari_weno.opened import OpenedSlide
    from napari_weno.session import Session
    from weno.project import Project
    from weno.tiles import TileGrid

_LINE_PX = 2.5  # width on screen
_SHOWN_UM = 8.0  # how far a line on screen may be off the outline of the file
_WITH_AREA = ("polygon", "rectangle", "ellipse")
_ROUND = np.linspace(0, 2 * np.pi, 64, endpoint=False)


@dataclass(frozen=True, slots=True)
class Found:
    """The tissue of one slide, to be shown.

    Parameters
    ----------
    regions : sequence of Region
        Simplified for the screen.
    grid : TileGrid
    text : str
        Area, tiles, time and disk.
    saved : str
        Hash of what a person had drawn, empty if nothing was.
    """

    regions: Sequence[Region]
    grid: TileGrid
    text: str
    saved: str


def look_for(
    project: Project, slide_id: str, painted: Sequence[Region] | None = None
) -> Generator[None, None, Found]:
    """Find the tissue of a slide, or read its outline, and tell what there is to tile.

    Parameters
    ----------
    project : Project
    slide_id : str
    painted : sequence of Region, optional
        What a person has drawn: becomes the outline first, see `Outline.save`.
    """
    from weno.features import cost_text, quick_encoder, seconds_to_encode

    outline = project.outline(slide_id)
    with project.open_slide(slide_id) as slide:
        if painted is not None:
            outline.save(slide, painted)
        tissue = outline.find(slide)
        yield
        grid = tile_grid(slide, project.spec, tissue)
        tolerance = _SHOWN_UM / (slide.mpp or (1.0, 1.0))[0]
        shown = [_simplified(r, tolerance) for r in read_regions(outline.path)]
        yield
        encoder = quick_encoder(project.encoder)
        seconds = seconds_to_encode(slide, grid, project.spec, encoder)
    cost = cost_text(
        len(grid), seconds if encoder else None, encoder.dim if encoder else None
    )
    text = f"{tissue.area_mm2:,.2f} mm² of tissue ({outline.state}): {cost}"
    return Found(shown, grid, text, "" if painted is None else hash_of(painted))


def _simplified(region: Region, tolerance: float) -> Region:
    """Drop corners of a region, which is then off by no more than `tolerance`."""
    from skimage.measure import approximate_polygon

    rings = [
        approximate_polygon(np.concatenate([ring, ring[:1]]), tolerance)[:-1]
        for ring in region.rings
    ]
    return Region(tuple(ring for ring in rings if len(ring) >= 3), region.name)


class TissueBox(QGroupBox):
    """Finds the tissue of the open slide, lets people edit it, shows its tiles.

    Parameters
    ----------
    session : Session
    """

    #: An outline was saved: other tiles are going to be cut.
    saved = Signal()

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Tissue", parent)
        self._session = session
        self.find_button = QPushButton("Find tissue")
        self.draw = QComboBox()
        self.save_button = QPushButton("Save outline")
        self.text = text_label(name="tissue")
        self._job = QuietJob(self)
        # What was drawn is written whatever else is looked at meanwhile.
        self._save_job = QuietJob(self)
        self._being_saved: Shapes | None = None
        self._explain()
        self._lay_out()
        self._connect()
        self._on_slide()

    def _explain(self) -> None:
        self.find_button.setToolTip(
            "Find the tissue of the open slide, or show the outline that is there, and "
            "the tiles it is going to be cut into"
        )
        self.draw.addItem("New shapes add", TISSUE)
        self.draw.addItem("New shapes take away", IGNORE)
        self.draw.setToolTip(
            "What a shape does that is drawn in the layer tissue; a later one lies "
            "over those before it"
        )
        self.save_button.setToolTip(
            "Write the layer tissue into the project: tiles are cut by it from now on"
        )

    def _lay_out(self) -> None:
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.find_button)
        first.addStretch()
        second.addWidget(self.draw)
        second.addWidget(self.save_button)
        second.addStretch()
        layout = QVBoxLayout(self)
        layout.addLayout(first)
        layout.addLayout(second)
        layout.addWidget(self.text)

    def _connect(self) -> None:
        session = self._session
        listen(self, session.slide_changed, self._on_slide)
        listen(self, session.project_changed, self._on_slide)
        listen(self, session.viewer.layers.events.removed, self._show_choices)
        listen(self, session.viewer.scene.camera.events.zoom, self._keep_width)
        self.find_button.clicked.connect(self._find)
        self.save_button.clicked.connect(self._save)
        self.draw.currentIndexChanged.connect(self._choose_class)
        self._job.returned.connect(self._show)
        self._save_job.returned.connect(self._on_saved)
        self._save_job.ended.connect(lambda: self.save_button.setEnabled(True))
        for job in (self._job, self._save_job):
            job.failed.connect(lambda error: say(self.text, str(error)))

    def _slide_id(self) -> str | None:
        opened = self._session.opened
        return opened.slide_id if opened and self._session.project else None

    def _is_of_open_slide(self, layer: Shapes) -> bool:
        opened = self._session.opened
        return opened is not None and noted_on(layer)["path"] == str(opened.slide.path)

    def _layer(self) -> Shapes | None:
        for layer in of_kind(self._session.viewer, "tissue"):
            if self._is_of_open_slide(layer):
                return layer
        return None

    def _on_slide(self, _: OpenedSlide | Project | None = None) -> None:
        self._job.cancel()
        self.setVisible(self._slide_id() is not None)
        say(self.text, "")
        mine, opened = self._layer(), self._session.opened
        for layer in of_kind(self._session.viewer, "tissue"):
            # What is drawn but not saved waits until its slide is shown again.
            layer.visible = layer is mine
            if layer is not mine and not is_edited(layer):
                self._session.viewer.layers.remove(layer)
        if mine is not None and opened is not None:
            mine.scale, mine.units = opened.slide.mpp or (1.0, 1.0), opened.layer.units
        self._drop("grid")
        self._show_choices()

    def _show_choices(self, _: object = None) -> None:
        shown = self._layer() is not None
        for widget in (self.draw, self.save_button):
            widget.setVisible(shown)

    def _find(self) -> None:
        layer = self._layer()
        if layer is not None and is_edited(layer):
            say(self.text, "Save the outline, or delete the layer to drop the edits.")
        else:
            say(self.text, "Looking for tissue…")
            self._job.run(look_for, self._session.project, self._slide_id())

    def _save(self) -> None:
        layer = self._layer()
        if layer is not None:
            self._job.cancel()
            say(self.text, "Saving…")
            self.save_button.setEnabled(False)
            self._being_saved = layer
            self._save_job.run(
                look_for, self._session.project, self._slide_id(), drawn_in(layer)
            )

    def _on_saved(self, found: Found) -> None:
        saved, self._being_saved = self._being_saved, None
        assert saved is not None
        noted_on(saved)["shown"] = found.saved
        if self._is_of_open_slide(saved):
            self._show(found)
        else:
            if saved in self._session.viewer.layers and not is_edited(saved):
                self._session.viewer.layers.remove(saved)
            self._session.files_changed.emit()
        self.saved.emit()

    def _show(self, found: Found) -> None:
        opened = self._session.opened
        if opened is None or opened.slide.mpp is None:
            return
        say(self.text, found.text)
        viewer = self._session.viewer
        self._drop("grid")
        data, keywords, _ = grid_layer(found.grid, opened.slide.mpp)
        viewer.add_points(data, **keywords)
        self._session.files_changed.emit()
        if (old := self._layer()) is not None:
            if is_edited(old):  # since the job began
                self._on_drawn()
                return
            viewer.layers.remove(old)
        data, keywords, _ = tissue_layer(found.regions, opened.slide)
        layer = viewer.add_shapes(data, **keywords)
        noted_on(layer)["shown"] = hash_of(drawn_in(layer))
        listen(self, layer.events.data, self._on_drawn)
        self._keep_width()
        self._choose_class()
        self._show_choices()

    def _on_drawn(self, _: object = None) -> None:
        layer = self._layer()
        if layer is not None and is_edited(layer):
            say(self.text, "Edited and not saved: tiles are cut by the outline before.")

    def _choose_class(self, _: object = None) -> None:
        """Let shapes that are drawn from now on be of the chosen class."""
        layer, name = self._layer(), self.draw.currentData()
        if layer is not None:
            # Both also change what is selected.
            layer.selected_data = set()
            layer.feature_defaults = {"class": [name]}
            layer.current_edge_color = TISSUE_COLORS[name]
            layer.current_face_color = "transparent"

    def _keep_width(self, _: object = None) -> None:
        """Keep the outline equally thin on screen: Shapes know only data units."""
        layer = self._layer()
        if layer is None:
            return
        width = _LINE_PX / (self._session.viewer.scene.camera.zoom * layer.scale[0])
        if not 0.6 < layer.current_edge_width / width < 1.6:
            layer.selected_data = set()
            layer.edge_width = width
            layer.current_edge_width = width

    def _drop(self, kind: str) -> None:
        for layer in of_kind(self._session.viewer, kind):
            self._session.viewer.layers.remove(layer)


def edited_slides(session: Session, slide_ids: Collection[str]) -> list[str]:
    """Return those of some slides whose outline was drawn on and is not saved."""
    paths = {
        Path(noted_on(layer)["path"]).resolve()
        for layer in of_kind(session.viewer, "tissue")
        if is_edited(layer)
    }
    rows = slides_of(session.project) if paths else []
    edited = {row.slide_id for row in rows if row.path in paths}
    return [slide_id for slide_id in slide_ids if slide_id in edited]


def not_saved_text(slide_ids: Collection[str]) -> str:
    """Say why slides are not prepared; empty for none."""
    if not slide_ids:
        return ""
    return (
        f"Not prepared: the outline of {', '.join(slide_ids)} was edited and is not "
        "saved. Save it, or delete the layer tissue to drop the edits."
    )


def is_edited(layer: Shapes) -> bool:
    """Tell whether a tissue layer differs from the outline it was made of."""
    return noted_on(layer).get("shown") != hash_of(drawn_in(layer))


def drawn_in(layer: Shapes) -> list[Region]:
    """Return the shapes of a tissue layer that have an area, the lowest first."""
    shapes: Any = zip(
        layer.data, layer.shape_type, layer.features["class"], strict=True
    )
    return [
        Region((_corners(vertices, kind) + 0.5,), str(name))
        for vertices, kind, name in shapes
        if kind in _WITH_AREA
    ]


def with_area(layer: Shapes) -> list[int]:
    """Return the indices of the shapes that have an area."""
    return [k for k, kind in enumerate(layer.shape_type) if kind in _WITH_AREA]


def _corners(vertices: npt.NDArray[Any], kind: str) -> npt.NDArray[np.float64]:
    corners = np.asarray(vertices, np.float64)  # (M, 2)
    if kind != "ellipse":
        return corners
    centre = corners.mean(axis=0)
    right, down = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    across, along = np.cos(_ROUND)[:, None], np.sin(_ROUND)[:, None]
    ring: npt.NDArray[np.float64] = centre + across * right + along * down
    return ring
