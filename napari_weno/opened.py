"""The slide that the docks speak of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.layers import Image

    from weno.slides import Slide


@dataclass(frozen=True, slots=True, eq=False)
class OpenedSlide:
    """The slide that the docks speak of.

    Parameters
    ----------
    slide_id : str or None
        Its id in the project; None if it does not belong to the open project.
    slide : Slide
    layer : napari.layers.Image
    """

    slide_id: str | None
    slide: Slide
    layer: Image

    @property
    def name(self) -> str:
        """What to call it on screen."""
        return self.slide_id or self.slide.path.stem
