"""What the dark-haematoxylin parts of tiles are like: shape, spacing, texture."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from weno.features.encoders._planes import dot, half_log, total

if TYPE_CHECKING:
    import numpy.typing as npt

    from weno.features.encoders._planes import Planes, Stats

    Masks = npt.NDArray[np.bool_]

_DEVIATIONS = 0.6  # a nucleus is this much darker in H than the mean of its tile
_MIN_H = 0.03  # density of H that no nucleus falls short of
_MIN_PIXELS = 12  # at level 1; what is smaller has no measurable shape

# Pixels touch along edges, and never from tile to tile.
_CONNECTED = np.zeros((3, 3, 3), np.bool_)
_CONNECTED[1] = ndimage.generate_binary_structure(2, 1)


def nuclei(
    planes: Planes, mean: Stats, deviation: Stats, textures: tuple[Planes, Planes]
) -> Stats:
    """Describe the nuclei of each tile.

    Parameters
    ----------
    planes : ndarray of shape (3, G, H, W)
        H, D, E of a group of tiles at level 1.
    mean, deviation : ndarray of shape (G,)
        Of H.
    textures : two ndarray of shape (G, H - 2, W - 2 or more)
        Squared Laplacian of H at levels 0 and 1, at the inner pixels of level 1.

    Returns
    -------
    ndarray of shape (20, G)
    """
    threshold = np.maximum(mean + _DEVIATIONS * deviation, _MIN_H).astype(np.float32)
    masks = planes[0] > threshold[:, None, None]  # (G, H, W)
    return np.concatenate([_shapes(masks), _contrast(masks, planes, textures)])


def _shapes(masks: Masks) -> Stats:
    """Measure the connected parts of each mask, weighted by area: (13, G)."""
    group, _, width = masks.shape
    labels, count = ndimage.label(masks, _CONNECTED)
    at = np.flatnonzero(masks)
    part = labels.ravel()[at] - 1
    tile_of_pixel, within = divmod(at, masks[0].size)
    y, x = (axis.astype(float) for axis in divmod(within, width))
    area = np.bincount(part, minlength=count).astype(float)  # (n,)

    def centre(values: Stats) -> Stats:
        centres: Stats = np.bincount(part, values, minlength=count) / area
        return centres

    cy, cx = centre(y), centre(x)
    # A pixel is a square, not a point: it has a variance of 1/12 of its own.
    vy, vx = centre(y * y) - cy**2 + 1 / 12, centre(x * x) - cx**2 + 1 / 12
    trace, stretch, shear = vy + vx, vy - vx, 2 * (centre(y * x) - cy * cx)
    squared = stretch**2 + shear**2
    ellipse = 2 * np.pi * np.sqrt(np.maximum(trace**2 - squared, 1e-6))
    elongation, size = np.sqrt(squared) / trace, np.log(area)
    tile = np.empty(count, np.intp)
    tile[part] = tile_of_pixel
    dark = np.bincount(tile, area, minlength=group)
    big = area >= _MIN_PIXELS

    def mean(values: Stats) -> Stats:
        sums = np.bincount(tile, area * values, minlength=group)
        return sums / np.maximum(dark, 1)

    mean_size, mean_elongation = mean(size), mean(elongation)
    return np.stack(
        [
            dark / masks[0].size,
            np.log1p(np.bincount(tile, minlength=group)),
            np.log1p(np.bincount(tile[big], minlength=group)),
            mean_size,
            np.sqrt(mean((size - mean_size[tile]) ** 2)),
            mean(np.minimum(size, np.log(_MIN_PIXELS))),
            mean_elongation,
            np.sqrt(mean((elongation - mean_elongation[tile]) ** 2)),
            mean(area / ellipse),
            np.sqrt(mean(stretch / trace) ** 2 + mean(shear / trace) ** 2),
            *_spacing(tile[big], cy[big], cx[big], masks.shape),
            mean(np.sqrt(trace)) / np.sqrt(width),
        ]
    )


def _spacing(
    tile: npt.NDArray[np.intp], y: Stats, x: Stats, shape: tuple[int, ...]
) -> Stats:
    """Log mean distance to the nearest neighbour, and its relative deviation.

    Returns
    -------
    ndarray of shape (2, G)
    """
    group, height, width = shape
    spacing = np.full((2, group), [[0.5 * np.log(height * width)], [0.0]])
    ends = np.searchsorted(tile, np.arange(group + 1))
    for k, (first, last) in enumerate(itertools.pairwise(ends)):
        if last - first < 2:
            continue
        ys, xs = y[first:last], x[first:last]
        squared = (ys[:, None] - ys) ** 2 + (xs[:, None] - xs) ** 2  # (n, n)
        np.fill_diagonal(squared, np.inf)
        nearest = np.sqrt(squared.min(axis=1))
        mean = nearest.mean()
        spacing[:, k] = np.log(mean), nearest.std() / mean
    return spacing


def _contrast(masks: Masks, planes: Planes, textures: tuple[Planes, Planes]) -> Stats:
    """Stain and texture inside the masks and against outside: (7, G)."""
    _, height, width = masks.shape
    h, _, e = planes[..., 1:-1, 1:-1]  # (G, H - 2, W - 2)
    inner = masks[:, 1:-1, 1:-1].astype(np.float32)
    dark = total(inner)
    pixels = (height - 2) * (width - 2)
    values = [h, e, h * h, *(texture[..., : width - 2] for texture in textures)]
    inside = np.stack([dot(value, inner) for value in values])  # (5, G)
    outside = np.stack([total(value) for value in values]) - inside
    outside /= np.maximum(pixels - dark, 1)
    inside = np.where(dark > 0, inside / np.maximum(dark, 1), outside)
    deviation = np.sqrt(np.maximum(inside[2] - inside[0] ** 2, 0))
    texture = half_log(inside[3:])
    surround = half_log(np.maximum(outside[3:], 0))
    return np.concatenate(
        [inside[:2] - outside[:2], deviation[None], texture, texture - surround]
    )
