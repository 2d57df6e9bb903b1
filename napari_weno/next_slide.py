"""From one slide of the project to the next, in the order in which they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, WeakMethod

from napari.utils.notifications import show_error, show_info

from napari_weno.docks import EXPECTED
from napari_weno.matching import slides_of
from napari_weno.session import session_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_weno.session import Session

#: Keys anywhere in the window, in napari's spelling, and the step that they make.
KEYS = {"Control-PageDown": 1, "Control-PageUp": -1}
# So many that cannot be opened are passed over: each may be waited for.
_MOST_PASSED = 5

_orders: WeakKeyDictionary[Session, WeakMethod[Callable[[], list[str]]]]
_orders = WeakKeyDictionary()


def show_in_order(session: Session, order: Callable[[], list[str]]) -> None:
    """Say in which order the slides are shown; that of slides.csv if nobody does.

    Parameters
    ----------
    session : Session
    order : bound method
        Returns the ids of the slides. It is kept only as long as its object is.
    """
    _orders[session] = WeakMethod(order)
    for key, step in KEYS.items():
        command = open_next if step > 0 else open_previous
        session.viewer.bind_key(key, command, overwrite=True)


def open_next(viewer: Viewer) -> None:
    """Open the slide after the open one."""
    open_step(session_of(viewer), 1)


def open_previous(viewer: Viewer) -> None:
    """Open the slide before the open one."""
    open_step(session_of(viewer), -1)


def open_step(session: Session, step: int) -> None:
    """Open the slide that is `step` further; those that cannot be opened are passed."""
    if session.project is None:
        show_error("open a project first")
        return
    names = _names(session)
    here = session.opened.slide_id if session.opened else None
    # Before the first, or after the last, if no slide of those shown is open.
    start = names.index(here) if here in names else (-1 if step > 0 else len(names))
    rest = names[start + 1 :] if step > 0 else names[:start][::-1]
    for slide_id in rest[:_MOST_PASSED]:
        try:
            session.open_slide(slide_id)
        except EXPECTED as error:
            show_error(str(error))
        else:
            return
    if not rest:
        show_info(f"this is the {'last' if step > 0 else 'first'} slide")


def _names(session: Session) -> list[str]:
    order = _orders[session]() if session in _orders else None
    if order is not None and (shown := order()):
        return shown
    return [row.slide_id for row in slides_of(session.project)]
