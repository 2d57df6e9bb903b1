"""Small pictures of slides, read in the background once they are to be seen."""

from __future__ import annotations

from collections import OrderedDict, deque
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from qtpy.QtCore import QObject, QRect, QSize, Qt, Signal
from qtpy.QtGui import QPainter, QPixmap

from napari_weno.docks import EXPECTED, picture_of
from napari_weno.jobs import QuietJob
from weno.slides import open_slide

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import numpy.typing as npt

    from weno.slides import Slide

    Pixels = npt.NDArray[np.uint8]

#: Room that a picture takes on screen, in a slide's usual shape.
SIZE = QSize(44, 33)
# Rows of several screens; who scrolls past more than these does not want the first.
_MOST_WANTED = 64
# Of 12 KB each on a screen of double density.
_MOST_KEPT = 2000
# Without low levels a slide would have to be read whole, for minutes.
_MOST_PIXELS = 2**26
_WITHOUT_NAMES = "thumbnail"


def read_thumbnails(
    wanted: deque[Path], side: int
) -> Generator[tuple[Path, Pixels | None], None, None]:
    """Read pictures until none is wanted any more, the one asked for last first.

    Parameters
    ----------
    wanted : deque of Path
        Slides; another thread may add to it meanwhile.
    side : int
        Of a picture in pixels, the longer one.

    Yields
    ------
    path : Path
    pixels : ndarray of shape (H, W, 3), uint8, or None
        None if the slide cannot be read, or not in little time.
    """
    while True:
        try:
            path = wanted.pop()
        except IndexError:
            return
        try:
            with open_slide(path) as slide:
                pixels = _small(slide, side)
        except EXPECTED:
            pixels = None
        yield path, pixels


def _small(slide: Slide, side: int) -> Pixels | None:
    height, width = slide.level_shapes[-1]
    if height * width <= _MOST_PIXELS:
        return slide.thumbnail(side)
    if _WITHOUT_NAMES not in slide.associated_names:
        return None
    image = Image.fromarray(slide.associated(_WITHOUT_NAMES))
    image.thumbnail((side, side))
    return np.asarray(image)


class Thumbnails(QObject):
    """Has the pictures of the slides seen last; others it reads when asked for.

    Parameters
    ----------
    density : float
        Pixels of the screen per pixel of Qt's.
    """

    #: A picture that was asked for has come.
    arrived = Signal()

    def __init__(self, density: float = 1.0, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._density = density
        # Taken from by the job, and therefore never looked through here.
        self._wanted: deque[Path] = deque()
        self._asked: set[Path] = set()
        self._kept: OrderedDict[Path, QPixmap] = OrderedDict()
        self._reading = False
        self._job = QuietJob(self)
        self._job.reported.connect(self._on_picture)
        self._job.returned.connect(self._on_end)
        self._none = self._framed(None)

    def __len__(self) -> int:
        return len(self._kept)

    def picture(self, path: Path | None) -> QPixmap:
        """Return the picture of a slide, an empty one as long as it is not read."""
        if path is None:
            return self._none
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        if path not in self._asked:
            self._ask(path)
        return self._none

    def forget(self) -> None:
        """Read all pictures anew: files may have come back or have been replaced."""
        self._wanted.clear()
        self._asked.clear()
        self._kept.clear()

    def _ask(self, path: Path) -> None:
        while len(self._wanted) >= _MOST_WANTED:
            with suppress(IndexError):
                self._asked.discard(self._wanted.popleft())
        self._asked.add(path)
        self._wanted.append(path)
        self._read()

    def _read(self) -> None:
        if not self._reading:
            self._reading = True
            side = round(self._density * max(SIZE.width(), SIZE.height()))
            self._job.run(read_thumbnails, self._wanted, side)

    def _on_picture(self, report: tuple[Path, Pixels | None]) -> None:
        path, pixels = report
        self._asked.discard(path)
        self._kept[path] = self._framed(pixels)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        self.arrived.emit()

    def _on_end(self) -> None:
        self._reading = False
        if self._wanted:
            self._read()

    def _framed(self, pixels: Pixels | None) -> QPixmap:
        """Put a picture in the middle of the room that all have."""
        whole = QPixmap(SIZE * self._density)
        whole.fill(Qt.GlobalColor.transparent)
        if pixels is not None:
            picture = picture_of(pixels).scaled(
                whole.size(),
                Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )
            place = QRect(whole.rect())
            place.setSize(picture.size())
            place.moveCenter(whole.rect().center())
            painter = QPainter(whole)
            painter.drawPixmap(place, picture)
            painter.end()
        whole.setDevicePixelRatio(self._density)
        return whole
