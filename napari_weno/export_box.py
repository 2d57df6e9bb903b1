"""Figures and overlay files, in the Explain dock."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QByteArray
from qtpy.QtGui import QImage, QPainter
from qtpy.QtSvg import QSvgRenderer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QVBoxLayout,
    QWidget,
)

from napari_weno.docks import may_shrink, text_label
from napari_weno.jobs import JobBar
from napari_weno.overlay_box import colours_of
from napari_weno.readout import legend
from napari_weno.side_by_side import is_seen, other_run_text
from weno.atomic import replacing
from weno.errors import RunError
from weno.explain import Bar, ColourScale, Figure, figure_svg, write_overlay

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari.layers import Image

    from napari_weno.session import Session

_FIGURES = "Pictures (*.png);;Scalable vector graphics (*.svg)"
_OVERLAYS = "OME-TIFF (*.ome.tif)"
#: Text on the canvas that a figure has anew, or does not want.
_CORNERS = ("scale_bar", "weno_magnification")


def save_figure(figure: Figure, path: Path) -> Generator[None, None, Path]:
    """Save a figure as SVG, or as PNG if the name ends with that.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    yield
    svg = figure_svg(figure)
    try:
        with replacing(path) as temporary:
            if path.suffix.lower() == ".svg":
                temporary.write_bytes(svg)
            else:
                _save_png(svg, temporary)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error}") from error
    return path


def _save_png(svg: bytes, path: Path) -> None:
    renderer = QSvgRenderer(QByteArray(svg))
    image = QImage(renderer.defaultSize(), QImage.Format.Format_RGB32)
    image.fill(0xFFFFFFFF)
    with QPainter(image) as painter:
        renderer.render(painter)
    if not image.save(str(path), "png"):
        raise OSError("the picture could not be saved")


class ExportBox(QWidget):
    """Saves what is on the canvas as a figure, and the overlay as a file of its own.

    Parameters
    ----------
    session : Session
    chosen : callable
        Returns the overlay that is chosen, or None.
    """

    def __init__(
        self,
        session: Session,
        chosen: Callable[[], Image | None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._chosen = chosen
        self.scale = QComboBox()
        self.figure_job = JobBar(
            "Save figure…",
            "The canvas as it is, with scale bar, colour bar and caption: PNG, or SVG "
            "whose text can be edited",
        )
        self.beneath = QCheckBox("with the slide beneath")
        self.overlay_job = JobBar(
            "Save overlay…",
            "The chosen overlay of the whole slide as a pyramidal OME-TIFF that QuPath "
            "and other viewers open; it covers the slide exactly",
        )
        self._lay_out()
        self._connect()

    def figure(self) -> Figure:
        """Take the picture of the canvas with all that explains it."""
        session, layer = self._session, self._chosen()
        viewer, opened = session.viewer, session.opened
        scale = int(self.scale.currentData())
        with _without_corners(viewer):
            shot = viewer.screenshot(scale=scale, canvas_only=True, flash=False)
        pixels = np.ascontiguousarray(shot[..., :3])
        # A screen with a fine raster has several pixels for one of the canvas.
        per_px = pixels.shape[0] / viewer.canvas.size[0]
        known = opened is not None and opened.slide.mpp is not None
        um = 1 / (viewer.scene.camera.zoom * per_px) if known else None
        seen = layer is not None and is_seen(viewer, layer)
        bar = _bar_of(layer, session.display) if seen else None
        return Figure(pixels, um, self._caption(), bar)

    def save_figure(self, path: Path) -> None:
        """Save a figure in the background."""
        self.figure_job.say("")
        self.figure_job.run(save_figure, self.figure(), path)

    def save_overlay(self, path: Path) -> None:
        """Save the chosen overlay in the background."""
        session, layer = self._session, self._chosen()
        prediction, opened = session.prediction, session.opened
        if prediction is None or layer is None:
            return
        low, high = layer.contrast_limits
        self.overlay_job.say("")
        self.overlay_job.run(
            write_overlay,
            path,
            prediction,
            np.asarray(layer.data)[tuple(prediction.grid.cells.T)],
            ColourScale(colours_of(layer.colormap), low, high, layer.opacity),
            legend(layer.name, session.display).caption,
            slide=opened.slide if opened and self.beneath.isChecked() else None,
        )

    def _caption(self) -> tuple[str, ...]:
        session, prediction = self._session, self._session.prediction
        name = session.opened.name if session.opened else ""
        if prediction is None:
            return (name,)
        return (
            f"{name}, run {prediction.run}. P({prediction.class_name}): teacher "
            f"{prediction.teacher_probability:.2f}, student "
            f"{prediction.student_probability:.2f}; threshold "
            f"{prediction.threshold:.2f}.",
            *filter(None, [other_run_text(session.viewer)]),
            "Attention is not probability.",
        )

    def _lay_out(self) -> None:
        for times, text in ((1, "as on screen"), (2, "twice as fine"), (4, "4 times")):
            self.scale.addItem(text, times)
        may_shrink(self.scale)
        self.scale.setToolTip("How many pixels the figure has")
        self.beneath.setChecked(True)
        self.beneath.setToolTip(
            "Else the overlay lies on white, to be laid over the slide elsewhere"
        )
        form = QFormLayout()
        form.addRow("Pixels", self.scale)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(text_label("The view of the slide as a figure, PNG or SVG:"))
        layout.addLayout(form)
        layout.addWidget(self.figure_job)
        layout.addSpacing(8)
        layout.addWidget(text_label("The overlay of the whole slide, as OME-TIFF:"))
        layout.addWidget(self.beneath)
        layout.addWidget(self.overlay_job)
        layout.addStretch()

    def _connect(self) -> None:
        self.figure_job.start_requested.connect(self._ask_figure)
        self.overlay_job.start_requested.connect(self._ask_overlay)
        self.overlay_job.reported.connect(self.overlay_job.show_report)
        for job in (self.figure_job, self.overlay_job):
            job.returned.connect(lambda path, job=job: job.say(f"{path} saved."))

    def _ask_figure(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save figure", f"{self._name()}.png", _FIGURES
        )
        if path:
            self.save_figure(_ending(path, (".png", ".svg")))

    def _ask_overlay(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save overlay", f"{self._name()}.ome.tif", _OVERLAYS
        )
        if path:
            self.save_overlay(_ending(path, (".ome.tif", ".ome.tiff")))

    def _name(self) -> str:
        prediction = self._session.prediction
        return f"{prediction.slide_id}-{prediction.run}" if prediction else "slide"


def _ending(path: str, endings: tuple[str, ...]) -> Path:
    """Return a path with one of the endings, the first if it has none of them."""
    return Path(path if path.lower().endswith(endings) else path + endings[0])


def _bar_of(layer: Image, display: Any) -> Bar:
    means = legend(layer.name, display)
    low, high = (means.tick(limit) for limit in layer.contrast_limits)
    return Bar(means.caption, colours_of(layer.colormap), low, high)


@contextmanager
def _without_corners(viewer: Any) -> Iterator[None]:
    """Hide texts of the canvas for a while: a figure has its own scale bar."""
    overlays = viewer.canvas.overlays
    shown = [overlays[name] for name in _CORNERS if name in overlays]
    visible = [overlay.visible for overlay in shown]
    try:
        for overlay in shown:
            overlay.visible = False
        yield
    finally:
        for overlay, before in zip(shown, visible, strict=True):
            overlay.visible = before
