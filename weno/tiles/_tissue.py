"""Tissue or glass: a mask at low magnification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy

from weno.errors import SlideError
from weno.slides._pyramid import overview
from weno.tiles._models import CLASSICAL, checked, tissue_model, wanted_mpp

if TYPE_CHECKING:
    import numpy.typing as npt

    from weno.slides import Slide

    Mask = npt.NDArray[np.bool_]

_MPP = 8.0  # µm per pixel of a mask
_SOME = 1e-6  # a share that is not just rounding


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Where a slide has tissue.

    Parameters
    ----------
    mask : ndarray of shape (h, w), bool
        True on tissue; the whole slide at low magnification.
    downsample : (float, float)
        ``(y, x)`` level-0 pixels per pixel of the mask.
    mpp : (float, float)
        ``(y, x)`` size of a pixel of the mask in µm.
    excluded : ndarray of shape (h, w), bool, optional
        True where no tile may touch.
    outline : str
        Hash of the polygons that the mask was drawn from, empty if there are none.
    """

    mask: Mask
    downsample: tuple[float, float]
    mpp: tuple[float, float]
    excluded: Mask | None = None
    outline: str = ""

    @property
    def area_mm2(self) -> float:
        """Tissue area in mm²."""
        return float(self.mask.sum()) * self.mpp[0] * self.mpp[1] / 1e6

    def share(
        self, origins: npt.NDArray[np.int64], tile_l0: tuple[float, float]
    ) -> npt.NDArray[np.float64]:
        """Measure how much of each tile is tissue; what lies off the slide is not.

        Parameters
        ----------
        origins : ndarray of shape (N, 2), int64
            ``(y, x)`` of the tiles' top-left corners in level-0 pixels.
        tile_l0 : (float, float)
            ``(y, x)`` size of a tile in level-0 pixels.

        Returns
        -------
        ndarray of shape (N,)
            Shares in [0, 1].
        """
        return _share(self.mask, origins / self.downsample, self._tile(tile_l0))

    def usable(
        self,
        origins: npt.NDArray[np.int64],
        tile_l0: tuple[float, float],
        min_tissue: float,
    ) -> Mask:
        """Tell which tiles have enough tissue, and touch nothing that is excluded.

        Parameters are those of `share`; of no tissue at all there is never enough.

        Returns
        -------
        ndarray of shape (N,), bool
        """
        enough = self.share(origins, tile_l0) >= max(min_tissue, _SOME)
        if self.excluded is not None:
            lost = _share(self.excluded, origins / self.downsample, self._tile(tile_l0))
            enough &= lost < _SOME
        return enough

    def _tile(self, tile_l0: tuple[float, float]) -> tuple[float, float]:
        return tile_l0[0] / self.downsample[0], tile_l0[1] / self.downsample[1]


def _share(
    mask: Mask, low: npt.NDArray[np.float64], tile: tuple[float, float]
) -> npt.NDArray[np.float64]:
    """Return the share of `mask` in rectangles; all in pixels of the mask."""
    area = np.zeros(np.add(mask.shape, 1))
    area[1:, 1:] = mask.cumsum(0, dtype=float).cumsum(1)

    def up_to(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # Linear interpolation of a summed-area table is the exact area.
        return cast(
            "npt.NDArray[np.float64]",
            scipy.ndimage.map_coordinates(area, corners.T, order=1, mode="nearest"),
        )

    high = low + tile  # (N, 2)
    inside = (
        up_to(high)
        - up_to(np.stack([low[:, 0], high[:, 1]], axis=1))
        - up_to(np.stack([high[:, 0], low[:, 1]], axis=1))
        + up_to(low)
    )
    return np.clip(inside / np.prod(tile), 0.0, 1.0)


def tissue_mask(slide: Slide, *, model: str = CLASSICAL) -> TissueMask:
    """Find the tissue of a slide.

    Parameters
    ----------
    slide : Slide
        Its `mpp` must be known.
    model : str
        A tissue model: ``"classical"``, or the name of an entry point of the group
        ``weno.tissue``.

    Raises
    ------
    SlideError
        If the pixel size is not known or the slide cannot be read.
    WenoError
        If there is no such model, or what it returns is no mask.
    """
    find = tissue_model(model)
    shape, downsample, mpp = lattice(slide, wanted_mpp(find))
    mask = find(overview(slide, *shape), mpp)
    return TissueMask(checked(mask, shape, model), downsample, mpp)


def lattice(
    slide: Slide, mpp: float = _MPP
) -> tuple[tuple[int, int], tuple[float, float], tuple[float, float]]:
    """Return shape, downsample and exact pixel size, each ``(y, x)``, of a mask.

    Raises
    ------
    SlideError
        If the size of the slide's pixels is not known.
    """
    if slide.mpp is None:
        raise SlideError(
            slide.path,
            "the size of a pixel is not known; give it in µm as --mpp or in the "
            "column mpp of slides.csv",
        )
    factor = [max(1.0, mpp / own) for own in slide.mpp]
    height, width = (
        max(1, round(side / f)) for side, f in zip(slide.shape, factor, strict=True)
    )
    downsample = (slide.shape[0] / height, slide.shape[1] / width)
    return (
        (height, width),
        downsample,
        (slide.mpp[0] * downsample[0], slide.mpp[1] * downsample[1]),
    )
