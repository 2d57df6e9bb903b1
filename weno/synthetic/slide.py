"""One synthetic slide, from its recipe to its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from weno.synthetic import cells, glands, scanner
from weno.synthetic.anatomy import CELL, GRID, Anatomy, draw_anatomy
from weno.synthetic.ground import add_glass, enlarge, paint_ground

if TYPE_CHECKING:
    import numpy.typing as npt

    from weno.synthetic.fields import Mask

    Pixels = npt.NDArray[np.uint8]
    Plane = npt.NDArray[np.uint8]

MIN_SIZE = 1024  # pixels; less tissue than that holds no lesion of LESION_AREA
MATCH_RING = 60  # mask pixels around a lesion whose colour it takes on
MATCH_SPREAD = 0.08  # deviation of that match: some tumours stain darker or paler
MATCH_LIMIT = (0.6, 1.5)  # of the gain that does so: beyond it, chromatin looks wrong
NORMAL_TRIES, TUMOUR_TRIES = 2400.0, 90.0  # glands thrown per mm² of room


@dataclass(frozen=True, slots=True)
class SlideRecipe:
    """All that determines a slide: equal recipes give equal pixels.

    Parameters
    ----------
    seed : int
        Of the cohort.
    ordinal : int
        Of the slide in its cohort.
    size : int
        Level-0 pixels per side; a multiple of 256, at least 1024.
    positive : bool
        Whether the slide holds lesions.
    """

    seed: int
    ordinal: int
    size: int
    positive: bool

    def __post_init__(self) -> None:
        if self.size < MIN_SIZE or self.size % (2 * CELL):
            raise ValueError(
                f"size {self.size}: choose a multiple of {2 * CELL} from {MIN_SIZE} on"
            )

    def rng(self, purpose: int) -> np.random.Generator:
        """Return a generator of its own for each purpose: they do not disturb."""
        return np.random.default_rng([self.seed, self.ordinal, purpose])


def plan_slide(recipe: SlideRecipe) -> Anatomy:
    """Lay out a slide without painting it: enough for the truth, and quick."""
    return draw_anatomy(recipe.rng(0), recipe.size, positive=recipe.positive)


def render_slide(recipe: SlideRecipe) -> tuple[Pixels, Mask]:
    """Render one slide in memory.

    Returns
    -------
    pixels : uint8 ndarray of shape (size, size, 3)
    lesion : bool ndarray of shape (size, size)
        Where tumour was painted; all false on a negative slide.
    """
    anatomy = plan_slide(recipe)
    pixels = paint_slide(recipe, anatomy)
    return pixels, anatomy.lesion.repeat(GRID, axis=0).repeat(GRID, axis=1)


def paint_slide(recipe: SlideRecipe, anatomy: Anatomy) -> Pixels:
    """Paint a planned slide: uint8 ndarray of shape (size, size, 3)."""
    rng = recipe.rng(1)
    # Pairs of slides, one of each class, share these draws: ink tells nothing.
    pair = np.random.default_rng([recipe.seed, recipe.ordinal // 2])
    artefacts = scanner.draw_artefacts(pair, recipe.ordinal // 2)
    haematoxylin, eosin = paint_planes(rng, anatomy, fold=artefacts.fold)
    if anatomy.lesion.any():
        match_colour(rng, haematoxylin, eosin, anatomy)
    pixels = scanner.develop(rng, haematoxylin, eosin)
    if artefacts.dust:
        scanner.sprinkle_dust(rng, pixels)
    if artefacts.ink:
        scanner.ink_strokes(rng, pixels, artefacts.ink)
    return pixels


def paint_planes(
    rng: np.random.Generator, anatomy: Anatomy, *, fold: bool
) -> tuple[Plane, Plane]:
    """Paint the haematoxylin and eosin planes, uint8 ndarrays of shape (size, size)."""
    ground = paint_ground(rng, anatomy)
    groups = [
        (glands.NORMAL_GLAND, anatomy.mucosa, NORMAL_TRIES),
        (glands.TUMOUR_GLAND, anatomy.lesion, TUMOUR_TRIES),
    ]
    placed = []
    for kind, room, tries in groups:
        found = glands.place_glands(rng, room, kind, tries)
        for gland in found:
            glands.paint_gland(ground, gland, kind)
        placed.append((kind, found))
    if fold:
        scanner.fold_tissue(rng, ground, anatomy)
    add_glass(rng, ground)
    haematoxylin = enlarge(ground.haematoxylin)
    eosin = enlarge(ground.eosin)
    cells.stamp_stroma(rng, haematoxylin, ground, anatomy)
    cells.stamp_follicles(rng, haematoxylin, ground, anatomy)
    cells.stamp_nests(rng, haematoxylin, ground)
    for kind, found in placed:
        cells.stamp_glands(rng, (haematoxylin, eosin), ground, found, kind)
    return haematoxylin, eosin


def match_colour(
    rng: np.random.Generator, haematoxylin: Plane, eosin: Plane, anatomy: Anatomy
) -> None:
    """Scale both stains in the lesion to the mean of the tissue around it, in place.

    What is left to tell a lesion by is texture and arrangement.
    """
    near = ndimage.distance_transform_edt(~anatomy.lesion) < MATCH_RING
    ring = near & anatomy.tissue & ~anatomy.lesion & ~anatomy.fat & ~anatomy.follicles
    weight = ndimage.gaussian_filter(anatomy.lesion.astype(np.float32), 1.5)
    for plane in (haematoxylin, eosin):
        sample = plane[GRID // 2 :: GRID, GRID // 2 :: GRID]
        inside, outside = sample[anatomy.lesion].mean(), sample[ring].mean()
        gain = outside / inside * np.exp(rng.normal(0, MATCH_SPREAD))
        gain = float(np.clip(gain, *MATCH_LIMIT))
        _scale(plane, 1 + (gain - 1) * weight)


def _scale(plane: Plane, gain: npt.NDArray[np.float32]) -> None:
    """Multiply a plane by a gain given per mask pixel, where it is not one."""
    rows, cols = np.nonzero(np.abs(gain - 1) > 1e-3)
    if not len(rows):
        return
    for row in np.unique(rows):
        columns = cols[rows == row]
        left, right = columns.min(), columns.max() + 1
        view = plane[row * GRID : (row + 1) * GRID, left * GRID : right * GRID]
        fine = (gain[row, left:right] * 256).astype(np.uint16).repeat(GRID)
        view[...] = np.minimum((view * fine) >> 8, 255)
