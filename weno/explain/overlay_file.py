"""An overlay as a file of its own: a pyramidal OME-TIFF that viewers of slides open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from weno.atomic import replacing
from weno.errors import RunError
from weno.explain.figure import RESEARCH_USE

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import numpy.typing as npt

    from weno.prediction import Prediction
    from weno.slides import Slide

    Floats = npt.NDArray[np.float64]
    Pixels = npt.NDArray[np.uint8]

_LONGEST_PX = 12_000
_SMALLEST_PX = 512
_TILE_PX = 512
_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class ColourScale:
    """Which colour a value has.

    Parameters
    ----------
    colours : ndarray of shape (K, 4), float
        RGBA in [0, 1] from the lower to the upper limit.
    low, high : float
        The limits; what lies below the lower one is clear.
    opacity : float
        Of the whole overlay.
    """

    colours: Floats
    low: float
    high: float
    opacity: float = 1.0

    def of(self, values: npt.ArrayLike) -> Floats:
        """Return the colours of values of any shape, RGBA; NaN is clear."""
        numbers = np.asarray(values, float)
        place = (numbers - self.low) / ((self.high - self.low) or 1.0)
        steps = np.nan_to_num(place).clip(0, 1) * (len(self.colours) - 1)
        colours = np.array(self.colours[np.rint(steps).astype(int)], float)
        colours[..., 3] *= self.opacity
        colours[~(numbers >= self.low), 3] = 0.0
        return colours


@dataclass(frozen=True, slots=True)
class ExportReport:
    """How far a file is.

    Parameters
    ----------
    done, total : int
        Rows of pixels.
    """

    done: int
    total: int

    @property
    def fraction(self) -> float:
        """Share that is done."""
        return self.done / self.total

    @property
    def text(self) -> str:
        """The report as a line of text."""
        return f"row {self.done:,} of {self.total:,}"


def write_overlay(
    path: Path,
    prediction: Prediction,
    values: npt.ArrayLike,
    scale: ColourScale,
    name: str,
    *,
    slide: Slide | None = None,
    mpp: float = 4.0,
) -> Generator[ExportReport, None, Path]:
    """Write an overlay in its colours, whole or not at all.

    The picture begins where the slide begins and is as large in µm, so that both can
    be laid over each other.

    Parameters
    ----------
    path : Path
    prediction : Prediction
    values : array_like of shape (N,)
        One value a tile.
    scale : ColourScale
    name : str
        What the values are.
    slide : Slide, optional
        What lies beneath; white if not given.
    mpp : float
        Size of a pixel in µm; coarser for a slide that would be too large.

    Raises
    ------
    RunError
        If the file cannot be written.
    SlideError
        If the slide cannot be read.
    """
    sizes = np.multiply(prediction.slide_shape, prediction.mpp)  # (h, w) in µm
    step = max(mpp, *prediction.mpp, float(sizes.max()) / _LONGEST_PX)
    height, width = (max(1, round(float(side) / step)) for side in sizes)
    exact = (float(sizes[0]) / height, float(sizes[1]) / width)  # µm a pixel
    cells = prediction.grid.to_image(values)
    colours = scale.of(cells)  # (rows, columns, 4)
    columns = _cells_of(prediction, 1, (np.arange(width) + 0.5) * exact[1])
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _ROWS):
        bottom = min(height, top + _ROWS)
        rows = _cells_of(prediction, 0, (np.arange(top, bottom) + 0.5) * exact[0])
        over = colours[np.ix_(rows, columns)]
        over[(rows < 0)[:, None] | (columns < 0)[None], 3] = 0.0
        under = _beneath(slide, top, bottom, height, width)
        alpha = over[..., 3:]
        blended = over[..., :3] * 255 * alpha + under * (1 - alpha)
        pixels[top:bottom] = np.rint(blended).astype(np.uint8)
        yield ExportReport(bottom, height)
    try:
        _write_pyramid(path, pixels, exact, _description(prediction, name))
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error}") from error
    return path


def _cells_of(
    prediction: Prediction, axis: int, places: npt.NDArray[np.floating]
) -> npt.NDArray[np.int64]:
    """Return the cell of the lattice that places in µm lie in, -1 where none does.

    A cell is as large as the stride and has its tile in the middle, as on screen.
    """
    grid, mpp = prediction.grid, prediction.mpp[axis]
    stride, tile = grid.stride_l0[axis] * mpp, grid.tile_l0[axis] * mpp
    first = grid.start[axis] * mpp + (tile - stride) / 2
    cells = np.floor((places - first) / stride).astype(np.int64)
    return np.where((cells >= 0) & (cells < grid.shape[axis]), cells, -1)


def _beneath(
    slide: Slide | None, top: int, bottom: int, height: int, width: int
) -> npt.NDArray[np.float64]:
    """Return rows of the slide in the size of the picture, white without a slide."""
    if slide is None:
        return np.full((bottom - top, width, 3), 255.0)
    wanted = slide.shape[0] / height
    fitting = [k for k, d in enumerate(slide.downsamples) if d <= wanted * 1.01]
    level = max(fitting, key=lambda k: slide.downsamples[k], default=0)
    factor = slide.downsamples[level]
    rows, columns = (round(side / factor) for side in slide.shape)
    first, last = (round(edge * rows / height) for edge in (top, bottom))
    read = slide.read(level, first, 0, max(1, last - first), columns)
    shrunk = Image.fromarray(read).resize((width, bottom - top), Image.Resampling.BOX)
    return np.asarray(shrunk, float)


def _description(prediction: Prediction, name: str) -> str:
    return (
        f"{prediction.slide_id}, run {prediction.run}: {name}. {RESEARCH_USE}. "
        "Attention is not probability."
    )


def _write_pyramid(
    path: Path, pixels: Pixels, mpp: tuple[float, float], description: str
) -> None:
    levels = [pixels]
    while max(levels[-1].shape[:2]) > _SMALLEST_PX:
        image = Image.fromarray(levels[-1])
        levels.append(np.asarray(image.reduce(2)))
    metadata = {
        "axes": "YXS",
        "Name": path.name,
        "Description": description,
        "PhysicalSizeX": mpp[1],
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": mpp[0],
        "PhysicalSizeYUnit": "µm",
    }
    import tifffile  # not for who only looks

    with (
        replacing(path) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=True, ome=True) as tiff,
    ):
        for number, level in enumerate(levels):
            tiff.write(
                level,
                photometric="rgb",
                compression="deflate",
                tile=(_TILE_PX, _TILE_PX),
                resolutionunit="CENTIMETER",
                resolution=tuple(1e4 / side / 2**number for side in mpp[::-1]),
                subifds=len(levels) - 1 if not number else None,
                subfiletype=1 if number else 0,
                metadata=metadata if not number else None,
            )
