"""What a file format must offer to be a slide, and which backend reads a file.

A backend is one small file. It knows pixels of a level and nothing of µm, tissue or
screens; `weno.slides.Slide` stands before it and is what everybody else sees.
"""

from __future__ import annotations

import os
import struct
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from weno.errors import SlideError
from weno.slides._cache import TileCache

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

_Item = TypeVar("_Item")

#: Extensions that only slides have. ``.tif``, ``.tiff`` and ``.dcm`` may be slides
#: too; for them `is_slide` looks inside.
SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")

# The first bytes of PNG and JPEG.
_PLAIN = (b"\x89PNG", b"\xff\xd8\xff")

#: What parsers and decoders raise on damaged data.
DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, RuntimeError, TypeError, LookupError, MemoryError),
    *(AttributeError, AssertionError, ArithmeticError, struct.error),
)

#: Decoded, the largest tile or strip that a backend accepts.
SEGMENT_BYTES = 2**28

# Tiles of which a region used a part only. Regions of a row are read one after the
# other, so this must hold two rows of tiles of a large slide, not more.
_recent = TileCache(64 * 2**20)
# An image that is compressed in one piece would push out all others, or not be kept
# and be decoded anew for every region. This holds the largest that backends accept.
_GIANT_BYTES = 16 * 2**20
_giants = TileCache(SEGMENT_BYTES)


class Backend(Protocol):
    """Reads the pixels of one file. All methods may be called from any thread.

    Attributes
    ----------
    reader : str
        What to call the backend on screen.
    level_shapes : tuple of (height, width)
        In pixels of each level, finest first.
    downsamples : tuple of float
        Level-0 pixels per pixel of each level, not rounded.
    tile_shapes : tuple of (height, width)
        The block of each level that is cheapest to read when aligned.
    properties : dict of str to str
        By OpenSlide's names: ``openslide.mpp-x``, ``openslide.vendor`` and so on.
    associated_names : tuple of str
    icc_profile : bytes or None
    """

    reader: str
    level_shapes: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    tile_shapes: tuple[tuple[int, int], ...]
    properties: dict[str, str]
    associated_names: tuple[str, ...]

    @property
    def icc_profile(self) -> bytes | None:
        """The ICC profile of the pixels."""

    def read(self, level: int, y: int, x: int, height: int, width: int) -> Pixels:
        """Return a region (height, width, 3) of a level, white outside the slide.

        Raises
        ------
        SlideError
            If the data are damaged.
        """

    def associated(self, name: str) -> Pixels:
        """Return one of the images in `associated_names`, (H, W, 3)."""

    def close(self) -> None:
        """Give back what the operating system lent; no read is under way."""


class TiledBackend(ABC):
    """A backend for files that are stored in tiles which can be read one by one.

    A subclass sets the attributes of `Backend` and defines `read_tile`.
    """

    path: Path
    level_shapes: tuple[tuple[int, int], ...]
    tile_shapes: tuple[tuple[int, int], ...]

    @cached_property
    def _key(self) -> object:
        """What kept tiles are filed under; the backend itself would never go."""
        return object()

    @abstractmethod
    def read_tile(
        self, level: int, row: int, column: int, out: Pixels | None = None
    ) -> Pixels:
        """Return one stored tile, (h, w, 3); pixels past the end do not matter.

        A decoder that can, decodes into `out`, which has the shape of a whole tile,
        and returns it. What is raised becomes a `SlideError` that names the tile.
        """

    def read(self, level: int, y: int, x: int, height: int, width: int) -> Pixels:
        """Return a region (height, width, 3) of a level, white outside the slide."""
        one: Pixels = self.read_many(level, np.array([[y, x]]), height, width)[0]
        return one

    def read_many(
        self,
        level: int,
        corners: npt.NDArray[np.int_],
        height: int,
        width: int,
        *,
        threads: int = 1,
    ) -> Pixels:
        """Return regions (N, height, width, 3), each stored tile decoded once.

        Parameters
        ----------
        level : int
        corners : ndarray of shape (N, 2)
            ``(y, x)`` in pixels of the level; may lie outside the slide.
        height, width : int
        threads : int
            How many tiles are decoded at a time.
        """
        out = np.empty((len(corners), height, width, 3), np.uint8)
        places = corners.tolist()
        regions_under = self._regions_under(level, places, out)

        def fill(tiles: list[tuple[int, int]]) -> None:
            for tile in tiles:
                self._fill(level, tile, regions_under[tile], places, out)

        _in_threads(fill, list(regions_under), threads)
        return out

    def _regions_under(
        self, level: int, places: list[list[int]], out: Pixels
    ) -> dict[tuple[int, int], list[int]]:
        """Tell which regions each tile is part of; whiten those that go outside."""
        level_height, level_width = self.level_shapes[level]
        tile_height, tile_width = self.tile_shapes[level]
        height, width = out.shape[1:3]
        regions_under: dict[tuple[int, int], list[int]] = {}
        for k, (y, x) in enumerate(places):
            bottom, right = min(y + height, level_height), min(x + width, level_width)
            if min(y, x) < 0 or bottom < y + height or right < x + width:
                out[k] = 255
            for row in range(max(0, y) // tile_height, -(-bottom // tile_height)):
                for column in range(max(0, x) // tile_width, -(-right // tile_width)):
                    regions_under.setdefault((row, column), []).append(k)
        return regions_under

    def _fill(
        self,
        level: int,
        tile: tuple[int, int],
        regions: list[int],
        places: list[list[int]],
        out: Pixels,
    ) -> None:
        """Copy a tile to the regions that it is part of."""
        shape = self.tile_shapes[level]
        level_height, level_width = self.level_shapes[level]
        top, left = tile[0] * shape[0], tile[1] * shape[1]
        rows = min(shape[0], level_height - top)
        columns = min(shape[1], level_width - left)
        first, (y, x) = out[regions[0]], places[regions[0]]
        below, right = y + first.shape[0], x + first.shape[1]
        if y > top or x > left or below < top + rows or right < left + columns:
            pixels = self._kept(level, tile)
        elif first.shape[:2] == shape == (rows, columns):
            pixels = self._decoded(level, tile, first)
            if pixels is first:
                regions = regions[1:]
        else:
            pixels = self._decoded(level, tile)
        for k in regions:
            piece = pixels[:rows, :columns]
            _paste(piece, top - places[k][0], left - places[k][1], out[k])

    def _kept(self, level: int, tile: tuple[int, int]) -> Pixels:
        """Read a tile, and keep it: a neighbouring region may want the rest."""
        height, width = self.tile_shapes[level]
        kept = _recent if height * width * 3 <= _GIANT_BYTES else _giants
        key = (self._key, level, tile)
        pixels = kept.get(key)
        if pixels is None:
            pixels = self._decoded(level, tile)
            kept.put(key, pixels)
        return pixels

    def _decoded(
        self, level: int, tile: tuple[int, int], out: Pixels | None = None
    ) -> Pixels:
        try:
            return self.read_tile(level, *tile, out)
        except DAMAGE as error:
            where = f"level {level}, tile {tile}"
            raise SlideError(self.path, f"cannot read {where}: {error}") from error

    def forget(self) -> None:
        """Drop the tiles that are kept for neighbouring regions."""
        for kept in (_recent, _giants):
            kept.discard(self._key)


def read_many(
    backend: Backend,
    level: int,
    corners: npt.NDArray[np.int_],
    height: int,
    width: int,
    threads: int,
) -> Pixels:
    """Return regions (N, height, width, 3) of a level, by whatever way is fastest."""
    if isinstance(backend, TiledBackend):
        return backend.read_many(level, corners, height, width, threads=threads)
    out = np.empty((len(corners), height, width, 3), np.uint8)

    def fill(regions: list[int]) -> None:
        for k in regions:
            y, x = corners[k].tolist()
            out[k] = backend.read(level, y, x, height, width)

    _in_threads(fill, list(range(len(corners))), threads)
    return out


def _paste(tile: Pixels, top: int, left: int, out: Pixels) -> None:
    """Copy a tile into a region whose corner it lies ``(top, left)`` from."""
    height, width = out.shape[:2]
    piece = tile[max(0, -top) : height - top, max(0, -left) : width - left]
    y, x = max(0, top), max(0, left)
    out[y : y + piece.shape[0], x : x + piece.shape[1]] = piece


def _in_threads(
    work: Callable[[list[_Item]], None], items: list[_Item], threads: int
) -> None:
    """Call `work` on shares of `items`, the first share in this thread."""
    threads = min(threads, len(items))
    if threads < 2:
        work(items)
        return
    shares = [items[k::threads] for k in range(threads)]
    others = [_executor().submit(work, share) for share in shares[1:]]
    try:
        work(shares[0])
    finally:
        wait(others)
    for other in others:
        other.result()


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="weno-decode")


if hasattr(os, "register_at_fork"):
    # A forked process has none of the threads.
    os.register_at_fork(after_in_child=_executor.cache_clear)


def is_slide(path: str | Path) -> bool:
    """Tell whether the content is a slide that may be opened unasked.

    What OpenSlide recognises, OME-TIFF and OME-Zarr in RGB. Not other images: they
    open as slides only when somebody says that they are. Nor what merely happens to
    be a tiled TIFF, such as a mask. An address is judged by its name alone.
    """
    if "://" in str(path):
        return str(path).rstrip("/").lower().endswith(".zarr")
    path = Path(path)
    if path.is_dir():
        from weno.slides._ome_zarr import is_rgb_slide as is_zarr_slide

        return is_zarr_slide(path)
    from weno.slides._openslide import detect_vendor

    vendor = detect_vendor(path)
    if vendor == "generic-tiff" or (vendor is None and _is_tiff(_head(path))):
        from weno.slides._ome_tiff import is_rgb_slide as is_tiff_slide

        return is_tiff_slide(path)
    return vendor is not None


def open_backend(source: str) -> Backend:
    """Open a file, a folder or an address with the backend that reads it best.

    Raises
    ------
    SlideError
        If no backend reads it.
    """
    path = Path(source)
    is_address = "://" in source
    if not is_address and not path.exists():
        raise SlideError(path, "there is no such file")
    if is_address or path.is_dir():
        from weno.slides._ome_zarr import OmeZarrBackend

        return OmeZarrBackend(source)
    return _open_image(path) or _open_scan(path)


def _open_scan(path: Path) -> Backend:
    """Open what OpenSlide reads, or raise its reason."""
    from weno.slides._openslide import OpenSlideBackend
    from weno.slides._tiled import accelerate

    return accelerate(OpenSlideBackend(path))


def _open_image(path: Path) -> Backend | None:
    """Open what OpenSlide does not read, or reads without its levels."""
    from weno.slides._openslide import detect_vendor

    vendor = detect_vendor(path)
    # A scanner's file that OpenSlide refuses is incomplete. Its pictures may still
    # open, such as the preview that an .mrxs file is without its folder.
    is_scan = path.suffix.lower() in SLIDE_SUFFIXES
    if vendor not in (None, "generic-tiff") or is_scan:
        return None
    head = _head(path)
    if _is_tiff(head):
        from weno.slides._ome_tiff import OmeTiffBackend, reads_better

        if vendor is None or reads_better(path):
            return OmeTiffBackend(path)
    elif head.startswith(_PLAIN):
        from weno.slides._plain import PlainBackend

        return PlainBackend(path)
    return None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError:
        return b""


def _is_tiff(head: bytes) -> bool:
    return head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
