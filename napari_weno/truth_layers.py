"""What is known of the tiles, and where the model was wrong, as napari layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import Colormap

from napari_weno.layers import METADATA_KEY, heatmap_place
from weno.explain import Outcome

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_weno.layers import LayerData
    from weno.prediction import Prediction

#: Colours that the colour-blind can tell apart, of what became of a tile.
OUTCOME_COLOURS = {
    Outcome.FOUND: ("found", "#009e73"),
    Outcome.MISSED: ("missed", "#d55e00"),
    Outcome.FALSE_ALARM: ("false alarm", "#f0e442"),
}
TRUTH_COLOURS = {0: ("negative", "#56b4e9"), 1: ("positive", "#0072b2")}
_NOTHING = -1.0


def truth_layer(prediction: Prediction, truth: npt.NDArray[np.float64]) -> LayerData:
    """Make the layer of the tiles whose class is known.

    Parameters
    ----------
    prediction : Prediction
    truth : ndarray of shape (N,)
        1, 0, or NaN where not known.
    """
    values = np.where(np.isnan(truth), _NOTHING, truth)
    return _classes(
        "truth", prediction, values, [hue for _, hue in TRUTH_COLOURS.values()], 0
    )


def misses_layer(prediction: Prediction, outcomes: npt.NDArray[np.int8]) -> LayerData:
    """Make the layer of what was found, missed and called in vain."""
    colours = [hue for _, hue in OUTCOME_COLOURS.values()]
    return _classes(
        "misses", prediction, outcomes.astype(float), colours, int(Outcome.FOUND)
    )


def _classes(
    name: str,
    prediction: Prediction,
    values: npt.NDArray[np.float64],
    colours: list[str],
    lowest: int,
) -> LayerData:
    limits = (lowest - 0.5, lowest + len(colours) - 0.5)
    keywords: dict[str, Any] = {
        "name": name,
        **heatmap_place(prediction),
        "contrast_limits": limits,
        "colormap": Colormap(
            colours,
            name=name,
            interpolation="zero",
            low_color=(0, 0, 0, 0),
        ),
        "interpolation2d": "nearest",
        "blending": "translucent_no_depth",
        "opacity": 0.6,
        "metadata": {METADATA_KEY: {"kind": "truth", "range": (_NOTHING, limits[1])}},
    }
    return prediction.grid.to_image(values, fill=_NOTHING), keywords, "image"
