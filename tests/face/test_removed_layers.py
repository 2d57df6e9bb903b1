"""Layers that the user takes away while something is at work on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from napari import Viewer
from qtpy.QtCore import Qt
from review_files import SLIDES

from napari_weno.canvas import of_kind
from napari_weno.review import ReviewWidget
from napari_weno.session import Session, session_of, show_dock
from napari_weno.tissue_box import is_edited
from weno.project import Project

LEFT = Qt.MouseButton.LeftButton
WAIT_MS = 120_000
MODEL_LAYERS = ("heatmap", "candidates")


@pytest.fixture
def session(viewer: Viewer, predicted: Project) -> Session:
    session = session_of(viewer)
    session.open_project(predicted.root)
    session.open_slide(SLIDES[0])
    return session


@pytest.fixture
def review(qtbot, viewer: Viewer, session: Session) -> ReviewWidget:
    """The Review dock, asking about the first of six tiles."""
    review = show_dock(viewer, "Review")
    review.setup.reviewer.setText("ada")
    review.setup.limit.setValue(6)
    review.setup.audit.setValue(0)
    qtbot.mouseClick(review.setup.job.button, LEFT)
    qtbot.waitUntil(lambda: review.round is not None, timeout=WAIT_MS)
    settle(qtbot, review)
    return review


@pytest.fixture(autouse=True)
def nothing_is_said(said: list[str]) -> Iterator[None]:
    """Whatever is taken away, napari notifies of nothing."""
    yield
    assert said == []


def settle(qtbot, review: ReviewWidget) -> None:
    qtbot.waitUntil(lambda: review.settled, timeout=WAIT_MS)


def take_away(viewer: Viewer, *kinds: str) -> None:
    for layer in of_kind(viewer, *kinds):
        viewer.layers.remove(layer)
    assert not of_kind(viewer, *kinds)


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(("slide",), id="slide"),
        pytest.param(("outline",), id="frame"),
        pytest.param(("heatmap",), id="heatmaps"),
        pytest.param(("candidates",), id="candidates"),
        pytest.param(MODEL_LAYERS, id="all of the model"),
    ],
)
@pytest.mark.parametrize("blind", [True, False], ids=["blind", "open"])
def test_a_review_goes_on_without_a_layer(
    qtbot,
    viewer: Viewer,
    session: Session,
    review: ReviewWidget,
    kinds: tuple[str, ...],
    blind: bool,
) -> None:
    review.page.blind.setChecked(blind)
    settle(qtbot, review)
    take_away(viewer, *kinds)
    # The slide alone must come back before anybody can answer.
    for _ in range(2):
        settle_or_ask(qtbot, review)
        qtbot.keyClick(review.page, "p")
    settle_or_ask(qtbot, review)
    counts = review.round.counts()
    assert counts.total() == 2
    assert session.opened.slide_id == review.round.item.tile.slide_id
    assert [frame.visible for frame in of_kind(viewer, "outline")] == [True]
    assert not blind or not any(layer.visible for layer in session.overlays())
    qtbot.mouseClick(review.page.end, LEFT)
    assert not session.blind
    assert of_kind(viewer, "slide")


def settle_or_ask(qtbot, review: ReviewWidget) -> None:
    """Wait for the tile; a slide that was taken away is asked for with a key."""
    if not review.settled and not review._canvas.isActive():
        qtbot.keyClick(review.page, "p")
    settle(qtbot, review)


def test_a_prediction_comes_to_a_window_whose_layers_are_gone(
    viewer: Viewer, session: Session
) -> None:
    show_dock(viewer, "Explain")
    take_away(viewer, *MODEL_LAYERS)
    session.load_prediction()
    assert {noted.name for noted in of_kind(viewer, *MODEL_LAYERS)} >= {
        "attention",
        "P(tumour)",
        "candidates",
    }
    take_away(viewer, "slide")
    assert session.opened is None
    assert session.prediction is None
    assert not of_kind(viewer, *MODEL_LAYERS, "outline")
    session.open_slide(SLIDES[1])
    assert session.prediction.slide_id == SLIDES[1]


def test_tissue_that_is_taken_away_while_it_is_saved_comes_back_as_saved(
    qtbot, viewer: Viewer, session: Session, predicted: Project
) -> None:
    tissue = show_dock(viewer, "Cohort").tissue
    qtbot.mouseClick(tissue.find_button, LEFT)
    qtbot.waitUntil(lambda: bool(of_kind(viewer, "tissue")), timeout=WAIT_MS)
    (layer,) = of_kind(viewer, "tissue")
    layer.add(np.array([(0, 0), (0, 400), (400, 400), (400, 0)]), shape_type="polygon")
    qtbot.mouseClick(tissue.save_button, LEFT)
    take_away(viewer, "tissue", "grid")
    qtbot.waitUntil(lambda: bool(of_kind(viewer, "tissue")), timeout=WAIT_MS)
    (again,) = of_kind(viewer, "tissue")
    assert predicted.outline(SLIDES[0]).state == "edited"
    assert not is_edited(again)
    assert (np.concatenate(again.data) < 1).any()


def test_regions_that_are_taken_away_while_they_are_saved_are_saved(
    qtbot, viewer: Viewer, session: Session, predicted: Project
) -> None:
    regions = show_dock(viewer, "Review").regions
    qtbot.mouseClick(regions.draw, LEFT)
    qtbot.waitUntil(lambda: regions.layer() is not None, timeout=WAIT_MS)
    ring = np.array([(0, 0), (0, 400), (400, 400), (400, 0)])
    regions.layer().add(ring, shape_type="polygon")
    with qtbot.waitSignal(regions._save.returned, timeout=WAIT_MS):
        qtbot.mouseClick(regions.save, LEFT)
        take_away(viewer, "regions")
    assert regions.table.rowCount() == 0
    qtbot.mouseClick(regions.draw, LEFT)
    qtbot.waitUntil(lambda: regions.layer() is not None, timeout=WAIT_MS)
    assert len(regions.layer().data) == 1


def test_an_overlay_that_is_compared_may_be_taken_away(
    qtbot, viewer: Viewer, session: Session, predicted: Project
) -> None:
    explain = show_dock(viewer, "Explain")
    # What the box Truth counts by, and what the box Overlay shows.
    take_away(viewer, "heatmap")
    assert explain.overlays.layer is None
    assert not explain.export.overlay_job.running
    explain.export.save_overlay(predicted.root / "overlay.ome.tif")
    assert not (predicted.root / "overlay.ome.tif").exists()
    figure = explain.export.figure()
    assert figure.pixels.ndim == 3
