"""Arithmetic on stacks of image planes, each plane by itself.

Everything here takes float32 arrays of shape (..., H, W) and gives the same bits
whatever else is in the stack.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

_Number = TypeVar("_Number", np.float32, np.uint16)
_Pixel = TypeVar("_Pixel", np.float32, np.uint8)

Planes = npt.NDArray[np.float32]
Stats = npt.NDArray[np.float64]

#: Squared density below which there is only the noise of the camera.
FLOOR: Final = 1e-6

# Pixels in one call of BLAS: below the length from which it would use threads, which
# changes the order of the sum.
_PIECE = 4096

#: Index of the derivatives in what `derivatives` returns.
DY, DX, STRETCH, SHEAR, SPOT = range(5)


def pair_sums(planes: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """Add up squares of 2x2 pixels; an odd last row or column is left out."""
    height, width = (side & ~1 for side in planes.shape[-2:])
    rows = planes[..., 0:height:2, :width] + planes[..., 1:height:2, :width]
    return rows[..., 0::2] + rows[..., 1::2]


def halve(planes: Planes) -> Planes:
    """Return planes of half the size, each pixel the mean of four."""
    halved = pair_sums(planes)
    halved *= np.float32(0.25)
    return halved


def dot(a: Planes, b: Planes) -> Stats:
    """Inner product of each plane of `a` with that of `b`: (..., H, W) to (...)."""
    pieces = _pieces(a.shape)
    return _sum(np.vecdot(a.reshape(pieces), b.reshape(pieces)))


def total(planes: Planes) -> Stats:
    """Sum of each plane: (..., H, W) to (...)."""
    pieces = _pieces(planes.shape)
    return _sum(np.vecdot(planes.reshape(pieces), np.ones(pieces[-1], np.float32)))


def _sum(values: Planes) -> Stats:
    sums: Stats = values.astype(np.float64).sum(axis=-1)
    return sums


@lru_cache(maxsize=256)
def _pieces(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape in which the planes are cut into equal pieces of whole rows."""
    *stack, height, width = shape
    rows = max(1, min(height, _PIECE // width))
    while height % rows:
        rows -= 1
    return (*stack, height // rows, rows * width)


def half_log(energy: Stats) -> Stats:
    """Logarithm of the amplitude that an energy stands for, with a floor."""
    logarithm: Stats = 0.5 * np.log(energy + FLOOR)
    return logarithm


def neighbours(planes: npt.NDArray[_Pixel], dy: int, dx: int) -> npt.NDArray[_Pixel]:
    """View of each inner pixel's neighbour at (dy, dx): (M, (H - 2) * W - 2).

    The run of a plane goes on over the ends of its rows, which is three times
    faster than row by row; two columns in each row mean nothing.
    """
    count, height, width = planes.shape
    first = (1 + dy) * width + 1 + dx
    return planes.reshape(count, -1)[:, first : first + (height - 2) * width - 2]


def derivatives(planes: Planes) -> Planes:
    """First and second derivatives of contiguous planes, by central differences.

    Parameters
    ----------
    planes : ndarray of shape (M, H, W)

    Returns
    -------
    ndarray of shape (5, M, H - 2, W)
        ``DY, DX, STRETCH, SHEAR, SPOT``; the last two columns are 0.
    """
    count, height, width = planes.shape
    fields = np.empty((5, count, (height - 2) * width), np.float32)
    runs = fields[..., :-2]
    north, south, west, east = (
        neighbours(planes, *at) for at in ((-1, 0), (1, 0), (0, -1), (0, 1))
    )
    np.subtract(south, north, out=runs[DY])
    np.subtract(east, west, out=runs[DX])
    column, row = north + south, west + east
    np.subtract(column, row, out=runs[STRETCH])
    column += row
    column -= 4 * neighbours(planes, 0, 0)
    runs[SPOT] = column
    shear = neighbours(planes, 1, 1) - neighbours(planes, 1, -1)
    shear -= neighbours(planes, -1, 1)
    shear += neighbours(planes, -1, -1)
    np.multiply(shear, np.float32(0.5), out=runs[SHEAR])
    fields = fields.reshape(5, count, height - 2, width)
    fields[..., -2:] = 0
    return fields
