"""Pixels of whole-slide images: open, read, and stream as a dask pyramid.

The only package that speaks to OpenSlide, and the only place where OpenSlide's
``(x, y)`` order is turned round: everything that leaves it is ``(y, x)``.
"""

from __future__ import annotations

from weno.slides._slide import SLIDE_SUFFIXES, Slide, is_slide, open_slide

__all__ = ["SLIDE_SUFFIXES", "Slide", "is_slide", "open_slide"]
