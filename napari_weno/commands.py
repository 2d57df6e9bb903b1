"""The docks as commands, for napari's menus and its command palette."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_weno import next_slide as stepping
from napari_weno.session import show_dock

if TYPE_CHECKING:
    from napari.viewer import Viewer


def show_slide(viewer: Viewer) -> None:
    """Show the Slide dock."""
    show_dock(viewer, "Slide")


def show_cohort(viewer: Viewer) -> None:
    """Show the Cohort dock."""
    show_dock(viewer, "Cohort")


def show_train(viewer: Viewer) -> None:
    """Show the Train dock."""
    show_dock(viewer, "Train")


def show_explain(viewer: Viewer) -> None:
    """Show the Explain dock."""
    show_dock(viewer, "Explain")


def show_review(viewer: Viewer) -> None:
    """Show the Review dock."""
    show_dock(viewer, "Review")


def next_slide(viewer: Viewer) -> None:
    """Open the next slide of the project."""
    stepping.open_next(viewer)


def previous_slide(viewer: Viewer) -> None:
    """Open the previous slide of the project."""
    stepping.open_previous(viewer)
