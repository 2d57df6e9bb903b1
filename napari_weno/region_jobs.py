"""The jobs of the Regions box: reading, saving, importing, counting tiles."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_weno.jobs import loading
from weno.geojson import hash_of
from weno.review import (
    IGNORED,
    Verdict,
    covered_tiles,
    import_regions,
    labelled_path,
    read_labelled,
    region_verdicts,
    write_labelled,
)

if TYPE_CHECKING:
    from collections.abc import Generator, MutableMapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from weno.geojson import Region
    from weno.project import Project

    Tiles = tuple[npt.NDArray[np.int64], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Cover:
    """How many tiles regions cover.

    Parameters
    ----------
    tiles : tuple of int
        Of each region.
    text : str
        What they come to in the next fit.
    """

    tiles: tuple[int, ...]
    text: str


def read_regions(
    project: Project, slide_id: str
) -> Generator[None, None, list[Region]]:
    """Read the labelled regions of a slide; none if there are none yet."""
    yield
    with project.open_slide(slide_id) as slide:
        content_hash = slide.content_hash
    path = labelled_path(project.review_dir, slide_id)
    return read_labelled(path, content_hash, project.classes)


def save_regions(
    project: Project, slide_id: str, regions: Sequence[Region]
) -> Generator[None, None, str]:
    """Write the labelled regions of a slide; return their hash."""
    with project.open_slide(slide_id) as slide:
        content_hash = slide.content_hash
    path = labelled_path(project.review_dir, slide_id)
    write_labelled(path, regions, content_hash, project.positive)
    yield
    return hash_of(regions)


def import_file(project: Project, path: Path) -> Generator[None, None, list[Region]]:
    """Read polygons of QuPath or ASAP."""
    yield
    return import_regions(path, project.classes)


def read_both(
    project: Project, slide_id: str, path: Path | None
) -> Generator[None, None, tuple[list[Region], list[Region]]]:
    """Read the regions of a slide, and those of another file if one is given."""
    saved = yield from read_regions(project, slide_id)
    more = [] if path is None else (yield from import_file(project, path))
    return saved, more


def import_note(regions: Sequence[Region], project: Project, chosen: str) -> str:
    """Say of which imported regions the class is not what the file says.

    Parameters
    ----------
    regions : sequence of Region
        As `import_file` returns them.
    project : Project
    chosen : str
        The class that those without one get.
    """
    told = []
    if unnamed := sum(not region.name for region in regions):
        told.append(f"{unnamed:,} without a class got the class {chosen}.")
    foreign = [regions[k].name for k in foreign_to(project, regions)]
    if foreign:
        names = ", ".join(sorted(set(foreign)))
        told.append(
            f"{len(foreign):,} with a class that the project does not have ({names}): "
            "these train nothing until you choose their class. They are selected."
        )
    return " ".join(told)


def foreign_to(project: Project, regions: Sequence[Region]) -> list[int]:
    """Return the indices of the regions of classes that the project does not have."""
    known = {"", IGNORED, *project.classes}
    return [k for k, region in enumerate(regions) if region.name not in known]


def count_tiles(
    project: Project,
    slide_id: str,
    regions: Sequence[Region],
    known: MutableMapping[str, Tiles],
) -> Generator[None, None, Cover]:
    """Count the tiles that regions cover.

    Parameters
    ----------
    project : Project
    slide_id : str
    regions : sequence of Region
    known : mapping of str to tiles
        Where the tiles of slides are, by id; what is found is added.
    """
    yield
    # Others may forget what is known meanwhile.
    tiles = known.get(slide_id)
    if tiles is None:
        yield from loading("weno.mil.bag_files")
        tiles = known[slide_id] = tiles_of(project, slide_id)
    origins, tile_l0 = tiles
    yield
    counts = tuple(len(covered_tiles([r], origins, tile_l0)) for r in regions)
    said = Counter(
        region_verdicts(regions, origins, tile_l0, project.positive).values()
    )
    negative, positive = project.class_names
    names = {
        Verdict.POSITIVE: positive,
        Verdict.NEGATIVE: negative,
        Verdict.UNSURE: "left out",
    }
    told = ", ".join(f"{said[v]:,} {name}" for v, name in names.items() if said[v])
    text = f"{sum(said.values()):,} of {len(origins):,} tiles have a label"
    return Cover(counts, f"{text}: {told}." if told else f"{text}.")


def tiles_of(project: Project, slide_id: str) -> Tiles:
    """Return the tiles of a slide: those with features, else those it would have."""
    from weno.features import read_header
    from weno.mil.bag_files import read_bag
    from weno.tiles import tile_grid

    path = project.features_path(slide_id)
    if path.is_file():
        header, origins = read_header(path), read_bag(path).origins
        if origins is not None:
            side = header.spec.tile_um
            return origins[:], (side / header.mpp[0], side / header.mpp[1])
    with project.open_slide(slide_id) as slide:
        tissue = project.outline(slide_id).find(slide, keep=False)
        grid = tile_grid(slide, project.spec, tissue)
    return grid.origins, grid.tile_l0
