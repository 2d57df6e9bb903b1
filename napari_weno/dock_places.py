"""Where our docks were and how large: a small file beside that of the projects.

napari makes the docks of plugins anew in each window, and gives them a place of its own
choosing.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow

from napari_weno import recent
from weno.atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from qtpy.QtWidgets import QWidget

_AREAS = {
    "left": Qt.DockWidgetArea.LeftDockWidgetArea,
    "right": Qt.DockWidgetArea.RightDockWidgetArea,
    "top": Qt.DockWidgetArea.TopDockWidgetArea,
    "bottom": Qt.DockWidgetArea.BottomDockWidgetArea,
}


def keep_place(widget: QWidget) -> None:
    """Remember where a dock is and how large; one that floats is not remembered."""
    dock, window = _around(widget)
    if dock is None or window is None or dock.isFloating():
        return
    here = window.dockWidgetArea(dock)
    for name, area in _AREAS.items():
        if area == here:
            place = {"area": name, "width": dock.width(), "height": dock.height()}
            _write(_read() | {type(widget).__name__: place})


def take_place(widget: QWidget) -> None:
    """Bring a dock to where it was when it was last closed."""
    dock, window = _around(widget)
    place = _read().get(type(widget).__name__)
    if dock is None or window is None or place is None:
        return
    with suppress(KeyError, TypeError, ValueError):  # a file that others have changed
        area = _AREAS[place["area"]]
        sizes = int(place["width"]), int(place["height"])
        if window.dockWidgetArea(dock) != area:
            window.addDockWidget(area, dock)
        window.resizeDocks([dock], [sizes[0]], Qt.Orientation.Horizontal)
        window.resizeDocks([dock], [sizes[1]], Qt.Orientation.Vertical)


def _around(widget: QWidget) -> tuple[QDockWidget | None, QMainWindow | None]:
    dock = widget.parentWidget()
    window = dock.parentWidget() if dock is not None else None
    return (
        dock if isinstance(dock, QDockWidget) else None,
        window if isinstance(window, QMainWindow) else None,
    )


def _path() -> Path:
    return recent.recent_path().with_name("docks.json")


def _read() -> dict[str, Any]:
    try:
        places = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return places if isinstance(places, dict) else {}


def _write(places: dict[str, Any]) -> None:
    with suppress(OSError), replacing(_path()) as path:
        path.write_text(json.dumps(places, indent=1), encoding="utf-8")
