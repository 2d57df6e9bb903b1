"""The ground of a slide: all that eosin stains, before glands and nuclei.

Two density planes, haematoxylin and eosin, are painted at half resolution (1 µm per
pixel), in bands of rows that stay in the processor's cache. Densities run from 0 to
255. All lengths are in µm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from weno.synthetic.anatomy import GRID
from weno.synthetic.atlas import TEXTURE_SIZE, atlas
from weno.synthetic.fields import SmoothNoise, rough_noise

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from weno.synthetic.anatomy import Anatomy
    from weno.synthetic.fields import Field, Mask

    Plane = npt.NDArray[np.uint8]
    Box = tuple[slice, slice]

HALF = GRID // 2  # half-resolution pixels per mask pixel
WRAP = TEXTURE_SIZE - 1  # textures repeat: an index is masked by this
BAND = 64  # half-resolution rows painted at once

STROMA_EOSIN = 92.0
STROMA_HAEMATOXYLIN = 17.0
DEPTH, DEPTH_SCALE = 0.16, 500.0  # relative deviation of the section's thickness
OEDEMA, OEDEMA_SCALE = 0.50, 280.0  # share of eosin that pale stroma loses
OEDEMA_START = 1.0  # deviations: a sixth of the stroma is paler than usual
FIBRE_BEND, BEND_SCALE = 130.0, 260.0  # how far and over what length fibres bend
FIBRE_WAVE, WAVE_SCALE = 9.0, 37.0  # their crimp
EDGE_RAGGED = 0.22  # how torn the tissue edge is, in widths of its blur
EDGE_STEEPNESS = 6.0

FAT_WALL = 2.2  # half the wall between two fat cells
FAT_PALE = 0.97  # share of stain that processing washes out of fat
FOLLICLE_EOSIN, FOLLICLE_HAEMATOXYLIN = 0.62, 26.0
CYTOPLASM_EOSIN, CYTOPLASM_HAEMATOXYLIN = 74.0, 20.0  # of tumour cells
TUMOUR_WALL, TUMOUR_WALL_EOSIN = 0.9, 26.0
NEST_SCALE, NEST_LEVEL = 55.0, -0.75  # nests of tumour fill three quarters of a lesion

GLASS_EOSIN, GLASS_SPREAD, GLASS_SCALE = 3.0, 1.3, 700.0  # uneven haze of the glass
GRAIN = 0.07  # relative contrast of the granules in all that is eosinophilic
DITHER = 0.4  # the grain of glass: without it, haze would show steps of one byte


@dataclass
class Ground:
    """Half-resolution planes on the way to a slide, and what steers the nuclei."""

    eosin: Field
    haematoxylin: Field
    flow: Field  # its iso-lines are the fibres
    nests: Mask  # tumour cells
    occupied: Mask  # glands: only their own nuclei lie there


def paint_ground(rng: np.random.Generator, anatomy: Anatomy) -> Ground:
    """Paint stroma, fat, follicles and the cytoplasm of tumour nests."""
    ground = _paint_stroma(rng, anatomy.tissue)
    fat_start = rng.integers(TEXTURE_SIZE, size=2)
    for box, inside in _pieces(anatomy.fat):
        wall = window(atlas().fat_wall, box, fat_start) - FAT_WALL
        empty = wall.clip(0, 1) * ((inside - 0.5) * EDGE_STEEPNESS).clip(0, 1)
        for plane in (ground.eosin, ground.haematoxylin):
            plane[box] *= 1 - FAT_PALE * empty
    for box, inside in _pieces(anatomy.follicles):
        inside = ((inside - 0.5) * 2 + 0.5).clip(0, 1)
        ground.eosin[box] *= 1 - (1 - FOLLICLE_EOSIN) * inside
        ground.haematoxylin[box] += FOLLICLE_HAEMATOXYLIN * inside
    for box, inside in _pieces(anatomy.lesion):
        _paint_nests(rng, ground, box, inside)
    return ground


def _paint_stroma(rng: np.random.Generator, tissue: Mask) -> Ground:
    """Bend the straight fibres of the atlas along a random flow, inside the tissue."""
    n = len(tissue) * HALF
    bend, shift = (SmoothNoise.draw(rng, n, BEND_SCALE) for _ in "yx")
    wave = SmoothNoise.draw(rng, n, WAVE_SCALE)
    depth = SmoothNoise.draw(rng, n, DEPTH_SCALE)
    oedema = SmoothNoise.draw(rng, n, OEDEMA_SCALE)
    angle = rng.uniform(0, 2 * np.pi)
    sin, cos = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    edges = _soften(tissue)
    eosin, haematoxylin, flow = (np.empty((n, n), dtype=np.float32) for _ in "ehf")
    x = np.arange(n, dtype=np.float32)
    for rows in bands(n):
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        across = y * cos + x * sin
        across += FIBRE_BEND * bend.rows(rows) + FIBRE_WAVE * wave.rows(rows)
        along = x * cos - y * sin + FIBRE_BEND * shift.rows(rows)
        index = (across.astype(np.intp) & WRAP) * TEXTURE_SIZE
        index += along.astype(np.intp) & WRAP
        fibres = atlas().fibres.ravel().take(index)
        edge = edges[rows] * np.float32(1 / 255) - 0.5
        edge += EDGE_RAGGED * (fibres - 0.9) * (edge < 0.49)
        fibres *= STROMA_EOSIN * (edge * EDGE_STEEPNESS + 0.5).clip(0, 1)
        pale = (oedema.rows(rows) - OEDEMA_START).clip(0, 1)
        fibres *= (1 + DEPTH * depth.rows(rows)) * (1 - OEDEMA * pale)
        eosin[rows], flow[rows] = fibres, across
        np.minimum(fibres, STROMA_HAEMATOXYLIN, out=haematoxylin[rows])
    nests, occupied = (np.zeros((n, n), dtype=np.bool_) for _ in "no")
    return Ground(eosin, haematoxylin, flow, nests, occupied)


def _paint_nests(
    rng: np.random.Generator, ground: Ground, box: Box, inside: Field
) -> None:
    """Replace the stroma of a lesion by sheets of tumour cells with walls."""
    relief = rough_noise(rng, max(inside.shape), NEST_SCALE) - NEST_LEVEL
    relief = relief[: inside.shape[0], : inside.shape[1]]
    inside = (inside - 0.5) * 8  # in µm or so: the edge of tumour is sharp
    nest = (np.minimum(relief, inside) * EDGE_STEEPNESS).clip(0, 1)
    wall = 1 - window(atlas().tumour_wall, box, np.zeros(2, np.int64)) / TUMOUR_WALL
    cytoplasm = CYTOPLASM_EOSIN + TUMOUR_WALL_EOSIN * wall.clip(0, 1)
    ground.eosin[box] += nest * (cytoplasm - ground.eosin[box])
    basophil = CYTOPLASM_HAEMATOXYLIN - ground.haematoxylin[box]
    ground.haematoxylin[box] += nest * basophil
    ground.nests[box] |= nest > 0.5


def add_glass(rng: np.random.Generator, ground: Ground) -> None:
    """Lay the uneven haze of glass over the ground, and grain over all of it."""
    n = len(ground.eosin)
    haze = SmoothNoise.draw(rng, n, GLASS_SCALE)
    start = rng.integers(TEXTURE_SIZE, size=2)
    for rows in bands(n):
        band = ground.eosin[rows]
        band += (GLASS_EOSIN + GLASS_SPREAD * haze.rows(rows)).clip(0.5, None)
        grain = window(atlas().grain, (rows, slice(0, n)), start)
        band += grain * (GRAIN * band + DITHER)


def bands(n: int) -> Iterator[slice]:
    """Yield the rows 0 to n in bands."""
    for start in range(0, n, BAND):
        yield slice(start, min(start + BAND, n))


def window(texture: Field, box: Box, start: npt.NDArray[np.int64]) -> Field:
    """Cut a box out of a periodic texture whose pixel `start` (y, x) lies at (0, 0)."""
    rows, cols = (
        np.arange(part.start, part.stop) + first & WRAP
        for part, first in zip(box, start, strict=True)
    )
    cut: Field = texture.take(rows, axis=0).take(cols, axis=1)
    return cut


def _soften(mask: Mask) -> Plane:
    """Double a mask twice: bytes of half resolution that cross 127 at its edge."""
    blurred = ndimage.gaussian_filter(mask * np.float32(255), 1.0).astype(np.uint8)
    height, width = mask.shape
    image = Image.fromarray(blurred)
    larger = image.resize((width * HALF, height * HALF), Image.Resampling.BILINEAR)
    return np.asarray(larger)


def _pieces(mask: Mask) -> Iterator[tuple[Box, Field]]:
    """Yield each piece of a mask: half-resolution box, and 0 to 1, 0.5 at the edge."""
    labels, _ = ndimage.label(mask)
    for number, found in enumerate(ndimage.find_objects(labels), start=1):
        grown = tuple(slice(max(part.start - 3, 0), part.stop + 3) for part in found)
        inside = _soften(labels[grown] == number) * np.float32(1 / 255)
        rows, cols = (
            slice(part.start * HALF, part.start * HALF + length)
            for part, length in zip(grown, inside.shape, strict=True)
        )
        yield (rows, cols), inside


def enlarge(field: Field) -> Plane:
    """Turn a half-resolution field into a full-resolution plane of bytes."""
    image = Image.fromarray(field.clip(0, 255).astype(np.uint8))
    size = (image.width * 2, image.height * 2)
    return np.array(image.resize(size, Image.Resampling.BILINEAR))
