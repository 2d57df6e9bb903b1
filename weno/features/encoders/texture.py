"""The built-in encoder: stain, colour and texture statistics, no weights needed.

A tile is turned into optical density and unmixed into haematoxylin (H) and eosin
(E); with the mean density (D) that makes three planes. They are halved three times,
so that level ``k`` has ``2**k`` times the pixel size of the tile. At 0.5 µm/px
level 0 shows chromatin, level 1 nuclei, level 2 cells, level 3 their arrangement.
Numbers do not change when a square tile with a side of 2**n is mirrored or turned
by 90° (others change a little), and are bounded or logarithms, so that they can be
standardised as they are.

=============  ====  ============================================================
block          size  what the numbers are
=============  ====  ============================================================
``colour``       27  of H, E, D at level 1: mean, deviation, skewness, five
                     quantiles (of level 2), and correlations
``chromatin``     8  of H at level 0: log energy of the gradient; log energies of
                     Laplacian (spots) and shear (lines) relative to it; sparseness
                     of gradient and shear; asymmetry and tails of the Laplacian;
                     coherence of direction
``gradient``     56  of H and D at levels 1 to 3: the same eight; at levels 2 and 3
                     also coherence of direction in blocks of 4 pixels, and
                     unevenness of the blocks
``pattern``      40  of H and D at levels 1 and 2: square roots of the shares of the
                     ten rotation-invariant uniform local binary patterns
``nuclei``       20  dark-H components at level 1: share, number, size, elongation,
                     solidity, alignment, spacing; stain and texture inside them
                     and against outside
``adjacency``    44  square roots of the shares of four classes at level 2 (glass,
                     nucleus, eosin, pale) and of their pairs at 1, 2, 4, 8 pixels
=============  ====  ============================================================

Tiles are worked on in small groups, which saves calls and stays in the processor's
cache, but no sum runs over more than one tile: features are bit-equal whatever the
batch and the number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from skimage.color import hed_from_rgb

from weno.errors import FeatureError
from weno.features.encoders._nuclei import nuclei
from weno.features.encoders._planes import (
    DX,
    DY,
    FLOOR,
    SHEAR,
    SPOT,
    STRETCH,
    derivatives,
    dot,
    half_log,
    halve,
    neighbours,
    pair_sums,
    total,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from weno.features.encoders._planes import Planes, Stats

#: Size of each block of numbers, in order.
BLOCKS: Final = {
    "colour": 27,
    "chromatin": 8,
    "gradient": 56,
    "pattern": 40,
    "nuclei": 20,
    "adjacency": 44,
}

MIN_SIDE: Final = 16  # px; smaller tiles hold no texture
_LEVELS = 4
_PADDED_SIDE = 64  # px; smaller tiles are mirrored, so that level 3 has 8 pixels
_GROUP = 16  # tiles
_FREED_BYTES = 2**24
_CACHED_PIXELS = 2**16  # of one plane; more do not stay in cache

_H, _D, _E = range(3)

# Columns of Ruifrok and Johnston's unmixing matrix, and the mean: R, G, B to H, D, E.
_UNMIX = np.stack([hed_from_rgb[:, 0], np.full(3, 1 / 3), hed_from_rgb[:, 1]])


def _density(levels: int) -> Planes:
    """Densities of the intensities 0 to 1 in `levels` steps."""
    # Cut off at 2, where a scanner sees nothing but noise.
    steps = np.arange(levels) / (levels - 1)
    return -np.log10(np.maximum(steps, 0.01)).astype(np.float32)


_DENSITY_OF_SUM = _density(4 * 255 + 1)  # of four bytes
_H_OF_BYTE = _UNMIX[_H, :, None].astype(np.float32) * _density(256)  # (3, 256)

_QUANTILES = (0.02, 0.25, 0.5, 0.75, 0.98)
_PATTERN_STEPS = np.float32(100)  # per density; smaller steps are no pattern
_GLASS_DENSITY = np.float32(0.08)
_DISTANCES = (1, 2, 4, 8)  # px at level 2

_RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def _uniform_patterns() -> npt.NDArray[np.intp]:
    """Class of each 8-bit pattern: set bits if they are in one run, else 9."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1  # (256, 8)
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), 9)


_UNIFORM = _uniform_patterns()
_UPPER = np.triu_indices(4)


class TextureEncoder:
    """Encode tiles by stain, colour and texture statistics.

    Attributes
    ----------
    name : str
    dim : int
    device, precision : str
    """

    name = "texture"
    dim = sum(BLOCKS.values())
    device = "cpu"
    precision = "fp32"

    def encode(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Turn tiles into features.

        Parameters
        ----------
        tiles : ndarray of shape (N, H, W, 3), uint8
            RGB; H and W at least 16.

        Returns
        -------
        ndarray of shape (N, 195), float32
            Each row depends on its own tile alone.

        Raises
        ------
        FeatureError
            If the array is not one of tiles.
        """
        if (
            tiles.ndim != 4
            or tiles.shape[3] != 3
            or tiles.dtype != np.uint8
            or min(tiles.shape[1:3]) < MIN_SIDE
        ):
            raise FeatureError(
                f"tiles must be uint8 of shape (N, H, W, 3) with H, W >= {MIN_SIDE}, "
                f"not {tiles.dtype} of shape {tiles.shape}"
            )
        # The C library of Linux gives memory back after each group and takes it again,
        # a fifth of all time, unless a larger piece has been freed before.
        np.empty(_FREED_BYTES, np.uint8)
        features = np.empty((len(tiles), self.dim), np.float32)
        for first in range(0, len(tiles), _GROUP):
            group = slice(first, first + _GROUP)
            features[group] = _encode(tiles[group]).T
        return features

    def start(
        self, tiles: npt.NDArray[np.uint8]
    ) -> Callable[[], npt.NDArray[np.float32]]:
        """Encode at once; see `weno.features.Encoder`."""
        features = self.encode(tiles)
        return lambda: features


def _encode(tiles: npt.NDArray[np.uint8]) -> Stats:
    """Encode a group of tiles: (G, H, W, 3) to (195, G)."""
    step = max(1, _CACHED_PIXELS // tiles[0, ..., 0].size)
    fine = [_fine(tiles[k : k + step]) for k in range(0, len(tiles), step)]
    sums, chromatin, planes, moments = (
        np.concatenate(part, axis=-3 if part[0].ndim > 2 else -1)
        for part in zip(*fine, strict=True)
    )
    levels = [planes]  # (3, G, H, W)
    for _ in range(2, _LEVELS):
        levels.append(halve(levels[-1]))
    first, second, _ = levels
    mean, deviation = moments[:3], moments[3:6]  # (3, G)
    gradients, spots = zip(
        *(_gradient(level[:2], blocks=level is not first) for level in levels),
        strict=True,
    )
    return np.concatenate(
        [
            moments,
            _quantiles(second),
            _describe(sums),
            *gradients,
            _pattern(first[:2]),
            _pattern(second[:2]),
            nuclei(first, mean[_H], deviation[_H], (chromatin, spots[0][_H])),
            _adjacency(second, mean),
        ]
    )


def _fine(tiles: npt.NDArray[np.uint8]) -> tuple[Stats, Planes, Planes, Stats]:
    """Do what needs level 0.

    Returns
    -------
    sums : ndarray of shape (8, G)
        Of H; see `_sums`.
    chromatin : ndarray of shape (G, H // 2 - 2, W // 2 - 2)
        Squared Laplacian of H at level 0, at the inner pixels of level 1.
    planes : ndarray of shape (3, G, H // 2, W // 2)
        H, D, E at level 1.
    moments : ndarray of shape (12, G)
        Of the planes; see `_moments`.
    """
    rgb = _planar(tiles)  # (3, G, H, W)
    h: Planes = _H_OF_BYTE[0].take(rgb[0])
    h += _H_OF_BYTE[1].take(rgb[1])
    h += _H_OF_BYTE[2].take(rgb[2])
    fields = derivatives(h)
    squares = fields * fields
    density = _DENSITY_OF_SUM.take(pair_sums(rgb.astype(np.uint16)))
    planes = np.stack([_unmix(density, row) for row in _UNMIX])
    rows, columns = (2 * (side - 2) for side in planes.shape[2:])
    chromatin = halve(squares[SPOT, :, 1 : 1 + rows, 1 : 1 + columns])
    return _sums(fields, squares), chromatin, planes, _moments(planes)


def _planar(tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Move channels first; mirror what is too small to be halved three times."""
    planes = np.ascontiguousarray(tiles.transpose(3, 0, 1, 2))
    while min(planes.shape[2:]) < _PADDED_SIDE:
        more = [(0, side if side < _PADDED_SIDE else 0) for side in planes.shape[2:]]
        planes = np.pad(planes, [(0, 0), (0, 0), *more], mode="symmetric")
    return planes


def _unmix(density: Planes, row: Stats) -> Planes:
    # Not a matrix product: its rounding may depend on the number of threads.
    plane: Planes = density[0] * np.float32(row[0])
    plane += density[1] * np.float32(row[1])
    plane += density[2] * np.float32(row[2])
    return plane


def _sums(fields: Planes, squares: Planes) -> Stats:
    """Means over the derivatives of each plane: (5, M, H - 2, W) to (8, M)."""
    pixels = fields.shape[2] * (fields.shape[3] - 2)
    slopes = squares[DY] + squares[DX]
    lines = squares[STRETCH] + squares[SHEAR]
    yy, xx, *_ = energy = dot(fields, fields)  # (5, M)
    across = 2 * dot(fields[DY], fields[DX])
    sums = [
        yy + xx,
        energy[SPOT],
        energy[STRETCH] + energy[SHEAR],
        total(np.sqrt(slopes)),
        total(np.sqrt(lines)),
        dot(squares[SPOT], fields[SPOT]),
        dot(squares[SPOT], squares[SPOT]),
        np.sqrt((yy - xx) ** 2 + across**2),
    ]
    means: Stats = np.stack(sums) / pixels
    return means


def _block_sums(fields: Planes, squares: Planes) -> Stats:
    """Coherence, mean and mean square of blocks of 4x4 pixels: (3, M)."""
    slope = squares[DY] + squares[DX]
    parts = np.stack([slope, squares[DY] - squares[DX], fields[DY] * fields[DX]])
    rows, columns = fields.shape[2], fields.shape[3] - 2
    # What does not fill a block is left out on both sides, for mirrored tiles' sake.
    top, left = rows % 4 // 2, columns % 4 // 2
    parts = parts[..., top : top + rows // 4 * 4, left : left + columns // 4 * 4]
    slope, stretch, shear = pair_sums(pair_sums(parts))
    coherent = np.sqrt(stretch * stretch + 4 * shear * shear)
    sums = [total(coherent), total(slope), dot(slope, slope)]
    means: Stats = np.stack(sums) / slope[0].size
    return means


def _describe(sums: Stats) -> Stats:
    """Turn what `_sums` and `_block_sums` give into numbers of one scale."""
    slopes, spots, lines, slope, line, cubed, fourth, directed = sums[:8]
    numbers = [
        half_log(slopes),
        half_log(spots) - half_log(slopes),
        half_log(lines) - half_log(slopes),
        slope / np.sqrt(slopes + FLOOR),
        line / np.sqrt(lines + FLOOR),
        np.arcsinh(cubed / (spots + FLOOR) ** 1.5),
        np.sqrt(np.sqrt(fourth) / (spots + FLOOR)),
        np.sqrt(directed / (slopes + FLOOR)),
    ]
    if len(sums) > 8:
        coherent, block, squared = sums[8:]
        spread = np.sqrt(np.maximum(squared - block**2, 0))
        numbers += [coherent / (block + 16 * FLOOR), spread / (block + 16 * FLOOR)]
    return np.stack(numbers)


def _gradient(planes: Planes, *, blocks: bool) -> tuple[Stats, Planes]:
    """Describe the derivatives of planes of shape (2, G, H, W).

    Returns
    -------
    numbers : ndarray of shape (20, G), or (16, G) without `blocks`
    spots : ndarray of shape (2, G, H - 2, W)
        Squared Laplacian.
    """
    kinds, group, height, width = planes.shape
    flat = planes.reshape(-1, height, width)  # (M, H, W)
    step = max(1, _CACHED_PIXELS // (height * width))
    sums, spots = [], []
    for first in range(0, len(flat), step):
        fields = derivatives(flat[first : first + step])
        squares = fields * fields
        part = [_sums(fields, squares)]
        if blocks:
            part.append(_block_sums(fields, squares))
        sums.append(np.concatenate(part))
        spots.append(squares[SPOT])
    numbers = _describe(np.concatenate(sums, axis=1))  # (8 or 10, M)
    return (
        numbers.reshape(-1, group),
        np.concatenate(spots).reshape(kinds, group, height - 2, width),
    )


def _moments(planes: Planes) -> Stats:
    """Mean, deviation, skewness, correlations of H, D, E: (3, G, H, W) to (12, G)."""
    pixels = planes[0, 0].size
    mean = total(planes) / pixels  # (3, G)
    centred = planes - mean.astype(np.float32)[..., None, None]
    squared = centred * centred
    deviation = np.sqrt(total(squared) / pixels)
    skewness = dot(squared, centred) / pixels / (deviation**2 + FLOOR) ** 1.5
    turned = [1, 2, 0]
    covariance = dot(centred, centred[turned]) / pixels
    correlation = covariance / (deviation * deviation[turned] + FLOOR)
    moments = [mean, deviation, np.arcsinh(skewness), correlation]
    return np.concatenate(moments)


def _quantiles(planes: Planes) -> Stats:
    """Quantiles of each plane: (3, G, H, W) to (15, G)."""
    ordered = np.sort(planes.reshape(*planes.shape[:2], -1), axis=-1)  # (3, G, n)
    ranks = [round(q * (ordered.shape[-1] - 1)) for q in _QUANTILES]
    quantiles = ordered[..., ranks].transpose(0, 2, 1)
    return quantiles.reshape(-1, planes.shape[1]).astype(np.float64)


def _pattern(planes: Planes) -> Stats:
    """Shares of the ten uniform patterns: (2, G, H, W) to (20, G)."""
    kinds, group, height, width = planes.shape
    flat = np.clip(planes * _PATTERN_STEPS, 0, 255).astype(np.uint8)
    flat = flat.reshape(-1, height, width)  # (M, H, W)
    centre = neighbours(flat, 0, 0)
    padded = np.zeros((len(flat), (height - 2) * width), np.uint8)
    codes = padded[:, :-2]
    for bit, at in enumerate(_RING):
        codes |= (neighbours(flat, *at) > centre).view(np.uint8) << bit
    inner = padded.reshape(len(flat), height - 2, width)[..., :-2]
    counts = [np.bincount(code.ravel(), minlength=256) for code in inner]
    uniform = [np.bincount(_UNIFORM, count, minlength=10) for count in counts]
    shares: Stats = np.sqrt(np.stack(uniform, axis=1) / inner[0].size)  # (10, M)
    return shares.reshape(10 * kinds, group)


def _adjacency(planes: Planes, mean: Stats) -> Stats:
    """Shares of four classes of pixels, and of their pairs at each distance."""
    group = planes.shape[1]
    limit = mean.astype(np.float32)[..., None, None]
    nucleus, eosin = planes[_H] > limit[_H], planes[_E] > limit[_E]
    classes = np.where(nucleus, 1, np.where(eosin, 2, 3))  # (G, H, W)
    classes[planes[_D] < _GLASS_DENSITY] = 0
    shares = [np.stack([(classes == k).mean(axis=(1, 2)) for k in range(4)])]
    tile = 16 * np.arange(group)[:, None, None]
    left = 4 * classes + tile
    for step in _DISTANCES:
        beside = left[..., step:] + classes[..., :-step]
        below = left[:, step:] + classes[:, :-step]
        pairs = np.bincount(beside.ravel(), minlength=16 * group)
        pairs += np.bincount(below.ravel(), minlength=16 * group)
        table = pairs.reshape(group, 4, 4) / (beside[0].size + below[0].size)
        table += table.transpose(0, 2, 1)
        table[:, range(4), range(4)] /= 2
        shares.append(table[:, *_UPPER].T)  # (10, G)
    roots: Stats = np.sqrt(np.concatenate(shares))
    return roots
