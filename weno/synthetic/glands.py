"""Glands: rings of cells round a lumen, neat in normal mucosa, deformed in tumour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from weno.synthetic.ground import HALF

if TYPE_CHECKING:
    import numpy.typing as npt

    from weno.synthetic.fields import Field, Mask
    from weno.synthetic.ground import Ground


@dataclass(frozen=True, slots=True)
class GlandKind:
    """How a gland is built; lengths in µm, radii as shares of the gland's own."""

    radius: tuple[float, float]
    lumen: tuple[float, float]
    wobble: float  # relative deviation of the outline per harmonic
    nuclear_step: float  # between neighbouring nuclei of the palisade
    layers: tuple[float, ...]  # radii at which nuclei lie
    disorder: float  # deviation of a nucleus from its place, in radii
    eosin: float
    haematoxylin: float
    spacing: float  # between glands, in radii of both
    cleft: float  # share of eosin that shrinkage takes away around the gland


NORMAL_GLAND = GlandKind(
    radius=(19, 48), lumen=(0.12, 0.42), wobble=0.08, nuclear_step=5.4,
    layers=(0.84,), disorder=0.030, eosin=70, haematoxylin=36, spacing=1.06,
    cleft=0.5,
)  # fmt: skip
TUMOUR_GLAND = GlandKind(
    radius=(24, 60), lumen=(0.20, 0.50), wobble=0.17, nuclear_step=13.5,
    layers=(0.62, 0.90), disorder=0.10, eosin=74, haematoxylin=20, spacing=1.30,
    cleft=0.0,
)  # fmt: skip

ANGLES = 256  # steps of a gland outline
RADII = 256  # steps of a gland's radial profile, up to PROFILE_REACH
PROFILE_REACH = 1.12
PROFILE_STEP = 1.2  # µm over which lumen and basement membrane fade
MAX_RADIUS = 96  # of the polar table; the largest wobbly tumour gland fits


@dataclass(frozen=True)
class Gland:
    """One gland: centre (y, x) and radius in µm, outline and relative lumen."""

    y: float
    x: float
    radius: float
    lumen: float
    outline: Field  # of shape (ANGLES,), relative to radius


def place_glands(
    rng: np.random.Generator, room: Mask, kind: GlandKind, tries_per_mm2: float
) -> list[Gland]:
    """Throw glands into `room` (mask pixels) and keep those that touch no other."""
    inside = np.argwhere(room)
    if not len(inside):
        return []
    area_mm2 = len(inside) * (HALF / 1000) ** 2
    tries = int(tries_per_mm2 * area_mm2)
    depth = ndimage.distance_transform_edt(room) * HALF
    chosen = inside[rng.integers(len(inside), size=tries)]
    centres = (chosen + rng.random(chosen.shape)) * HALF
    # Large ones first: small ones then fill the gaps.
    radii = np.sort(rng.uniform(*kind.radius, tries))[::-1]
    kept: list[Gland] = []
    taken = np.zeros((tries, 3))  # y, x, radius
    row, col = (centres / HALF).astype(np.intp).T
    fits = depth[row, col] > radii
    for (y, x), radius in zip(centres[fits], radii[fits], strict=True):
        others = taken[: len(kept)]
        gap = np.hypot(others[:, 0] - y, others[:, 1] - x)
        if (gap < kind.spacing * (others[:, 2] + radius)).any():
            continue
        taken[len(kept)] = y, x, radius
        kept.append(
            Gland(y, x, radius, rng.uniform(*kind.lumen), _outline(rng, kind.wobble))
        )
    return kept


def _outline(rng: np.random.Generator, wobble: float) -> Field:
    theta = np.arange(ANGLES) * 2 * np.pi / ANGLES
    outline = np.ones(ANGLES)
    for k in range(2, 7):
        size, phase = wobble * rng.standard_normal() * 3 / k, rng.uniform(0, 2 * np.pi)
        outline += size * np.cos(k * theta + phase)
    return outline.clip(0.55, 1.5).astype(np.float32)


def _polar_table() -> tuple[npt.NDArray[np.intp], Field]:
    y, x = np.mgrid[-MAX_RADIUS : MAX_RADIUS + 1, -MAX_RADIUS : MAX_RADIUS + 1]
    angle = (np.arctan2(y, x) / (2 * np.pi) * ANGLES).astype(np.intp) % ANGLES
    return angle, np.hypot(y, x).astype(np.float32)


POLAR_ANGLE, POLAR_RADIUS = _polar_table()


def paint_gland(ground: Ground, gland: Gland, kind: GlandKind) -> None:
    """Paint lumen, cytoplasm and basement membrane into the ground."""
    reach = min(
        int(gland.radius * float(gland.outline.max()) * PROFILE_REACH) + 1, MAX_RADIUS
    )
    y, x = int(gland.y), int(gland.x)
    n = len(ground.eosin)
    top, left = max(reach - y, 0), max(reach - x, 0)
    bottom, right = min(2 * reach + 1, n + reach - y), min(2 * reach + 1, n + reach - x)
    table = slice(MAX_RADIUS - reach, MAX_RADIUS + reach + 1)
    angle = POLAR_ANGLE[table, table][top:bottom, left:right]
    radius = POLAR_RADIUS[table, table][top:bottom, left:right]
    relative = radius / (gland.radius * gland.outline)[angle]
    index = (relative * (RADII / PROFILE_REACH)).astype(np.intp).clip(0, RADII - 1)
    target = (
        slice(y - reach + top, y - reach + bottom),
        slice(x - reach + left, x - reach + right),
    )
    eosin, haematoxylin, cover = _gland_profile(gland, kind)
    alpha = cover[index]
    for plane, profile in ((ground.eosin, eosin), (ground.haematoxylin, haematoxylin)):
        plane[target] += alpha * (profile[index] - plane[target])
    ground.occupied[target] |= relative < 1.08


def _gland_profile(gland: Gland, kind: GlandKind) -> tuple[Field, Field, Field]:
    """Return eosin, haematoxylin and opacity from the centre outwards."""
    r = np.arange(RADII, dtype=np.float32) * (PROFILE_REACH / RADII)
    step = PROFILE_STEP / gland.radius
    wall = ((r - gland.lumen) / step + 0.5).clip(0, 1)
    apical = np.exp(-(((r - gland.lumen) / (2 * step)) ** 2))  # brush border
    membrane = np.exp(-(((r - 1) / step) ** 2))
    outside = ((r - 1.02) / step).clip(0, 1)
    eosin = 5 + wall * (kind.eosin - 5) + 30 * apical * wall + 22 * membrane
    eosin -= outside * kind.eosin * kind.cleft  # the cleft that shrinkage leaves
    haematoxylin = 3 + wall * (kind.haematoxylin - 3)
    cover = ((PROFILE_REACH - 0.02 - r) / 0.06).clip(0, 1)
    profile = np.array([eosin.clip(0), haematoxylin, cover], dtype=np.float32)
    return profile[0], profile[1], profile[2]
