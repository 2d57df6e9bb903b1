"""Pictures of tiles with what lies around them, read in the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    import numpy.typing as npt

    from weno.review import ReviewTile
    from weno.slides import Slide

_SIDE_PX = 448


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A tile with its surroundings.

    Parameters
    ----------
    tile : ReviewTile
    pixels : ndarray of shape (H, W, 3), uint8
    context : float
        Sides of the crop in sides of the tile, which lies in its middle.
    """

    tile: ReviewTile
    pixels: npt.NDArray[np.uint8]
    context: float


def read_crop(
    slide: Slide, tile: ReviewTile, context: float = 3.0
) -> Generator[None, None, Crop]:
    """Read a tile with its surroundings at about the size it is shown in.

    Parameters
    ----------
    slide : Slide
    tile : ReviewTile
    context : float
        Sides of the crop in sides of the tile.

    Raises
    ------
    SlideError
        If the slide's data are damaged.
    """
    yield
    wanted = max(tile.size) * context / _SIDE_PX
    levels = range(len(slide.downsamples))
    fitting = [level for level in levels if slide.downsamples[level] <= wanted]
    level = max(fitting, key=lambda level: slide.downsamples[level], default=0)
    downsample = slide.downsamples[level]
    y, x = (
        round((origin - (context - 1) / 2 * side) / downsample)
        for origin, side in zip(tile.origin, tile.size, strict=True)
    )
    height, width = (max(1, round(side * context / downsample)) for side in tile.size)
    return Crop(tile, slide.read(level, y, x, height, width), context)
