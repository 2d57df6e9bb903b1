"""The docks, and what one does in them most, as commands: menus and command palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info

from napari_weno import next_slide as stepping
from napari_weno.docks import notifying
from napari_weno.session import session_of, show_dock

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QPushButton

    from napari_weno.jobs import JobBar


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


def measure(viewer: Viewer) -> None:
    """Begin to measure distances on the open slide, or end it."""
    ruler = session_of(viewer).ruler
    if ruler.measuring:
        ruler.stop()
    else:
        ruler.start()


def find_tissue(viewer: Viewer) -> None:
    """Outline the tissue of the open slide."""
    cohort: Any = show_dock(viewer, "Cohort")
    _click(cohort.tissue.find_button, "Cohort")


def fit(viewer: Viewer) -> None:
    """Fit a new run with the settings in the Train dock."""
    _fit_like(viewer, None)


def retrain(viewer: Viewer) -> None:
    """Fit a new run with the settings of the chosen one, and all answers so far."""
    _fit_like(viewer, session_of(viewer).run)


def predict_slide(viewer: Viewer) -> None:
    """Predict the open slide by the chosen model."""
    explain: Any = show_dock(viewer, "Explain")
    choice, job = explain.model.choice, explain.model.job
    if not job.running:
        choice.setCurrentIndex(choice.findData("open"))
    _start(job, "Explain")


def save_figure(viewer: Viewer) -> None:
    """Ask where to save the view as a figure."""
    explain: Any = show_dock(viewer, "Explain")
    explain.tabs.setCurrentWidget(explain.export)
    _start(explain.export.figure_job, "Explain")


def start_review(viewer: Viewer) -> None:
    """Build the queue and ask about its first tile."""
    review: Any = show_dock(viewer, "Review")
    _start(review.setup.job, "Review")


def draw_regions(viewer: Viewer) -> None:
    """Draw labelled regions on the open slide."""
    review: Any = show_dock(viewer, "Review")
    _click(review.regions.draw, "Review")


def _fit_like(viewer: Viewer, run: str | None) -> None:
    train: Any = show_dock(viewer, "Train")
    with notifying():
        train.fit_like(run)


def _start(job: JobBar, dock: str) -> None:
    """Start a job; its button would stop one that runs."""
    if job.running:
        show_info("this is being done already")
    else:
        _click(job.button, dock)


def _click(button: QPushButton, dock: str) -> None:
    """Press a button of a dock, if a person could."""
    if button.isEnabled() and button.isVisibleTo(button.window()):
        button.click()
    else:
        show_info(f"not possible now: the {dock} dock says what is missing")
