"""Which nuclei lie where: the arrangement that tells a lesion from its surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weno.synthetic.atlas import ORIENTATIONS, TEXTURE_SIZE, atlas
from weno.synthetic.glands import ANGLES
from weno.synthetic.ground import HALF

if TYPE_CHECKING:
    import numpy.typing as npt

    from weno.synthetic.anatomy import Anatomy
    from weno.synthetic.glands import Gland, GlandKind
    from weno.synthetic.ground import Ground, Plane

    Angles = npt.NDArray[np.float64]
    Places = npt.NDArray[np.float64]
    Choice = npt.NDArray[np.int64]

FIBROBLASTS = 1700.0  # per mm² of stroma
LYMPHOCYTES = 260.0  # per mm² of stroma, scattered
MUCOSA_LYMPHOCYTES = 3600.0  # per mm² between glands: lamina propria is cellular
CROWD, CROWD_SPREAD = 12, 26.0  # lymphocytes that lie together, over how many µm
FOLLICLE_STEP = 6.6  # µm between the lymphocytes of a follicle
FOLLICLE_JITTER = 0.45
STROMAL_ATYPICAL = 300.0  # per mm² of lesion stroma: reactive, plump cells
BARE_EOSIN = 34  # paler than this is lumen, fat or cleft, where no nucleus lies
SPRITE_SCALE = 2  # full-resolution pixels per µm

TUMOUR_FILL = 0.80  # share of tumour cells whose nucleus is in the section
MITOSES = 0.030  # share of tumour cells that divide: brisk, so that a tile shows one
GOBLET_STEP = 11.0  # µm between mucin droplets of a normal gland
GOBLET_RADIUS = 0.58  # where they lie, in gland radii, if the lumen leaves room


def scatter(
    rng: np.random.Generator,
    ground: Ground,
    where: npt.NDArray[np.bool_],
    per_mm2: float,
    crowd: int = 1,
) -> Places:
    """Draw places (y, x) in µm inside a mask, `crowd` near each other."""
    inside = np.flatnonzero(where)
    count = rng.poisson(len(inside) * (HALF / 1000) ** 2 * per_mm2)
    if not len(inside):
        return np.zeros((0, 2))
    crowds = rng.integers(len(inside), size=-(-count // crowd))
    cells = inside[crowds.repeat(crowd)[:count]]
    places = np.column_stack(np.unravel_index(cells, where.shape)) * float(HALF)
    spread = CROWD_SPREAD if crowd > 1 else HALF / 2
    places += rng.normal(0, spread, places.shape)
    row, col = (places / HALF).astype(np.int64).clip(0, len(where) - 1).T
    return on_tissue(ground, places[where[row, col]])


def on_tissue(ground: Ground, places: Places) -> Places:
    """Keep the places off bare ground and outside glands."""
    n = len(ground.eosin)
    y, x = places.astype(np.int64).clip(0, n - 1).T
    solid = ground.eosin[y, x] > BARE_EOSIN
    kept: Places = places[solid & ~ground.occupied[y, x]]
    return kept


def fibre_angles(ground: Ground, places: Places) -> Angles:
    """Direction of the fibres at `places`: along the iso-lines of the flow."""
    n = len(ground.flow)
    y, x = places.astype(np.int64).clip(4, n - 5).T
    dy = ground.flow[y + 4, x] - ground.flow[y - 4, x]
    dx = ground.flow[y, x + 4] - ground.flow[y, x - 4]
    return np.asarray(np.arctan2(dx, -dy), dtype=np.float64)


def stamp_stroma(
    rng: np.random.Generator, plane: Plane, ground: Ground, anatomy: Anatomy
) -> None:
    """Stamp fibroblasts along the fibres, and lymphocytes, between glands and nests."""
    stroma = anatomy.tissue & ~anatomy.follicles & ~anatomy.fat
    y, x = np.mgrid[: len(stroma), : len(stroma)] * HALF + HALF // 2
    stroma &= ~ground.nests[y, x]
    places = scatter(rng, ground, stroma, FIBROBLASTS)
    angles = fibre_angles(ground, places) + rng.normal(0, 0.2, len(places))
    _stamp(rng, plane, atlas().fibroblast, places, angles)
    for where, density in (
        (stroma, LYMPHOCYTES),
        (stroma & (anatomy.mucosa | anatomy.lesion), MUCOSA_LYMPHOCYTES),
    ):
        places = scatter(rng, ground, where, density, crowd=CROWD)
        _stamp(rng, plane, atlas().lymphocyte, places)
    places = scatter(rng, ground, stroma & anatomy.lesion, STROMAL_ATYPICAL)
    _stamp(rng, plane, atlas().atypical, places, fibre_angles(ground, places))


def stamp_follicles(
    rng: np.random.Generator, plane: Plane, ground: Ground, anatomy: Anatomy
) -> None:
    """Stamp the crowd of a lymphoid follicle: a jittered grid, hardly overlapping."""
    n = len(ground.eosin)
    steps = int(n / FOLLICLE_STEP)
    home = np.mgrid[:steps, :steps].reshape(2, -1).T + 0.5
    cell = (home * FOLLICLE_STEP / HALF).astype(np.int64)
    home = home[anatomy.follicles[cell[:, 0], cell[:, 1]]]
    jitter = rng.uniform(-FOLLICLE_JITTER, FOLLICLE_JITTER, home.shape)
    places = on_tissue(ground, (home + jitter) * FOLLICLE_STEP)
    _stamp(rng, plane, atlas().lymphocyte, places)


def stamp_nests(rng: np.random.Generator, plane: Plane, ground: Ground) -> None:
    """Stamp one large nucleus into most cells of a tumour nest, now and then a mitosis.

    Centres come from the mosaic whose walls the ground shows.
    """
    n = len(ground.eosin)
    repeats = np.arange(-(-n // TEXTURE_SIZE)) * TEXTURE_SIZE
    shift = np.stack(np.meshgrid(repeats, repeats), axis=-1).reshape(-1, 1, 2)
    centres = np.reshape(atlas().tumour_centres + shift, (-1, 2)).astype(np.float64)
    centres = centres[(centres < n).all(axis=1)]
    y, x = centres.astype(np.int64).T
    centres = centres[ground.nests[y, x] & ~ground.occupied[y, x]]
    places = on_tissue(ground, centres[rng.random(len(centres)) < TUMOUR_FILL])
    places = places + rng.normal(0, 1.2, places.shape)
    _stamp_tumour(rng, plane, places, rng.uniform(0, np.pi, len(places)))


def _stamp_tumour(
    rng: np.random.Generator, plane: Plane, places: Places, angles: Angles
) -> None:
    divides = rng.random(len(places)) < MITOSES
    _stamp(rng, plane, atlas().atypical, places[~divides], angles[~divides])
    _stamp(rng, plane, atlas().mitosis, places[divides], angles[divides])


def gland_ring(
    rng: np.random.Generator, gland: Gland, share: float, step: float
) -> tuple[Places, Angles]:
    """Spread places along the outline at a share of the radius, with polar angles."""
    count = max(5, int(2 * np.pi * gland.radius * share / step))
    theta = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * 2 * np.pi / count
    index = (theta / (2 * np.pi) * ANGLES).astype(np.int64) % ANGLES
    radius = gland.radius * share * gland.outline[index]
    y, x = gland.y + radius * np.sin(theta), gland.x + radius * np.cos(theta)
    return np.column_stack([y, x]), theta


def stamp_glands(
    rng: np.random.Generator,
    planes: tuple[Plane, Plane],
    ground: Ground,
    glands: list[Gland],
    kind: GlandKind,
) -> None:
    """Stamp the nuclei of glands: a neat palisade, or disordered layers in a tumour."""
    if not glands:
        return
    is_tumour = len(kind.layers) > 1
    rings = [
        gland_ring(rng, gland, share, kind.nuclear_step)
        for gland in glands
        for share in kind.layers
    ]
    places, angles = (np.concatenate(part) for part in zip(*rings, strict=True))
    spread = kind.disorder * float(np.mean(kind.radius))
    places = places + rng.normal(0, spread, places.shape)
    if not is_tumour:
        _stamp_goblets(rng, planes, glands)
        _stamp(rng, planes[0], atlas().epithelium, places, angles)
        return
    n = len(ground.eosin)
    y, x = places.astype(np.int64).clip(0, n - 1).T
    keep = ground.eosin[y, x] > BARE_EOSIN
    angles = angles + rng.normal(0, 0.8, len(angles))
    _stamp_tumour(rng, planes[0], places[keep], angles[keep])


def _stamp_goblets(
    rng: np.random.Generator, planes: tuple[Plane, Plane], glands: list[Gland]
) -> None:
    """Empty the mucin droplets between the palisade and the lumen of normal glands."""
    rings = [
        gland_ring(rng, gland, max(GOBLET_RADIUS, gland.lumen + 0.18), GOBLET_STEP)
        for gland in glands
        if gland.radius * (0.75 - gland.lumen) > GOBLET_STEP
    ]
    if not rings:
        return
    places, angles = (np.concatenate(part) for part in zip(*rings, strict=True))
    keep = rng.random(len(places)) < 0.8
    which = pick_sprites(rng, atlas().vacuole, angles[keep])
    for plane, floor in ((planes[1], 0.88), (planes[0], 0.92)):
        holes = (atlas().vacuole * floor).astype(np.uint8)
        empty_out(plane, holes, places[keep] * SPRITE_SCALE, which)


def _stamp(
    rng: np.random.Generator,
    plane: Plane,
    sprites: Plane,
    places: Places,
    angles: Angles | None = None,
) -> None:
    if angles is None:
        angles = rng.uniform(0, np.pi, len(places))
    which = pick_sprites(rng, sprites, angles)
    stamp(plane, sprites, places * SPRITE_SCALE, which)


def stamp(plane: Plane, sprites: Plane, places: Places, which: Choice) -> None:
    """Stamp sprites, densest wins, onto a plane.

    Parameters
    ----------
    plane : uint8 ndarray of shape (H, W)
        Changed in place.
    sprites : uint8 ndarray of shape (S, side, side)
    places : float ndarray of shape (N, 2)
        (y, x) of the centres in pixels of the plane; those too near the border for a
        whole sprite are left out.
    which : int ndarray of shape (N,)
        Index of the sprite of each place.
    """
    side = sprites.shape[1]
    corners = np.round(places).astype(np.int64) - side // 2
    limit = np.array(plane.shape) - side
    inside = ((corners >= 0) & (corners <= limit)).all(axis=1)
    triples = zip(
        corners[inside, 0].tolist(),
        corners[inside, 1].tolist(),
        which[inside].tolist(),
        strict=True,
    )
    for y, x, k in triples:
        view = plane[y : y + side, x : x + side]
        np.maximum(view, sprites[k], out=view)


def empty_out(plane: Plane, holes: Plane, places: Places, which: Choice) -> None:
    """Like :func:`stamp`, but holes (255 = empty) thin the plane out."""
    inverse = 255 - plane
    stamp(inverse, holes, places, which)
    np.subtract(255, inverse, out=plane)


def pick_sprites(rng: np.random.Generator, sprites: Plane, angles: Angles) -> Choice:
    """Pick a random variant of the orientation nearest to each angle (radians)."""
    variants = len(sprites) // ORIENTATIONS
    turn = np.round(angles / np.pi * ORIENTATIONS).astype(np.int64) % ORIENTATIONS
    return turn * variants + rng.integers(variants, size=len(angles))
