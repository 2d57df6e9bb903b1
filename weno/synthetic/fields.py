"""Smooth random fields and irregular blobs, the raw material of a synthetic slide."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

if TYPE_CHECKING:
    import numpy.typing as npt

    Field = npt.NDArray[np.float32]
    Mask = npt.NDArray[np.bool_]

SPLINE_KNOTS = 4  # a point of a cubic spline depends on four knots
BLOB_REACH = 2.2  # radii a blob may reach from its centre
OCTAVE_GAIN = 0.5  # each finer octave is half as strong: outlines of soft tissue


def resize(field: Field, shape: tuple[int, int]) -> Field:
    """Interpolate a field bicubically to `shape` (height, width)."""
    image = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.BICUBIC))


@dataclass(frozen=True, slots=True)
class SmoothNoise:
    """Noise of mean 0 and deviation 1 on (n, n) pixels, made row by row when asked.

    A product of small matrices: ten times quicker than resampling a picture.
    """

    weights: Field  # (n, K)
    columns: Field  # (K, n)

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int, scale: float) -> SmoothNoise:
        """Draw noise that varies over `scale` pixels."""
        knots = max(2, round(n / scale)) + SPLINE_KNOTS
        coarse = rng.standard_normal((knots, knots), dtype=np.float32)
        weights = _spline_weights(n, knots)
        return cls(weights, coarse @ weights.T)

    def rows(self, rows: slice) -> Field:
        """Return these rows of the noise: float32 ndarray of shape (rows, n)."""
        return np.asarray(self.weights[rows] @ self.columns, dtype=np.float32)


def smooth_noise(rng: np.random.Generator, n: int, scale: float) -> Field:
    """Draw all of a :class:`SmoothNoise`: float32 ndarray of shape (n, n)."""
    return SmoothNoise.draw(rng, n, scale).rows(slice(None))


@lru_cache(maxsize=64)
def _spline_weights(n: int, knots: int) -> Field:
    """Weights of shape (n, knots) of a uniform cubic B-spline, of deviation 1."""
    position = np.arange(n) / n * (knots - SPLINE_KNOTS)
    first, t = np.divmod(position, 1)
    weights = np.zeros((n, knots))
    basis = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    for k, weight in enumerate(basis):
        weights[np.arange(n), first.astype(np.intp) + k] = weight
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return weights.astype(np.float32)


def rough_noise(
    rng: np.random.Generator, n: int, scale: float, octaves: int = 3
) -> Field:
    """Add octaves of :func:`smooth_noise`, from `scale` pixels to finer ones."""
    total = np.zeros((n, n), dtype=np.float32)
    for octave in range(octaves):
        noise = smooth_noise(rng, n, max(scale / 2**octave, 2.0))
        total += OCTAVE_GAIN**octave * noise
    return np.asarray(total / total.std(), dtype=np.float32)


def blob(
    rng: np.random.Generator,
    centre: tuple[float, float],
    area: int,
    allowed: Mask,
    roughness: float,
) -> Mask:
    """Grow an irregular blob of about `area` pixels around `centre`.

    Parameters
    ----------
    centre : tuple of float
        (y, x) in pixels of `allowed`.
    area : int
        Pixels to cover; fewer are covered where `allowed` is smaller or where the
        blob falls apart (its largest piece is kept).
    allowed : bool ndarray of shape (n, n)
        Where the blob may be.
    roughness : float
        Strength of the outline's irregularity, in radii.

    Returns
    -------
    bool ndarray of shape (n, n)
    """
    radius = np.sqrt(max(area, 1) / np.pi)
    reach = int(BLOB_REACH * radius) + 1
    top, left = (max(int(c) - reach, 0) for c in centre)
    window = slice(top, top + 2 * reach), slice(left, left + 2 * reach)
    inside = allowed[window]
    y, x = np.ogrid[: inside.shape[0], : inside.shape[1]]
    value = -np.hypot(y - centre[0] + top, x - centre[1] + left) / radius
    noise = rough_noise(rng, 2 * reach, radius)
    value += roughness * noise[: inside.shape[0], : inside.shape[1]]
    mask = np.zeros_like(allowed)
    ranked = np.sort(value[inside])[::-1]
    if len(ranked):
        threshold = ranked[min(area, len(ranked)) - 1]
        mask[window] = largest_piece(inside & (value >= threshold))
    return mask


def largest_piece(mask: Mask) -> Mask:
    """Keep the largest connected piece of `mask`, its holes filled."""
    pieces, count = ndimage.label(mask)
    if count > 1:
        mask = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return np.asarray(ndimage.binary_fill_holes(mask), dtype=np.bool_)
