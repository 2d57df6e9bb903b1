from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("napari-weno")


def test_the_package_holds_the_top_level_manifest() -> None:
    inside = files("napari_weno") / "napari.yaml"
    top = ROOT / "napari.yaml"
    assert inside.read_text(encoding="utf-8") == top.read_text(encoding="utf-8")


def test_every_command_can_be_imported(manifest: PluginManifest) -> None:
    commands = manifest.contributions.commands
    assert commands
    for command in commands:
        assert callable(import_python_name(command.python_name)), command.id


def test_every_contribution_has_its_command(manifest: PluginManifest) -> None:
    told = manifest.contributions
    known = {command.id for command in told.commands}
    menus = [item for items in told.menus.values() for item in items]
    used = [*told.readers, *told.sample_data, *told.widgets, *menus]
    assert {item.command for item in used if hasattr(item, "command")} <= known
    assert {widget.display_name for widget in told.widgets} == {
        "Slide",
        "Cohort",
        "Train",
        "Explain",
        "Review",
    }


@pytest.mark.parametrize(
    "menu",
    [
        "napari/layers/visualize",
        "napari/layers/classify",
        "napari/layers/annotate",
    ],
)
def test_the_layers_menus_have_a_submenu(manifest: PluginManifest, menu: str) -> None:
    submenus = [item.submenu for item in manifest.contributions.menus[menu]]
    assert submenus
    assert all(manifest.contributions.menus[submenu] for submenu in submenus)
