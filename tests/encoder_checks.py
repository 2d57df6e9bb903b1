"""What the tests of encoders share: tiles, and what every encoder promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weno.features import Encoder
from weno.slides import open_slide


def noise(side: int, count: int = 5) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def stained(side: int = 256, count: int = 5) -> np.ndarray:
    """Smooth tiles in the colours of H&E, each other than the others."""
    rng = np.random.default_rng(1)
    coarse = rng.random((count, side // 8, side // 8, 1))
    shade = coarse.repeat(8, axis=1).repeat(8, axis=2)
    pink, purple = np.array([235, 180, 215]), np.array([110, 60, 140])
    return (pink * shade + purple * (1 - shade)).round().astype(np.uint8)


def real(folder: Path, side: int = 256, count: int = 6) -> np.ndarray:
    """Tiles of a real slide, side by side."""
    with open_slide(folder / "gland_cohort" / "gland_11_00.tif") as slide:
        step = min(side, (slide.shape[1] - side) // count)
        return np.stack([slide.read(0, 0, k * step, side, side) for k in range(count)])


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest distance of a tile's features from the wanted, relative to these."""
    off = np.linalg.norm(found - wanted, axis=1)
    return float((off / np.linalg.norm(wanted, axis=1)).max())


def batch_distance(encoder: Encoder, tiles: np.ndarray) -> float:
    """Largest relative distance that the size of the batch makes."""
    whole = encoder.encode(tiles)
    return max(
        distance(
            np.concatenate(
                [encoder.encode(tiles[k : k + n]) for k in range(0, len(tiles), n)]
            ),
            whole,
        )
        for n in range(1, len(tiles))
    )
