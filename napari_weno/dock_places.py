"""Where our docks were and how large: a small file beside that of the projects.

napari makes the docks of plugins anew in each window, and gives them a place of its own
choosing.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow

from napari_weno import recent
from napari_weno.preferences import TITLE
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


# Those of our docks that have their place.
_settled: WeakSet[QDockWidget] = WeakSet()


def keep_place(widget: QWidget) -> None:
    """Remember where a dock is and how large; one that floats is not remembered."""
    dock, window = _around(widget)
    if dock is None or window is None or dock not in _settled or dock.isFloating():
        return
    here = window.dockWidgetArea(dock)
    for name, area in _AREAS.items():
        if area == here:
            place = {"area": name, "width": dock.width(), "height": dock.height()}
            places, kind = _read(), type(widget).__name__
            if places.get(kind) != place:  # a change of tabs moves nothing
                _write(places | {kind: place})


def settle(widget: QWidget) -> None:
    """Bring a dock to where it was when it was last closed, as a tab of our others.

    napari's menu puts a dock below those that are there, and leaves these a few lines
    each.
    """
    dock, window = _around(widget)
    if dock is None or window is None:
        return
    # Five tabs are too narrow for "Cohort (WENO)"; the title above keeps it.
    dock.setWindowTitle(dock.windowTitle().removesuffix(f" ({TITLE})"))
    with suppress(KeyError, TypeError, ValueError):  # a file that others have changed
        place = _read()[type(widget).__name__]
        area = _AREAS[place["area"]]
        sizes = int(place["width"]), int(place["height"])
        if window.dockWidgetArea(dock) != area:
            window.addDockWidget(area, dock)
        window.resizeDocks([dock], [sizes[0]], Qt.Orientation.Horizontal)
        window.resizeDocks([dock], [sizes[1]], Qt.Orientation.Vertical)
    _join_others(dock, window)
    _settled.add(dock)


def _join_others(dock: QDockWidget, window: QMainWindow) -> None:
    others = [
        other
        for other in window.findChildren(QDockWidget)
        if other is not dock
        and other in _settled  # else it is about to join this one
        and not other.isFloating()
        and window.dockWidgetArea(other) == window.dockWidgetArea(dock)
    ]
    if others and not set(others) & set(window.tabifiedDockWidgets(dock)):
        window.tabifyDockWidget(others[-1], dock)
        dock.raise_()


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
