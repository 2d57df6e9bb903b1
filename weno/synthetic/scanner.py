"""From density planes to the pixels and the file that a slide scanner would give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import Image, ImageDraw, ImageFilter

from weno.synthetic.anatomy import GRID
from weno.synthetic.fields import resize, smooth_noise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from weno.synthetic.anatomy import Anatomy
    from weno.synthetic.fields import Field
    from weno.synthetic.ground import Ground, Plane

    Pixels = npt.NDArray[np.uint8]

# Optical density of the stains in red, green, blue (after Macenko et al. 2009, with
# an eosin that is less orange, as on most scanners).
HAEMATOXYLIN = (0.58, 0.71, 0.40)
EOSIN = (0.11, 0.84, 0.50)
HUE_SPREAD = 0.035  # deviation of each component between slides
HAEMATOXYLIN_DEPTH = (1.15, 1.75)  # optical density of byte 255, range over slides
EOSIN_DEPTH = (0.75, 1.20)
WHITE = (232, 246)  # of the glass, range over slides
EOSIN_MASKED = 0.55  # share of eosin that dense chromatin keeps out
NOISE = 1.6  # deviation of the sensor's noise, in grey levels
LOWEST, HIGHEST = 8, 248  # leaves room for the noise, so that bytes never wrap
NOISE_TILE = 512
STRIP = 128  # rows developed at once: index and pixels stay in the cache


def stain_table(rng: np.random.Generator) -> npt.NDArray[np.uint32]:
    """Tabulate the colour of every pair of densities under this slide's stain.

    Returns
    -------
    uint32 ndarray of shape (65536,)
        Red, green and blue in the three low bytes; index is haematoxylin * 256 + eosin.
    """
    white = rng.uniform(*WHITE) * np.array([1.0, 1.0, 1.0]) + rng.normal(0, 1.5, 3)
    stains = []
    for vector, depth in ((HAEMATOXYLIN, HAEMATOXYLIN_DEPTH), (EOSIN, EOSIN_DEPTH)):
        hue = np.array(vector) + rng.normal(0, HUE_SPREAD, 3)
        stains.append(hue.clip(0.03) / np.linalg.norm(hue) * rng.uniform(*depth))
    level = np.arange(256) / 255
    haematoxylin, eosin = level[:, None, None], level[None, :, None]
    eosin = eosin * (1 - EOSIN_MASKED * haematoxylin)
    density = haematoxylin * stains[0] + eosin * stains[1]  # (256, 256, 3)
    colour = (white * 10**-density).clip(LOWEST, HIGHEST).round().astype(np.uint32)
    packed = colour[..., 0] | colour[..., 1] << 8 | colour[..., 2] << 16
    return np.asarray(packed.ravel(), dtype=np.uint32)


def develop(rng: np.random.Generator, haematoxylin: Plane, eosin: Plane) -> Pixels:
    """Turn density planes of shape (H, W) into uint8 pixels of shape (H, W, 3)."""
    table = stain_table(rng).astype("<u4")
    height, width = eosin.shape
    repeats = -(-width // NOISE_TILE), 1
    noise = rng.normal(0, NOISE, (NOISE_TILE, NOISE_TILE, 3)).clip(-6, 6).round()
    noise = np.tile(noise.astype(np.int8), (1, repeats[0], 1))[:, :width].view(np.uint8)
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, STRIP):
        rows = slice(top, min(top + STRIP, height))
        index = haematoxylin[rows].astype(np.uint16)
        index <<= 8
        index |= eosin[rows]
        packed = table.take(index).view(np.uint8).reshape(*index.shape, 4)
        start = top % NOISE_TILE
        np.add(packed[..., :3], noise[start : start + len(index)], out=pixels[rows])
    return pixels


# Transmission in red, green, blue of the marker inks pathologists use.
INKS = {
    "blue": (0.22, 0.36, 0.78),
    "green": (0.20, 0.62, 0.38),
    "black": (0.16, 0.16, 0.18),
}
INK_WIDTH = (90, 190)  # level-0 pixels of a stroke
INK_COVER = (0.55, 0.92)  # opacity of a stroke
STROKE_KNOTS = 5
DUST_SPECKS = (3, 14)
DUST_RADIUS = (3, 12)  # level-0 pixels
DUST_COLOUR = (0.30, 0.28, 0.25)
FOLD_WIDTH = (28, 60)  # level-0 pixels
FOLD_GAIN = 0.75  # a fold is almost two sections thick


@dataclass(frozen=True, slots=True)
class Artefacts:
    """What besides tissue is on a slide; drawn alike for both classes."""

    ink: str | None
    fold: bool
    dust: bool


def draw_artefacts(rng: np.random.Generator, ordinal: int) -> Artefacts:
    """Choose artefacts; every third ordinal is inked, so that a cohort has some."""
    ink = str(rng.choice(list(INKS))) if ordinal % 3 == 1 else None
    return Artefacts(ink, fold=bool(rng.random() < 0.4), dust=bool(rng.random() < 0.6))


def _curve(
    rng: np.random.Generator, n: int, length: float
) -> list[tuple[float, float]]:
    """Draw a bent line of `length` pixels as (x, y) points, for PIL."""
    start, angle = rng.uniform(0.12, 0.88, 2) * n, rng.uniform(0, 2 * np.pi)
    turns = angle + np.cumsum(rng.normal(0, 0.45, STROKE_KNOTS))
    step = length / STROKE_KNOTS
    knots = start + np.cumsum(step * np.column_stack([np.cos(turns), np.sin(turns)]), 0)
    knots = np.vstack([start, knots])
    at = np.linspace(0, STROKE_KNOTS, 40)
    smooth = [np.interp(at, np.arange(STROKE_KNOTS + 1), knots[:, k]) for k in (0, 1)]
    kernel = np.ones(7) / 7
    smooth = [np.convolve(np.pad(part, 3, "edge"), kernel, "valid") for part in smooth]
    return list(zip(*(part.tolist() for part in smooth), strict=True))


def _stroke(
    rng: np.random.Generator, n: int, length: float, width: float, blur: float
) -> Field:
    image = Image.new("L", (n, n))
    draw = ImageDraw.Draw(image)
    points = _curve(rng, n, length)
    draw.line(points, fill=255, width=max(1, round(width)), joint="curve")
    for x, y in (points[0], points[-1]):
        draw.circle((x, y), width / 2, fill=255)
    blurred = image.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(blurred, dtype=np.float32) * np.float32(1 / 255)


def fold_tissue(rng: np.random.Generator, ground: Ground, anatomy: Anatomy) -> None:
    """Thicken the section along a curve."""
    n = len(anatomy.tissue)
    width = rng.uniform(*FOLD_WIDTH) / GRID
    fold = _stroke(rng, n, n * rng.uniform(0.25, 0.5), width, 0.8)
    gain = 1 + FOLD_GAIN * resize(fold, ground.eosin.shape).clip(0, 1)
    ground.eosin *= gain
    ground.haematoxylin *= gain * gain


def ink_strokes(rng: np.random.Generator, pixels: Pixels, ink: str) -> None:
    """Draw one or two strokes of a marker pen over the cover glass."""
    n = len(pixels) // GRID
    cover = np.zeros((n, n), dtype=np.float32)
    for _ in range(rng.integers(1, 2, endpoint=True)):
        width = rng.uniform(*INK_WIDTH) / GRID
        stroke = _stroke(rng, n, n * rng.uniform(0.25, 0.6), width, 1.5)
        cover = np.maximum(cover, stroke * rng.uniform(*INK_COVER))
    streaks = 1 + 0.12 * smooth_noise(rng, n, 4) + 0.12 * smooth_noise(rng, n, 30)
    _shade(pixels, (cover * streaks).clip(0, 0.97), INKS[ink])


def sprinkle_dust(rng: np.random.Generator, pixels: Pixels) -> None:
    """Put dark specks, a little out of focus, anywhere."""
    n = len(pixels)
    for _ in range(rng.integers(*DUST_SPECKS, endpoint=True)):
        radius = rng.uniform(*DUST_RADIUS)
        side = 4 * int(radius) + 8
        y, x = rng.integers(0, n - side, size=2)
        grid = np.mgrid[:side, :side] - (side - 1) / 2
        stretch = rng.uniform(0.5, 1.0)
        distance = np.hypot(grid[0], grid[1] * stretch) / radius
        cover = (1.6 - 1.4 * distance).clip(0, 0.9).astype(np.float32)
        _blend(pixels[y : y + side, x : x + side], cover, DUST_COLOUR)


def _shade(pixels: Pixels, cover: Field, colour: tuple[float, float, float]) -> None:
    """Blend ink given on the mask grid, touching only what it covers."""
    step = STRIP // GRID
    for top in range(0, len(cover), step):
        part = cover[top : top + step]
        columns = np.flatnonzero((part > 0.004).any(axis=0))
        if not len(columns):
            continue
        left, right = int(columns[0]), int(columns[-1]) + 1
        low, high = max(top - 1, 0), min(top + step + 1, len(cover))
        padded = cover[low:high, left:right]
        fine = resize(padded, (len(padded) * GRID, (right - left) * GRID))
        fine = fine[(top - low) * GRID :][: len(part) * GRID].clip(0, 1)
        rows = slice(top * GRID, top * GRID + len(fine))
        _blend(pixels[rows, left * GRID : right * GRID], fine, colour)


def _blend(pixels: Pixels, cover: Field, colour: tuple[float, float, float]) -> None:
    """Multiply pixels by the transmission of an ink of opacity `cover`, in place."""
    for channel, transmission in enumerate(colour):
        gain = np.asarray(256 * (1 - (1 - transmission) * cover), dtype=np.uint16)
        plane = pixels[..., channel]
        plane[...] = (plane * gain) >> 8


TIFF_TILE = 256
COARSEST = 1024  # pixels per side of the last pyramid level at most
JPEG_QUALITY = 85
UM_PER_CM = 10_000.0


def _pyramid(pixels: Pixels) -> Iterator[Pixels]:
    """Yield `pixels` and its halves down to COARSEST."""
    yield pixels
    while max(pixels.shape[:2]) > COARSEST:
        pixels = np.asarray(Image.fromarray(pixels).reduce(2))
        yield pixels


def write_slide(path: Path, pixels: Pixels, mpp: float, *, comment: str = "") -> None:
    """Write a tiled, JPEG-compressed, pyramidal TIFF that OpenSlide opens.

    Parameters
    ----------
    path : Path
        File to write, in place: see :func:`weno.atomic.replacing`.
    pixels : uint8 ndarray of shape (H, W, 3)
    mpp : float
        µm per pixel of level 0.
    comment : str
        Goes into the image description of level 0.
    """
    with tifffile.TiffWriter(path) as tiff:
        for level, part in enumerate(_pyramid(pixels)):
            tiff.write(
                part,
                photometric="rgb",  # of `part`; tifffile stores YCbCr
                subsampling=(2, 2),
                compression="jpeg",
                compressionargs={"level": JPEG_QUALITY},
                tile=(TIFF_TILE, TIFF_TILE),
                resolution=(UM_PER_CM / mpp / 2**level,) * 2,
                resolutionunit="CENTIMETER",
                subfiletype=int(level > 0),
                description=comment if level == 0 else None,
                metadata=None,
                maxworkers=1,
            )
