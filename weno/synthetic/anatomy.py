"""Where things are on a synthetic slide: tissue, fat, follicles, glands, lesions.

Masks have one pixel per 4 µm (GRID level-0 pixels); they are the truth. The lesion
mask says where the painter draws tumour instead of the tissue around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from weno.synthetic.fields import blob, rough_noise

if TYPE_CHECKING:
    import numpy.typing as npt

    from weno.synthetic.fields import Field, Mask

GRID = 8  # level-0 pixels per mask pixel: 4 µm, half a nucleus
CELL = 128  # level-0 pixels per side of a truth cell: the 64 µm tile of the demo

TISSUE_SHARE = (0.50, 0.64)  # of the slide: a small biopsy on its glass
PIECES_CHANCE = (0.55, 0.30, 0.15)  # of one, two, three pieces of tissue
TISSUE_ROUGHNESS = 0.35
BORDER_START, BORDER_SLOPE = 0.38, 14.0  # tissue thins out beyond, never cut straight

FAT_SHARE = (0.0, 0.10)  # of the tissue, lobules at its rim
FOLLICLES = (2, 6)  # lymphoid aggregates, the dark confusers, on every slide
FOLLICLE_RADIUS = (14, 34)  # mask pixels: 60 to 140 µm
MUCOSA_SHARE = 0.62  # of the tissue holds glands
MUCOSA_AROUND = 40  # mask pixels around a lesion that are mucosa in any case
LESION_SHARE = (0.05, 0.11)  # of the tissue
LESION_AREA = 3200  # mask pixels (12 truth cells) that a lesion needs to be one
MAX_LESIONS = 3
LESION_ROUGHNESS = 0.22
LESION_DEPTH = 14  # mask pixels from the tissue edge to a lesion's centre at least


@dataclass(frozen=True)
class Anatomy:
    """Masks of shape (size / GRID, size / GRID), disjoint but for `tissue`."""

    tissue: Mask
    fat: Mask
    follicles: Mask
    mucosa: Mask
    lesion: Mask


def draw_anatomy(rng: np.random.Generator, size: int, *, positive: bool) -> Anatomy:
    """Lay out one slide of `size` level-0 pixels; only positives get lesions."""
    tissue = _draw_tissue(rng, size // GRID)
    area = int(tissue.sum())
    depth = ndimage.distance_transform_edt(tissue).astype(np.float32)
    lesion = np.zeros_like(tissue)
    if positive:
        lesion = _draw_lesions(rng, tissue, depth, area * rng.uniform(*LESION_SHARE))
    free = tissue & ~ndimage.binary_dilation(lesion, iterations=2)
    fat = _draw_fat(rng, free, depth, int(area * rng.uniform(*FAT_SHARE)))
    free &= ~fat
    follicles = np.zeros_like(tissue)
    for _ in range(rng.integers(*FOLLICLES, endpoint=True)):
        radius = rng.uniform(*FOLLICLE_RADIUS)
        centre = _random_point(rng, free)
        follicles |= blob(rng, centre, int(np.pi * radius**2), free, 0.18)
    relief = rough_noise(rng, len(tissue), 60)
    around = ndimage.distance_transform_edt(~lesion) if positive else np.inf
    level = np.quantile(relief[tissue], 1 - MUCOSA_SHARE)
    # Lesions arise in the mucosa, so that glands, not bare stroma, surround them.
    mucosa = (relief > level) | (around < MUCOSA_AROUND)
    return Anatomy(tissue, fat, follicles, mucosa & free & ~follicles, lesion)


def _draw_tissue(rng: np.random.Generator, n: int) -> Mask:
    """Draw one to three pieces that cover a random share of the slide."""
    pieces = 1 + int(rng.choice(len(PIECES_CHANCE), p=PIECES_CHANCE))
    y, x = np.mgrid[:n, :n].astype(np.float32) / n - 0.5
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle)
    across = across - x * np.sin(angle)
    height = np.full((n, n), -np.inf, dtype=np.float32)
    for piece in range(pieces):
        middle = ((piece + 0.5) / pieces - 0.5) * 0.95 + rng.normal(0, 0.02)
        length, width = 0.5 / pieces * rng.uniform(0.8, 1.0), rng.uniform(0.36, 0.46)
        distance = np.hypot((along - middle) / length, across / width)
        height = np.maximum(height, -distance)
    height += TISSUE_ROUGHNESS * rough_noise(rng, n, n / 4, octaves=5)
    border = np.maximum(np.abs(x), np.abs(y))
    height -= BORDER_SLOPE * (border - BORDER_START).clip(0, None)
    mask = height > np.quantile(height, 1 - rng.uniform(*TISSUE_SHARE))
    labels, _ = ndimage.label(mask)
    area = np.bincount(labels.ravel())
    area[0] = 0
    # Crumbs under a fiftieth of the tissue are washed away, small holes close.
    mask = (area > mask.sum() / 50)[labels]
    return np.asarray(ndimage.binary_closing(mask, iterations=2), dtype=np.bool_)


def _draw_lesions(
    rng: np.random.Generator, tissue: Mask, depth: Field, area: float
) -> Mask:
    count = int(rng.integers(1, MAX_LESIONS, endpoint=True))
    count = max(1, min(count, int(area // LESION_AREA)))
    shares = rng.dirichlet(np.full(count, 6.0))
    lesion = np.zeros_like(tissue)
    allowed = tissue & (depth > 3)
    for share in shares:
        each = max(int(area * share), LESION_AREA)
        reach = min(max(LESION_DEPTH, 0.6 * np.sqrt(each)), 0.7 * float(depth.max()))
        distance = ndimage.distance_transform_edt(~lesion) if lesion.any() else depth
        room = allowed & (depth > reach) & (distance > 1.2 * np.sqrt(each))
        centre = _random_point(rng, room if room.any() else allowed & ~lesion)
        lesion |= blob(rng, centre, each, allowed & ~lesion, LESION_ROUGHNESS)
    return lesion


def _draw_fat(rng: np.random.Generator, free: Mask, depth: Field, area: int) -> Mask:
    rim = free & (depth < 30)
    if area < LESION_AREA or not rim.any():
        return np.zeros_like(free)
    return blob(rng, _random_point(rng, rim), area, free, 0.3)


def _random_point(rng: np.random.Generator, mask: Mask) -> tuple[float, float]:
    inside = np.flatnonzero(mask)
    if not len(inside):
        return mask.shape[0] / 2, mask.shape[1] / 2
    y, x = np.unravel_index(inside[rng.integers(len(inside))], mask.shape)
    return float(y), float(x)


def truth_cells(anatomy: Anatomy) -> npt.NDArray[np.int64]:
    """Label every CELL that holds any tissue.

    Returns
    -------
    int64 ndarray of shape (N, 3)
        (y, x, positive): origin in level-0 pixels, row-major; positive is 1 where at
        least half of the cell lies in the lesion.
    """
    step = CELL // GRID
    n = len(anatomy.tissue) // step
    tissue, lesion = (
        mask.reshape(n, step, n, step).mean(axis=(1, 3))
        for mask in (anatomy.tissue, anatomy.lesion)
    )
    rows, cols = np.nonzero(tissue > 0)
    positive = lesion[rows, cols] >= 0.5
    return np.column_stack([rows * CELL, cols * CELL, positive]).astype(np.int64)
