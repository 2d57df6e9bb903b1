"""The Overlay box of the Explain dock: which overlay, from what value, what colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QImage, QPainter
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSlider,
    QWidget,
)

from napari_weno.canvas import of_kind
from napari_weno.docks import form_layout, listen, may_shrink, say, text_label
from napari_weno.readout import DISPLAYS, legend

if TYPE_CHECKING:
    import numpy.typing as npt
    from napari.layers import Image
    from napari.utils.colormaps import Colormap
    from qtpy.QtGui import QPaintEvent

    from napari_weno.session import Session

_STEPS = 1000


class ColourBar(QWidget):
    """A strip with the colours of a layer, from its lower to its upper limit."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._image = QImage()
        self.setFixedHeight(14)
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding, policy.Fixed)

    def show_colormap(self, colormap: Colormap) -> None:
        """Show the colours of a colormap."""
        pixels = np.ascontiguousarray((colours_of(colormap) * 255).astype(np.uint8))
        image = QImage(pixels.data, 256, 1, QImage.Format.Format_RGBA8888)
        self._image = image.copy()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        with QPainter(self) as painter:
            painter.drawImage(self.rect(), self._image)


class OverlayBox(QGroupBox):
    """Chooses the overlay that is shown and the value from which it is shown.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Overlay", parent)
        self._session = session
        self._layer: Image | None = None
        self._wanted = ""
        self.overlay = QComboBox()
        self.shown = QCheckBox("shown")
        self.display = QComboBox()
        self.threshold = QSlider(Qt.Orientation.Horizontal)
        self.threshold.setRange(0, _STEPS)
        self.threshold.setPageStep(_STEPS // 20)
        self.threshold.setSingleStep(_STEPS // 100)
        self.value = QLabel()
        self.caption = text_label(name="caption")
        self.nothing = text_label(name="nothing")
        self.bar = ColourBar()
        self.low = QLabel()
        self.high = QLabel()
        self._explain()
        self._lay_out()
        self._connect()
        self.refresh()

    @property
    def layer(self) -> Image | None:
        """The overlay that is chosen."""
        return self._layer

    def refresh(self, _: object = None) -> None:
        """Show the overlays that there are."""
        layers = of_kind(self._session.viewer, "heatmap")
        names = [layer.name for layer in reversed(layers)]
        visible = [layer.name for layer in reversed(layers) if layer.visible]
        # What was chosen may come back: overlays are taken away and put there one by
        # one. Until then, and where another one is seen, the box speaks of that.
        offered = visible or names
        chosen = self._wanted if self._wanted in offered else next(iter(offered), "")
        self._wanted = self._wanted or chosen
        with QSignalBlocker(self.overlay):
            self.overlay.clear()
            self.overlay.addItems(names)
            self.overlay.setCurrentText(chosen)
        self._follow(next((one for one in layers if one.name == chosen), None))

    def _explain(self) -> None:
        for display, text in DISPLAYS.items():
            self.display.addItem(text, display)
        self.display.setCurrentIndex(self.display.findData(self._session.display))
        for combo in (self.overlay, self.display):
            may_shrink(combo)
        self.overlay.setToolTip(
            "Shows this overlay and hides the others; napari's layer list can show "
            "several at once"
        )
        self.shown.setToolTip("Show or hide this overlay")
        self.display.setToolTip(
            "Attention spreads over all tiles and sums to 1, so a raw weight says "
            "little: 10x is ten times what each tile would get if all were equal"
        )
        self.threshold.setToolTip(
            "Tiles below this value are clear. Arrow keys move it by small steps"
        )

    def _lay_out(self) -> None:
        which = QHBoxLayout()
        which.addWidget(self.overlay, stretch=1)
        which.addWidget(self.shown)
        level = QHBoxLayout()
        level.addWidget(self.threshold, stretch=1)
        level.addWidget(self.value)
        ends = QHBoxLayout()
        ends.addWidget(self.low)
        ends.addStretch()
        ends.addWidget(self.high)
        # Wide enough for any value, so that the slider does not jump.
        self.value.setMinimumWidth(self.fontMetrics().horizontalAdvance("≥ 0.0000"))
        form = form_layout(self)
        form.addRow("Show", which)
        form.addRow("Attention as", self.display)
        form.addRow("From", level)
        form.addRow(self.nothing)
        form.addRow(self.caption)
        form.addRow(self.bar)
        form.addRow(ends)

    def _connect(self) -> None:
        listen(self, self._session.prediction_changed, self.refresh)
        layers = self._session.viewer.layers
        listen(self, layers.events.inserted, self.refresh)
        listen(self, layers.events.removed, self.refresh)
        self.overlay.currentTextChanged.connect(self._on_overlay)
        self.shown.toggled.connect(self._on_shown)
        self.display.currentIndexChanged.connect(self._on_display)
        self.threshold.valueChanged.connect(self._on_threshold)

    def _on_overlay(self, name: str) -> None:
        self._wanted = name
        for layer in of_kind(self._session.viewer, "heatmap"):
            layer.visible = layer.name == name
        self.refresh()

    def _on_shown(self, shown: bool) -> None:
        if self._layer is not None:
            self._layer.visible = shown

    def _on_display(self) -> None:
        self._session.set_display(self.display.currentData())
        self.refresh()

    def _on_threshold(self, step: int) -> None:
        if self._layer is not None:
            low, high = self._layer.contrast_limits_range
            width = high - low
            value = low + width * min(step, _STEPS - 1) / _STEPS
            top = max(self._layer.contrast_limits[1], value + width / _STEPS)
            self._layer.contrast_limits = (value, min(top, high))

    def _follow(self, layer: Image | None) -> None:
        """Show the limits of a layer, now and whenever they change."""
        if layer is not self._layer:
            for event in _events_of(self._layer):
                event.disconnect(self._show_layer)
            self._layer = layer
            for event in _events_of(layer):
                listen(self, event, self._show_layer)
        self._show_layer()

    def _show_layer(self, _: object = None) -> None:
        layer = self._layer
        if layer is None:
            return
        means = legend(layer.name, self._session.display)
        low, high = layer.contrast_limits
        bottom, top = layer.contrast_limits_range
        step = round((low - bottom) / ((top - bottom) or 1) * _STEPS)
        with QSignalBlocker(self.threshold), QSignalBlocker(self.shown):
            self.threshold.setValue(step)
            self.shown.setChecked(layer.visible)
        self.value.setText(f"≥ {means.tick(low)}")
        self.caption.setText(means.caption)
        highest = float(np.max(layer.data, initial=bottom))
        say(
            self.nothing,
            f"No tile reaches {means.tick(low)}, the highest has "
            f"{means.tick(highest)}: move From to the left."
            if highest < low
            else "",
        )
        self.low.setText(means.tick(low))
        self.high.setText(means.tick(high))
        self.bar.show_colormap(layer.colormap)


def colours_of(colormap: Colormap) -> npt.NDArray[np.float64]:
    """Return the colours of a colormap from its lower to its upper limit, (256, 4)."""
    # The very low end is transparent, for tiles below the limit.
    colours = colormap.map(np.linspace(1e-3, 1, 256, dtype=np.float32))
    return np.asarray(colours, np.float64)


def _events_of(layer: Image | None) -> list[Any]:
    if layer is None:
        return []
    events = layer.events
    return [events.contrast_limits, events.colormap, events.visible]
