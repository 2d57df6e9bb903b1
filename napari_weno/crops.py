"""Pictures of tiles with what lies around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from weno.review import ReviewTile
    from weno.slides import Slide

_SIDE_PX = 448


def read_crop(slide: Slide, tile: ReviewTile, context: float) -> npt.NDArray[np.uint8]:
    """Read a tile with its surroundings at about the size it is shown in.

    Parameters
    ----------
    slide : Slide
    tile : ReviewTile
        Lies in the middle of the picture.
    context : float
        Sides of the picture in sides of the tile.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8

    Raises
    ------
    SlideError
        If the slide's data are damaged.
    """
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
    return slide.read(level, y, x, height, width)
