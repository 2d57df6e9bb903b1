"""Showing a slide's colours as its ICC profile has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_weno.canvas import noted_on
from napari_weno.preferences import preferences
from napari_weno.streaming import set_icc
from weno.errors import SlideError

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_weno.opened import OpenedSlide
    from weno.slides import Slide

_NOTE = "icc"


def shows_icc(layer: Image) -> bool:
    """Tell whether a slide layer is shown by its profile."""
    return bool(noted_on(layer).get(_NOTE, False))


def profile_state(slide: Slide) -> str:
    """Say whether a slide has an ICC profile: "yes", "no" or "damaged"."""
    try:
        return "no" if slide.icc_profile is None else "yes"
    except SlideError:
        return "damaged"


def show_icc(layer: Image, on: bool) -> None:
    """Show a slide layer by its profile, or as the file has it.

    Raises
    ------
    SlideError
        If the profile is damaged.
    """
    set_icc(layer, on)
    noted_on(layer)[_NOTE] = on


def show_as_preferred(opened: OpenedSlide) -> None:
    """Show a slide that has just been opened as the preferences have it.

    Raises
    ------
    SlideError
        If its profile is damaged.
    """
    fresh = _NOTE not in noted_on(opened.layer)
    wanted = fresh and preferences("slides").icc_profile
    if wanted and profile_state(opened.slide) == "yes":
        show_icc(opened.layer, True)
