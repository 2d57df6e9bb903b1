"""Tissue or glass: a mask at low magnification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.ndimage as ndi

from weno.errors import SlideError
from weno.slides._pyramid import overview

if TYPE_CHECKING:
    import numpy.typing as npt

    from weno.slides import Slide

    Mask = npt.NDArray[np.bool_]

# Otsu splits whatever it is given: a slide that is all tissue, or all glass, too.
# So its thresholds are kept within what glass and tissue look like (8-bit units).
_SATURATION_RANGE = (10.0, 40.0)
_DARKNESS_RANGE = (20.0, 60.0)

# What is smaller than this is dust, and a hole smaller than this is lumen or fat.
_SPECK_UM2 = 10_000.0
_HOLE_UM2 = 30_000.0


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
    """

    mask: Mask
    downsample: tuple[float, float]
    mpp: tuple[float, float]

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
        area = np.zeros(np.add(self.mask.shape, 1))
        area[1:, 1:] = self.mask.cumsum(0, dtype=float).cumsum(1)

        def up_to(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            # Linear interpolation of a summed-area table is the exact area.
            at = corners.T / np.array(self.downsample)[:, None]  # (2, N)
            return cast(
                "npt.NDArray[np.float64]",
                ndi.map_coordinates(area, at, order=1, mode="nearest"),
            )

        low = origins.astype(float)  # (N, 2)
        high = low + tile_l0
        inside = (
            up_to(high)
            - up_to(np.stack([low[:, 0], high[:, 1]], axis=1))
            - up_to(np.stack([high[:, 0], low[:, 1]], axis=1))
            + up_to(low)
        )
        whole = np.prod(np.divide(tile_l0, self.downsample))
        return np.clip(inside / whole, 0.0, 1.0)


def tissue_mask(slide: Slide, *, mpp: float = 8.0) -> TissueMask:
    """Find the tissue of a slide.

    A pixel is tissue where it is more saturated, or darker, than Otsu's threshold
    of the slide; specks are dropped, holes filled.

    Parameters
    ----------
    slide : Slide
        Its `mpp` must be known.
    mpp : float
        Pixel size of the mask in µm.

    Raises
    ------
    SlideError
        If the pixel size is not known or the slide cannot be read.
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
    mask_mpp = (slide.mpp[0] * downsample[0], slide.mpp[1] * downsample[1])
    return TissueMask(
        mask=_segment(overview(slide, height, width), mask_mpp[0] * mask_mpp[1]),
        downsample=downsample,
        mpp=mask_mpp,
    )


def _segment(rgb: npt.NDArray[np.uint8], pixel_um2: float) -> Mask:
    # Imported late: a slide is opened often, and its tissue looked for once.
    from skimage.morphology import remove_small_holes, remove_small_objects

    smooth = ndi.gaussian_filter(rgb.astype(np.float32), sigma=(1, 1, 0))  # (h, w, 3)
    saturation = smooth.max(axis=2) - smooth.min(axis=2)
    darkness = 255 - smooth.mean(axis=2)
    mask = (saturation > _otsu(saturation, _SATURATION_RANGE)) | (
        darkness > _otsu(darkness, _DARKNESS_RANGE)
    )
    mask = remove_small_objects(mask, max_size=round(_SPECK_UM2 / pixel_um2))
    mask = remove_small_holes(mask, max_size=round(_HOLE_UM2 / pixel_um2))
    return cast("Mask", mask)


def _otsu(values: npt.NDArray[np.float32], limits: tuple[float, float]) -> float:
    from skimage.filters import threshold_otsu

    if values.min() == values.max():
        return limits[1]
    return float(np.clip(threshold_otsu(values), *limits))
