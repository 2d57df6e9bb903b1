"""Drawing a prediction's overlays: at once, or when they are to be seen again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_weno.canvas import DRAWN, mark_verdicts, noted_on, of_kind, show_overlays
from napari_weno.layers import overlay_layers

if TYPE_CHECKING:
    from napari_weno.session import Session


class Drawing:
    """Draws the overlays of a session's prediction.

    Those that are hidden from a reviewer who works blind wait until one of them is
    shown again: drawing takes as long as all else that a new slide takes.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._overdue = False
        session.viewer.layers.events.inserted.connect(self._on_inserted)

    def draw(self) -> None:
        """Draw anew what is seen now or soon."""
        session = self._session
        hidden = not any(one.visible for one in of_kind(session.viewer, *DRAWN))
        self._overdue = session.blind and session.prediction is not None and hidden
        if not self._overdue:
            prediction = session.prediction
            wanted = (
                []
                if prediction is None
                else overlay_layers(prediction, session.display, session.verdicts)
            )
            show_overlays(session.viewer, wanted)

    def mark_verdicts(self) -> None:
        """Mark the candidates that are answered; those still to be drawn will be."""
        if not self._overdue:
            mark_verdicts(self._session.viewer, self._session.verdicts)

    def catch_up(self) -> None:
        """Draw what has waited, if it may be seen now."""
        if self._overdue:
            self.draw()

    def _on_inserted(self, event: Any) -> None:
        if noted_on(event.value).get("kind") in DRAWN:
            event.value.events.visible.connect(self._on_visible)

    def _on_visible(self, event: Any) -> None:
        if event.source.visible:
            self.catch_up()
