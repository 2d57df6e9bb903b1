"""What is set in napari's preferences holds wherever it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from napari import Viewer
from napari.settings import get_plugin_settings
from review_files import SLIDES

from napari_weno.preferences import preferences
from napari_weno.session import session_of, show_dock
from weno.mil.devices import Device
from weno.project import Project

ROOT = Path(__file__).parents[2]
SECTIONS = ("slides", "overlays", "training", "review")


def declared() -> dict[str, dict[str, dict[str, object]]]:
    """Return the properties in the manifest, by section and name."""
    manifest = yaml.safe_load((ROOT / "napari.yaml").read_text("utf-8"))
    found = manifest["contributions"]["configurations"]
    return {section: one["properties"] for section, one in found.items()}


def test_every_preference_has_a_title() -> None:
    for properties in declared().values():
        assert all(one["title"] for one in properties.values())


@pytest.mark.parametrize("section", SECTIONS)
def test_the_manifest_has_the_usual_values(
    section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = preferences(section)
    monkeypatch.setattr("napari_weno.preferences.PLUGIN", "switched-off")
    usual = preferences(section)
    for name, one in declared()[section].items():
        assert getattr(usual, name) == one["default"]
        if name != "offer_reader":  # answered already in tests
            assert getattr(kept, name) == one["default"]


def test_what_is_preferred_is_what_docks_begin_with(
    viewer: Viewer, predicted: Project
) -> None:
    kept = get_plugin_settings("napari-weno")
    kept.review.reviewer = "Ada / Lovelace"
    kept.review.blind = False
    kept.review.tiles = 7
    kept.review.audit_percent = 30
    kept.training.device = "cuda:1"
    kept.overlays.display = "percentile"
    kept.overlays.opacity = 40

    session = session_of(viewer)
    session.open_project(predicted.root)
    session.open_slide(SLIDES[0])
    attention = viewer.layers["attention"]
    assert attention.opacity == pytest.approx(0.4)
    assert attention.data.max() == 1
    assert attention.contrast_limits == [0.75, 1.0]
    explain = show_dock(viewer, "Explain")
    assert explain.overlays.display.currentData() == "percentile"

    review = show_dock(viewer, "Review")
    # What cannot be in the name of a file is left out.
    assert review.setup.reviewer.text() == "Ada  Lovelace"
    assert review.setup.limit.value() == 7
    assert review.setup.audit.value() == 30
    assert not review.page.blind.isChecked()

    device = show_dock(viewer, "Train").device
    assert device.currentData() == "cuda:1"
    auto, here = Device("auto", "automatic"), Device("cpu", "processor")
    device.offer((auto, here, Device("cuda:1", "one, free")))
    assert device.currentData() == "cuda:1"
    # One that is not there is not kept.
    device.offer((auto, here))
    assert device.currentData() == "auto"


def test_an_overlay_keeps_the_opacity_that_it_was_given(
    viewer: Viewer, predicted: Project
) -> None:
    session = session_of(viewer)
    session.open_project(predicted.root)
    session.open_slide(SLIDES[0])
    viewer.layers["attention"].opacity = 0.2
    session.open_slide(SLIDES[1])
    assert viewer.layers["attention"].opacity == pytest.approx(0.2)


def test_a_dock_that_comes_later_says_how_attention_is_shown(
    viewer: Viewer, predicted: Project
) -> None:
    session = session_of(viewer)
    session.open_project(predicted.root)
    session.open_slide(SLIDES[0])
    session.set_display("raw")
    overlays = show_dock(viewer, "Explain").overlays
    assert overlays.display.currentData() == "raw"
