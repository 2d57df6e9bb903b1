"""The grid of tiles over a slide: one fixed order, level-0 coordinates."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from weno.errors import SlideError, WenoError
from weno.tiles._tissue import TissueMask, tissue_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from weno.slides import Slide

    Origins = npt.NDArray[np.int64]

# A scanner's pixel size differs from its nominal one by a per cent or two.
_MPP_TOLERANCE = 1.05
_SWITCHES = ("icc", "upsample")
_ROUNDED = 1.0  # level-0 pixels that a tile of a lattice may be off it
_READ_PIXELS = 2**26  # at a time: tiles of a slide without low levels may be large


@dataclass(frozen=True, slots=True)
class TileSpec:
    """How slides are cut into tiles; the same for all slides of a model.

    Parameters
    ----------
    tile_um : float
        Side of a tile in µm.
    mpp : float
        Size in µm of the pixels that the encoder sees.
    stride_um : float, optional
        Distance between tiles in µm; None puts them side by side.
    min_tissue : float
        Smallest share of tissue, in [0, 1], for a tile to be used.
    icc : bool
        Turn colours into sRGB by the ICC profiles of the slides that have one.
    upsample : bool
        Enlarge the pixels of slides that are coarser than `mpp`, else refused.
    """

    tile_um: float = 128.0
    mpp: float = 0.5
    stride_um: float | None = None
    min_tissue: float = 0.5
    icc: bool = False
    upsample: bool = False

    def __post_init__(self) -> None:
        stride = self.tile_um if self.stride_um is None else self.stride_um
        if not min(self.tile_um, self.mpp, stride) > 0:
            raise WenoError(f"tile size, stride and mpp must be positive: {self}")
        if not 0 <= self.min_tissue <= 1:
            raise WenoError(f"min_tissue is a share in [0, 1]: {self.min_tissue}")
        if self.tile_px < 16:
            raise WenoError(
                f"a tile of {self.tile_um} µm at {self.mpp} µm/px has only "
                f"{self.tile_px} px; it needs 16: make tile_um larger or mpp smaller"
            )

    @property
    def tile_px(self) -> int:
        """Side of a tile in pixels of the target mpp."""
        return round(self.tile_um / self.mpp)

    @property
    def hash(self) -> str:
        """Eight hex digits that differ whenever anything here differs."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def wants_finer(self, mpp: float) -> bool:
        """Return whether pixels of a slide, of `mpp` µm, are too coarse to be cut."""
        return not self.upsample and mpp > self.mpp * _MPP_TOLERANCE

    def to_dict(self) -> dict[str, float | bool | None]:
        """Return the fields, numbers as float, ready for JSON; switches only if on.

        Without them, specs are the same as before there were such choices.
        """
        values: dict[str, float | bool | None] = {}
        for key, value in asdict(self).items():
            if key not in _SWITCHES:
                values[key] = None if value is None else float(value)
            elif value:
                values[key] = True
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a spec of its fields; an unknown one is an error, not ignored."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise WenoError(f"unknown tile setting: {', '.join(sorted(unknown))}")
        for name, value in values.items():
            if name in _SWITCHES:
                if not isinstance(value, bool):
                    raise WenoError(f"tile setting {name} is true or false: {value!r}")
            elif not isinstance(value, int | float | None):
                raise WenoError(f"tile setting {name} is no number: {value!r}")
        return cls(**values)


@dataclass(frozen=True)
class TileGrid:
    """All tiles of a slide, row by row. Index `i` here is instance `i` of its bag.

    Parameters
    ----------
    origins : ndarray of shape (N, 2), int64
        ``(y, x)`` of the tiles' top-left corners in level-0 pixels.
    tile_l0, stride_l0 : (float, float)
        ``(y, x)`` size of a tile, and step from tile to tile, in level-0 pixels.
    shape : (int, int)
        Rows and columns of the lattice that covers the whole slide.
    start : (float, float)
        ``(y, x)`` of its first corner, in level-0 pixels.
    """

    origins: Origins
    tile_l0: tuple[float, float]
    stride_l0: tuple[float, float]
    shape: tuple[int, int]
    start: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def from_origins(
        cls,
        origins: Origins,
        spec: TileSpec,
        mpp: tuple[float, float],
        slide_shape: tuple[int, int],
    ) -> Self:
        """Rebuild the grid of a slide from what a features file keeps.

        Tiles that others have cut need not lie on the lattice of `spec`: TRIDENT steps
        by whole pixels, CLAM begins anew at each outline. Then the lattice is the one
        that most of them lie on; the others get the nearest place of it.

        Parameters
        ----------
        origins : ndarray of shape (N, 2), int64
            ``(y, x)`` in level-0 pixels.
        spec : TileSpec
            What the tiles were cut by.
        mpp : (float, float)
            ``(y, x)`` size of a level-0 pixel in µm.
        slide_shape : (int, int)
            ``(height, width)`` of level 0.
        """
        stride_um = spec.stride_um or spec.tile_um
        axes = [
            _lattice(origins[:, axis], stride_um / mpp[axis], slide_shape[axis])
            for axis in (0, 1)
        ]
        start, stride, shape = zip(*axes, strict=True)
        tile = (spec.tile_um / mpp[0], spec.tile_um / mpp[1])
        return cls(origins, tile, stride, shape, start)

    def __len__(self) -> int:
        return len(self.origins)

    @cached_property
    def cells(self) -> npt.NDArray[np.int64]:
        """Row and column of each tile in the lattice, of shape (N, 2)."""
        from_start = np.subtract(self.origins, self.start)
        return np.rint(from_start / self.stride_l0).astype(np.int64)

    @cached_property
    def _index(self) -> npt.NDArray[np.int64]:
        index = np.full(self.shape, -1, np.int64)
        index[tuple(self.cells.T)] = np.arange(len(self))
        return index

    def index_at(self, y: float, x: float) -> int | None:
        """Return the tile under a point, None where there is none.

        Where tiles overlap it is the one whose centre is nearest.

        Parameters
        ----------
        y, x : float
            Point in level-0 pixels.
        """
        cell = []
        for at, tile, stride, count in zip(
            (y - self.start[0], x - self.start[1]),
            self.tile_l0,
            self.stride_l0,
            self.shape,
            strict=True,
        ):
            k = min(int(at // stride) + 1, count - 1)
            overlap = max(0.0, tile - stride)
            while k > 0 and round(k * stride) + overlap / 2 > at:
                k -= 1
            if not 0 <= at - round(k * stride) < math.ceil(tile):
                return None
            cell.append(k)
        index = int(self._index[cell[0], cell[1]])
        return None if index < 0 else index

    def to_image(
        self, values: npt.ArrayLike, fill: float = math.nan
    ) -> npt.NDArray[np.float32]:
        """Lay out one value per tile as an image with one pixel per lattice cell.

        Parameters
        ----------
        values : array_like of shape (N,)
        fill : float
            Value of the cells without a tile.

        Returns
        -------
        ndarray of shape (rows, columns), float32
        """
        image = np.full(self.shape, fill, np.float32)
        image[tuple(self.cells.T)] = values
        return image


def _lattice(
    places: npt.NDArray[np.int64], stride: float, extent: int
) -> tuple[float, float, int]:
    """Return start, step and length of the lattice that tiles lie on, of one axis.

    Parameters
    ----------
    places : ndarray of shape (N,), int64
        Where tiles begin.
    stride : float
        The step that they should have.
    extent : int
        Of the slide. All in level-0 pixels.
    """
    start, step = 0.0, stride
    off = np.abs(np.subtract(places, np.rint(places / stride) * stride))
    if (off > _ROUNDED).any():
        gaps = np.diff(np.unique(places))
        near = gaps[np.abs(np.subtract(gaps, stride)) <= stride / 8]
        step = float(np.median(near)) if len(near) else stride
        phases, counts = np.unique(np.mod(places, step), return_counts=True)
        start = float(phases[counts.argmax()])
        if np.rint((float(places.min()) - start) / step) < 0:
            start -= step
    last = round((float(places.max(initial=0)) - start) / step)
    return start, step, max(math.ceil((extent - start) / step), last + 1)


def tile_grid(
    slide: Slide, spec: TileSpec, tissue: TissueMask | None = None
) -> TileGrid:
    """Lay the grid over a slide and keep the tiles with enough tissue.

    Parameters
    ----------
    slide : Slide
    spec : TileSpec
    tissue : TissueMask, optional
        Found by `tissue_mask` if not given.

    Raises
    ------
    SlideError
        If the slide's pixels are coarser than the spec asks for and it does not ask
        to enlarge them, their size is not known, or the slide cannot be read.
    """
    tissue = tissue or tissue_mask(slide)
    mpp = slide.mpp
    assert mpp is not None, "tissue_mask has checked it"
    if spec.wants_finer(max(mpp)):
        raise SlideError(
            slide.path,
            f"its pixels are {max(mpp):g} µm, tiles are to have {spec.mpp:g} µm/px: "
            f"set mpp to {max(mpp):g} or more in project.toml, under [tiles], or have "
            "pixels enlarged by upsample = true there",
        )
    whole = TileGrid.from_origins(np.empty((0, 2), np.int64), spec, mpp, slide.shape)
    cells = np.indices(whole.shape).reshape(2, -1).T  # (rows * columns, 2)
    origins = np.rint(cells * whole.stride_l0).astype(np.int64)
    keep = tissue.usable(origins, whole.tile_l0, spec.min_tissue)
    return replace(whole, origins=origins[keep])


def read_tiles(
    slide: Slide,
    grid: TileGrid,
    spec: TileSpec,
    indices: Sequence[int],
    *,
    threads: int = 1,
) -> npt.NDArray[np.uint8]:
    """Read tiles at the spec's mpp.

    A tile comes from the next finer level and is shrunk by itself, so that its
    pixels do not depend on which other tiles are read with it.

    Parameters
    ----------
    slide : Slide
    grid : TileGrid
    spec : TileSpec
    indices : sequence of int
        Tiles to read; what neighbours share in the file is decoded once.
    threads : int
        How many reads may go on at a time.

    Returns
    -------
    ndarray of shape (len(indices), tile_px, tile_px, 3), uint8

    Raises
    ------
    SlideError
        If the slide's data are damaged.
    """
    side = spec.tile_px
    level = level_for(slide, spec)
    downsample = slide.downsamples[level]
    height, width = (round(extent / downsample) for extent in grid.tile_l0)
    corners = np.rint(grid.origins[list(indices)] / downsample).astype(int)  # (n, 2)
    out = np.empty((len(indices), side, side, 3), np.uint8)
    step = max(1, _READ_PIXELS // (height * width))
    for first in range(0, len(corners), step):
        piece = corners[first : first + step]
        tiles = slide.read_many(level, piece, height, width, threads=threads)
        for tile, into in zip(tiles, out[first:], strict=False):
            if (height, width) != (side, side):
                tile = _shrunk(tile, side)
            into[:] = tile
    if spec.icc and slide.to_srgb is not None:
        return slide.to_srgb(out)
    return out


def _shrunk(tile: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    image = Image.fromarray(tile)
    factor = tile.shape[0] // side
    if tile.shape == (factor * side, factor * side, 3):
        return np.asarray(image.reduce(factor))  # as a scanner makes its levels
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def level_for(slide: Slide, spec: TileSpec) -> int:
    """Return the level that tiles are read from: the next finer, 0 if none is."""
    assert slide.mpp is not None, "who has tiles has a pixel size"
    wanted = spec.tile_um / max(slide.mpp) / spec.tile_px * _MPP_TOLERANCE
    fitting = [k for k, d in enumerate(slide.downsamples) if d <= wanted]
    return max(fitting, key=lambda level: slide.downsamples[level], default=0)
