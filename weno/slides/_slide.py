"""A whole-slide image: levels, pixel size, pixels."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from weno.errors import SlideError
from weno.slides._backend import open_backend, read_many
from weno.slides._colour import to_srgb
from weno.slides._mpp import mpp_of, positive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    import dask.array as da
    import numpy.typing as npt

    from weno.slides._backend import Backend
    from weno.slides._mpp import MppSource

    Pixels = npt.NDArray[np.uint8]


def open_slide(
    path: str | Path, *, mpp: float | tuple[float, float] | None = None
) -> Slide:
    """Open a whole-slide image.

    Parameters
    ----------
    path : str or Path
        A file that one of the backends reads; of a DICOM series, any one file.
    mpp : float or (y, x), optional
        Size of a level-0 pixel in µm; wins over what the file says.

    Raises
    ------
    SlideError
        If the file is missing, is no slide or is damaged.
    """
    return Slide(path, mpp=mpp)


class Slide:
    """A whole-slide image, open for reading from any number of threads.

    A context manager. Pickling keeps the path, so that a worker process opens the
    file anew. Use `open_slide` to make one.

    Attributes
    ----------
    source : str
        What `open_slide` was given: a path or an address.
    path : Path
        The same; of an address it only serves to show a name.
    level_shapes : tuple of (height, width)
        In pixels of each level, finest first.
    downsamples : tuple of float
        Level-0 pixels per pixel of each level; not rounded.
    tile_shapes : tuple of (height, width)
        The block of each level that is cheapest to read when aligned.
    properties : mapping of str to str
        What the file says of itself, by OpenSlide's property names.
    associated_names : tuple of str
        Names of the associated images, such as ``"macro"`` or ``"label"``.
    reader : str
        What reads the file.
    """

    def __init__(
        self, path: str | Path, *, mpp: float | tuple[float, float] | None = None
    ) -> None:
        self.source = str(path)
        self.path = Path(path)
        self._given_mpp = (mpp, mpp) if isinstance(mpp, int | float) else mpp
        self._reads = _Reads()
        self._backend: Backend = open_backend(self.source)
        self.level_shapes = self._backend.level_shapes
        self.downsamples = self._backend.downsamples
        self.tile_shapes = self._backend.tile_shapes
        self.properties: Mapping[str, str] = self._backend.properties
        self.associated_names = self._backend.associated_names
        self.reader = self._backend.reader

    def __repr__(self) -> str:
        height, width = self.shape
        return f"<Slide {self.path.name} {height}x{width} px, mpp {self.mpp}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.source, self._given_mpp)

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
        """Close the file; reading afterwards raises `SlideError`.

        Waits for reads that are under way in other threads.
        """
        if self._reads.end():
            self._backend.close()

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._reads.ended

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` of level 0."""
        return self.level_shapes[0]

    @property
    def vendor(self) -> str:
        """OpenSlide's name of the format."""
        return self.properties.get("openslide.vendor", "unknown")

    @property
    def objective_power(self) -> float | None:
        """Magnification of the scanner's objective, None where nothing tells."""
        return positive(self.properties.get("openslide.objective-power"))

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
        return mpp_of(self.properties)

    @cached_property
    def icc_profile(self) -> bytes | None:
        """The ICC profile of the pixels, None where the file has none."""
        with self._reading() as backend:
            return backend.icc_profile

    @cached_property
    def to_srgb(self) -> Callable[[Pixels], Pixels] | None:
        """What turns pixels of the slide into sRGB, None without an ICC profile.

        Raises
        ------
        SlideError
            If the profile is damaged.
        """
        profile = self.icc_profile
        return None if profile is None else to_srgb(profile, self.path)

    @cached_property
    def token(self) -> tuple[str, int, int]:
        """What cached pixels are filed under: changes when the file does."""
        try:
            stat = self.path.stat()
        except OSError:  # not a local file
            return self.source, 0, 0
        return str(self.path.resolve()), stat.st_mtime_ns, stat.st_size

    @cached_property
    def content_hash(self) -> str:
        """A fingerprint of the content that survives moving and renaming the file."""
        quickhash = self.properties.get("openslide.quickhash-1")
        if quickhash:
            return quickhash
        if not self.path.is_file():
            return self._pixel_hash()
        size = self.path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        with self.path.open("rb") as file:
            digest.update(file.read(2**20))
            file.seek(max(0, size - 2**20))
            digest.update(file.read())
        return digest.hexdigest()

    def _pixel_hash(self) -> str:
        """Return a fingerprint of what has no first and last bytes: of its pixels.

        Of 8 by 8 windows spread over the coarsest level, which they mostly cover.
        """
        height, width = self.level_shapes[-1]
        rows, columns = np.indices((8, 8)).reshape(2, -1)
        corners = np.stack([rows * height // 8, columns * width // 8], axis=-1)
        windows = self.read_many(len(self.level_shapes) - 1, corners, 256, 256)
        digest = hashlib.sha256(str(self.level_shapes).encode())
        digest.update(windows.tobytes())
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
        with self._reading() as backend:
            return backend.read(level, y, x, height, width)

    def read_many(
        self,
        level: int,
        corners: npt.ArrayLike,
        height: int,
        width: int,
        *,
        threads: int | None = None,
    ) -> Pixels:
        """Read many regions of one size, each stored tile decoded once.

        Parameters
        ----------
        level : int
            0 is the finest.
        corners : array_like of shape (N, 2)
            ``(y, x)`` of the top-left corners in pixels **of that level**; may lie
            outside the slide.
        height, width : int
            Size in pixels of that level.
        threads : int, optional
            How many reads may go on at a time; one per processor if not given.

        Returns
        -------
        ndarray of shape (N, height, width, 3), uint8
            RGB; white where the slide has no pixels or is transparent.

        Raises
        ------
        SlideError
            If the data are damaged or the slide is closed.
        """
        places = np.asarray(corners, np.int64).reshape(-1, 2)
        with self._reading() as backend:
            return read_many(
                backend, level, places, height, width, threads or os.cpu_count() or 1
            )

    @contextmanager
    def _reading(self) -> Iterator[Backend]:
        if not self._reads.begin():
            raise SlideError(self.path, "the slide is closed")
        try:
            yield self._backend
        finally:
            self._reads.done()

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
        if name not in self.associated_names:
            known = ", ".join(self.associated_names) or "none"
            reason = f"no associated image {name!r} (there are: {known})"
            raise SlideError(self.path, reason)
        with self._reading() as backend:
            return backend.associated(name)

    def thumbnail(self, size: int = 256) -> Pixels:
        """Read the whole slide, shrunk so that its longer side has `size` pixels."""
        from weno.slides._pyramid import overview

        factor = max(1.0, max(self.shape) / size)
        height, width = (max(1, round(side / factor)) for side in self.shape)
        return overview(self, height, width)

    def pyramid(self, chunk: int = 512) -> list[da.Array]:
        """Return the levels as lazy arrays, finest first, the coarsest a thumbnail.

        Levels that the slide lacks are added, each half the size of the one above,
        until the longer side has at most 1,024 pixels.

        Parameters
        ----------
        chunk : int
            Wished side of the dask chunks in pixels of each level; they are made of
            whole tiles of the file.

        Returns
        -------
        list of dask array of shape (H, W, 3), uint8
        """
        from weno.slides._pyramid import dask_pyramid

        return dask_pyramid(self, chunk)


def _reopen(source: str, mpp: tuple[float, float] | None) -> Slide:
    return Slide(source, mpp=mpp)


class _Reads:
    """Counts the reads under way, so that no file is closed under one of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self.ended = False

    def begin(self) -> bool:
        """Note that a read begins; False if the slide is closed."""
        with self._changed:
            if self.ended:
                return False
            self._count += 1
            return True

    def done(self) -> None:
        """Note that a read has ended."""
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def end(self) -> bool:
        """Refuse further reads, wait for the last; False if that was done before."""
        with self._changed:
            first, self.ended = not self.ended, True
            self._changed.wait_for(lambda: self._count == 0)
            return first
