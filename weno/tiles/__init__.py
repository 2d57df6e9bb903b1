"""Where to look on a slide: the tissue, and the grid of tiles over it."""

from __future__ import annotations

from weno.tiles._coarser import find_coarser
from weno.tiles._cover import tile_cover
from weno.tiles._grid import TileGrid, TileSpec, level_for, read_tiles, tile_grid
from weno.tiles._models import CLASSICAL, TissueModel, tissue_model, tissue_names
from weno.tiles._outline import IGNORE, TISSUE, Outline, trace
from weno.tiles._quality import QUALITY, tile_quality
from weno.tiles._tissue import TissueMask, tissue_mask

__all__ = [
    "CLASSICAL",
    "IGNORE",
    "QUALITY",
    "TISSUE",
    "Outline",
    "TileGrid",
    "TileSpec",
    "TissueMask",
    "TissueModel",
    "find_coarser",
    "level_for",
    "read_tiles",
    "tile_cover",
    "tile_grid",
    "tile_quality",
    "tissue_mask",
    "tissue_model",
    "tissue_names",
    "trace",
]
