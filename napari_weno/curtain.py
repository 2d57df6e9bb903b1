"""Hiding the overlays for a while, and giving them back as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_weno.session import Session


class Curtain:
    """Hides the overlays of a session as long as there is a reason to.

    Layers that come while it is drawn are hidden too. Who makes one visible by hand
    may: it is noted, and the next `draw` hides it again.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reasons: set[str] = set()
        self._hidden: set[str] = set()
        self._seen: set[str] = set()

    def draw(self, reason: str) -> None:
        """Hide the overlays."""
        self._reasons.add(reason)
        for layer in self._session.overlays():
            self._hide(layer)

    def lift(self, reason: str) -> None:
        """Show the overlays again that were visible, unless a reason is left."""
        self._reasons.discard(reason)
        if self._reasons:
            return
        names, self._hidden = self._hidden, set()
        for layer in self._session.overlays():
            layer.events.visible.disconnect(self._on_visible)
            if layer.name in names:
                layer.visible = True

    def visible(self) -> list[str]:
        """Return the names of the overlays that can be seen now."""
        return [layer.name for layer in self._session.overlays() if layer.visible]

    def take_seen(self) -> set[str]:
        """Return what was seen since the last call, if only for a moment."""
        seen, self._seen = self._seen | set(self.visible()), set()
        return seen

    def cover(self, _: object = None) -> None:
        """Hide overlays that have come since it was drawn."""
        for reason in tuple(self._reasons):
            self.draw(reason)

    def _hide(self, layer: Layer) -> None:
        layer.events.visible.disconnect(self._on_visible)
        if layer.visible:
            self._hidden.add(layer.name)
            layer.visible = False
        # It is seen in the list of layers.
        layer.thumbnail = np.zeros((32, 32, 4), np.uint8)
        layer.events.visible.connect(self._on_visible)

    def _on_visible(self, event: Any) -> None:
        if event.source.visible:
            self._seen.add(event.source.name)
