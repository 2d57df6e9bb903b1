"""project.toml: every choice of a project, as people read it, and its check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tomlkit

from weno.classes import class_problems
from weno.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tomlkit import TOMLDocument

    from weno.tiles import TileSpec


_REGIONS = (
    "Tiles from regions of some classes only, or from none of them, as drawn in",
    "regions/<slide_id>.geojson:",
    "[regions]",
    'inside = ["Tumor"]',
    'outside = ["Necrosis"]',
)


def new_settings(
    name: str,
    classes: Sequence[str],
    positive: str,
    *,
    encoder: str,
    tissue: str,
    spec: TileSpec,
) -> TOMLDocument:
    """Return the settings of a new project, with comments for people."""
    document = tomlkit.document()
    document.add("name", tomlkit.item(name))
    if len(classes) == 2:
        comment = "Shown on screen: negative class, positive class."
        document.add(tomlkit.comment(comment))
        document.add("class_names", tomlkit.item(list(classes)))
    else:
        document.add(tomlkit.comment("A slide's label is one of these."))
        document.add("class_names", tomlkit.item(list(classes)))
        document.add(tomlkit.comment("The class asked about, against all others."))
        document.add("positive", tomlkit.item(positive))
    document.add(tomlkit.comment("What turns a tile into numbers."))
    document.add("encoder", tomlkit.item(encoder))
    document.add(tomlkit.comment("What finds the tissue on a slide."))
    document.add("tissue", tomlkit.item(tissue))
    tiles = tomlkit.table()
    tiles.comment("changing any of these needs a new extract")
    comments = {
        "tile_um": "side of a tile in µm",
        "mpp": "µm per pixel that the encoder sees",
        "stride_um": "µm from tile to tile; left out: side by side",
        "min_tissue": "smallest share of tissue in a tile, 0 to 1",
        "icc": "colours turned into sRGB by the slides' ICC profiles",
        "upsample": "pixels of coarser slides enlarged",
    }
    for key, value in spec.to_dict().items():
        if value is not None:
            tiles.add(key, tomlkit.item(value).comment(comments[key]))
    document.add("tiles", tiles)
    for line in _REGIONS:
        document.add(tomlkit.comment(line))
    return document


def read_settings(path: Path) -> dict[str, Any]:
    """Read the settings; all that is wrong with them is said at once.

    Raises
    ------
    ProjectError
    """
    try:
        settings = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    except (tomlkit.exceptions.ParseError, ValueError) as error:
        raise ProjectError(str(error)) from error
    _check(settings)
    return settings


def _check(settings: Mapping[str, Any]) -> None:
    wanted = {"name": str, "class_names": list, "encoder": str, "tiles": dict}
    known = {*wanted, "positive", "tissue", "regions"}
    problems = [f"unknown key {key!r}" for key in settings if key not in known]
    for key, kind in wanted.items():
        if not isinstance(settings.get(key), kind):
            problems.append(f"{key} must be a {kind.__name__}: {settings.get(key)!r}")
    if not isinstance(settings.get("tissue", ""), str):
        problems.append(f"tissue must be the name of a model: {settings['tissue']!r}")
    problems += _region_problems(settings.get("regions", {}))
    if not problems:
        problems += class_problems(settings["class_names"], settings.get("positive"))
    if problems:
        raise ProjectError("; ".join(problems))


def _region_problems(regions: object) -> list[str]:
    if not isinstance(regions, dict):
        return [f"regions must be a table with inside and outside: {regions!r}"]
    problems = [
        f"unknown key {key!r} in [regions]: there are inside and outside"
        for key in regions
        if key not in ("inside", "outside")
    ]
    for key, names in regions.items():
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            problems.append(f"{key} in [regions] must be a list of classes: {names!r}")
    return problems
