"""Labelled regions: what a person has drawn on a slide, as labels of its tiles.

They lie in ``review/regions/<slide_id>.geojson`` and say what tiles show. Regions of
interest, in ``regions/<slide_id>.geojson``, are something else: they say where tiles
may lie, see `weno.tiles.Outline`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from weno.errors import ReviewError
from weno.geojson import (
    Region,
    feature_of,
    hash_of,
    read_collection,
    read_regions,
    write_collection,
)
from weno.review._asap import read_asap
from weno.review._journal import safe_name
from weno.review.events import Verdict
from weno.review.export import VERDICT_COLORS
from weno.tiles import tile_cover

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

#: Class of a region whose tiles train nothing.
IGNORED: Final = "ignore"
#: Share of a tile that must lie in a region.
COVERED: Final = 0.5

_ALSO_IGNORED = {IGNORED, "ignore*"}  # as QuPath has it
_TOLERANCE = 1e-9


def labelled_path(folder: Path, slide_id: str) -> Path:
    """Return the file with the labelled regions of a slide; it need not exist yet.

    Parameters
    ----------
    folder : Path
        ``review/`` of a project.
    slide_id : str
    """
    return folder / "regions" / f"{safe_name(slide_id, 'slide')}.geojson"


def labelled_slides(folder: Path) -> list[str]:
    """Return the ids of the slides that have labelled regions.

    Parameters
    ----------
    folder : Path
        ``review/`` of a project.
    """
    return sorted(path.stem for path in (folder / "regions").glob("[!.]*.geojson"))


def read_labelled(
    path: Path, content_hash: str, classes: Sequence[str]
) -> list[Region]:
    """Read the labelled regions of a slide; none if the file is not there.

    Parameters
    ----------
    path : Path
    content_hash : str
        Of the slide.
    classes : sequence of str
        Of the project.

    Raises
    ------
    ReviewError
        If they were drawn on another slide, or have a class that the project has not.
    WenoError
        If the file is damaged.
    """
    if not path.exists():
        return []
    regions, said = read_collection(path)
    if said.get("content_hash", content_hash) != content_hash:
        raise ReviewError(
            f"{path}: was drawn on another slide than the one of this name now; "
            "remove it, or draw it again"
        )
    matched = with_classes(regions, classes)
    for region, found in zip(regions, matched, strict=True):
        if not found.name:
            raise ReviewError(
                f"{path}: class {region.name!r} is none of {', '.join(classes)} and "
                f"{IGNORED}; give the region one of these"
            )
    return matched


def write_labelled(
    path: Path, regions: Sequence[Region], content_hash: str, positive: str
) -> None:
    """Write the labelled regions of a slide; without any the file goes.

    Parameters
    ----------
    path : Path
    regions : sequence of Region
    content_hash : str
        Of the slide.
    positive : str
        The class that is asked about; it only gives the regions their colours.
    """
    if not regions:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    features = [
        feature_of(
            region, VERDICT_COLORS[verdict_of(region, positive)], key=hash_of([region])
        )
        for region in regions
    ]
    write_collection(path, features, {"content_hash": content_hash})


def import_regions(path: Path, classes: Sequence[str]) -> list[Region]:
    """Read polygons of QuPath (GeoJSON) or ASAP (XML), with the project's classes.

    Parameters
    ----------
    path : Path
    classes : sequence of str
        Of the project; upper and lower case are the same, and so are tumour and tumor.
        A region of any other class keeps its own; without one the name is empty.

    Raises
    ------
    WenoError
        If the file cannot be read, or is neither.
    """
    is_xml = path.suffix.lower() == ".xml"
    found = read_asap(path) if is_xml else read_regions(path)
    known = with_classes(found, classes)
    return [
        Region(r.rings, k.name or r.name) for r, k in zip(found, known, strict=True)
    ]


def with_classes(regions: Sequence[Region], classes: Sequence[str]) -> list[Region]:
    """Return regions with the project's spelling of their class, or without one."""
    known = {_plain(name): name for name in classes}
    known |= dict.fromkeys(_ALSO_IGNORED - known.keys(), IGNORED)
    return [Region(r.rings, known.get(_plain(r.name), "")) for r in regions]


def _plain(name: str) -> str:
    return name.casefold().replace("tumour", "tumor")


def verdict_of(region: Region, positive: str) -> Verdict:
    """Return what a region says of the tiles in it."""
    if region.name == positive:
        return Verdict.POSITIVE
    return Verdict.UNSURE if region.name == IGNORED else Verdict.NEGATIVE


def region_verdicts(
    regions: Sequence[Region],
    origins: npt.NDArray[np.int64],
    tile_l0: tuple[float, float],
    positive: str,
) -> dict[int, Verdict]:
    """Return what regions say of tiles, by index; those outside are not in it.

    A tile belongs to regions that cover at least half of it. One to be ignored, or in
    regions that contradict each other, is unsure: it trains nothing.

    Parameters
    ----------
    regions : sequence of Region
    origins : ndarray of shape (N, 2), int64
        ``(y, x)`` of the tiles in level-0 pixels.
    tile_l0 : (float, float)
        ``(y, x)`` size of a tile in level-0 pixels.
    positive : str
        The class that is asked about.
    """
    said: dict[int, Verdict] = {}
    for verdict in (Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.UNSURE):
        mine = [r for r in regions if verdict_of(r, positive) is verdict]
        for index in covered_tiles(mine, origins, tile_l0).tolist():
            said[index] = Verdict.UNSURE if index in said else verdict
    return said


def covered_tiles(
    regions: Sequence[Region],
    origins: npt.NDArray[np.int64],
    tile_l0: tuple[float, float],
) -> npt.NDArray[np.int64]:
    """Return the indices of the tiles of which at least half lies in regions."""
    cover = tile_cover(regions, origins, tile_l0)
    found: npt.NDArray[np.int64] = np.flatnonzero(cover >= COVERED - _TOLERANCE)
    return found
