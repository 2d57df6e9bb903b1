"""A second run's overlays in the viewer: in place of the first's, or beside them.

Main thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_weno.canvas import DRAWN, noted_on, of_kind
from napari_weno.layers import METADATA_KEY, overlay_layers, slide_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_weno.layers import LayerData
    from napari_weno.session import Session
    from weno.prediction import Prediction

_KIND, _SLIDE_AGAIN = "compared", "slide again"
_FOLLOWED = ("contrast_limits", "colormap", "opacity", "gamma")


def other_run_text(viewer: Viewer) -> str:
    """Say what of the canvas is another run's; empty if nothing is."""
    if again := of_kind(viewer, _SLIDE_AGAIN):
        return f"Left this run, right run {noted_on(again[0])['run']}."
    runs = {noted_on(one)["run"] for one in of_kind(viewer, _KIND) if one.visible}
    if not runs:
        return ""
    both = any(layer.visible for layer in of_kind(viewer, *DRAWN))
    return f"Overlays of {'this run and ' if both else ''}run {', '.join(runs)}."


def is_seen(viewer: Viewer, layer: Layer) -> bool:
    """Tell whether a heatmap is visible, or the other run's is in its place."""
    seconds = (one for one in of_kind(viewer, _KIND) if one.visible)
    return layer.visible or any(noted_on(s)["first"] == layer.name for s in seconds)


class SideBySide:
    """Shows what another run says of the open slide.

    The other run's overlays take over threshold, colours and opacity of the first
    run's, so that equal colours mean equal values.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._run = ""
        self._flipped = False
        self._beside = False
        self._hidden: list[Layer] = []
        self._ties: list[tuple[Any, Callable[..., None]]] = []

    @property
    def beside(self) -> bool:
        """Whether the runs are shown side by side."""
        return self._beside

    def show(self, other: Prediction) -> None:
        """Bring in the overlays of another run, hidden for now."""
        self.clear()
        self._run = other.run
        viewer, session = self._session.viewer, self._session
        active = viewer.layers.selection.active
        mine = session.prediction
        same_tiles = mine is not None and np.array_equal(mine.origins, other.origins)
        verdicts = session.verdicts if same_tiles else {}
        for layer_data in overlay_layers(other, session.display, verdicts):
            layer = self._add(layer_data)
            first = self._first_of(layer)
            if first is not None:
                self._tie(first, layer)
        viewer.layers.selection.active = active

    def clear(self) -> None:
        """Take the other run's overlays away."""
        self.flip(False)
        self.put_beside(False)
        for event, slot in self._ties:
            event.disconnect(slot)
        self._ties = []
        for layer in of_kind(self._session.viewer, _KIND):
            self._session.viewer.layers.remove(layer)

    def flip(self, flipped: bool) -> None:
        """Show the other run's overlays in place of the first's, or undo that."""
        if flipped == self._flipped:
            return
        self._flipped = flipped
        if flipped:
            firsts = of_kind(self._session.viewer, *DRAWN)
            self._hidden = [layer for layer in firsts if layer.visible]
            self._show_seconds(self._hidden)
            for layer in self._hidden:
                layer.visible = False
            return
        self._show_seconds([])
        for layer in self._hidden:
            layer.visible = True
        self._hidden = []

    def put_beside(self, beside: bool) -> None:
        """Show what is in view twice, the first run's left and the other's right."""
        if beside == self._beside:
            return
        self._beside = beside
        viewer, opened = self._session.viewer, self._session.opened
        grid, layers = viewer.canvas.grid, viewer.layers
        if not beside:
            layers.events.inserted.disconnect(self._arrange_soon)
            grid.enabled, grid.stride = False, 1
            viewer.scene.camera.zoom *= 2
            for layer in of_kind(viewer, _SLIDE_AGAIN):
                layers.remove(layer)
            self._show_seconds([])
            return
        if opened is None:
            self._beside = False
            return
        self._add_slide_again()
        self._show_seconds([one for one in of_kind(viewer, *DRAWN) if one.visible])
        self._arrange()
        grid.shape, grid.enabled = (1, 2), True
        viewer.scene.camera.zoom /= 2
        layers.events.inserted.connect(self._arrange_soon)

    def _add(self, layer_data: LayerData) -> Layer:
        data, keywords, kind = layer_data
        name, noted = keywords["name"], keywords["metadata"][METADATA_KEY]
        changes = {
            "name": f"{name} · {self._run}",
            "visible": False,
            "metadata": {METADATA_KEY: self._note(_KIND) | {"first": name}},
        }
        viewer = self._session.viewer
        if kind == "points":
            return viewer.add_points(data, **keywords | changes)
        layer = viewer.add_image(data, **keywords | changes)
        layer.contrast_limits_range = noted["range"]
        return layer

    def _note(self, kind: str) -> dict[str, str]:
        return {"kind": kind, "run": self._run}

    def _add_slide_again(self) -> None:
        """Add the slide once more, below the other run's overlays."""
        viewer, opened = self._session.viewer, self._session.opened
        assert opened is not None, "who puts beside has asked"
        active = viewer.layers.selection.active
        data, keywords, _ = slide_layer(opened.slide, f"{opened.name} again")
        changes = {"metadata": {METADATA_KEY: self._note(_SLIDE_AGAIN)}}
        again = viewer.add_image(data, **keywords | changes)
        at = min((viewer.layers.index(one) for one in self._seconds()), default=None)
        if at is not None:
            viewer.layers.move(viewer.layers.index(again), at)
        viewer.layers.selection.active = active

    def _arrange_soon(self, _: object = None) -> None:
        # Not while napari is still telling of the new layer.
        QTimer.singleShot(0, self._arrange)

    def _arrange(self) -> None:
        """Keep what belongs to the other run on top, and that alone on the right."""
        if not self._beside:
            return
        viewer = self._session.viewer
        ours = of_kind(viewer, _KIND, _SLIDE_AGAIN)
        for layer in ours:
            viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
        left = len(viewer.layers) - len(ours)
        viewer.canvas.grid.stride = max(left, len(ours))

    def _show_seconds(self, firsts: list[Layer]) -> None:
        for layer in self._seconds():
            layer.visible = self._first_of(layer) in firsts

    def _seconds(self) -> list[Layer]:
        return of_kind(self._session.viewer, _KIND)

    def _first_of(self, second: Layer) -> Layer | None:
        for layer in of_kind(self._session.viewer, *DRAWN):
            if layer.name == noted_on(second)["first"]:
                return layer
        return None

    def _tie(self, first: Layer, second: Layer) -> None:
        """Give the second the looks of the first, now and whenever they change."""
        followed = [name for name in _FOLLOWED if hasattr(first, name)]

        def take_over(_: object = None) -> None:
            for name in followed:
                setattr(second, name, getattr(first, name))

        def follow(_: object = None) -> None:
            if self._beside:
                second.visible = first.visible

        take_over()
        events = [getattr(first.events, name) for name in followed]
        self._ties += [(event, take_over) for event in events]
        self._ties.append((first.events.visible, follow))
        for event, slot in self._ties[-len(events) - 1 :]:
            event.connect(slot)
