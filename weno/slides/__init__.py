"""Pixels of whole-slide images: open, read, and stream as a dask pyramid.

The only package that speaks to OpenSlide, and the only place where OpenSlide's
``(x, y)`` order is turned round: everything that leaves it is ``(y, x)``.
"""

from __future__ import annotations

from weno.slides._backend import SLIDE_SUFFIXES, is_slide
from weno.slides._cache import TileCache
from weno.slides._colour import to_srgb
from weno.slides._folder import slides_in
from weno.slides._slide import Slide, open_slide
from weno.slides._stream import TileStream, screen_cache

__all__ = [
    "SLIDE_SUFFIXES",
    "Slide",
    "TileCache",
    "TileStream",
    "is_slide",
    "open_slide",
    "screen_cache",
    "slides_in",
    "to_srgb",
]
