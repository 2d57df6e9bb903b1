"""Controls of the view: magnification, coordinates, turning, measuring."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from napari.utils.notifications import show_error
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_weno.camera import (
    UM_TIMES_POWER,
    centre_of,
    look_at,
    scale_text,
    turn,
    turn_back,
)
from napari_weno.docks import listen, say

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_weno.opened import OpenedSlide
    from napari_weno.session import Session

POWERS = (1.0, 2.5, 5.0, 10.0, 20.0, 40.0)
_NO_MPP = "The pixel size of this slide is not known: set it below"
# So that all fit a dock beside its scroll bar.
_NARROW = 38
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)")


class ViewBox(QWidget):
    """Says how the slide is shown, and changes it exactly.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.scale = QLabel()
        self.powers = {power: QPushButton(f"{power:g}x") for power in POWERS}
        self.place = QLineEdit()
        self.unit = QComboBox()
        self.copy = QPushButton("Copy")
        self.left = QPushButton("Turn left")
        self.right = QPushButton("Turn right")
        self.upright = QPushButton("Upright")
        self.measure = QPushButton("Measure a distance")
        self.distance = QLabel()
        self._explain()
        self._lay_out()
        self._connect()
        self._on_slide(session.opened)

    def _explain(self) -> None:
        self.scale.setStyleSheet("font-weight: bold")
        self.scale.setToolTip(
            "Magnification and µm per screen pixel; 40x is 0.25 µm per pixel"
        )
        for button in (*self.powers.values(), self.copy):
            button.setMinimumWidth(_NARROW)
        self.place.setPlaceholderText("Go to y, x")
        self.place.setToolTip("Two numbers, y and x; Enter moves the view there")
        self.unit.addItem("px", "px")
        self.unit.addItem("µm", "um")
        self.unit.setToolTip("Pixels of level 0, or µm")
        self.copy.setToolTip("Copy the coordinate in the middle of the view")
        self.left.setToolTip("Turn the view a quarter to the left")
        self.right.setToolTip("Turn the view a quarter to the right")
        self.upright.setToolTip("Show the slide as it was scanned")
        self.measure.setCheckable(True)
        self.measure.setToolTip(
            "Drag, or click twice, to draw a distance; Esc ends, Delete takes the "
            "last one away"
        )

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(3)
        for column, button in enumerate(self.powers.values()):
            grid.addWidget(button, 0, column)
        go_to = QHBoxLayout()
        go_to.addWidget(self.place, stretch=1)
        go_to.addWidget(self.unit)
        go_to.addWidget(self.copy)
        turning = QHBoxLayout()
        for button in (self.left, self.right, self.upright):
            turning.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.scale)
        layout.addLayout(grid)
        layout.addLayout(go_to)
        layout.addLayout(turning)
        measuring = QHBoxLayout()
        measuring.addWidget(self.measure, stretch=1)
        measuring.addWidget(self.distance)
        layout.addLayout(measuring)

    def _connect(self) -> None:
        session, viewer = self._session, self._session.viewer
        listen(self, session.slide_changed, self._on_slide)
        listen(self, viewer.scene.camera.events.zoom, self._on_zoom)
        listen(self, session.ruler.toggled, self._on_measuring)
        listen(self, session.ruler.measured, self._on_measured)
        for power, button in self.powers.items():
            button.clicked.connect(lambda _=False, p=power: self.magnify(p))
        self.place.returnPressed.connect(self._go)
        self.copy.clicked.connect(self._copy_centre)
        self.left.clicked.connect(lambda: turn(session.viewer, -1))
        self.right.clicked.connect(lambda: turn(session.viewer, 1))
        self.upright.clicked.connect(lambda: turn_back(session.viewer))
        self.measure.clicked.connect(self._measure)

    def magnify(self, power: float) -> None:
        """Show the slide at a magnification exactly.

        Parameters
        ----------
        power : float
            40 shows 0.25 µm per screen pixel.
        """
        self._session.viewer.scene.camera.zoom = power / UM_TIMES_POWER

    def _on_slide(self, opened: OpenedSlide | None) -> None:
        self.setEnabled(opened is not None)
        known = opened is not None and opened.slide.mpp is not None
        for power, button in self.powers.items():
            button.setEnabled(known)
            per_pixel = f"{UM_TIMES_POWER / power:g} µm per screen pixel"
            button.setToolTip(per_pixel if known else _NO_MPP)
        if not known:
            self.unit.setCurrentIndex(0)
        self.unit.setEnabled(known)
        say(self.distance, "")
        self._on_zoom()

    def _on_zoom(self, _: object = None) -> None:
        opened = self._session.opened
        if opened is None:
            self.scale.setText("No slide is open")
            return
        text = scale_text(
            self._session.viewer.scene.camera.zoom,
            in_um=opened.slide.mpp is not None,
            guess=opened.slide.mpp_source == "objective",
        )
        self.scale.setText(text)

    def _on_measuring(self, measuring: bool) -> None:
        self.measure.setChecked(measuring)

    def _on_measured(self, distance: str) -> None:
        say(self.distance, distance)

    def _measure(self, wanted: bool) -> None:
        if wanted:
            self._session.ruler.start()
        else:
            self._session.ruler.stop()

    def _unit_in_world(self, opened: OpenedSlide) -> npt.NDArray[np.float64]:
        """Return how long one of the chosen unit is in the world, ``(y, x)``."""
        if self.unit.currentData() == "um" or opened.slide.mpp is None:
            return np.ones(2)
        return np.array(opened.slide.mpp)

    def _go(self) -> None:
        opened = self._session.opened
        numbers = [float(text) for text in _NUMBER.findall(self.place.text())]
        if opened is None:
            return
        if len(numbers) != 2:
            show_error("a coordinate is two numbers, y and x, such as 1500, 2200")
            return
        world = np.array(numbers) * self._unit_in_world(opened)
        size = np.multiply(opened.slide.shape, opened.slide.mpp or (1.0, 1.0))
        if (world < 0).any() or (world >= size).any():
            height, width = size / self._unit_in_world(opened)
            unit = self.unit.currentText()
            show_error(f"the slide ends at {height:.0f}, {width:.0f} {unit}")
            return
        look_at(self._session.viewer, *world)

    def _copy_centre(self) -> None:
        opened = self._session.opened
        if opened is None:
            return
        y, x = centre_of(self._session.viewer) / self._unit_in_world(opened)
        digits = 0 if self.unit.currentData() == "px" else 1
        text = f"{y:.{digits}f}, {x:.{digits}f}"
        self.place.setText(text)
        QGuiApplication.clipboard().setText(text)
