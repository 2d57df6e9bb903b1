"""What the model says of the tile under the mouse, in napari's status bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_weno.readout import status_text

if TYPE_CHECKING:
    from napari_weno.session import Session


class Hover:
    """Puts the tile under the mouse before what napari says of the position.

    Says nothing to a reviewer who works blind.

    Parameters
    ----------
    session : Session
        Of a viewer with a window.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._told: str | dict[str, str] = ""
        # Last of all: the window shows what it was told last.
        session.viewer.events.status.connect(self._on_status, position="last")
        session.slide_changed.connect(self._forget)
        session.blind_changed.connect(self._forget)

    def text(self) -> str:
        """Return what there is to say of the tile under the mouse."""
        session = self._session
        if session.prediction is None or session.blind:
            return ""
        tile = session.tile_at(session.viewer.cursor.position)
        if tile is None:
            return ""
        return status_text(session.prediction, tile, session.verdicts.get(tile, ""))

    def _forget(self, _: object = None) -> None:
        """Say no longer what was said of a slide that is gone, or is now hidden."""
        if self._told and self._session.viewer.status == self._told:
            self._told = ""
            self._session.viewer.status = ""

    def _on_status(self, event: Any) -> None:
        said = event.value
        if said == self._told or not (text := self.text()):
            return
        if isinstance(said, str):
            self._told = f"{text}   {said}"
        else:
            place = said.get("coordinates", "")
            self._told = said | {"coordinates": f"{text}   {place}"}
        self._session.viewer.status = self._told
