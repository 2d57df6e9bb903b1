"""The tissue outline of a slide: polygons in a file that people may edit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

import numpy as np
import scipy

from weno.errors import WenoError
from weno.geojson import (
    Region,
    feature_of,
    hash_of,
    read_collection,
    read_regions,
    write_collection,
)
from weno.tiles._models import CLASSICAL
from weno.tiles._tissue import TissueMask, lattice, tissue_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from weno.slides import Slide

    Mask = npt.NDArray[np.bool_]
    Size = tuple[float, float]

#: Class of what is tissue; a polygon without a class is tissue too.
TISSUE: Final = "Tissue"
#: QuPath's class for what does not count.
IGNORE: Final = "Ignore*"

_COLOR = (0, 158, 115)


@dataclass(frozen=True, slots=True)
class Outline:
    """Where on one slide tiles may lie: the tissue, and regions of interest.

    Parameters
    ----------
    path : Path
        GeoJSON of the tissue; made by `find` where it is not there.
    model : str
        Finds the tissue.
    regions : Path, optional
        GeoJSON of regions of interest.
    inside : tuple of str
        Classes of regions: tiles are taken from these only. Any place if empty.
    outside : tuple of str
        Classes of regions that no tile may touch.
    """

    path: Path
    model: str = CLASSICAL
    regions: Path | None = None
    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()

    @property
    def state(self) -> Literal["", "found", "edited"]:
        """Whose the outline is: nobody's yet, the model's or a person's.

        Raises
        ------
        WenoError
            If the file is damaged.
        """
        if not self.path.exists():
            return ""
        regions, said = read_collection(self.path)
        return "found" if said.get("outline") == hash_of(regions) else "edited"

    @property
    def hash(self) -> str:
        """Hash of all polygons that count, empty if the tissue is not found yet.

        Raises
        ------
        WenoError
            If a file is damaged.
        """
        if not self.path.exists():
            return ""
        return hash_of([*read_regions(self.path), *self._chosen()])

    def find(self, slide: Slide, *, keep: bool = True) -> TissueMask:
        """Return where tiles may lie; the file is made if it is not there.

        An outline that another model or another slide has led to is found anew,
        unless a person has edited it.

        Parameters
        ----------
        slide : Slide
        keep : bool
            False writes no file.

        Raises
        ------
        SlideError
            If the slide cannot be read.
        WenoError
            If a file is damaged, has a class that means nothing here, or was edited
            on another slide.
        """
        tissue = self._kept(slide)
        if tissue is None:
            tissue = trace(tissue_mask(slide, model=self.model))
            if keep:
                self._write(slide, tissue, by=self.model)
        return self._drawn(slide, tissue)

    def _drawn(self, slide: Slide, tissue: Sequence[Region]) -> TissueMask:
        shape, downsample, mpp = lattice(slide)
        for region in tissue:
            if region.name not in ("", TISSUE, IGNORE):
                raise WenoError(
                    f"{self.path}: class {region.name!r} means nothing in an outline; "
                    f"name tissue {TISSUE!r} and what is none {IGNORE!r}, and put "
                    "regions of interest into the folder regions"
                )
        is_tissue = fill([r for r in tissue if r.name != IGNORE], shape, downsample)
        is_tissue &= ~fill([r for r in tissue if r.name == IGNORE], shape, downsample)
        chosen = self._chosen()
        if self.inside:
            wanted = [region for region in chosen if region.name in self.inside]
            is_tissue &= fill(wanted, shape, downsample)
        never = [region for region in chosen if region.name in self.outside]
        return TissueMask(
            is_tissue,
            downsample,
            mpp,
            excluded=fill(never, shape, downsample) if never else None,
            outline=hash_of([*tissue, *chosen]),
        )

    def save(self, slide: Slide, painted: Sequence[Region]) -> None:
        """Write an outline that a person has drawn.

        Parameters
        ----------
        slide : Slide
        painted : sequence of Region
            In the order they were laid over each other: `IGNORE` takes away, any
            other name adds.
        """
        shape, downsample, mpp = lattice(slide)
        mask = np.zeros(shape, bool)
        for region in painted:
            mask[fill([region], shape, downsample)] = region.name != IGNORE
        drawn = trace(TissueMask(mask, downsample, mpp))
        self._write(slide, drawn, by=None)

    def _write(self, slide: Slide, found: list[Region], by: str | None) -> None:
        said = {"content_hash": slide.content_hash}
        if by is not None:
            said |= {"model": by, "outline": hash_of(found)}
        features = [
            feature_of(region, _COLOR, key=hash_of([region])) for region in found
        ]
        write_collection(self.path, features, said)

    def _kept(self, slide: Slide) -> list[Region] | None:
        """Return the polygons of the file if they hold for the slide and model."""
        if not self.path.exists():
            return None
        regions, said = read_collection(self.path)
        edited = said.get("outline") != hash_of(regions)
        same_slide = said.get("content_hash", slide.content_hash) == slide.content_hash
        if edited and not same_slide:
            raise WenoError(
                f"{self.path}: was drawn on another slide than {slide.path}; "
                "remove it, or draw it again"
            )
        holds = edited or (same_slide and said.get("model") == self.model)
        return regions if holds else None

    def _chosen(self) -> list[Region]:
        classes = {*self.inside, *self.outside}
        if self.regions is None or not classes or not self.regions.exists():
            return []
        return [r for r in read_regions(self.regions) if r.name in classes]


def trace(tissue: TissueMask) -> list[Region]:
    """Return the outlines of a mask, one polygon with its holes for each piece.

    `fill` makes the very same mask of them.
    """
    from skimage.measure import find_contours

    labels, _ = scipy.ndimage.label(tissue.mask)
    regions = []
    for number, box in enumerate(scipy.ndimage.find_objects(labels), 1):
        piece = np.pad(labels[box] == number, 1).astype(np.uint8)
        rings = [_without_straights(ring[:-1]) for ring in find_contours(piece, 0.5)]
        rings.sort(key=lambda ring: -np.prod(np.ptp(ring, axis=0)))
        # From indices of a padded piece to corners of level-0 pixels.
        offset = np.array([side.start - 0.5 for side in box])
        corners = [np.round((ring + offset) * tissue.downsample, 1) for ring in rings]
        regions.append(Region(tuple(corners), TISSUE))
    return regions


def _without_straights(ring: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Drop the points (M, 2) that lie on a line between their neighbours."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return cast("npt.NDArray[np.float64]", ring[turn != 0])


def fill(regions: Sequence[Region], shape: tuple[int, int], downsample: Size) -> Mask:
    """Draw regions as a mask: a pixel counts whose centre is inside.

    By scan lines, because the polygons of scikit-image test every pixel against every
    edge, and those of Pillow are half a pixel too large.

    Parameters
    ----------
    regions : sequence of Region
    shape : (int, int)
        Of the mask.
    downsample : (float, float)
        ``(y, x)`` level-0 pixels per pixel of the mask.

    Returns
    -------
    ndarray of shape `shape`, bool
    """
    mask = np.zeros(shape, bool)
    for region in regions:
        row, x = crossings([ring / downsample for ring in region.rings], shape[0])
        if not len(row):
            continue
        column = np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(np.int64)
        top, bottom = row.min(), row.max() + 1
        crossed = np.zeros((bottom - top, shape[1] + 1), np.uint8)
        np.add.at(crossed, (row - top, column), 1)
        # Inside is where a line has crossed an odd number of edges.
        inside = crossed.cumsum(axis=1, dtype=np.uint8)[:, :-1] & 1
        mask[top:bottom] |= inside.astype(bool)
    return mask


def crossings(
    rings: Sequence[npt.NDArray[np.float64]], rows: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the rows whose middles edges cross, and the x at which they do.

    Parameters
    ----------
    rings : sequence of ndarray of shape (M, 2)
        ``(y, x)``, where rows are 1 high.
    rows : int
        How many there are, from y = 0 on.
    """
    start = np.concatenate(rings)  # (E, 2)
    stop = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    ends = np.sort([start[:, 0], stop[:, 0]], axis=0) - 0.5  # (2, E)
    low, high = np.clip(np.ceil(ends), 0, rows).astype(np.int64)
    count = high - low
    edge = np.repeat(np.arange(len(start)), count)
    row = low[edge] + np.arange(len(edge)) - np.repeat(count.cumsum() - count, count)
    (y0, x0), (y1, x1) = start[edge].T, stop[edge].T
    return row, x0 + (row + 0.5 - y0) / (y1 - y0) * (x1 - x0)
