"""The fast path: tiles of a TIFF read and decoded without a detour.

A read of OpenSlide costs several times what the JPEG decoder needs, most of it for
compositing. Where a TIFF's tiles are plain RGB, their bytes are fetched here with one
`os.pread` and decoded by imagecodecs, both without the GIL. OpenSlide stays in charge:
it says which levels there are, and reads what this does not understand.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import tifffile

from weno.errors import SlideError
from weno.slides._backend import DAMAGE, SEGMENT_BYTES, TiledBackend

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    import numpy.typing as npt

    from weno.slides._openslide import OpenSlideBackend

    Pixels = npt.NDArray[np.uint8]

#: OpenSlide's names of the formats whose tiles lie side by side, without overlap.
_VENDORS = ("aperio", "generic-tiff", "philips")
_JPEG = 7
# None, LZW, Deflate by its two numbers, JPEG, Aperio's JPEG 2000 in RGB. Its other
# JPEG 2000 keeps YCbCr, which OpenSlide turns into RGB by tables of its own.
_JPEG_2000 = 33005
_COMPRESSIONS = (1, 5, 8, 32946, _JPEG, _JPEG_2000)
_RGB, _YCBCR = 2, 6
_JPEG_END = b"\xff\xd9"


class FileBytes:
    """Reads bytes of a file from any number of threads.

    Raises
    ------
    SlideError
        If the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise SlideError(path, f"cannot be opened: {error.strerror}") from error
        self.close = weakref.finalize(self, os.close, self._fd)
        self._lock = threading.Lock()
        self.size = os.fstat(self._fd).st_size

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset`, fewer at the end of the file."""
        if hasattr(os, "pread"):
            return os.pread(self._fd, count, offset)
        with self._lock:
            os.lseek(self._fd, offset, os.SEEK_SET)
            return os.read(self._fd, count)


def shapes_of(page: tifffile.TiffPage) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return ``(height, width)`` of a page, and of its tiles or strips."""
    height, width = page.imagelength, page.imagewidth
    if page.is_tiled:
        return (height, width), (page.tilelength, page.tilewidth)
    return (height, width), (min(page.rowsperstrip, height), width)


@dataclass(frozen=True, slots=True, eq=False)
class TiffLevel:
    """Where the tiles (or strips) of one level are, and how to decode them.

    Parameters
    ----------
    shape, tile_shape : (height, width)
        In pixels of the level.
    offsets, counts : ndarray of shape (rows * columns,)
        Place and length in bytes, row by row.
    page : tifffile.TiffPage
        Decodes what is not JPEG.
    tables : bytes or None
        Of JPEG, what all tiles share.
    """

    shape: tuple[int, int]
    tile_shape: tuple[int, int]
    offsets: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    page: tifffile.TiffPage
    tables: bytes | None

    @classmethod
    def of(cls, page: tifffile.TiffPage, file_size: int) -> TiffLevel | None:
        """Describe a page; None if its segments are not plain 8-bit RGB."""
        (height, width), tile_shape = shapes_of(page)
        rows, columns = -(-height // tile_shape[0]), -(-width // tile_shape[1])
        offsets, counts = _place(page.dataoffsets), _place(page.databytecounts)
        photometric = (_RGB, _YCBCR) if page.compression == _JPEG else (_RGB,)
        understood = (
            page.dtype == np.uint8
            and page.samplesperpixel == 3
            and page.planarconfig == 1
            and page.imagedepth == 1
            and not page.extrasamples
            and page.fillorder == 1
            and page.compression in _COMPRESSIONS
            and page.photometric in photometric
            and getattr(page.tags.get("Orientation"), "value", 1) == 1
            and len(offsets) == len(counts) == rows * columns
            and tile_shape[0] * tile_shape[1] * 3 <= SEGMENT_BYTES
            and counts.max(initial=0) <= SEGMENT_BYTES
            and (offsets + counts).max(initial=0) <= file_size
        )
        if not understood:
            return None
        tables = page.jpegtables if page.compression == _JPEG else None
        return cls((height, width), tile_shape, offsets, counts, page, tables)

    @property
    def is_jpeg(self) -> bool:
        """Tell whether the tiles are JPEG."""
        return bool(self.page.compression == _JPEG)

    def read(
        self, file: FileBytes, row: int, column: int, out: Pixels | None = None
    ) -> Pixels | None:
        """Return a tile (h, w, 3), decoded into `out` if that is given and can be.

        None if the file has left the tile out.
        """
        index = row * -(-self.shape[1] // self.tile_shape[1]) + column
        count = int(self.counts[index])
        if count == 0:
            return None
        data = file.read(int(self.offsets[index]), count)
        if self.page.compression == _JPEG_2000:
            # A damaged header may claim any size; `out` bounds it.
            out = np.empty((*self._stored_shape(row), 3), np.uint8)
            imagecodecs.jpeg2k_decode(data, out=out)
            return out
        if not self.is_jpeg:
            tile: Pixels = self.page.decode(data, index)[0][0]
            return tile
        if data.rfind(_JPEG_END) < 0:
            # The decoder would fill the rest with grey and say nothing.
            raise ValueError("the JPEG ends before its end marker")
        if out is None:
            # Also what keeps a damaged header from asking for all memory.
            out = np.empty((*self._stored_shape(row), 3), np.uint8)
        imagecodecs.jpeg8_decode(
            data,
            tables=self.tables,
            colorspace="YCBCR" if self.page.photometric == _YCBCR else "RGB",
            outcolorspace="RGB",
            out=out,
        )
        return out

    def _stored_shape(self, row: int) -> tuple[int, int]:
        """Return the size of a segment: the last strip is shorter, no tile is."""
        height, width = self.tile_shape
        if self.page.is_tiled:
            return height, width
        return min(height, self.shape[0] - row * height), width


# Files that were compared, by path, size and time: a review opens a slide for each of
# its tiles, and comparing took most of that.
_agreed: set[tuple[str, int, int]] = set()


def accelerate(slide: OpenSlideBackend) -> OpenSlideBackend | TiledTiff:
    """Return the fast path for a slide, or the slide itself where there is none."""
    if slide.properties.get("openslide.vendor") not in _VENDORS:
        return slide
    levels = _matching_levels(slide)
    if levels is None:
        return slide
    fast = TiledTiff(slide, levels)
    status = slide.path.stat()
    file = str(slide.path), status.st_size, status.st_mtime_ns
    if file in _agreed or fast.agrees():
        _agreed.add(file)
        return fast
    fast.close_file()
    return slide


class TiledTiff(TiledBackend):
    """A TIFF whose tiles are decoded here, and all else left to OpenSlide."""

    def __init__(self, slide: OpenSlideBackend, levels: list[TiffLevel]) -> None:
        self.path = slide.path
        self._slide = slide
        self._levels = levels
        self._file = FileBytes(slide.path)
        kind = "JPEG" if levels[0].is_jpeg else "plain"
        self.reader = f"tiled TIFF ({kind})"
        self.level_shapes = slide.level_shapes
        self.downsamples = slide.downsamples
        self.tile_shapes = tuple(level.tile_shape for level in levels)
        self.properties = slide.properties
        self.associated_names = slide.associated_names
        self.associated = slide.associated

    @property
    def icc_profile(self) -> bytes | None:
        """The ICC profile of the pixels."""
        return self._slide.icc_profile

    def read_tile(
        self, level: int, row: int, column: int, out: Pixels | None = None
    ) -> Pixels:
        """Return one stored tile, (h, w, 3); pixels past the end do not matter."""
        tile = self._levels[level].read(self._file, row, column, out)
        if tile is None:
            height, width = self.tile_shapes[level]
            if self.properties["openslide.vendor"] != "aperio":
                return np.full((height, width, 3), 255, np.uint8)
            # A fault of Aperio's encoder, which OpenSlide mends by the level above.
            return self._slide.read(level, row * height, column * width, height, width)
        return tile

    def agrees(self) -> bool:
        """Tell whether a tile of each level is, bit for bit, what OpenSlide reads."""
        try:
            return all(self._agrees(level) for level in range(len(self._levels)))
        except SlideError:
            return False

    def _agrees(self, level: int) -> bool:
        tile_height, tile_width = self.tile_shapes[level]
        height, width = self.level_shapes[level]
        y = x = 0
        # OpenSlide blurs what does not begin at a whole pixel of level 0.
        if self.downsamples[level].is_integer():
            y = height // 2 // tile_height * tile_height
            x = width // 2 // tile_width * tile_width
        window = (
            *(level, y, x),
            *(min(tile_height, height - y), min(tile_width, width - x)),
        )
        return np.array_equal(self.read(*window), self._slide.read(*window))

    def close(self) -> None:
        """Close the file."""
        self.close_file()
        self._slide.close()

    def close_file(self) -> None:
        """Close what the fast path has opened itself."""
        self.forget()
        self._file.close()


def _matching_levels(slide: OpenSlideBackend) -> list[TiffLevel] | None:
    """Return the tiled page of each level, None if that is not clear."""
    try:
        with tifffile.TiffFile(slide.path) as tiff:
            size = slide.path.stat().st_size
            tiled = [page for page in tiff.pages if page.is_tiled]
            levels = [TiffLevel.of(page, size) for page in tiled]
    except DAMAGE:
        return None
    if slide.properties["openslide.vendor"] == "philips":
        return _philips_levels(slide, levels)
    found = []
    for shape in slide.level_shapes:
        fitting = [one for one in levels if one is not None and one.shape == shape]
        if len(fitting) != 1:
            return None
        found += fitting
    return found


def _philips_levels(
    slide: OpenSlideBackend, levels: list[TiffLevel | None]
) -> list[TiffLevel] | None:
    """Match levels by size: a Philips page has whole tiles, which a level has not."""
    known = sorted((one for one in levels if one), key=lambda one: -one.shape[0])
    if len(known) != len(levels) or len(known) != len(slide.level_shapes):
        return None
    for one, (height, width) in zip(known, slide.level_shapes, strict=True):
        if one.shape[0] < height or one.shape[1] < width:
            return None
    return known


def _place(values: Any) -> npt.NDArray[np.int64]:
    return np.asarray(values, np.int64)
