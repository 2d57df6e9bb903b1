"""Write a huge slide within seconds, to measure on: its tiles repeat.

    python benchmarks/big_slide.py FILE [--side 131072]

A generic tiled TIFF in the colours of H&E: JPEG tiles of 256 px, levels that are four
times smaller each, 0.25 µm per pixel. 65,536 px take 0.9 GB, 131,072 px 3.4 GB.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage as ndi

from weno.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDE = 65_536
TILE = 256
_PERIOD = 2048  # pixels after which the tissue repeats
_FACTOR = 4
_SMALLEST = 512
_GRAINS = ((1.5, 1.0), (6.0, 2.0), (40.0, 3.0))  # sigma in pixels, weight
# Optical density of the dyes, in red, green and blue.
_HAEMATOXYLIN, _EOSIN = (0.65, 0.70, 0.29), (0.07, 0.99, 0.11)

Pixels = npt.NDArray[np.uint8]


def write_big_slide(path: Path, side: int = SIDE) -> Path:
    """Write the slide unless it is there, and return its path."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    tissue = _tissue(np.random.default_rng(0))
    with (
        replacing(path) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=True) as file,
    ):
        factor = 1
        while side // factor >= _SMALLEST:
            file.write(
                _encoded(_shrunk(tissue, factor), side // factor),
                shape=(side // factor, side // factor, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                subfiletype=int(factor > 1),
                resolution=(4e4 / factor, 4e4 / factor),
                resolutionunit="centimeter",
                metadata=None,
            )
            factor *= _FACTOR
    return path


def _tissue(rng: np.random.Generator) -> Pixels:
    """Paint one period (H, W, 3); its edges fit together."""
    nuclei, stroma = (_grain(rng)[..., None] for _ in range(2))
    density = np.clip(0.35 + 0.35 * nuclei, 0, 2) * _HAEMATOXYLIN
    density += np.clip(0.3 + 0.2 * stroma, 0, 2) * _EOSIN
    return np.clip(255 * np.exp(-density), 0, 255).astype(np.uint8)


def _grain(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    grain = np.zeros((_PERIOD, _PERIOD))
    for sigma, weight in _GRAINS:
        noise = ndi.gaussian_filter(
            rng.standard_normal(grain.shape), sigma, mode="wrap"
        )
        grain += weight * noise / noise.std()
    return grain / grain.std()


def _shrunk(tissue: Pixels, factor: int) -> Pixels:
    side = len(tissue) // factor
    blocks = tissue.reshape(side, factor, side, factor, 3)
    return blocks.mean(axis=(1, 3)).astype(np.uint8)  # (side, side, 3)


def _encoded(tissue: Pixels, side: int) -> Iterator[bytes]:
    """Yield the tiles of a level row by row, each that differs encoded once."""
    period = len(tissue)
    repeats = -(-(period + TILE) // period)
    wide = np.tile(tissue, (repeats, repeats, 1))
    known: dict[tuple[int, int], bytes] = {}
    for top in range(0, side, TILE):
        for left in range(0, side, TILE):
            y, x = top % period, left % period
            if (y, x) not in known:
                known[y, x] = imagecodecs.jpeg8_encode(
                    np.ascontiguousarray(wide[y : y + TILE, x : x + TILE]),
                    level=80,
                    colorspace="RGB",
                    outcolorspace="YCBCR",
                    subsampling="420",
                )
            yield known[y, x]


def main() -> None:
    """Write one."""
    parser = argparse.ArgumentParser(description="Write a huge slide.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--side", type=int, default=SIDE)
    arguments = parser.parse_args()
    print(write_big_slide(arguments.file, arguments.side))


if __name__ == "__main__":
    main()
