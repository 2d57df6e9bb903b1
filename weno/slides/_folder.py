"""Which slides there are in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from weno.errors import SlideError
from weno.slides._backend import SLIDE_SUFFIXES, is_slide
from weno.slides._slide import open_slide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ZARR, _DICOM = ".zarr", ".dcm"
_MAYBE_SLIDES = (".tif", ".tiff", _DICOM, _ZARR)


def slides_in(folder: str | Path) -> Iterator[Path]:
    """Yield the slides in a folder and in those below it.

    Parameters
    ----------
    folder : str or Path

    Yields
    ------
    Path
        Of a DICOM series, one of its files.
    """
    for parent, folders, files in os.walk(folder):
        zarrs = [name for name in folders if name.lower().endswith(_ZARR)]
        # Inside lie millions of files, and images that are but parts of one.
        folders[:] = [name for name in folders if name not in zarrs]
        paths = (Path(parent, name) for name in sorted((*files, *zarrs)))
        yield from _one_per_series(path for path in paths if _is_slide(path))


def _is_slide(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in SLIDE_SUFFIXES or (suffix in _MAYBE_SLIDES and is_slide(path))


def _one_per_series(paths: Iterable[Path]) -> Iterator[Path]:
    """Leave out further files of a DICOM slide: any one of them opens it whole."""
    seen = set[str]()
    for path in paths:
        if path.suffix.lower() == _DICOM:
            try:
                with open_slide(path) as slide:
                    content = slide.content_hash
            except SlideError:
                content = str(path)  # in the list, so that somebody hears of it
            if content in seen:
                continue
            seen.add(content)
        yield path
