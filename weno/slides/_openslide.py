"""Slides as OpenSlide reads them: every format of the scanners' vendors."""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import openslide
from PIL import ImageCms

from weno.errors import SlideError
from weno.slides._colour import on_white

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from PIL import Image

    Pixels = npt.NDArray[np.uint8]

# Decoded tiles that OpenSlide keeps, shared by all open slides so that a cohort of
# open slides costs no more memory than one. Only neighbouring reads gain by it: what
# is on screen is kept elsewhere.
_CACHE_BYTES = 64 * 2**20
_BLOCK = 512  # what formats without square tiles of a fair size are read in


@cache
def _shared_cache() -> openslide.OpenSlideCache:
    return openslide.OpenSlideCache(_CACHE_BYTES)


def detect_vendor(path: str | Path) -> str | None:
    """Return the name of the format, None if OpenSlide does not know it."""
    return openslide.OpenSlide.detect_format(str(path))


class OpenSlideBackend:
    """Reads what OpenSlide 4 reads; see `weno.slides._backend.Backend`."""

    reader = "OpenSlide"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._handle = handle = self._open()
        self.level_shapes: tuple[tuple[int, int], ...] = tuple(
            (height, width) for width, height in handle.level_dimensions
        )
        self.downsamples: tuple[float, ...] = tuple(handle.level_downsamples)
        self.tile_shapes: tuple[tuple[int, int], ...] = ((_BLOCK, _BLOCK),) * len(
            self.level_shapes
        )
        self.properties = dict(handle.properties)
        self.associated_names: tuple[str, ...] = tuple(handle.associated_images)

    def _open(self) -> openslide.OpenSlide:
        try:
            handle = openslide.OpenSlide(self.path)
            handle.set_cache(_shared_cache())
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise SlideError(self.path, "not a slide that OpenSlide reads") from error
        except openslide.OpenSlideError as error:
            raise SlideError(self.path, f"damaged slide: {error}") from error
        return handle

    @property
    def icc_profile(self) -> bytes | None:
        """The ICC profile of the pixels."""
        try:
            profile = self._handle.color_profile
        except (ImageCms.PyCMSError, openslide.OpenSlideError, OSError) as error:
            reason = f"its ICC profile is damaged: {error}"
            raise SlideError(self.path, reason) from error
        return None if profile is None else profile.tobytes()

    def read(self, level: int, y: int, x: int, height: int, width: int) -> Pixels:
        """Return a region (height, width, 3) of a level, white outside the slide."""
        downsample = self.downsamples[level]
        location = (round(x * downsample), round(y * downsample))
        region = location, level, (width, height)
        handle = self._handle
        try:
            return _rgb(handle.read_region(*region))
        except openslide.OpenSlideError:
            self._recover(handle)
        # One damaged tile makes all reads of a handle fail, those under way in other
        # threads too. What fails alone as well is damaged.
        try:
            with self._open() as alone:
                return _rgb(alone.read_region(*region))
        except openslide.OpenSlideError as error:
            where = f"level {level}, y {y}, x {x}, {height}x{width} px"
            raise SlideError(self.path, f"cannot read {where}: {error}") from error

    def _recover(self, broken: openslide.OpenSlide) -> None:
        """Replace a handle that has failed: OpenSlide refuses all further reads."""
        with self._lock:
            if self._handle is broken:
                self._handle = self._open()

    def associated(self, name: str) -> Pixels:
        """Return an associated image (H, W, 3)."""
        handle = self._handle
        try:
            return _rgb(handle.associated_images[name])
        except openslide.OpenSlideError as error:
            self._recover(handle)
            reason = f"cannot read the {name} image: {error}"
            raise SlideError(self.path, reason) from error

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


def _rgb(image: Image.Image) -> Pixels:
    return on_white(np.asarray(image.convert("RGBA")))
