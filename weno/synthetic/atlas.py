"""Nuclei and textures drawn once per process and used on every slide.

Drawing a nucleus costs a hundred times more than copying it, so that each kind is
drawn in a few hundred variants which slides then stamp. All sizes are in pixels of
0.5 µm. The atlas has its own fixed seed: slides differ by what they do with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    import numpy.typing as npt

    Field = npt.NDArray[np.float32]
    Plane = npt.NDArray[np.uint8]

ATLAS_SEED = 20220808
ORIENTATIONS = 24  # steps of 7.5°, finer than the eye tells on a nucleus
TEXTURE_SIZE = 1024  # half-resolution pixels (1 µm): 1 mm before a texture repeats
SPRITE_ROOM = 1.5  # side of a sprite / length of the mean nucleus in it
HARMONICS = range(2, 6)  # of an outline: 2 makes it oval or bent, 5 notched


@dataclass(frozen=True, slots=True)
class NucleusKind:
    """How one kind of nucleus looks; lengths in 0.5 µm pixels, densities 0 to 255."""

    length: float
    width: float
    spread: float  # relative deviation of both; pleomorphism is a large one
    level: float  # haematoxylin density of the body
    irregular: float = 0.04  # relative deviation of the outline
    clumps: float = 0.15  # relative contrast of the chromatin texture
    clump_size: float = 1.0  # deviation of the chromatin filter
    rim: float = 0.0  # density added at the membrane: vesicular nuclei have it
    nucleoli: int = 0
    variants: int = 8  # per orientation


FIBROBLAST = NucleusKind(27, 6.0, 0.18, level=180)
LYMPHOCYTE = NucleusKind(13.5, 12.5, 0.09, level=200, clumps=0.22, clump_size=1.4)
EPITHELIUM = NucleusKind(20, 11, 0.10, level=150, clumps=0.20, clump_size=1.3, rim=18)
ATYPICAL = NucleusKind(
    length=28, width=21, spread=0.24, level=92, irregular=0.10, clumps=0.48,
    clump_size=1.9, rim=62, nucleoli=2, variants=14,
)  # fmt: skip
MITOSIS = NucleusKind(24, 8, 0.2, level=245, irregular=0.22, clumps=0.1, variants=4)
VACUOLE = NucleusKind(26, 17, 0.12, level=255, clumps=0.0, variants=3)

MEMBRANE_RADIUS, MEMBRANE_WIDTH = 0.88, 0.10  # of the rim, in nuclear radii
NUCLEOLUS_RADIUS, NUCLEOLUS_LEVEL = 2.3, 120.0
NUCLEOLUS_REACH = 0.45  # nucleoli stay within this share of the radius
EDGE = 1.3  # pixels over which an edge fades: the blur of a 20x objective


def draw_nuclei(rng: np.random.Generator, kind: NucleusKind) -> Plane:
    """Draw every variant of `kind`.

    Returns
    -------
    uint8 ndarray of shape (ORIENTATIONS * variants, side, side)
        Haematoxylin density; sprite ``o * variants + v`` has its long axis at the
        angle ``o * pi / ORIENTATIONS`` from the x axis towards the y axis.
    """
    count = ORIENTATIONS * kind.variants
    side = 2 * math.ceil(SPRITE_ROOM * kind.length * (1 + kind.spread) / 2)
    angle = np.repeat(np.arange(ORIENTATIONS) * np.pi / ORIENTATIONS, kind.variants)
    y, x = np.mgrid[:side, :side].astype(np.float32) - (side - 1) / 2
    sin, cos = (f(angle).astype(np.float32)[:, None, None] for f in (np.sin, np.cos))
    along, across = x * cos + y * sin, y * cos - x * sin  # (n, side, side)
    stretch = 1 + kind.spread * _normal(rng, 2, count).clip(-1.8, 1.8)
    half_length, half_width = kind.length / 2 * stretch[0], kind.width / 2 * stretch[1]
    polar = np.arctan2(across / half_width, along / half_length)
    outline = np.ones_like(polar)
    for k in HARMONICS:
        cosine, sine = kind.irregular * 2 / k * _normal(rng, 2, count) / np.sqrt(2)
        outline += cosine * np.cos(k * polar) + sine * np.sin(k * polar)
    radius = np.hypot(along / half_length, across / half_width) / outline
    body = ((1 - radius) * half_width / EDGE).clip(0, 1)
    density = kind.level * (1 + kind.clumps * _chromatin(rng, kind, body.shape))
    density += kind.rim * np.exp(-(((radius - MEMBRANE_RADIUS) / MEMBRANE_WIDTH) ** 2))
    density += _nucleoli(rng, kind, along / half_length, across / half_width)
    return np.asarray((body * density).clip(0, 255), dtype=np.uint8)


def _normal(rng: np.random.Generator, numbers: int, count: int) -> Field:
    """Draw some normal numbers for each of `count` sprites."""
    return rng.standard_normal((numbers, count, 1, 1), dtype=np.float32)


def _chromatin(
    rng: np.random.Generator, kind: NucleusKind, shape: tuple[int, ...]
) -> Field:
    noise = rng.standard_normal(shape, dtype=np.float32)
    smooth = ndimage.gaussian_filter(noise, (0, kind.clump_size, kind.clump_size))
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def _nucleoli(
    rng: np.random.Generator, kind: NucleusKind, along: Field, across: Field
) -> Field:
    density = np.zeros_like(along)
    size = 2 * NUCLEOLUS_RADIUS / kind.width
    for _ in range(kind.nucleoli):
        u, w = NUCLEOLUS_REACH * np.tanh(_normal(rng, 2, len(along)))
        distance = (along - u) ** 2 + (across - w) ** 2
        density += NUCLEOLUS_LEVEL * np.exp(-distance / (2 * size**2))
    return density


def _filtered_noise(rng: np.random.Generator, sigma_y: float, sigma_x: float) -> Field:
    """Periodic Gaussian noise of deviation 1, filtered in the Fourier domain."""
    n = TEXTURE_SIZE
    spectrum = np.fft.rfft2(rng.standard_normal((n, n)))
    fy, fx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None]
    spectrum *= np.exp(-2 * np.pi**2 * ((fy * sigma_y) ** 2 + (fx * sigma_x) ** 2))
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (n, n))
    return np.asarray(noise / noise.std(), dtype=np.float32)


FIBRE_SCALES = ((0.9, 9.0, 0.14), (2.6, 22.0, 0.17))  # (across, along µm, weight)
BUNDLE_ACROSS, BUNDLE_ALONG = 2.4, 20.0  # µm, of the bundles that clefts separate
CLEFT_START, CLEFT_STEEPNESS = -1.75, 3.5  # in deviations: 4 % of stroma is cleft


def draw_fibres(rng: np.random.Generator) -> Field:
    """Draw horizontal collagen with white clefts between the bundles.

    Returns
    -------
    float32 ndarray of shape (TEXTURE_SIZE, TEXTURE_SIZE)
        Eosin density relative to plain stroma, periodic in both directions.
    """
    fibres = np.ones((TEXTURE_SIZE, TEXTURE_SIZE), dtype=np.float32)
    for across, along, weight in FIBRE_SCALES:
        fibres += weight * _filtered_noise(rng, across, along)
    bundles = _filtered_noise(rng, BUNDLE_ACROSS, BUNDLE_ALONG)
    solid = 1 / (1 + np.exp(-CLEFT_STEEPNESS * (bundles - CLEFT_START)))
    return np.asarray(fibres.clip(0.2, None) * solid, dtype=np.float32)


def draw_mosaic(
    rng: np.random.Generator, cells: int, jitter: float
) -> tuple[Field, Field]:
    """Draw a periodic mosaic of polygonal cells.

    Parameters
    ----------
    cells : int
        Cells along one side of the texture.
    jitter : float
        How far a centre strays from the regular grid, in grid steps.

    Returns
    -------
    wall : float32 ndarray of shape (TEXTURE_SIZE, TEXTURE_SIZE)
        Distance to the nearest wall, roughly, in pixels of 1 µm.
    centres : float32 ndarray of shape (cells * cells, 2)
        (y, x) of the cell centres in the same pixels.
    """
    n, step = TEXTURE_SIZE, np.float32(TEXTURE_SIZE / cells)
    home = np.mgrid[:cells, :cells].astype(np.float32) + np.float32(0.5)
    centres = (home + rng.uniform(-jitter, jitter, home.shape)).astype(np.float32)
    centres *= step  # (2, cells, cells)
    # A rim of neighbours from the other side makes the mosaic periodic.
    rim = np.pad(centres, ((0, 0), (1, 1), (1, 1)), mode="wrap")
    for axis in (0, 1):
        along = np.moveaxis(rim[axis], axis, 0)  # a view: changes go into rim
        along[0] -= n
        along[-1] += n
    pixel = np.arange(n, dtype=np.float32) + np.float32(0.5)
    cell = (pixel / step).astype(np.intp)
    nearest, second = (np.full((n, n), np.inf, np.float32) for _ in range(2))
    for dy in range(3):
        for dx in range(3):
            y, x = rim.take(cell + dy, axis=1).take(cell + dx, axis=2)  # (n, n) each
            distance = (y - pixel[:, None]) ** 2 + (x - pixel) ** 2
            np.minimum(second, np.maximum(nearest, distance), out=second)
            np.minimum(nearest, distance, out=nearest)
    wall = (np.sqrt(second) - np.sqrt(nearest)) / 2
    return wall.astype(np.float32), centres.reshape(2, -1).T


FAT_CELLS, FAT_JITTER = 17, 0.33  # fat cells of about 60 µm
FAT_ROUNDING = 3.0  # µm, of the corners of fat cells
TUMOUR_CELLS, TUMOUR_JITTER = 76, 0.36  # tumour cells of about 13 µm, disordered


@dataclass(frozen=True)
class Atlas:
    """Everything slides share: sprites per nucleus kind, and periodic textures.

    `vacuole` sprites are not nuclei: they say how empty a droplet of mucin is.
    """

    fibroblast: Plane
    lymphocyte: Plane
    epithelium: Plane
    atypical: Plane
    mitosis: Plane
    vacuole: Plane
    fibres: Field
    grain: Field
    fat_wall: Field
    tumour_wall: Field
    tumour_centres: Field


GRAIN_SIZE = 0.9  # µm, of the granules of cytoplasm and ground substance


@lru_cache(maxsize=1)
def atlas() -> Atlas:
    """Draw the atlas, or return the one already drawn in this process."""
    rng = np.random.default_rng(ATLAS_SEED)
    fat_wall, _ = draw_mosaic(rng, FAT_CELLS, FAT_JITTER)
    fat_wall = ndimage.gaussian_filter(fat_wall, FAT_ROUNDING, mode="wrap")
    tumour_wall, tumour_centres = draw_mosaic(rng, TUMOUR_CELLS, TUMOUR_JITTER)
    return Atlas(
        fibroblast=draw_nuclei(rng, FIBROBLAST),
        lymphocyte=draw_nuclei(rng, LYMPHOCYTE),
        epithelium=draw_nuclei(rng, EPITHELIUM),
        atypical=draw_nuclei(rng, ATYPICAL),
        mitosis=draw_nuclei(rng, MITOSIS),
        vacuole=draw_nuclei(rng, VACUOLE),
        fibres=draw_fibres(rng),
        grain=_filtered_noise(rng, GRAIN_SIZE, GRAIN_SIZE),
        fat_wall=fat_wall,
        tumour_wall=tumour_wall,
        tumour_centres=tumour_centres,
    )
