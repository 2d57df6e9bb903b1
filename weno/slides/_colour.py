"""Colours: from a slide's ICC profile to sRGB, and from transparent to white."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from weno.errors import SlideError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

_RGB = "RGB"
_PROBE = 33  # shades of each channel that tell whether a profile is sRGB itself


def to_srgb(
    profile: bytes, path: Path | str = "ICC profile"
) -> Callable[[Pixels], Pixels]:
    """Return what turns pixels of a profile into sRGB.

    The intent is relative colorimetric, which keeps measured colours and maps white to
    white; for a profile without it, the one that the profile prefers.

    Parameters
    ----------
    profile : bytes
    path : Path or str
        Of the slide, for the message if something is wrong.

    Returns
    -------
    callable
        Takes pixels (..., 3) and returns as many, in any number of threads; the very
        same array if the profile is sRGB itself, as many are.

    Raises
    ------
    SlideError
        If the profile is damaged or is none of RGB pixels.
    """
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        if not source.profile.is_intent_supported(intent, ImageCms.Direction.INPUT):
            intent = ImageCms.Intent(source.profile.rendering_intent)
        transform = ImageCms.buildTransform(
            source, ImageCms.createProfile("sRGB"), _RGB, _RGB, intent
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        reason = f"its ICC profile cannot be used ({error}): use the slide without it"
        raise SlideError(path, reason) from error

    def turned(pixels: Pixels) -> Pixels:
        # littlecms keeps nothing in a transform while it works, so threads may share
        # it; Pillow lets them run at the same time.
        flat = np.ascontiguousarray(pixels).reshape(-1, pixels.shape[-2], 3)
        image = ImageCms.applyTransform(Image.fromarray(flat), transform)
        assert image is not None, "it is not done in place"
        return np.asarray(image).reshape(pixels.shape)

    shades = np.linspace(0, 255, _PROBE).astype(np.uint8)
    cube = np.stack(np.meshgrid(shades, shades, shades), axis=-1)  # (33, 33, 33, 3)
    if np.array_equal(turned(cube), cube):
        return lambda pixels: pixels
    return turned


def on_white(rgba: Pixels) -> Pixels:
    """Blend pixels (..., 4) with white, to (..., 3)."""
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if (alpha == 255).all():
        return np.ascontiguousarray(rgb)
    share = alpha.astype(np.uint16)
    blended: Pixels = ((rgb * share + 255 * (255 - share) + 127) // 255).astype(
        np.uint8
    )
    return blended
