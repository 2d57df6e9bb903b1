"""File > Open, ``viewer.open`` and drag and drop for whole-slide images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_weno.layers import slide_layer
from napari_weno.welcome import greet
from weno.slides import SLIDE_SUFFIXES, is_slide, open_slide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_weno.layers import LayerData

    PathOrPaths = str | Sequence[str]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerData]] | None:
    """Return a reader for slides, None for other files.

    ``.tif``, ``.tiff``, ``.dcm`` and folders may be anything, so they are claimed only
    if the content is a slide.
    """
    paths = [path] if isinstance(path, str) else list(path)
    if paths and all(_is_ours(one) for one in paths):
        return read_slides
    return None


def read_slides(path: PathOrPaths) -> list[LayerData]:
    """Open slides as multiscale layers in µm.

    Raises
    ------
    SlideError
        If one of them is no slide or is damaged.
    """
    paths = [path] if isinstance(path, str) else path
    greet()
    return [slide_layer(open_slide(one)) for one in paths]


def _is_ours(path: str) -> bool:
    return Path(path).suffix.lower() in SLIDE_SUFFIXES or is_slide(path)
