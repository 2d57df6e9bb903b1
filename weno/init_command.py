"""``weno init``: a project of slides, or of features that others have extracted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weno import encoder_commands, extract_commands
from weno.errors import WenoError
from weno.terminal import ProjectArgument, complain, say

if TYPE_CHECKING:
    from weno.project import Project


def init(
    project: ProjectArgument = Path(),
    slides: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns slide_id, path, label (0, 1, the name of a "
            "class or empty) and, if wanted, patient_id, split, mpp; or a folder to "
            "search for slides. With --features it may lack paths, or be left out."
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            help="Folder of features that TRIDENT or CLAM has made: take them over."
        ),
    ] = None,
    tile_um: Annotated[
        float | None,
        typer.Option(
            help="Side of a tile in µm.  [default: 128, or what --features says]",
            show_default=False,
        ),
    ] = None,
    tile_mpp: Annotated[
        float | None,
        typer.Option(
            help="µm per pixel to encode at.  [default: 0.5, or what --features says]",
            show_default=False,
        ),
    ] = None,
    stride_um: Annotated[
        float | None,
        typer.Option(
            help="µm from tile to tile; less than --tile-um makes them overlap.  "
            "[default: side by side]",
            show_default=False,
        ),
    ] = None,
    min_tissue: Annotated[
        float | None,
        typer.Option(
            help="Smallest share of tissue in a tile, 0 to 1.  [default: 0.5]",
            show_default=False,
        ),
    ] = None,
    upsample: Annotated[
        bool,
        typer.Option(
            "--upsample", help="Enlarge the pixels of slides coarser than --tile-mpp."
        ),
    ] = False,
    tissue: Annotated[
        str | None,
        typer.Option(
            help="What finds tissue: classical, or a model that is installed.  "
            "[default: classical]",
            show_default=False,
        ),
    ] = None,
    icc: Annotated[
        bool,
        typer.Option("--icc", help="Turn colours into sRGB by the ICC profiles."),
    ] = False,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="What turns tiles into features: texture, a name that `weno encoders` "
            "lists, timm:NAME, hf:NAME_OR_FOLDER.  [default: texture, or what "
            "--features says]",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            help="Names of the negative and the positive class, or of more than two."
        ),
    ] = "negative,positive",
    positive: Annotated[
        str | None,
        typer.Option(
            help="Of more than two classes the one to tell from all others.  "
            "[default: the last]",
            show_default=False,
        ),
    ] = None,
) -> dict[str, Any]:
    """Make a project folder from a CSV, a folder of slides or features of others."""
    names = tuple(name.strip() for name in classes.split(","))
    if len(names) < 2 or not all(names):
        raise WenoError(
            f"--classes needs two names or more, as normal,tumour: {classes!r}"
        )
    asked = {"class_names": names, "positive": positive}
    cutting = {
        "stride_um": stride_um,
        "min_tissue": min_tissue,
        "upsample": upsample or None,
        "tissue": tissue,
        "icc": icc or None,
    }
    given = {name: value for name, value in cutting.items() if value is not None}
    if features is None:
        given |= {"tile_um": tile_um or 128.0, "mpp": tile_mpp or 0.5}
        return _init_slides(project, slides, encoder or "texture", given, **asked)
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise WenoError(f"{options}: with --features the tiles are cut already")
    return extract_commands.adopt_features(
        project,
        features,
        slides,
        encoder=encoder,
        tile_um=tile_um,
        tile_mpp=tile_mpp,
        **asked,
    )


def _init_slides(
    project: Path,
    slides: Path | None,
    encoder: str,
    cutting: dict[str, Any],
    **asked: Any,
) -> dict[str, Any]:
    """Make a project of slides, and say what is in it."""
    from weno.features import check_name
    from weno.project import Project
    from weno.tiles import CLASSICAL, TileSpec, tissue_names

    check_name(encoder)
    if slides is None:
        raise WenoError("give --slides CSV_OR_FOLDER, or --features FOLDER, or both")
    tissue = cutting.pop("tissue", CLASSICAL)
    if tissue not in tissue_names():
        known = ", ".join(tissue_names())
        raise WenoError(f"unknown tissue model {tissue!r}; there are: {known}")
    made = Project.create(
        project,
        slides,
        spec=TileSpec(**cutting),
        encoder=encoder,
        tissue=tissue,
        **asked,
    )
    found = [row.class_index for row in made.slides]
    counts = {
        "slides": len(found),
        **{name: found.count(index) for index, name in enumerate(made.classes)},
        "unlabelled": found.count(None),
    }
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    say(f"Made {made.root}: {told}. Next: weno extract")
    advice = encoder_commands.tile_advice(encoder, made.spec)
    if advice:
        complain(encoder, advice)
    coarser = _coarser(made)
    if coarser:
        complain(*coarser)
        advice = "\n".join(filter(None, [advice, ": ".join(coarser)]))
    return {"project": str(made.root), "advice": advice, **counts}


def _coarser(made: Project) -> tuple[str, str] | None:
    """Return a slide that cannot be tiled as asked, and what to do about it."""
    from weno.tiles import find_coarser

    for found in filter(None, find_coarser(made.table.records(), made.spec)):
        slide_id, own = found
        return slide_id, (
            f"its pixels are {own:g} µm, so extract would refuse it: before that, give "
            f"mpp = {own:g} or more in {made.root / 'project.toml'}, or upsample = true"
        )
    return None
