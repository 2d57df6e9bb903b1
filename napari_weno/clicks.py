"""Clicks on the canvas that choose a tile in every dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.viewer import Viewer

    from napari_weno.session import Session

#: How far in screen pixels a hand that clicks may shake.
CLICK_PX = 4


class Clicks:
    """Chooses the tile that is clicked; a drag moves the slide and chooses nothing.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        session.viewer.mouse_drag_callbacks.append(self._on_click)

    def _on_click(self, _: Viewer, event: Any) -> Iterator[None]:
        # On the canvas, not in the world: the slide moves along with a drag.
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        moved = np.abs(start - event.pos).max()
        session = self._session
        if event.type != "mouse_release" or moved >= CLICK_PX:
            return
        tile = session.tile_at(event.position)
        if tile is not None and not session.ruler.measuring:
            session.choose_tile(tile)
