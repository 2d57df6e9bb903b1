"""Annotations of ASAP: polygons in XML, their class the group they are part of.

The parser opens no other file, and a file that defines entities of its own is refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from weno.errors import ReviewError
from weno.geojson import Region

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

_WITH_AREA = ("Polygon", "Spline", "Rectangle")
_NO_GROUP = "None"


class _PlainTree(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse what entities could be defined in."""
        raise ValueError(f"it has a DOCTYPE ({name})")


def read_asap(path: Path) -> list[Region]:
    """Read the polygons of an ASAP file; dots and point sets have no area.

    Raises
    ------
    ReviewError
        If the file cannot be read, is not ASAP's, or has a broken polygon.
    """
    try:
        parser = ElementTree.XMLParser(target=_PlainTree())
        root = ElementTree.fromstring(path.read_bytes(), parser)
        if root.tag != "ASAP_Annotations":
            raise ValueError(f"its outermost element is {root.tag!r}")
        return list(_regions(root))
    except (OSError, ElementTree.ParseError, TypeError, ValueError) as error:
        raise ReviewError(
            f"{path}: no annotations of ASAP ({error}); export them again as XML"
        ) from error


def _regions(root: ElementTree.Element) -> Iterator[Region]:
    for annotation in root.iter("Annotation"):
        if annotation.get("Type") in _WITH_AREA:
            group = annotation.get("PartOfGroup", _NO_GROUP)
            ring = _ring(annotation, annotation.get("Name", ""))
            yield Region((ring,), "" if group == _NO_GROUP else group)


def _ring(annotation: ElementTree.Element, name: str) -> npt.NDArray[np.float64]:
    points = [
        (int(c.get("Order", k)), float(c.attrib["Y"]), float(c.attrib["X"]))
        for k, c in enumerate(annotation.iter("Coordinate"))
    ]
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError(f"{name}: a coordinate is not finite")
    if len(points) < 3:
        raise ValueError(f"{name}: a polygon has {len(points)} corners")
    return np.array(sorted(points), np.float64)[:, 1:]
