"""What the command line tells of encoders: their list, and whether tiles suit one."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from weno.terminal import print_table, say

if TYPE_CHECKING:
    from weno.features import PathologyModel
    from weno.tiles import TileSpec

_MODULES: Final = {"timm": "timm", "hf": "transformers"}  # by extra
_TOLERANCE = 0.02  # of a scanner's own statement


def encoders(
    wanted: Annotated[
        str,
        typer.Argument(
            metavar="FILTER",
            help="Part of a name, licence or state: uni, apache, ready.",
            show_default=False,
        ),
    ] = "",
) -> dict[str, Any]:
    """List what turns tiles into features.

    `texture` is built in. The others are published pathology models; weights are
    fetched when they are first used, and *gated* ones only once you have accepted
    their terms: name one to see the steps. *tile px* and *µm/px* are of the tiles it
    was trained on: their product is `weno init --tile-um`, µm/px is `--tile-mpp`.

    Any other model works by `timm:NAME` or `hf:NAME_OR_FOLDER`; where weights are in
    a file, `NAME@FILE`.
    """
    from weno.features import MODELS

    rows = {"texture": _built_in(), **{name: _row(MODELS[name]) for name in MODELS}}
    found = {name: row for name, row in rows.items() if _matches(wanted, name, row)}
    print_table("encoder", {name: _told(row) for name, row in found.items()})
    name = wanted if wanted in found else next(iter(found), "")
    if name in MODELS and (len(found) == 1 or name == wanted):
        model = MODELS[name]
        say(f"About it: {model.page}")
        if found[name]["state"] != "ready":
            say("To get it:")
            for number, step in enumerate(_steps(model), 1):
                say(f"  {number}. {step}")
    return {"encoders": [{"name": name, **row} for name, row in found.items()]}


def tile_advice(encoder: str, spec: TileSpec) -> str | None:
    """Say what tiles an encoder was trained on, if it was on others than these."""
    from weno.features import MODELS

    model = MODELS.get(encoder.partition("@")[0])
    if model is None:
        return None
    pixels = spec.tile_um / spec.mpp
    if math.isclose(pixels, model.tile_px, rel_tol=_TOLERANCE) and any(
        math.isclose(spec.mpp, mpp, rel_tol=_TOLERANCE) for mpp in model.mpp
    ):
        return None
    return (
        f"{model.name} was trained on tiles of {model.tile_px} px at "
        f"{_numbers(model.mpp)} µm/px; this project's are {pixels:g} px at "
        f"{spec.mpp:g}. For the former: --tile-um {model.tile_um:g} "
        f"--tile-mpp {model.mpp[0]:g}"
    )


def _built_in() -> dict[str, Any]:
    from weno.features import TextureEncoder

    return {
        "features": TextureEncoder.dim,
        "tile_px": None,
        "mpp": [0.5],
        "licence": "BSD-3-Clause",
        "gated": False,
        "state": "built in",
    }


def _row(model: PathologyModel) -> dict[str, Any]:
    return {
        "features": model.dim,
        "tile_px": model.tile_px,
        "mpp": list(model.mpp),
        "licence": model.licence,
        "gated": model.gated,
        "state": _state(model),
    }


def _state(model: PathologyModel) -> str:
    if not _runs(model):
        return f"needs extra {model.library}"
    from weno.features.encoders.weights import is_here

    if is_here(model):
        return "ready"
    return "to fetch" if model.on_hub else "file needed"


def _steps(model: PathologyModel) -> list[str]:
    from weno.features.encoders.weights import steps_to

    installing = [f'pip install "napari-weno[{model.library}]"']
    return ([] if _runs(model) else installing) + steps_to(model)


def _runs(model: PathologyModel) -> bool:
    return find_spec(_MODULES[model.library]) is not None


def _matches(wanted: str, name: str, row: dict[str, Any]) -> bool:
    from weno.features import MODELS

    aliases = MODELS[name].aliases if name in MODELS else ()
    texts = (name, row["licence"], row["state"], *aliases)
    return any(wanted.lower() in text.lower() for text in texts)


def _told(row: dict[str, Any]) -> dict[str, str]:
    fetched = row["state"] == "to fetch"
    return {
        "features": str(row["features"]),
        "tile px": str(row["tile_px"] or "any"),
        "µm/px": _numbers(row["mpp"]),
        "licence": row["licence"],
        "state": "gated" if row["gated"] and fetched else row["state"],
    }


def _numbers(values: Any) -> str:
    return " ".join(f"{value:g}" for value in values)
