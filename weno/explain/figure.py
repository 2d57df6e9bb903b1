"""A picture of a slide for a talk or a paper, with all that it takes to be read.

One SVG holds it: the pixels as an embedded PNG; scale bar, colour bar and every word
as vectors and text, so that they stay sharp and can be edited.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import numpy.typing as npt

RESEARCH_USE = "Research use only"

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_STOPS = 32
_NICE = (1.0, 2.0, 5.0)
_LARGEST_BAR = 0.25  # of the picture's width


@dataclass(frozen=True, slots=True, eq=False)
class Bar:
    """What the colours of the overlay say.

    Parameters
    ----------
    name : str
        What is shown, and how.
    colours : ndarray of shape (K, 4), float
        RGBA in [0, 1] from the lower to the upper limit.
    low, high : str
        What the two ends stand for.
    """

    name: str
    colours: npt.NDArray[np.float64]
    low: str
    high: str


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """What a figure shows.

    Parameters
    ----------
    pixels : ndarray of shape (H, W, 3), uint8
    um_per_px : float or None
        Of the picture; None where the slide does not say it: there is no scale bar.
    caption : sequence of str
        Lines below the picture.
    bar : Bar or None
        None if no overlay is shown.
    """

    pixels: npt.NDArray[np.uint8]
    um_per_px: float | None
    caption: tuple[str, ...]
    bar: Bar | None = None


def figure_svg(figure: Figure) -> bytes:
    """Draw a figure as an SVG file."""
    height, width, _ = figure.pixels.shape
    unit = max(11.0, width / 80)  # height of a line of text
    lines = len(figure.caption) + 1 + (3 if figure.bar else 0)
    total = height + unit * (1.5 * lines + 1)
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": _SVG,
            "xmlns:xlink": _XLINK,
            "width": str(width),
            "height": f"{total:.0f}",
            "viewBox": f"0 0 {width} {total:.0f}",
            "font-family": "Helvetica, Arial, sans-serif",
        },
    )
    _add(root, "title", text=figure.caption[0] if figure.caption else RESEARCH_USE)
    _rect(root, 0, 0, width, total, fill="#ffffff")
    _add(
        root,
        "image",
        width=width,
        height=height,
        **{"xlink:href": _embedded(figure.pixels)},
    )
    if figure.um_per_px is not None:
        _draw_scale_bar(root, figure.um_per_px, width, height, unit)
    y = height + 1.5 * unit
    if figure.bar is not None:
        y = _draw_bar(root, figure.bar, width, y, unit)
    for line in figure.caption:
        _text(root, line, unit / 2, y, unit)
        y += 1.5 * unit
    _text(root, RESEARCH_USE, unit / 2, y, unit, **{"font-style": "italic"})
    ElementTree.indent(root)
    svg: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return svg


def scale_length(um_per_px: float, width: int) -> float:
    """Return the length of a scale bar in µm: 1, 2 or 5 times a power of ten.

    Parameters
    ----------
    um_per_px : float
    width : int
        Of the picture, a quarter of which the bar takes at most.
    """
    room = um_per_px * width * _LARGEST_BAR
    power = 10.0 ** np.floor(np.log10(room))
    return float(max(nice * power for nice in _NICE if nice * power <= room))


def length_text(um: float) -> str:
    """Say a length in µm or mm."""
    return f"{um / 1000:g} mm" if um >= 1000 else f"{um:g} µm"


def _draw_scale_bar(
    root: ElementTree.Element, um_per_px: float, width: int, height: int, unit: float
) -> None:
    length = scale_length(um_per_px, width)
    across = length / um_per_px
    left, top = width - across - unit, height - 2.9 * unit
    card = {"fill": "#ffffff", "fill-opacity": "0.85"}
    _rect(root, left - unit / 2, top, across + unit, 2.4 * unit, **card)
    bar = {"id": "scale-bar", "fill": "#000000"}
    _rect(root, left, top + 1.75 * unit, across, unit / 3, **bar)
    _text(
        root,
        length_text(length),
        left + across / 2,
        top + 1.3 * unit,
        unit,
        **{"text-anchor": "middle"},
    )


def _draw_bar(
    root: ElementTree.Element, bar: Bar, width: int, y: float, unit: float
) -> float:
    """Draw the colour bar with its name and ends, and return where to go on."""
    across = width - unit
    gradient = _add(root, "linearGradient", id="colours")
    for place in np.linspace(0, 1, _STOPS):
        red, green, blue, alpha = bar.colours[round(place * (len(bar.colours) - 1))]
        _add(
            gradient,
            "stop",
            offset=f"{place:.4f}",
            **{
                "stop-color": _hex(red, green, blue),
                "stop-opacity": f"{alpha:.3f}",
            },
        )
    _text(root, bar.name, unit / 2, y, unit, **{"font-weight": "bold"})
    look = {"fill": "url(#colours)", "stroke": "#000000", "stroke-width": "0.5"}
    _rect(root, unit / 2, y + unit / 2, across, unit, id="colour-bar", **look)
    y += 2.7 * unit
    _text(root, bar.low, unit / 2, y, unit)
    _text(root, bar.high, width - unit / 2, y, unit, **{"text-anchor": "end"})
    return y + 1.8 * unit


def _hex(red: float, green: float, blue: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))


def _embedded(pixels: npt.NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _rect(
    root: ElementTree.Element,
    x: float,
    y: float,
    width: float,
    height: float,
    **more: str,
) -> None:
    place = {"x": x, "y": y, "width": width, "height": height}
    _add(root, "rect", **{k: f"{v:.2f}" for k, v in place.items()}, **more)


def _text(
    root: ElementTree.Element, text: str, x: float, y: float, size: float, **more: str
) -> None:
    font = {"font-size": f"{size:.2f}", "fill": "#000000"}
    _add(root, "text", text, x=f"{x:.2f}", y=f"{y:.2f}", **font, **more)


def _add(
    parent: ElementTree.Element, tag: str, text: str | None = None, **values: object
) -> ElementTree.Element:
    named = {name: str(value) for name, value in values.items()}
    element = ElementTree.SubElement(parent, tag, named)
    element.text = text
    return element
