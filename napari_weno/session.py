"""What the docks of one viewer share: project, open slide, prediction, chosen tile.

Main thread only. Docks listen to the signals and call the methods; only the session
adds our layers to the viewer and takes them away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from psygnal import Signal

from napari_weno.camera import grow_world, look_at
from napari_weno.canvas import (
    OVERLAYS,
    frame_tile,
    noted_on,
    of_kind,
    start_afresh,
    update_slide,
)
from napari_weno.clicks import Clicks
from napari_weno.colours import show_as_preferred
from napari_weno.corner import Corner
from napari_weno.docks import notifying
from napari_weno.drawing import Drawing
from napari_weno.hover import Hover
from napari_weno.layers import slide_layer, tile_centres
from napari_weno.matching import (
    check_fits,
    differs,
    row_of,
    run_to_show,
    stored_prediction,
)
from napari_weno.measure import Ruler
from napari_weno.offers import Questions
from napari_weno.opened import OpenedSlide
from napari_weno.preferences import PLUGIN, TITLE, apply_preferences, preferences
from napari_weno.recent import remember
from napari_weno.streaming import follow
from weno.errors import ProjectError, WenoError
from weno.project import Project
from weno.slide_import import add_file
from weno.slides import open_slide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari.layers import Image, Layer
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_weno.layers import Display
    from weno.prediction import Prediction
    from weno.review import ReviewTile
    from weno.slides import Slide
    from weno.table_text import Edit
    from weno.tiles import TileGrid


class Session:
    """The state that the docks of one viewer share; get it from `session_of`."""

    #: The open `Project`, or None.
    project_changed = Signal(object)
    #: The `OpenedSlide`, or None.
    slide_changed = Signal(object)
    #: The `Prediction` for the open slide, or None.
    prediction_changed = Signal(object)
    #: Index of the chosen tile of the prediction, or None.
    tile_changed = Signal(object)
    #: Ids of the slides that are selected in the Cohort dock.
    selected_changed = Signal(list)
    #: Whether a reviewer works blind: no model values may be on screen.
    blind_changed = Signal(bool)
    #: Files of the project have changed: features, runs, predictions or verdicts.
    files_changed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        # The dictionary of sessions lives as long as the program; a strong reference
        # from here would keep every viewer alive with it.
        self._viewer = ref(viewer)
        self.project: Project | None = None
        self.selected: list[str] = []
        # What models from folders say, by folder and content of the slide.
        self.loaded: dict[tuple[Path, str], Prediction] = {}
        self.run: str | None = None
        self.opened: OpenedSlide | None = None
        self.prediction: Prediction | None = None
        self._grid: TileGrid | None = None
        self.tile: int | None = None
        #: What the reviewer at work has answered, by tile of the prediction.
        self.verdicts: dict[int, str] = {}
        self.blind = False
        self.display: Display = preferences("overlays").display
        self._drawing = Drawing(self)
        viewer.layers.events.inserted.connect(self._on_layer_inserted)
        viewer.layers.events.removed.connect(self._on_layer_removed)
        #: Measures distances on the open slide.
        self.ruler = Ruler(self)
        self._companions: list[object] = [Clicks(self)]
        if hasattr(viewer, "window"):
            self._companions += [Corner(self), Questions(self), Hover(self)]
        for layer in viewer.layers:
            self._adopt(layer)

    @property
    def viewer(self) -> Viewer:
        """The viewer that the session belongs to."""
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("the viewer of this session is gone")
        return viewer

    def open_project(self, folder: str | Path) -> Project:
        """Open a project; its newest run that has predictions becomes the chosen one.

        Raises
        ------
        ProjectError
            If the folder is no project.
        """
        project = Project.open(folder)
        self.project = project
        self.selected = []
        self.run = run_to_show(project)
        remember(project)
        self.project_changed.emit(project)
        if self.opened is not None:
            self._set_opened(self.opened.slide, self.opened.layer)
        return project

    def open_slide(self, slide_id: str, *, whole: bool = True) -> None:
        """Show a slide of the project in place of the one shown now.

        Parameters
        ----------
        slide_id : str
        whole : bool
            False for who frames a tile and moves the camera there next: each change
            of either takes napari long.

        Raises
        ------
        ProjectError
            If there is no project or it has no such slide.
        SlideError
            If the slide cannot be opened; the one shown now stays.
        """
        if self.project is None:
            raise ProjectError("open a project first")
        data, keywords, _ = slide_layer(self.project.open_slide(slide_id), slide_id)
        if self.opened is None:
            self.viewer.add_image(data, **keywords)
        else:
            self._replace_slide(self.opened.layer, data, keywords)
        if whole or self.prediction is None:
            self.show_outline(None)
            self.viewer.reset_view()

    def add_open_slide(self) -> Edit:
        """Add the open slide to the project; return what that has changed in the table.

        Raises
        ------
        ProjectError
            If no project or no slide is open.
        """
        if self.project is None or self.opened is None:
            raise ProjectError("open a project and a slide first")
        slide = self.opened.slide
        given = slide.mpp if slide.mpp_source == "given" else None
        edit = add_file(self.project, slide.path, mpp=given[0] if given else None)
        self.match_opened()
        self.files_changed.emit()
        return edit

    def match_opened(self) -> None:
        """Look again which slide of the project is open: the table has changed."""
        opened = self.opened
        if opened is None:
            return
        row = row_of(self.project, opened.slide)
        if (row.slide_id if row else None) != opened.slide_id:
            self._set_opened(opened.slide, opened.layer)

    def set_mpp(self, mpp: float) -> None:
        """Give the open slide a pixel size; what is on screen stays there.

        A slide of the project keeps it in slides.csv.

        Parameters
        ----------
        mpp : float
            Size of a level-0 pixel in µm.

        Raises
        ------
        ProjectError
            If no slide is open.
        SlideError
            If it cannot be opened again.
        """
        opened = self.opened
        if opened is None:
            raise ProjectError("open a slide first")
        again = open_slide(opened.slide.source, mpp=mpp)
        if self.project is not None and opened.slide_id is not None:
            self.project.set_mpp(opened.slide_id, mpp)
        self.show_outline(None)
        self._replace_slide(opened.layer, *slide_layer(again, opened.layer.name)[:2])
        grow_world(self.viewer, np.divide(mpp, opened.slide.mpp or (1.0, 1.0)))
        self.files_changed.emit()

    def select_slides(self, slide_ids: list[str]) -> None:
        """Say which slides of the project are selected."""
        if slide_ids != self.selected:
            self.selected = slide_ids
            self.selected_changed.emit(slide_ids)

    def choose_run(self, run: str | None) -> None:
        """Choose the run whose predictions are shown."""
        self.run = run
        self.load_prediction()

    def load_prediction(self) -> None:
        """Show what the chosen run predicts for the open slide, if that is on disk.

        Raises
        ------
        RunError
            If it cannot be read or does not fit the slide; no prediction is shown.
        """
        try:
            self.show_prediction(stored_prediction(self.project, self.run, self.opened))
        except (WenoError, OSError):
            # What was shown would be taken for what this run says of this slide.
            self.show_prediction(None)
            raise

    def show_prediction(self, prediction: Prediction | None) -> None:
        """Show a prediction for the open slide; None takes the overlays away.

        Layers that are there already keep the visibility, opacity, colormap and
        order that the user gave them.

        Raises
        ------
        RunError
            If the prediction is for another slide, or for another pixel size.
        """
        if prediction is not None and self.opened is not None:
            check_fits(prediction, self.opened)
        self.prediction = prediction
        self._grid = None if prediction is None else prediction.grid
        self.tile = None
        self.redraw()
        self.prediction_changed.emit(prediction)
        self.tile_changed.emit(None)

    def set_display(self, display: Display) -> None:
        """Choose how attention is shown; its contrast limits start afresh."""
        self.display = display
        start_afresh(self.viewer, "attention", "re-attention")
        self.redraw()

    def redraw(self) -> None:
        """Draw the overlays of the prediction anew."""
        self._drawing.draw()
        layers, opened = self.viewer.layers, self.opened
        if opened and opened.layer in layers and not self.ruler.measuring:
            layers.selection.active = opened.layer

    def set_blind(self, blind: bool) -> None:
        """Say whether model values must stay off the screen for now."""
        if blind != self.blind:
            self.blind = blind
            self._drawing.catch_up()
            self.blind_changed.emit(blind)

    def show_verdicts(self, verdicts: Mapping[int, str]) -> None:
        """Mark the candidates of the prediction that a person has answered.

        Parameters
        ----------
        verdicts : mapping of tile index to verdict
            Kept until another slide is opened.
        """
        self.verdicts = dict(verdicts)
        self._drawing.mark_verdicts()

    def show_outline(self, tile: ReviewTile | None) -> None:
        """Frame a tile of the open slide; None hides the frame."""
        mpp = self.opened.slide.mpp if self.opened else None
        frame_tile(self.viewer, tile if self.opened else None, mpp or (1.0, 1.0))

    def drop_outline(self) -> None:
        """Take the frame away."""
        for layer in of_kind(self.viewer, "outline"):
            self.viewer.layers.remove(layer)

    def overlays(self) -> list[Layer]:
        """Return the layers that show the prediction, the lowest first."""
        return of_kind(self.viewer, *OVERLAYS)

    def choose_tile(self, tile: int | None, *, centre: bool = False) -> None:
        """Choose a tile of the prediction in every dock.

        Parameters
        ----------
        tile : int or None
        centre : bool
            Move the camera there.
        """
        self.tile = tile
        if tile is not None and centre:
            self.centre_on(tile)
        self.tile_changed.emit(tile)

    def centre_on(self, tile: int, *, tiles_across: float = 9.0) -> None:
        """Move the camera to a tile and show some of what surrounds it.

        Parameters
        ----------
        tile : int
            Index in the prediction.
        tiles_across : float
            How many tiles fit into the shorter side of the canvas.
        """
        if self.prediction is None:
            return
        y, x = tile_centres(self.prediction, np.array([tile]))[0]
        shown_um = tiles_across * self.prediction.spec.tile_um
        look_at(self.viewer, y, x, min(self.viewer.canvas.size) / shown_um)

    def tile_at(self, position: tuple[float, ...]) -> int | None:
        """Return the tile of the prediction under a world position ``(…, y, x)``."""
        if self.prediction is None or self._grid is None:
            return None
        mpp_y, mpp_x = self.prediction.mpp
        # World coordinates are of pixel centres, level-0 pixels begin at their edge.
        return self._grid.index_at(
            position[-2] / mpp_y + 0.5, position[-1] / mpp_x + 0.5
        )

    def _replace_slide(self, layer: Image, data: Any, keywords: dict[str, Any]) -> None:
        update_slide(layer, data, keywords)
        self._adopt(layer)

    def _on_layer_inserted(self, event: Any) -> None:
        with notifying():
            self._adopt(event.value)

    def _adopt(self, layer: Layer) -> None:
        ours = noted_on(layer)
        if ours.get("kind") == "slide":
            self.viewer.canvas.overlays.scale_bar.visible = True
            self._set_opened(ours["slide"], layer)

    def _set_opened(self, slide: Slide, layer: Layer) -> None:
        row = row_of(self.project, slide)
        if self.project and row and differs(slide, row):
            # A file that is dropped comes with the pixel size that it says itself.
            with notifying():
                again = self.project.open_slide(row.slide_id)
                self.show_outline(None)
                self._replace_slide(layer, *slide_layer(again, layer.name)[:2])
                return
        self.opened = OpenedSlide(row.slide_id if row else None, slide, layer)
        with notifying():
            show_as_preferred(self.opened)
        # Nobody may take the prediction of the slide before for this one's.
        self.prediction = self.tile = self._grid = None
        self.verdicts = {}
        self.slide_changed.emit(self.opened)
        # A slide can be looked at without its prediction.
        with notifying():
            self.load_prediction()

    def _on_layer_removed(self, event: Any) -> None:
        if self.opened is not None and event.value is self.opened.layer:
            self.opened = None
            self.show_outline(None)
            self.show_prediction(None)
            self.slide_changed.emit(None)
            for layer in of_kind(self.viewer, "slide")[-1:]:
                self._adopt(layer)


_sessions: WeakKeyDictionary[Viewer, Session] = WeakKeyDictionary()


def session_of(viewer: Viewer) -> Session:
    """Return the session of a viewer, the same one for all its docks.

    The first call makes it, without a project; a slide shown already is adopted.
    """
    # napari hands docks a new proxy of the viewer each time.
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer not in _sessions:
        apply_preferences()
        follow(viewer)
        _sessions[viewer] = Session(viewer)
    return _sessions[viewer]


def show_dock(viewer: Viewer, name: str) -> QWidget:
    """Show one of our docks in front, made if need be, and return its widget.

    Parameters
    ----------
    viewer : napari.Viewer
    name : {"Slide", "Cohort", "Train", "Explain", "Review"}
    """
    viewer = session_of(viewer).viewer  # not a proxy, which would hand out proxies
    window, title = viewer.window, f"{name} ({TITLE})"
    if title not in window.dock_widgets:
        # Not add_plugin_dock_widget: its titles are others than those of the menu, so
        # that a dock which is open already would be made a second time.
        made = widget_class(name)(viewer)
        window.add_dock_widget(made, name=title, tabify=True)
    widget = window.dock_widgets[title]
    # napari leaves one that is hidden or behind another where it is.
    dock = widget.parent()
    dock.show()
    dock.raise_()
    return widget


def widget_class(name: str) -> Callable[[Viewer], QWidget]:
    """Return what makes one of our docks, as napari.yaml has it."""
    from npe2 import PluginManager

    widgets = PluginManager.instance().get_manifest(PLUGIN).contributions.widgets
    [found] = [widget for widget in widgets or () if widget.display_name == name]
    return found.get_callable()
