"""Who may import whom: each rule keeps a promise that the README makes."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "weno").rglob("*.py"))
FACE = sorted((ROOT / "napari_weno").rglob("*.py"))

GUI = {"napari", "qtpy", "magicgui", "superqt", "pyqtgraph"}
GUI |= {"PyQt5", "PyQt6", "PySide2", "PySide6"}
EXTRAS = {"torch", "torchvision", "safetensors", "sklearn", "timm"}
EXTRAS |= {"huggingface_hub", "transformers"}

#: What a plain ``pip install napari-weno`` must be able to import, in an instant.
PLAIN = ("slides", "tiles", "features", "prediction", "project", "review")
PLAIN += ("cli", "demo", "doctor", "errors", "bench", "explain")

#: What napari calls when the reader is asked or a dock is opened.
OPENED = ("reader", "commands", "sample_data")
OPENED += ("slide_dock", "cohort", "train", "explain", "review")
#: What takes long to import, and is of no use to a dock without a slide.
HEAVY = {"dask.array", "h5py", "imagecodecs", "openslide", "pandas", "pyarrow"}
HEAVY |= {"scipy.ndimage", "scipy.stats", "tifffile", "torch", "zarr"}

#: Parts of the core that a part may import, for types too.
MAY_IMPORT = {
    "apart": {"errors"},
    "atomic": set(),
    "doctor": set(),
    "errors": set(),
    "cluster": {"errors"},
    "terminal": {"errors"},
    "slides": {"errors"},
    "synthetic": {"atomic", "errors"},
    "plugins": {"errors"},
    "geojson": {"atomic", "errors"},
    "tiles": {"errors", "geojson", "plugins", "slides"},
    "prediction": {"atomic", "errors", "tiles"},
    "table_text": {"errors"},
    "slide_rows": {"atomic", "errors", "slides", "table_text"},
    "classes": {"slide_rows"},
    "project_file": {"classes", "errors", "tiles"},
    "slide_import": {"errors", "project", "slide_rows", "table_text"},
    "slide_file": {"atomic", "errors", "slide_rows", "table_text"},
    "project": {"atomic", "classes", "errors", "project_file", "slide_file"}
    | {"slide_rows", "slides", "tiles"},
    "features": {"atomic", "cluster", "errors", "project", "slide_rows", "slides"}
    | {"tiles"},
    "relink": {"errors", "features", "geojson", "project", "slides"},
    "review": {"atomic", "errors", "geojson", "prediction", "project", "tiles"},
    "mil": {"apart", "atomic", "cluster", "errors", "features", "plugins", "prediction"}
    | {"project", "review", "slide_rows", "slides", "tiles"},
    "explain": {"atomic", "errors", "mil", "prediction", "project", "slides", "tiles"},
}
#: Where the parts are put together.
ENTRANCES = {
    "__init__",
    "__main__",
    "bag_commands",
    "bench",
    "cli",
    "demo",
    "encoder_commands",
}
ENTRANCES |= {"extract_commands", "fit_commands", "init_command", "tissue_commands"}

#: What of napari a module of the face may import when it runs.
BACKGROUND = {"napari.qt.threading", "napari.utils.notifications"}
OF_NAPARI = {
    "corner": {"napari.components.overlays"},
    "train": {"napari.utils.theme"},
    "launch": {"napari"},
    "layers": {"napari.utils.colormaps"},
    "preferences": {"napari.settings"},
    "sample_data": {"napari"},
    "truth_layers": {"napari.utils.colormaps"},
    "welcome": {"napari"},
}


def part_of(path: Path) -> str:
    """Name of the module or package right below the top package."""
    return path.relative_to(ROOT).with_suffix("").parts[1]


def imports(path: Path, *, with_types: bool) -> Iterator[str]:
    """Names of the modules that a file imports, at its top or later."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in for_types and not with_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            if module == "weno":
                yield from (f"weno.{alias.name}" for alias in node.names)
            else:
                yield module


def brought_in(names: list[str], unwanted: set[str]) -> dict[str, list[str]]:
    """Import `names` in a new Python; tell which unwanted modules each brought."""
    code = """
import importlib, json, sys
names, unwanted = json.loads(sys.argv[1])
brought = {}
for name in names:
    importlib.import_module(name)
    found = set(sys.modules).intersection(unwanted)
    if found:
        brought[name] = sorted(found)
        break
print(json.dumps(brought))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, json.dumps([names, sorted(unwanted)])],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_core_runs_without_a_window() -> None:
    stems = [path.relative_to(ROOT).with_suffix("") for path in CORE]
    names = [".".join(stem.parts).removesuffix(".__init__") for stem in stems]
    assert brought_in(names, GUI) == {}


def test_a_plain_install_is_enough() -> None:
    assert brought_in([f"weno.{part}" for part in PLAIN], EXTRAS) == {}


def test_a_dock_opens_in_an_instant() -> None:
    pytest.importorskip("napari", reason="a dock is napari's")
    assert brought_in([f"napari_weno.{name}" for name in OPENED], HEAVY) == {}


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_in_one_direction(path: Path) -> None:
    part = part_of(path)
    if part in ENTRANCES:
        return
    assert part in MAY_IMPORT, f"say in MAY_IMPORT what weno.{part} may import"
    named = {name for name in imports(path, with_types=True) if name != "weno"}
    used = {name.split(".")[1] for name in named if name.startswith("weno.")}
    assert used <= MAY_IMPORT[part] | {part, "__version__"}
    assert not {name.partition(".")[0] for name in named} & (GUI | {"napari_weno"})


@pytest.mark.parametrize("path", FACE, ids=lambda path: path.name)
def test_the_face_takes_little_of_napari(path: Path) -> None:
    used = {
        name
        for name in imports(path, with_types=False)
        if name.partition(".")[0] == "napari"
    }
    assert used <= BACKGROUND | OF_NAPARI.get(path.stem, set())


def test_only_slides_speaks_to_openslide() -> None:
    users = {
        part_of(path)
        for path in [*CORE, *FACE]
        if "openslide" in imports(path, with_types=True)
    }
    assert users == {"slides"}


def test_the_readme_names_the_system_packages_that_make_installs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.search(r"^PACKAGES := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    assert listed is not None
    packages = listed[1].replace("\\\n", " ").split()
    assert len(packages) > 10
    assert not [package for package in packages if package not in readme.split()]
