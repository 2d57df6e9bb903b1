"""Measuring distances on the slide: lines with their length beside them.

The lines of a slide live in a Shapes layer of their own, in pixels of level 0, so that
they stay on their tissue when the pixel size is corrected. Main thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_weno.camera import axes_on_screen
from napari_weno.canvas import noted_on, of_kind
from napari_weno.clicks import CLICK_PX
from napari_weno.layers import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_weno.opened import OpenedSlide
    from napari_weno.session import Session

_LINE_PX = 3.0  # width on screen
_WIDTH_TOLERANCE = 1.25  # a line may be that much too thin or too thick
_COLOR = "#00a81c"  # stands out on haematoxylin, eosin and white


class Ruler:
    """A mode of the canvas in which a drag, or two clicks, draws a distance.

    Parameters
    ----------
    session : Session
    """

    #: The mode was entered or left.
    toggled = Signal(bool)
    #: A distance is drawn: how long it is now.
    measured = Signal(str)

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layer: Shapes | None = None
        self._start: npt.NDArray[np.float64] | None = None
        viewer = session.viewer
        session.slide_changed.connect(self._on_slide)
        viewer.scene.camera.events.zoom.connect(self._keep_width)
        viewer.scene.camera.events.orientation.connect(self._relabel)
        viewer.dims.events.order.connect(self._relabel)
        viewer.layers.selection.events.active.connect(self._on_active)

    @property
    def measuring(self) -> bool:
        """Whether the canvas is in the mode."""
        return self._layer is not None

    def start(self) -> None:
        """Enter the mode; without a slide nothing happens."""
        opened = self._session.opened
        if self.measuring or opened is None:
            return
        viewer = self._session.viewer
        layer = self._layer_of(opened) or self._add_layer(opened)
        layer.visible = True
        layer.mode = "pan_zoom"
        viewer.layers.selection.active = layer
        self._layer = layer
        self._keep_width()
        viewer.scene.camera.mouse_pan = False
        layer.cursor = "cross"
        viewer.mouse_drag_callbacks.append(self._on_drag)
        viewer.mouse_move_callbacks.append(self._on_move)
        self.toggled.emit(True)

    def stop(self) -> None:
        """Leave the mode; the distances stay."""
        layer = self._layer
        if layer is None:
            return
        self._drop_unfinished()
        self._layer = None
        viewer, opened = self._session.viewer, self._session.opened
        viewer.mouse_drag_callbacks.remove(self._on_drag)
        viewer.mouse_move_callbacks.remove(self._on_move)
        viewer.scene.camera.mouse_pan = True
        layer.cursor = "standard"
        if opened is not None and viewer.layers.selection.active is layer:
            viewer.layers.selection.active = opened.layer
        self.toggled.emit(False)

    def _layer_of(self, opened: OpenedSlide) -> Shapes | None:
        for layer in of_kind(self._session.viewer, "distances"):
            if noted_on(layer)["path"] == str(opened.slide.path):
                return layer
        return None

    def _add_layer(self, opened: OpenedSlide) -> Shapes:
        layer: Shapes = self._session.viewer.add_shapes(
            None,
            ndim=2,
            name="distances",
            scale=opened.slide.mpp or (1.0, 1.0),
            units=opened.layer.units,
            edge_color=_COLOR,
            opacity=1.0,
            features={"distance": [], "label": []},
            text={"string": "{label}", "size": 16, "color": _COLOR},
            metadata={
                METADATA_KEY: {"kind": "distances", "path": str(opened.slide.path)}
            },
        )
        layer.bind_key("Escape", self._on_escape, overwrite=True)
        layer.events.set_data.connect(self._relabel)
        return layer

    def _on_escape(self, _: Shapes) -> None:
        self.stop()

    def _on_active(self, _: object = None) -> None:
        layers = self._session.viewer.layers
        if self.measuring and layers.selection.active is not self._layer:
            self.stop()

    def _on_slide(self, opened: OpenedSlide | None) -> None:
        if self.measuring:
            self.stop()
        path = None if opened is None else str(opened.slide.path)
        for layer in of_kind(self._session.viewer, "distances"):
            # Distances of one slide mean nothing on another.
            layer.visible = noted_on(layer)["path"] == path
            if opened is not None and layer.visible:
                layer.scale = opened.slide.mpp or (1.0, 1.0)
                layer.units = opened.layer.units
        self._keep_width()
        self._relabel()

    def _on_drag(self, _: Viewer, event: Any) -> Iterator[None]:
        if event.button != 1:
            return
        second_click = self._start is not None
        if self._start is None:
            self._begin(event)
        pressed = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            self._stretch(event)
            yield
        moved = np.abs(pressed - event.pos).max() >= CLICK_PX
        if moved or second_click:
            self._stretch(event)
            self._finish()

    def _on_move(self, _: Viewer, event: Any) -> None:
        self._stretch(event)

    def _begin(self, event: Any) -> None:
        if self._layer is not None:
            self._start = self._pixel(event)
            self._layer.add_lines(np.array([self._start, self._start]))

    def _stretch(self, event: Any) -> None:
        """Let the line that is being drawn end under the mouse."""
        if self._layer is not None and self._start is not None:
            line = np.array([self._start, self._pixel(event)])
            self._layer.data = [*self._layer.data[:-1], line]
            self.measured.emit(self._layer.features["distance"].iloc[-1])

    def _finish(self) -> None:
        self._start = None
        if self._layer is not None:
            # napari's Delete key takes away what is selected.
            self._layer.selected_data = {len(self._layer.data) - 1}

    def _drop_unfinished(self) -> None:
        if self._layer is not None and self._start is not None:
            self._start = None
            self._layer.remove([len(self._layer.data) - 1])

    def _pixel(self, event: Any) -> npt.NDArray[np.float64]:
        """Return where an event is, ``(y, x)`` in pixels of level 0."""
        scale = (1.0, 1.0) if self._layer is None else self._layer.scale
        return np.array(event.position[-2:]) / scale

    def _keep_width(self, _: object = None) -> None:
        """Keep the lines equally thin on screen: Shapes know only data units."""
        zoom = self._session.viewer.scene.camera.zoom
        for layer in of_kind(self._session.viewer, "distances"):
            width = _LINE_PX / (zoom * layer.scale[0])
            shown = layer.current_edge_width
            if not 1 / _WIDTH_TOLERANCE < shown / width < _WIDTH_TOLERANCE:
                layer.current_edge_width = width
                layer.edge_width = width

    def _relabel(self, _: object = None) -> None:
        """Say beside each line how long it is."""
        axes = axes_on_screen(self._session.viewer)
        for layer in of_kind(self._session.viewer, "distances"):
            in_um = str(layer.units[0]) != "pixel"
            ways = [(line[-1] - line[0]) * layer.scale for line in layer.data]
            texts = [distance_text(float(np.hypot(*way)), in_um) for way in ways]
            labels = [
                _beside(text, axes @ way) for text, way in zip(texts, ways, strict=True)
            ]
            fits = len(layer.features) == len(texts)
            if fits and list(layer.features["label"]) != labels:
                layer.features = {"distance": texts, "label": labels}


def _beside(text: str, way: npt.NDArray[np.float64]) -> str:
    """Pad a text that napari centres on a line so that it lies beside the line.

    Parameters
    ----------
    text : str
    way : ndarray of shape (2,)
        ``(down, right)`` way of the line on screen.
    """
    padded = " " * (2 * len(text) + 3) + text
    rises = way[0] * way[1] < 0
    return f" \n{padded}" if rises else f"{padded}\n "


def distance_text(length: float, in_um: bool) -> str:
    """Say how long a line is.

    Parameters
    ----------
    length : float
        In world units.
    in_um : bool
        Whether a world unit is a µm; else it is a pixel.
    """
    if not in_um:
        return f"{length:,.0f} px"
    if length > 1000:
        return f"{length / 1000:.2f} mm"
    return f"{length:.1f} µm" if length < 100 else f"{length:.0f} µm"
