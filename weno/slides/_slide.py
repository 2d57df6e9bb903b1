"""A whole-slide image: levels, pixel size, pixels."""

from __future__ import annotations

import hashlib
import threading
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast

import numpy as np
import openslide

from weno.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    import dask.array as da
    import numpy.typing as npt
    from PIL import Image

    Pixels = npt.NDArray[np.uint8]

MppSource = Literal["given", "slide", "tiff", "objective"]

#: Extensions that only slides have. ``.tif``, ``.tiff`` and ``.dcm`` may be slides
#: too; for them `is_slide` looks inside.
SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")

# Decoded tiles that OpenSlide keeps, shared by all open slides so that a cohort
# of open slides costs no more memory than one.
_CACHE_BYTES = 256 * 2**20


@cache
def _shared_cache() -> openslide.OpenSlideCache:
    return openslide.OpenSlideCache(_CACHE_BYTES)


def is_slide(path: str | Path) -> bool:
    """Tell whether OpenSlide recognises the content of a file."""
    return openslide.OpenSlide.detect_format(str(path)) is not None


def open_slide(
    path: str | Path, *, mpp: float | tuple[float, float] | None = None
) -> Slide:
    """Open a whole-slide image.

    Parameters
    ----------
    path : str or Path
        A file that OpenSlide 4 reads; of a DICOM series, any one file.
    mpp : float or (y, x), optional
        Size of a level-0 pixel in µm; wins over what the file says.

    Raises
    ------
    SlideError
        If the file is missing, is no slide or is damaged.
    """
    return Slide(Path(path), mpp=mpp)


class Slide:
    """A whole-slide image, open for reading from any number of threads.

    A context manager. Pickling keeps the path, so that a worker process opens the
    file anew. Use `open_slide` to make one.
    """

    def __init__(
        self, path: Path, *, mpp: float | tuple[float, float] | None = None
    ) -> None:
        self.path = path
        self._given_mpp = (mpp, mpp) if isinstance(mpp, int | float) else mpp
        self._lock = threading.Lock()
        self._handle: openslide.OpenSlide | None = self._open()

    def _open(self) -> openslide.OpenSlide:
        if not self.path.exists():
            raise SlideError(self.path, "there is no such file")
        try:
            handle = openslide.OpenSlide(self.path)
            handle.set_cache(_shared_cache())
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise SlideError(self.path, "not a slide that OpenSlide reads") from error
        except openslide.OpenSlideError as error:
            raise SlideError(self.path, f"damaged slide: {error}") from error
        return handle

    @property
    def _slide(self) -> openslide.OpenSlide:
        handle = self._handle
        if handle is None:
            raise SlideError(self.path, "the slide is closed")
        return handle

    def __repr__(self) -> str:
        height, width = self.shape
        return f"<Slide {self.path.name} {height}x{width} px, mpp {self.mpp}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.path, self._given_mpp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; reading afterwards raises `SlideError`."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    @cached_property
    def level_shapes(self) -> tuple[tuple[int, int], ...]:
        """``(height, width)`` of each level in pixels of that level, finest first."""
        return tuple((height, width) for width, height in self._slide.level_dimensions)

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` of level 0."""
        return self.level_shapes[0]

    @cached_property
    def downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level; not rounded."""
        return tuple(self._slide.level_downsamples)

    @cached_property
    def properties(self) -> Mapping[str, str]:
        """What the file says of itself, by OpenSlide's property names."""
        return dict(self._slide.properties)

    @property
    def mpp(self) -> tuple[float, float] | None:
        """``(y, x)`` size of a level-0 pixel in µm, None where nothing tells."""
        return self._mpp_and_source[0]

    @property
    def mpp_source(self) -> MppSource | None:
        """Where `mpp` comes from; ``"objective"`` is a guess and is to be shown so."""
        return self._mpp_and_source[1]

    @cached_property
    def _mpp_and_source(
        self,
    ) -> tuple[tuple[float, float], MppSource] | tuple[None, None]:
        if self._given_mpp is not None:
            return self._given_mpp, "given"
        if (mpp := self._mpp_of("openslide.mpp-y", "openslide.mpp-x")) is not None:
            return mpp, "slide"
        if (mpp := self._tiff_mpp()) is not None:
            return mpp, "tiff"
        power = _positive(self.properties.get("openslide.objective-power"))
        if power is not None:
            # 0.25 µm/px at 40x is what nearly every scanner delivers.
            return (10 / power, 10 / power), "objective"
        return None, None

    def _mpp_of(self, key_y: str, key_x: str) -> tuple[float, float] | None:
        y = _positive(self.properties.get(key_y))
        x = _positive(self.properties.get(key_x))
        return None if y is None or x is None else (y, x)

    def _tiff_mpp(self) -> tuple[float, float] | None:
        per_unit = self._mpp_of("tiff.YResolution", "tiff.XResolution")
        unit_um = {"inch": 25_400.0, "centimeter": 10_000.0}.get(
            self.properties.get("tiff.ResolutionUnit", "")
        )
        if per_unit is None or unit_um is None:
            return None
        return unit_um / per_unit[0], unit_um / per_unit[1]

    @cached_property
    def content_hash(self) -> str:
        """A fingerprint of the content that survives moving and renaming the file."""
        quickhash = self.properties.get("openslide.quickhash-1")
        if quickhash:
            return quickhash
        size = self.path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        with self.path.open("rb") as file:
            digest.update(file.read(2**20))
            file.seek(max(0, size - 2**20))
            digest.update(file.read())
        return digest.hexdigest()

    def read(self, level: int, y: int, x: int, height: int, width: int) -> Pixels:
        """Read a region of one level.

        Parameters
        ----------
        level : int
            0 is the finest.
        y, x : int
            Top-left corner in pixels **of that level**; may lie outside the slide.
        height, width : int
            Size in pixels of that level.

        Returns
        -------
        ndarray of shape (height, width, 3), uint8
            RGB; white where the slide has no pixels or is transparent.

        Raises
        ------
        SlideError
            If the data are damaged or the slide is closed.
        """
        downsample = self.downsamples[level]
        location = (round(x * downsample), round(y * downsample))
        handle = self._slide
        try:
            image = handle.read_region(location, level, (width, height))
        except openslide.OpenSlideError as error:
            self._recover(handle)
            where = f"level {level}, y {y}, x {x}, {height}x{width} px"
            raise SlideError(self.path, f"cannot read {where}: {error}") from error
        return _on_white(image)

    def _recover(self, broken: openslide.OpenSlide) -> None:
        """Replace a handle that has failed: OpenSlide refuses all further reads."""
        with self._lock:
            if self._handle is broken:
                self._handle = self._open()

    @property
    def associated_names(self) -> tuple[str, ...]:
        """Names of the associated images, such as ``"macro"`` or ``"label"``."""
        return tuple(self._slide.associated_images)

    def associated(self, name: str) -> Pixels:
        """Read an associated image; ``"label"`` may show a patient's name.

        Returns
        -------
        ndarray of shape (H, W, 3), uint8

        Raises
        ------
        SlideError
            If the slide has no such image.
        """
        try:
            return _on_white(self._slide.associated_images[name])
        except KeyError:
            known = ", ".join(self.associated_names) or "none"
            reason = f"no associated image {name!r} (there are: {known})"
            raise SlideError(self.path, reason) from None

    def thumbnail(self, size: int = 256) -> Pixels:
        """Read the whole slide, shrunk so that its longer side has `size` pixels."""
        from weno.slides._pyramid import overview

        factor = max(1.0, max(self.shape) / size)
        height, width = (max(1, round(side / factor)) for side in self.shape)
        return overview(self, height, width)

    def pyramid(self, chunk: int = 512) -> list[da.Array]:
        """Return the levels as lazy arrays, finest first, the coarsest a thumbnail.

        Levels are added below the slide's own, each half the size of the one above,
        until the longer side has at most 1,024 pixels.

        Parameters
        ----------
        chunk : int
            Side of the square dask chunks in pixels of each level.

        Returns
        -------
        list of dask array of shape (H, W, 3), uint8
        """
        from weno.slides._pyramid import dask_pyramid

        return dask_pyramid(self, chunk)


def _reopen(path: Path, mpp: tuple[float, float] | None) -> Slide:
    return Slide(path, mpp=mpp)


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _on_white(image: Image.Image) -> Pixels:
    rgba = np.asarray(image.convert("RGBA"))  # (H, W, 4)
    rgb = rgba[..., :3]
    if (rgba[..., 3] == 255).all():
        return np.ascontiguousarray(rgb)
    alpha = rgba[..., 3:].astype(np.uint16)  # (H, W, 1)
    blended = (rgb * alpha + 255 * (255 - alpha) + 127) // 255
    return cast("Pixels", blended.astype(np.uint8))
