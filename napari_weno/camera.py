"""Where the camera looks, in the slide's terms: position, magnification, turn.

napari keeps the centre of its camera in the order of the axes on screen, which a turned
view swaps; here it is always world ``(y, x)``. The view is turned by the order of the
axes and the camera's orientation alone, so that no layer moves in the world: overlays,
clicks, points and distances follow by themselves. Main thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from napari.viewer import Viewer

#: µm per screen pixel times magnification: 0.25 µm/px is what 40x means.
UM_TIMES_POWER = 10.0


def centre_of(viewer: Viewer) -> tuple[float, float]:
    """Return the world position ``(y, x)`` in the middle of the canvas."""
    y, x = axes_on_screen(viewer).T @ _signs(viewer) @ viewer.scene.camera.center[-2:]
    return float(y), float(x)


def look_at(viewer: Viewer, y: float, x: float, zoom: float | None = None) -> None:
    """Move the camera.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    y, x : float
        World position that comes into the middle of the canvas.
    zoom : float, optional
        Screen pixels per world unit; stays as it is if not given.
    """
    down, right = _signs(viewer) @ axes_on_screen(viewer) @ (y, x)
    viewer.scene.camera.center = (0.0, float(down), float(right))
    if zoom is not None:
        viewer.scene.camera.zoom = zoom


def grow_world(viewer: Viewer, growth: npt.NDArray[np.float64]) -> None:
    """Keep showing the same tissue after its world coordinates have grown.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    growth : ndarray of shape (2,)
        ``(y, x)`` new coordinates over old ones.
    """
    y, x = centre_of(viewer) * growth
    look_at(viewer, y, x, viewer.scene.camera.zoom / float(np.sqrt(growth.prod())))


def axes_on_screen(viewer: Viewer) -> npt.NDArray[np.float64]:
    """Tell where the slide's axes point on screen.

    Returns
    -------
    ndarray of shape (2, 2)
        Turns a way ``(y, x)`` in the world into a way ``(down, right)`` on screen:
        in each row and column a 1 or -1 and a 0.
    """
    axes = np.zeros((2, 2))
    for row, axis in enumerate(viewer.dims.order[-2:]):
        in_slide = axis - (viewer.dims.ndim - 2)
        if in_slide >= 0:
            axes[row, in_slide] = 1.0
    return _signs(viewer) @ axes


def turn(viewer: Viewer, quarters: int) -> None:
    """Turn the view about its middle; what is there stays there, at its zoom.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    quarters : int
        Quarter turns clockwise.
    """
    *others, vertical, horizontal = viewer.dims.order
    down, right = np.diag(_signs(viewer)) > 0
    for _ in range(quarters % 4):
        # What pointed right now points down, what pointed down points left.
        vertical, horizontal = horizontal, vertical
        down, right = right, not down
    _orient(viewer, (*others, vertical, horizontal), bool(down), bool(right))


def turn_back(viewer: Viewer) -> None:
    """Show the slide as it was scanned."""
    *others, one, other = viewer.dims.order
    _orient(viewer, (*others, *sorted((one, other))), down=True, right=True)


def _orient(viewer: Viewer, order: tuple[int, ...], down: bool, right: bool) -> None:
    camera = viewer.scene.camera
    (y, x), zoom = centre_of(viewer), camera.zoom
    if order != viewer.dims.order:
        # napari fits the slide to the canvas whenever the order changes.
        viewer.dims.order = order
    camera.orientation2d = ("down" if down else "up", "right" if right else "left")
    look_at(viewer, y, x, zoom)


def _signs(viewer: Viewer) -> npt.NDArray[np.float64]:
    """Return the diagonal of which coordinates grow downwards and to the right."""
    vertical, horizontal = viewer.scene.camera.orientation2d
    return np.diag(
        [1.0 if vertical == "down" else -1.0, 1.0 if horizontal == "right" else -1.0]
    )


def scale_text(zoom: float, *, in_um: bool, guess: bool = False) -> str:
    """Say how large the slide is on screen.

    Parameters
    ----------
    zoom : float
        Screen pixels per world unit.
    in_um : bool
        Whether a world unit is a µm; else it is a pixel of level 0.
    guess : bool
        Whether the pixel size is a guess.
    """
    if not in_um:
        return f"{_short(100 * zoom)} % of full size, pixel size not known"
    power = f"{_short(UM_TIMES_POWER * zoom)}x · {_short(1 / zoom)} µm/px"
    return f"{power} (guess)" if guess else power


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
