from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari import Viewer
from qtpy.QtCore import Qt

from napari_weno.live_preview import LivePreview
from napari_weno.session import Session, session_of, show_dock
from weno.mil.reports import PreviewReport
from weno.project import Project
from weno.review import ReviewTile

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def session(viewer: Viewer, predicted: Project) -> Session:
    session = session_of(viewer)
    session.open_project(predicted.root)
    session.open_slide("synthetic_001")
    return session


@pytest.fixture
def live(qtbot, session: Session) -> LivePreview:
    live = LivePreview(session)
    qtbot.addWidget(live)
    live.show()
    live.begin()
    return live


@pytest.fixture
def report(session: Session, predict_by_hand: Callable[..., Any]) -> PreviewReport:
    """What a run in training says of the open slide: the opposite of the stored."""
    assert session.opened is not None
    prediction = predict_by_hand(session.opened.slide, session.project.spec)
    flipped = prediction.probability[::-1].copy()
    return PreviewReport(7, replace(prediction, run="run-1", probability=flipped))


def test_a_model_in_training_draws_on_the_open_slide(
    qtbot, session: Session, live: LivePreview, report: PreviewReport
) -> None:
    viewer = session.viewer
    layer = viewer.layers["P(tumour)"]
    before = layer.data.copy()
    layer.opacity, layer.visible = 0.33, False
    session.choose_tile(2)
    assert live.slide_to_show() == "synthetic_001"
    live.show_report(report)
    assert session.prediction is report.prediction
    assert session.tile == 2
    assert viewer.layers["P(tumour)"] is layer
    assert not np.array_equal(layer.data, before)
    assert (layer.opacity, layer.visible) == (0.33, False)
    assert "epoch 7" in live.text.text()
    # When the fit is over, the chosen run is shown again.
    live.end()
    assert np.array_equal(layer.data, before)
    assert live.slide_to_show() is None
    assert live.text.text() == ""


def test_nothing_is_drawn_while_a_review_goes_on(
    session: Session, live: LivePreview, report: PreviewReport
) -> None:
    stored = session.prediction
    session.set_blind(True)
    assert live.slide_to_show() is None
    live.show_report(report)
    assert session.prediction is stored
    # One that is not blind is about another run, too.
    session.set_blind(False)
    origin = tuple(int(v) for v in stored.origins[0])
    tile = ReviewTile("synthetic_001", stored.content_hash, origin, (128, 128))
    session.show_outline(tile)
    live.show_report(report)
    assert session.prediction is stored
    session.drop_outline()
    live.show_report(report)
    assert session.prediction is report.prediction


def test_what_comes_too_late_is_dropped(
    session: Session, live: LivePreview, report: PreviewReport
) -> None:
    session.open_slide("synthetic_003")
    assert live.slide_to_show() == "synthetic_003"
    stored = session.prediction
    live.show_report(report)
    assert session.prediction is stored
    assert live.text.isHidden()


def test_who_chooses_a_run_looks_at_that(
    qtbot, session: Session, live: LivePreview, report: PreviewReport
) -> None:
    live.show_report(report)
    session.choose_run(None)
    live.show_report(report)
    assert session.prediction is None
    assert not live.box.isChecked()
    live.box.setFocus()
    qtbot.keyClick(live.box, Qt.Key.Key_Space)
    live.show_report(report)
    assert session.prediction is report.prediction
    qtbot.keyClick(live.box, Qt.Key.Key_Space)
    assert session.prediction is None


def test_another_project_is_not_drawn_on(
    session: Session, live: LivePreview, report: PreviewReport, demo_project: Project
) -> None:
    session.open_project(demo_project.root)
    assert live.slide_to_show() is None
    live.show_report(report)
    assert session.prediction is not report.prediction


def test_explain_says_whose_values_they_are(
    viewer: Viewer, session: Session, live: LivePreview, report: PreviewReport
) -> None:
    explain = show_dock(viewer, "Explain")
    assert explain._result.title() == "Slide"
    live.show_report(report)
    assert explain._result.title() == "Slide · by run-1, in training"
