"""Tissue models by name: the built-in one, and those of other packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from weno.errors import WenoError
from weno.plugins import announced, described, load
from weno.tiles._classical import classical

if TYPE_CHECKING:
    import numpy.typing as npt

#: Where a package announces tissue models.
GROUP = "weno.tissue"
CLASSICAL = "classical"
_MPP = 8.0


class TissueModel(Protocol):
    """What finds tissue on a slide at low magnification.

    A model may have an attribute ``mpp``: the size in µm of the pixels that it wants
    to see, 8 if it does not say.
    """

    def __call__(
        self, rgb: npt.NDArray[np.uint8], mpp: tuple[float, float], /
    ) -> npt.NDArray[np.bool_]:
        """Return where tissue is, of shape (h, w), for pixels (h, w, 3).

        Parameters
        ----------
        rgb : ndarray of shape (h, w, 3), uint8
            The whole slide.
        mpp : (float, float)
            ``(y, x)`` size of a pixel in µm.
        """


def tissue_names() -> list[str]:
    """Return the names of all models that can be had here; none is imported."""
    return [CLASSICAL, *sorted(announced(GROUP).keys() - {CLASSICAL})]


def tissue_model(name: str) -> TissueModel:
    """Return a tissue model by name; no entry point replaces the built-in.

    Raises
    ------
    WenoError
        If nothing has that name, or it cannot be loaded or called.
    """
    if name == CLASSICAL:
        return classical
    point = announced(GROUP).get(name)
    if point is None:
        raise WenoError(
            f"unknown tissue model {name!r}; there are: {', '.join(tissue_names())}"
        )
    model = load(point, "tissue model")
    if isinstance(model, type):
        model = model()
    if not callable(model):
        raise WenoError(
            f"{described(point, 'tissue model')} is a {type(model).__name__}; it must "
            "be callable with (rgb, mpp)"
        )
    found: TissueModel = model
    return found


def wanted_mpp(model: TissueModel) -> float:
    """Return the pixel size in µm that a model wants to see."""
    return float(getattr(model, "mpp", _MPP))


def checked(mask: Any, shape: tuple[int, ...], name: str) -> npt.NDArray[np.bool_]:
    """Return what a model has found, or say why it is no mask.

    Raises
    ------
    WenoError
    """
    mask = np.asarray(mask)
    if mask.shape != shape or mask.dtype != bool:
        raise WenoError(
            f"tissue model {name!r} returned {mask.dtype} of shape {mask.shape} for an "
            f"image of {shape[0]} x {shape[1]} pixels; it must be bool, of that shape"
        )
    return cast("npt.NDArray[np.bool_]", mask)
