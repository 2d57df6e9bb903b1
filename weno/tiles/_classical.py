"""The built-in tissue model: colour at low magnification, nothing learnt.

Stains differ from glass in colour, and inks from stains in what they let through:
haematoxylin, eosin and DAB all absorb green; a pen's blue and green do so much less
than they absorb red. Soot, borders, bubbles and edges of cover slips have no colour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import scipy

if TYPE_CHECKING:
    import numpy.typing as npt

    Mask = npt.NDArray[np.bool_]
    Floats = npt.NDArray[np.float32]
    Size = tuple[float, float]

# Otsu splits whatever it is given: a slide that is all tissue, or all glass, too.
# So its thresholds are kept within what glass and tissue look like (8-bit units).
_COLOUR_RANGE = (10.0, 25.0)
_DARKNESS_RANGE = (10.0, 30.0)
# Pale fat and stroma count where they are broad; the palest where they also hang on
# to other tissue.
_PALE, _PALE_ALONE = 8.0, 12.0
_FAT_GAP_UM = 56.0
_RIM_UM = 40.0
# Of a slide without colour, darkness is all that there is to see.
_GREY_SLIDE = 0.01

# What is smaller than this is dust, and a hole smaller than this is lumen or fat.
_SPECK_UM2 = 10_000.0
_HOLE_UM2 = 30_000.0

# Optical density, relative to the glass.
_NEUTRAL = 0.2  # spread of the channels, as a share of the strongest
_INK_OD, _FAINT_INK_OD = 0.25, 0.12
_RED_INK_OD = 0.55  # blood is as red, but seldom as dense
_RED_ON_TISSUE_OD = 0.8
_BLACK_OD = 0.5
_OPAQUE_OD = 0.75  # of all channels: haematoxylin lets blue through
_PEN_UM = 64.0  # no pen is finer; what is, is pigment or blood
_PEN_RIM_UM = 24.0


def classical(rgb: npt.NDArray[np.uint8], mpp: Size) -> Mask:
    """Find tissue by its colour.

    A pixel is tissue where it is more coloured, or darker and not without colour,
    than Otsu's threshold of the slide, or paler and connected to such. Pen marks are
    left out, specks dropped, holes filled. Blurred and folded tissue is tissue.

    Parameters
    ----------
    rgb : ndarray of shape (h, w, 3), uint8
        The slide at low magnification.
    mpp : (float, float)
        ``(y, x)`` size of a pixel in µm.

    Returns
    -------
    ndarray of shape (h, w), bool
    """
    # Imported late: a slide is opened often, and its tissue looked for once.
    from skimage.morphology import remove_small_holes, remove_small_objects

    glass = _glass(rgb)
    smooth = scipy.ndimage.gaussian_filter(
        rgb.astype(np.float32), sigma=(1, 1, 0)
    )  # (h, w, 3)
    absorbed = np.clip(glass - smooth, 0, None)
    density = _density(smooth, glass)
    neutral = _is_neutral(density)
    pen = _pens(density, neutral, mpp)
    absorbed[pen] = 0
    low, high = _range(absorbed)
    colour, darkness = high - low, absorbed.mean(axis=2)
    usual = ~(pen | (neutral & (darkness > _DARKNESS_RANGE[0])))
    dark = darkness > _otsu(darkness[usual], _DARKNESS_RANGE)
    if (dark & ~neutral).sum() > _GREY_SLIDE * dark.sum():
        dark &= ~neutral
    mask = _with_pale(dark, colour, _otsu(colour[usual], _COLOUR_RANGE), mpp)
    # Coloured fringes of edges are a pixel or two wide.
    mask = scipy.ndimage.binary_opening(mask)
    pixel_um2 = mpp[0] * mpp[1]
    mask = remove_small_objects(mask, max_size=round(_SPECK_UM2 / pixel_um2))
    mask = remove_small_holes(mask, max_size=round(_HOLE_UM2 / pixel_um2))
    return cast("Mask", mask & ~pen)


def _with_pale(dark: Mask, colour: Floats, threshold: float, mpp: Size) -> Mask:
    """Return what is dark or coloured, and broad areas of what is paler."""
    from skimage.morphology import remove_small_holes

    strong = dark | (colour > threshold)
    # Where tissue ends, smoothing makes a pale rim too, but it is narrow.
    strong |= _opened((colour > _PALE_ALONE) & ~strong, _RIM_UM, mpp)
    # Fat is a net of pale membranes with glass between them.
    pale = _closed(colour > _PALE, _FAT_GAP_UM, mpp)
    pale = remove_small_holes(pale, max_size=round(_HOLE_UM2 / (mpp[0] * mpp[1])))
    pale = _opened(pale & ~strong, _RIM_UM, mpp)
    return cast("Mask", scipy.ndimage.binary_propagation(strong, mask=strong | pale))


# A square is many times as fast as a disk; the border of the slide is no edge.


def _closed(mask: Mask, width_um: float, mpp: Size) -> Mask:
    size = _odd(width_um, mpp)
    y, x = size[0] // 2, size[1] // 2
    # So that nothing closes between tissue and the border.
    wide = np.pad(mask, ((y, y), (x, x)), mode="edge")
    closed = _shrunk(_grown(wide, size), size)
    return closed[y : y + len(mask), x : x + mask.shape[1]]


def _opened(mask: Mask, width_um: float, mpp: Size) -> Mask:
    size = _odd(width_um, mpp)
    return _grown(_shrunk(mask, size), size)


def _grown(mask: Mask, size: tuple[int, int]) -> Mask:
    return cast("Mask", scipy.ndimage.maximum_filter(mask, size, mode="constant"))


def _shrunk(mask: Mask, size: tuple[int, int]) -> Mask:
    found = scipy.ndimage.minimum_filter(mask, size, mode="constant", cval=1)
    return cast("Mask", found)


def _odd(width_um: float, mpp: Size) -> tuple[int, int]:
    """Return a width in pixels, rounded to the odd number that is next."""
    y, x = (2 * round(width_um / side / 2) + 1 for side in mpp)
    return y, x


def ink(rgb: npt.NDArray[np.uint8]) -> Mask:
    """Tell which pixels have the colour of a pen: blue, green, red or black.

    By colour alone: blood may look like red ink, pigment like black.

    Parameters
    ----------
    rgb : ndarray of shape (..., 3), uint8

    Returns
    -------
    ndarray of shape (...), bool
    """
    density = _OF_VALUE[rgb]
    return _like_pen(density, _is_neutral(density))


def _glass(rgb: npt.NDArray[np.uint8]) -> Floats:
    """Return the commonest colour among what is bright and hardly coloured."""
    step = max(1, min(rgb.shape[:2]) // 500)
    rgb = rgb[::step, ::step]
    low, high = rgb.min(axis=2), rgb.max(axis=2)
    bright = rgb[(low >= 200) & (high - low < 25)]  # (n, 3)
    if len(bright) < 0.005 * low.size:
        return np.full(3, 245, np.float32)
    counts = [np.bincount(bright[:, k], minlength=256) for k in range(3)]
    return np.array([count.argmax() for count in counts], np.float32)


def _density(rgb: Floats, glass: Floats) -> Floats:
    """Return the optical density of each channel, 0 for glass."""
    return cast("Floats", np.log10(glass / np.clip(rgb, 1, glass)))


# Of 8-bit values, before glass that nobody has measured.
_OF_VALUE = _density(np.arange(256, dtype=np.float32), np.full(256, 245, np.float32))


def _is_neutral(density: Floats) -> Mask:
    low, high = _range(density)
    return high - low < _NEUTRAL * high


def _range(values: Floats) -> tuple[Floats, Floats]:
    """Return the least and largest channel; NumPy is slow on an axis of three."""
    red, green, blue = (values[..., k] for k in range(3))
    return (
        np.minimum(np.minimum(red, green), blue),
        np.maximum(np.maximum(red, green), blue),
    )


def _like_pen(density: Floats, neutral: Mask, least: float = _INK_OD) -> Mask:
    red, green, blue = (density[..., k] for k in range(3))
    blue_or_green = (red > least) & ((blue < 0.28 * red) | (green < 0.7 * red))
    as_red = ((green > _RED_INK_OD) & (blue > 0.72 * green)) | (
        (green > _RED_ON_TISSUE_OD) & (blue > 0.62 * green)
    )
    weakest = _range(density)[0]
    black = (neutral & (weakest > _BLACK_OD)) | (weakest > _OPAQUE_OD)
    return blue_or_green | (as_red & (red < 0.3 * green)) | black


def _pens(density: Floats, neutral: Mask, mpp: Size) -> Mask:
    """Find strokes of pens: broad, and faint at their ends."""
    core = _opened(_like_pen(density, neutral), _PEN_UM, mpp)
    if not core.any():
        return core
    strokes = scipy.ndimage.binary_propagation(
        core, mask=core | _like_pen(density, neutral, _FAINT_INK_OD)
    )
    return _grown(strokes, _odd(2 * _PEN_RIM_UM, mpp))


def _otsu(values: Floats, limits: tuple[float, float]) -> float:
    from skimage.filters import threshold_otsu

    if not values.size or values.min() == values.max():
        return limits[1]
    return float(np.clip(threshold_otsu(values), *limits))
