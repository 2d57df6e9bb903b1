"""OME-TIFF, and other RGB TIFFs that OpenSlide does not read or not as pyramids.

tifffile finds the images and their levels; pixels are read tile by tile, or strip by
strip, as in the fast path for scanners' files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import tifffile

from weno.errors import SlideError
from weno.slides import _ome_xml
from weno.slides._backend import DAMAGE, SEGMENT_BYTES, TiledBackend
from weno.slides._colour import on_white
from weno.slides._plain import plausible_mpp
from weno.slides._tiled import FileBytes, TiffLevel, shapes_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

_RGB, _YCBCR = 2, 6
_JPEG = (6, 7)
_ORIENTATION, _ICC_PROFILE = "Orientation", "InterColorProfile"
_BLOCK = 512
_ASSOCIATED_PIXELS = 2**26
_ASPECT_TOLERANCE = 0.02  # levels are rounded to whole pixels
_AXES = {"C": "channels", "Z": "focal planes", "T": "time points"}
_PER_UNIT_UM = {2: 25_400.0, 3: 10_000.0}
_ADVICE = "slides are read in 8-bit RGB; napari's own reader may show it"
# What reading a damaged file may raise in tifffile.


class _Level(Protocol):
    """A level of which single segments, tiles or strips, can be read."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""

    @property
    def tile_shape(self) -> tuple[int, int]:
        """``(height, width)`` of a segment."""

    def read(
        self, file: FileBytes, row: int, column: int, out: Pixels | None = None
    ) -> Pixels | None:
        """Return a segment (h, w, 3), None if the file has left it out."""


def reads_better(path: Path) -> bool:
    """Tell whether a TIFF that OpenSlide can open holds levels that it overlooks."""
    try:
        with tifffile.TiffFile(path) as tiff:
            first = tiff.pages.first
            return bool(tiff.is_ome or (first.subifds and _is_rgb_page(first)))
    except DAMAGE:
        return False


def is_rgb_slide(path: Path) -> bool:
    """Tell whether a TIFF is 8-bit RGB, and stored as slides are: OME-TIFF or tiled."""
    try:
        with tifffile.TiffFile(path) as tiff:
            if not tiff.is_ome:
                page = tiff.pages.first
                return bool(page.is_tiled and _is_rgb_page(page))
            _refuse_several_files(path, tiff)
            series = _largest(path, tiff)
            return bool(len(series.levels) > 1 or series.keyframe.is_tiled)
    except SlideError:
        return False
    except DAMAGE:
        return False


class OmeTiffBackend(TiledBackend):
    """Reads RGB TIFFs by their tiles or strips; see `weno.slides._backend.Backend`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = FileBytes(path)
        try:
            with tifffile.TiffFile(path) as tiff:
                self._describe(tiff)
        except DAMAGE as error:
            self._file.close()
            raise SlideError(path, f"damaged TIFF: {error}") from error
        except SlideError:
            self._file.close()
            raise

    def _describe(self, tiff: tifffile.TiffFile) -> None:
        if tiff.is_ome:
            _refuse_several_files(self.path, tiff)
        self.reader = "OME-TIFF" if tiff.is_ome else "TIFF"
        series = _largest(self.path, tiff)
        pages = _pyramid(tiff, series)
        self._levels = [_level(self.path, page, self._file.size) for page in pages]
        self.level_shapes = tuple(level.shape for level in self._levels)
        height, width = self.level_shapes[0]
        self.downsamples: tuple[float, ...] = tuple(
            (height / h + width / w) / 2 for h, w in self.level_shapes
        )
        self.tile_shapes = tuple(level.tile_shape for level in self._levels)
        self.properties = _properties(tiff, series, pages[0])
        profile = pages[0].tags.get(_ICC_PROFILE)
        self._icc_profile = None if profile is None else bytes(profile.value)
        self._associated = self._others(tiff, series)
        self.associated_names: tuple[str, ...] = tuple(self._associated)

    def _others(
        self, tiff: tifffile.TiffFile, main: tifffile.TiffPageSeries
    ) -> dict[str, _Level]:
        """Return the other RGB images of an OME-TIFF that are small, by name."""
        found: dict[str, _Level] = {}
        for number, series in enumerate(tiff.series if tiff.is_ome else ()):
            size = series.keyframe.imagelength * series.keyframe.imagewidth
            if series is main or not _is_rgb(series) or size > _ASSOCIATED_PIXELS:
                continue
            name = str(series.name or f"image {number}").strip().lower()
            page = series.pages[0].aspage()
            found.setdefault(name, _level(self.path, page, self._file.size))
        return found

    @property
    def icc_profile(self) -> bytes | None:
        """The ICC profile of the pixels."""
        return self._icc_profile

    def read_tile(
        self, level: int, row: int, column: int, out: Pixels | None = None
    ) -> Pixels:
        """Return one tile or strip, (h, w, 3); white if the file leaves it out."""
        return _read(self._levels[level], self._file, row, column, out)

    def associated(self, name: str) -> Pixels:
        """Return an associated image (H, W, 3)."""
        level = self._associated[name]
        (height, width), (tile_height, tile_width) = level.shape, level.tile_shape
        out = np.empty((height, width, 3), np.uint8)
        for y in range(0, height, tile_height):
            for x in range(0, width, tile_width):
                into = out[y : y + tile_height, x : x + tile_width]
                try:
                    tile = _read(level, self._file, y // tile_height, x // tile_width)
                except DAMAGE as error:
                    reason = f"cannot read the {name} image: {error}"
                    raise SlideError(self.path, reason) from error
                into[:] = tile[: into.shape[0], : into.shape[1]]
        return out

    def close(self) -> None:
        """Close the file."""
        self.forget()
        self._file.close()


def _read(
    level: _Level, file: FileBytes, row: int, column: int, out: Pixels | None = None
) -> Pixels:
    tile = level.read(file, row, column, out)
    return np.full((*level.tile_shape, 3), 255, np.uint8) if tile is None else tile


def _refuse_several_files(path: Path, tiff: tifffile.TiffFile) -> None:
    """Refuse an OME-TIFF that names other files: tifffile would open what it names."""
    other = _ome_xml.other_file(_ome_xml.parse(tiff.ome_metadata), path.name)
    if other is not None:
        raise SlideError(
            path, f"its pixels are in several files ({other}): put them in one OME-TIFF"
        )


def _largest(path: Path, tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """Return the largest RGB image of a TIFF."""
    every = list(tiff.series)
    fitting = [series for series in every if _is_rgb(series)]
    if not fitting:
        held = max(every, key=lambda one: math.prod(one.shape), default=None)
        raise SlideError(path, f"{_contents(held)}: {_ADVICE}")
    largest = max(fitting, key=lambda one: math.prod(one.shape))
    if getattr(largest.keyframe.tags.get(_ORIENTATION), "value", 1) != 1:
        raise SlideError(path, "its Orientation tag turns the image: not read")
    return largest


def _is_rgb(series: tifffile.TiffPageSeries) -> bool:
    return len(series.pages) == 1 and _is_rgb_page(series.keyframe)


def _is_rgb_page(page: tifffile.TiffPage) -> bool:
    colour = page.photometric == _RGB or (
        page.photometric == _YCBCR and page.compression in _JPEG
    )
    return (
        colour
        and page.dtype == np.uint8
        and page.samplesperpixel in (3, 4)
        and page.imagedepth == 1
    )


def _contents(series: tifffile.TiffPageSeries | None) -> str:
    """Say what an image that is not RGB holds."""
    if series is None:
        return "holds no image"
    counts = [
        f"{size} {_AXES.get(axis, 'planes')}"
        for axis, size in zip(series.axes, series.shape, strict=True)
        if axis not in "YXS" and size > 1
    ]
    held = " x ".join(counts) or "one grey channel"
    if not counts and series.keyframe.samplesperpixel > 1:
        held = f"{series.keyframe.samplesperpixel} samples per pixel"
    return f"holds {held} of {series.dtype}"


def _pyramid(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> list[tifffile.TiffPage]:
    """Return the page of each level, finest first."""
    pages = [level.pages[0].aspage() for level in series.levels]
    if len(pages) == 1:
        every = (page.aspage() for page in tiff.pages)
        pages += [page for page in every if page.is_reduced and _is_rgb_page(page)]
    first, *others = pages
    others.sort(key=lambda page: -page.imagelength)
    levels = [first]
    for page in others:
        y = first.imagelength / page.imagelength
        x = first.imagewidth / page.imagewidth
        smaller = page.imagelength < levels[-1].imagelength
        tolerance = max(_ASPECT_TOLERANCE, 2 / min(page.imagelength, page.imagewidth))
        if smaller and abs(y / x - 1) <= tolerance:
            levels.append(page)
    return levels


def _level(path: Path, page: tifffile.TiffPage, file_size: int) -> _Level:
    height, width = page.imagelength, page.imagewidth
    plain = page.samplesperpixel == 3 and page.planarconfig == 1 and page.fillorder == 1
    if plain and page.is_contiguous and not page.is_tiled:
        start = page.dataoffsets[0]
        if start + height * width * 3 > file_size:
            raise SlideError(path, "truncated: its pixels end before the file does")
        return _Contiguous((height, width), start)
    level = TiffLevel.of(page, file_size)
    return _Decoded.of(path, page, file_size) if level is None else level


@dataclass(frozen=True, slots=True)
class _Contiguous:
    """Pixels in one piece, not compressed: any block can be read by itself.

    Parameters
    ----------
    shape : (height, width)
    start : int
        Place of the first byte in the file.
    """

    shape: tuple[int, int]
    start: int

    @property
    def tile_shape(self) -> tuple[int, int]:
        return _BLOCK, _BLOCK

    def read(
        self, file: FileBytes, row: int, column: int, out: Pixels | None = None
    ) -> Pixels:
        height, width = self.shape
        y, x = row * _BLOCK, column * _BLOCK
        rows, columns = min(_BLOCK, height - y), min(_BLOCK, width - x)
        lines = b"".join(
            file.read(self.start + (line * width + x) * 3, columns * 3)
            for line in range(y, y + rows)
        )
        return np.frombuffer(lines, np.uint8).reshape(rows, columns, 3)


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    """Tiles or strips that tifffile decodes: separate planes, transparency, codecs.

    Parameters
    ----------
    shape, tile_shape : (height, width)
        In pixels of the level.
    page : tifffile.TiffPage
    """

    shape: tuple[int, int]
    tile_shape: tuple[int, int]
    page: tifffile.TiffPage

    @classmethod
    def of(cls, path: Path, page: tifffile.TiffPage, file_size: int) -> _Decoded:
        """Describe a page, or say why its segments cannot be read."""
        (height, width), tile_shape = shapes_of(page)
        rows, columns = -(-height // tile_shape[0]), -(-width // tile_shape[1])
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        ends = [
            offset + count
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
        if len(ends) != planes * rows * columns or max(ends) > file_size:
            raise SlideError(path, "truncated, or its directory is damaged")
        if math.prod(tile_shape) * page.samplesperpixel > SEGMENT_BYTES:
            raise SlideError(
                path,
                f"{width} x {height} pixels compressed in one piece cannot be read in "
                "parts: convert it to tiles, as with: vips tiffsave IMAGE OUT.tif "
                "--tile --pyramid --compression jpeg",
            )
        if (
            page.compression != 1
            and page.compression not in tifffile.TIFF.DECOMPRESSORS
        ):
            raise SlideError(
                path, f"no decoder for its compression, {page.compression}"
            )
        return cls((height, width), tile_shape, page)

    def read(
        self, file: FileBytes, row: int, column: int, out: Pixels | None = None
    ) -> Pixels | None:
        page = self.page
        columns = -(-self.shape[1] // self.tile_shape[1])
        rows = -(-self.shape[0] // self.tile_shape[0])
        tables = {"jpegtables": page.jpegtables} if page.jpegtables else {}
        planes = []
        for plane in range(page.samplesperpixel if page.planarconfig == 2 else 1):
            index = (plane * rows + row) * columns + column
            if page.databytecounts[index] == 0:
                return None
            data = file.read(page.dataoffsets[index], page.databytecounts[index])
            planes.append(page.decode(data, index, **tables)[0][0])  # (h, w, S)
        pixels: Pixels = np.concatenate(planes, axis=-1)
        return on_white(pixels) if page.samplesperpixel == 4 else pixels


def _properties(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, page: tifffile.TiffPage
) -> dict[str, str]:
    """Say by OpenSlide's names what the file says of the image."""
    found = {"openslide.vendor": "ome-tiff" if tiff.is_ome else "tiff"}
    if tiff.is_ome:
        index = list(tiff.series).index(series)
        shape = page.imagelength, page.imagewidth
        found |= _ome_xml.properties(_ome_xml.parse(tiff.ome_metadata), index, shape)
    if "openslide.mpp-x" not in found:
        found |= _resolution(page)
    return found


def _resolution(page: tifffile.TiffPage) -> dict[str, str]:
    """Return the pixel size by the TIFF's resolution, if that can be a slide's."""
    unit_um = _PER_UNIT_UM.get(int(page.resolutionunit))
    per_x, per_y = page.resolution
    if unit_um is None or min(per_x, per_y) <= 0:
        return {}
    if not (plausible_mpp(unit_um / per_x) and plausible_mpp(unit_um / per_y)):
        return {}
    unit = {2: "inch", 3: "centimeter"}[int(page.resolutionunit)]
    return {
        "tiff.ResolutionUnit": unit,
        "tiff.XResolution": f"{per_x:.9g}",
        "tiff.YResolution": f"{per_y:.9g}",
    }
