"""Slides on the canvas: napari's slicing is served by streams that never wait.

``layer.data`` of a slide is an ordinary dask pyramid with exact pixels for whoever
computes it. Only where napari itself cuts out what it is about to draw, and can be
told to draw again when more has come, the pixels are taken from a `TileStream`.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from weno.slides import TileStream

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_weno.screen_array import ScreenArray
    from weno.errors import SlideError
    from weno.slides import Slide

# Drawing again costs the window a few milliseconds for slicing and for the upload, so
# it takes this share of the time at most while tiles keep arriving.
_REFRESH_SHARE = 0.2
_SHORTEST_GAP_S = 0.05
_OPENING_BUDGET_S = 0.2  # for the coarsest level, without which there is no picture


class Screen(QObject):
    """Draws the layer of a slide again when pixels that it lacked have come."""

    #: `TileStream.overview` has come, or come in other colours.
    overview_came = Signal()
    _arrived = Signal()
    _failed = Signal(object)

    def __init__(self, slide: Slide) -> None:
        super().__init__()
        self.stream = TileStream(slide)
        self._layers: WeakSet[Image] = WeakSet()
        self._refreshing = False
        self._overview_missing = False
        self._last, self._taken = 0.0, 0.0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._refresh)
        # Emitted by readers, received in the main thread.
        self._arrived.connect(self._on_arrival)
        self._failed.connect(self._say_damaged)
        self._listen()

    def _listen(self) -> None:
        self.stream.on_arrival = partial(_tell, self._arrived)
        self.stream.on_error = partial(_tell, self._failed)

    def attach(self, layer: Image) -> None:
        """Serve a layer from now on."""
        self._layers.add(layer)
        self._listen()
        if self._overview_missing:
            self._on_arrival()  # it may have come before there was a layer

    def detach(self, layer: Image) -> None:
        """Stop serving a layer that is gone or shows something else."""
        self._layers.discard(layer)
        if not self._layers:
            self._timer.stop()
            self.stream.close()

    def show_colours(self, by_profile: bool) -> None:
        """Show colours by the slide's ICC profile, or as they are in the file.

        Raises
        ------
        SlideError
            If the profile is damaged.
        """
        colour = self.stream.slide.to_srgb if by_profile else None
        self.stream.set_colour(colour, "" if colour is None else "sRGB")
        for layer in list(self._layers):
            layer.data = list(layer.data)  # napari keeps the coarsest level
        if self.stream.has_overview:
            self.overview_came.emit()

    def is_asked(self, *, opening: bool = False) -> bool:
        """Tell whether it is napari's slicing that asks, for a layer we can refresh.

        Parameters
        ----------
        opening : bool
            The layer may still be in the making, for a viewer that we follow.
        """
        if not self._layers and not (opening and _followed):
            return False
        module: str = sys._getframe(2).f_globals.get("__name__", "")
        return module.startswith("napari.layers.")

    def view(self, level: int, y: int, x: int, height: int, width: int) -> Any:
        """Return a region for drawing."""
        if self._refreshing:
            return self.stream.view(level, y, x, height, width, budget=0)
        return self.stream.view(level, y, x, height, width)

    def overview(self, level: int) -> Any:
        """Return the coarsest level, which napari keeps."""
        height, width = self.stream.levels[level].shape[:2]
        budget = 0 if self._refreshing else _OPENING_BUDGET_S
        pixels = self.stream.view(level, 0, 0, height, width, budget=budget)
        self._overview_missing = not self.stream.has_overview
        return pixels

    def _on_arrival(self) -> None:
        if self._overview_missing and self.stream.has_overview:
            self.overview_came.emit()
        if self._timer.isActive() and self.stream.pending:
            return
        gap = max(_SHORTEST_GAP_S, self._taken / _REFRESH_SHARE)
        left = self._last + gap - time.perf_counter()
        # What completes the view is worth showing at once.
        self._timer.start(max(0, int(left * 1e3)) if self.stream.pending else 0)

    def _say_damaged(self, error: SlideError) -> None:
        show_warning(f"{error}. Damaged parts of the slide are drawn hatched.")

    def _refresh(self) -> None:
        start = time.perf_counter()
        self._refreshing = True
        try:
            for layer in list(self._layers):
                self._draw_again(layer)
        finally:
            self._refreshing = False
        self._last = time.perf_counter()
        self._taken = self._last - start

    def _draw_again(self, layer: Image) -> None:
        overview_shown = layer.data_level == len(self.stream.levels) - 1
        if self._overview_missing and (overview_shown or self.stream.has_overview):
            # napari has kept the coarsest level as it was: hand it in anew.
            layer.data = list(layer.data)
        else:
            layer.refresh(thumbnail=False, highlight=False, extent=False)


def _tell(signal: Any, *values: object) -> None:
    # When the program ends, Qt's side of a signal may be gone before the readers.
    with suppress(RuntimeError):
        signal.emit(*values)


def screen_arrays(slide: Slide) -> list[ScreenArray]:
    """Return the levels of a slide for ``layer.data``, finest first."""
    # dask takes longer than a dock may, and is of no use without a slide.
    from napari_weno.screen_array import ScreenArray

    screen = Screen(slide)
    arrays = []
    for level, exact in enumerate(slide.pyramid()):
        array = ScreenArray(exact.dask, exact.name, exact.chunks, meta=exact._meta)
        array.screen, array.level = screen, level
        arrays.append(array)
    return arrays


def screen_of(data: Any) -> Screen | None:
    """Return the screen that serves a layer's data, None if that is not a slide."""
    try:
        first = data[0]
    except (IndexError, TypeError):
        return None
    screen = getattr(first, "screen", None)
    return screen if isinstance(screen, Screen) else None


_followed: WeakSet[Viewer] = WeakSet()


def set_icc(layer: Image, on: bool) -> None:
    """Show a slide by its ICC profile, or as the file has it.

    Raises
    ------
    SlideError
        If the profile is damaged.
    """
    screen = screen_of(layer.data)
    if screen is not None:
        screen.show_colours(on)


def follow(viewer: Viewer) -> None:
    """Serve the slides of a viewer, also those to come, without waiting."""
    if viewer in _followed:
        return
    _followed.add(viewer)
    viewer.layers.events.inserted.connect(lambda event: _adopt(event.value))
    viewer.layers.events.removed.connect(lambda event: _drop(event.value))
    for layer in viewer.layers:
        _adopt(layer)


def show(layer: Image, arrays: list[ScreenArray]) -> None:
    """Show another slide in a layer that shows one."""
    _drop(layer)
    arrays[0].screen.attach(layer)
    layer.data = arrays


def _adopt(layer: Layer) -> None:
    screen = screen_of(getattr(layer, "data", None))
    if screen is not None:
        screen.attach(layer)


def _drop(layer: Layer) -> None:
    screen = screen_of(getattr(layer, "data", None))
    if screen is not None:
        screen.detach(layer)
