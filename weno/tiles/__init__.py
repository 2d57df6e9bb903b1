"""Where to look on a slide: the tissue, and the grid of tiles over it."""

from __future__ import annotations

from weno.tiles._grid import TileGrid, TileSpec, read_tiles, tile_grid
from weno.tiles._tissue import TissueMask, tissue_mask

__all__ = [
    "TileGrid",
    "TileSpec",
    "TissueMask",
    "read_tiles",
    "tile_grid",
    "tissue_mask",
]
