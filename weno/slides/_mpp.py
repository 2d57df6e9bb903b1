"""The size of a slide's pixels, from whatever the file says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

MppSource = Literal["given", "slide", "tiff", "objective"]

_UNIT_UM = {"inch": 25_400.0, "centimeter": 10_000.0}


def mpp_of(
    properties: Mapping[str, str],
) -> tuple[tuple[float, float], MppSource] | tuple[None, None]:
    """Return ``(y, x)`` in µm per level-0 pixel, and where it comes from.

    Parameters
    ----------
    properties : mapping of str to str
        By OpenSlide's names.
    """
    if (mpp := _pair(properties, "openslide.mpp-y", "openslide.mpp-x")) is not None:
        return mpp, "slide"
    per_unit = _pair(properties, "tiff.YResolution", "tiff.XResolution")
    unit_um = _UNIT_UM.get(properties.get("tiff.ResolutionUnit", ""))
    if per_unit is not None and unit_um is not None:
        return (unit_um / per_unit[0], unit_um / per_unit[1]), "tiff"
    power = positive(properties.get("openslide.objective-power"))
    if power is not None:
        # 0.25 µm/px at 40x is what nearly every scanner delivers.
        return (10 / power, 10 / power), "objective"
    return None, None


def positive(text: str | None) -> float | None:
    """Return the number that a property holds, None unless it is above 0."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _pair(
    properties: Mapping[str, str], key_y: str, key_x: str
) -> tuple[float, float] | None:
    y, x = positive(properties.get(key_y)), positive(properties.get(key_x))
    return None if y is None or x is None else (y, x)
