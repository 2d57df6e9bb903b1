"""GeoJSON as QuPath has it: polygons with a class, in level-0 pixels.

In the files coordinates are ``(x, y)``, here ``(y, x)`` as everywhere.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weno.atomic import replacing
from weno.errors import WenoError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Ring = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A polygon on a slide, maybe with holes.

    Parameters
    ----------
    rings : tuple of ndarray of shape (M, 2), float64
        The outer ring, then the holes: ``(y, x)`` in level-0 pixels. The first point
        is not repeated at the end.
    name : str
        Its class, empty if it has none.
    """

    rings: tuple[Ring, ...]
    name: str = ""


def read_regions(path: Path) -> list[Region]:
    """Read the polygons of a GeoJSON file: a collection, a list or one feature.

    Points and lines have no area, and are passed over.

    Raises
    ------
    WenoError
        If the file cannot be read, is no GeoJSON or has a broken polygon.
    """
    return read_collection(path)[0]


def read_collection(path: Path) -> tuple[list[Region], dict[str, Any]]:
    """Read a GeoJSON file, and what it says of itself if `write_collection` wrote it.

    Raises
    ------
    WenoError
        As `read_regions`.
    """
    content: Any = _content(path)
    said: Any = None
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content, said = content.get("features"), content.get("weno")
    features = content if isinstance(content, list) else [content]
    regions: list[Region] = []
    for number, feature in enumerate(features, 1):
        try:
            if feature["type"] != "Feature":
                raise ValueError(f"its type is {feature['type']!r}")
            regions += _regions(feature)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise WenoError(
                f"{path}: feature {number} is broken ({error!r}); draw it again, or "
                "remove it from the file"
            ) from error
    return regions, said if isinstance(said, dict) else {}


def write_collection(
    path: Path, features: Sequence[dict[str, Any]], said: dict[str, Any] | None = None
) -> None:
    """Write features as a file that QuPath imports.

    Parameters
    ----------
    path : Path
    features : sequence of dict
    said : dict, optional
        What the file says of itself; QuPath passes it over.
    """
    collection: dict[str, Any] = {
        "type": "FeatureCollection",
        "features": list(features),
    }
    if said:
        collection["weno"] = said
    with replacing(path) as temporary:
        text = json.dumps(collection, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text, encoding="utf-8")


def feature_of(
    region: Region, color: tuple[int, int, int], *, key: str
) -> dict[str, Any]:
    """Turn a region into an annotation.

    Parameters
    ----------
    region : Region
    color : (int, int, int)
        Of its class, in QuPath.
    key : str
        Hexadecimal; makes its id.
    """
    rings = [np.round(ring[:, ::-1], 1).tolist() for ring in region.rings]
    return {
        "type": "Feature",
        "id": f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:32]}",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[*ring, ring[0]] for ring in rings],
        },
        "properties": {
            "objectType": "annotation",
            "classification": {"name": region.name, "color": color},
        },
    }


def hash_of(regions: Sequence[Region]) -> str:
    """Return 32 hex digits that differ whenever a polygon or its class differs."""
    keys = sorted(
        f"{region.name} {[np.round(ring, 1).tolist() for ring in region.rings]}"
        for region in regions
    )
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32]


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise WenoError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise WenoError(
            f"{path}: damaged, or no GeoJSON ({error}); mend it, or remove it"
        ) from error


def _regions(feature: dict[str, Any]) -> Iterator[Region]:
    geometry = feature["geometry"]
    polygons = {
        "Polygon": [geometry.get("coordinates")],
        "MultiPolygon": geometry.get("coordinates"),
    }.get(geometry["type"], [])
    name = _class_of(feature.get("properties") or {})
    for polygon in polygons:
        yield Region(tuple(_ring(points) for points in polygon), name)


def _class_of(properties: dict[str, Any]) -> str:
    said = properties.get("classification") or {}
    return str(said.get("name") or ": ".join(said.get("names") or ()))


def _ring(points: list[list[float]]) -> Ring:
    ring = np.array([point[:2] for point in points], np.float64)[:, ::-1]  # (M, 2)
    if not np.isfinite(ring).all():
        raise ValueError("a coordinate is not finite")
    ring = ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring
    if len(ring) < 3:
        raise ValueError(f"a polygon has {len(ring)} corners")
    return ring
