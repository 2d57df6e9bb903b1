"""How good tiles are: measured on the pixels that the encoder sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import numpy as np
import scipy

from weno.tiles._classical import ink

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

#: Columns of `tile_quality`.
QUALITY: Final = ("blur", "pen")

_BLUR_PX = 9  # how far Crete et al. blur again
_EVERY = 8  # lines or pixels looked at: the rest says the same


def tile_quality(tiles: npt.NDArray[np.uint8]) -> Floats:
    """Measure blur and pen marks.

    Blur is that of Crete et al. (SPIE 2007): how little tiles change by blurring them
    again, here on green, where stains absorb. It compares tiles of one magnification.
    Pen is the share of pixels that have the colour of ink.

    Parameters
    ----------
    tiles : ndarray of shape (n, side, side, 3), uint8

    Returns
    -------
    ndarray of shape (n, 2), float32
        Blur and pen, each in [0, 1].
    """
    green = tiles[..., 1]
    blur = np.maximum(_blur(green[:, :, ::_EVERY], 1), _blur(green[:, ::_EVERY], 2))
    pen = ink(tiles[:, ::_EVERY, ::_EVERY]).mean(axis=(1, 2))
    return np.stack([blur, pen], axis=1, dtype=np.float32)


def _blur(lines: npt.NDArray[np.uint8], axis: int) -> Floats:
    """Return how blurred tiles (n, …) are along an axis, 1 where all is flat."""
    values = lines.astype(np.float32)
    again = scipy.ndimage.uniform_filter1d(values, _BLUR_PX, axis=axis)
    steps, left = (np.abs(np.diff(v, axis=axis)) for v in (values, again))
    whole = steps.sum(axis=(1, 2))
    lost = np.clip(steps - left, 0, None).sum(axis=(1, 2))
    return cast("Floats", 1 - lost / np.maximum(whole, 1e-6))
