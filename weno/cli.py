"""The command line: ``weno COMMAND [PROJECT] …``.

Every command is a thin loop over a job of the core; `weno.terminal` has what they
share.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weno import __version__
from weno.bench.commands import benchmarks
from weno.errors import RunError, WenoError, import_extra
from weno.mil.config import PRESETS, TrainConfig
from weno.terminal import (
    command,
    complain,
    follow,
    options_of,
    print_table,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from weno.project import Project

app = typer.Typer(
    name="weno",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Train WENO on whole-slide images, see what it found, review the hard "
        "positives, train again.\n\n"
        "A first project: `weno init my_project --slides slides.csv`, then, in that "
        "folder, `weno extract`, `weno fit`, `weno predict`, `weno evaluate`, "
        "`weno view`. No slides at hand: `weno demo`.\n\n"
        "PROJECT is a folder and defaults to the current one. With `--json` the last "
        "line printed is one JSON object."
    ),
)

ProjectArgument = Annotated[
    Path, typer.Argument(metavar="PROJECT", help="Project folder.", show_default="here")
]
DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …: where to compute.")
]
RunOption = Annotated[str | None, typer.Option(help="Run to use.  [default: newest]")]


@command(app)
def init(
    slides: Annotated[
        Path,
        typer.Option(
            help="CSV with the columns slide_id, path, label (0, 1 or empty) and, if "
            "wanted, patient_id, split, mpp; or a folder to search for slides."
        ),
    ],
    project: ProjectArgument = Path(),
    tile_um: Annotated[float, typer.Option(help="Side of a tile in µm.")] = 128.0,
    tile_mpp: Annotated[float, typer.Option(help="µm per pixel to encode at.")] = 0.5,
    icc: Annotated[
        bool,
        typer.Option("--icc", help="Turn colours into sRGB by the ICC profiles."),
    ] = False,
    encoder: Annotated[
        str, typer.Option(help="What turns tiles into features: texture, timm:NAME.")
    ] = "texture",
    classes: Annotated[
        str, typer.Option(help="Names of the negative and the positive class.")
    ] = "negative,positive",
) -> dict[str, Any]:
    """Make a project folder from a CSV or a folder of slides."""
    from weno.project import Project
    from weno.tiles import TileSpec

    names = tuple(name.strip() for name in classes.split(","))
    if len(names) != 2 or not all(names):
        raise WenoError(f"--classes needs two names, as normal,tumour: {classes!r}")
    made = Project.create(
        project,
        slides,
        spec=TileSpec(tile_um=tile_um, mpp=tile_mpp, icc=icc),
        encoder=encoder,
        class_names=names,
    )
    labels = [row.label for row in made.slides]
    counts = {
        "slides": len(labels),
        made.class_names[0]: labels.count(0),
        made.class_names[1]: labels.count(1),
        "unlabelled": labels.count(None),
    }
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    say(f"Made {made.root}: {told}. Next: weno extract")
    return {"project": str(made.root), **counts}


@command(app)
def extract(
    project: ProjectArgument = Path(), device: DeviceOption = "auto"
) -> dict[str, Any]:
    """Find the tissue, cut it into tiles and encode them. Goes on where it stopped."""
    from weno.features import extract as job
    from weno.features import get_encoder
    from weno.project import Project

    opened = Project.open(project)
    encoder = get_encoder(opened.encoder, device=device)
    result = follow(job(opened, encoder=encoder), "extract")
    for slide_id, reason in result.failed.items():
        complain(slide_id, reason)
    say(
        f"Features of {len(result.extracted)} slides in {opened.features_dir}"
        f" ({len(result.skipped)} were there already, {len(result.failed)} failed)"
    )
    return {
        "extracted": list(result.extracted),
        "skipped": list(result.skipped),
        "empty": list(result.empty),
        "failed": dict(result.failed),
    }


@command(app)
@options_of(TrainConfig)
def fit(
    project: ProjectArgument = Path(),
    name: Annotated[
        str | None, typer.Option(help="Name of the run.  [default: the time]")
    ] = None,
    preset: Annotated[
        str, typer.Option(help=f"Starting point: {', '.join(PRESETS)}.")
    ] = "default",
    device: DeviceOption = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    teacher_weights: Annotated[
        Path | None,
        typer.Option(
            help="Begin with a published CLAM-SB or DSMIL checkpoint (.pt, .pth); the "
            "docs' page on teachers says with which settings."
        ),
    ] = None,
    **options: Any,
) -> dict[str, Any]:
    """Fit WENO: attention-MIL teacher, instance student, hard positive mining."""
    from weno.mil import fit_project
    from weno.project import Project

    if preset not in PRESETS:
        raise WenoError(f"no preset {preset!r}; there are: {', '.join(PRESETS)}")
    config = dataclasses.replace(PRESETS[preset], **options)
    opened = Project.open(project)
    if resume and (name or opened.run_names()):
        begun = opened.run_dir(_run_name(opened, name)) / "config.json"
        config = dataclasses.replace(TrainConfig.read(begun), **options)
    job = fit_project(
        opened,
        config,
        name=name,
        device=device,
        resume=resume,
        teacher_weights=teacher_weights,
    )
    run_dir = follow(_complaining(job), "fit")
    card = json.loads((run_dir / "card.json").read_text(encoding="utf-8"))
    _warn_of_chance(card["metrics"])
    say(f"Run {run_dir.name} in {run_dir}. Next: weno predict")
    return {"run": run_dir.name, "run_dir": str(run_dir), "metrics": card["metrics"]}


@command(app)
def predict(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PROJECT] | SLIDE...",
            help="A project folder; with --model, slide files.",
        ),
    ] = None,
    run: RunOption = None,
    model: Annotated[
        Path | None,
        typer.Option(help="A run folder: predict any slides with it, no project."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="With --model: folder for the predictions.")
    ] = Path("predictions"),
    mpp: Annotated[
        float | None,
        typer.Option(help="With --model: µm per level-0 pixel, if the slide lacks it."),
    ] = None,
    device: DeviceOption = "auto",
) -> dict[str, Any]:
    """Predict slides and every tile in them: one parquet file per slide."""
    paths = paths or []
    if model is not None:
        return _predict_slides(model, paths, out, mpp, device)
    if len(paths) > 1:
        raise WenoError("one project at a time; for slide files give --model RUN_DIR")
    from weno.mil import predict_project
    from weno.project import Project

    opened = Project.open(paths[0] if paths else Path())
    name = _run_name(opened, run)
    result = follow(predict_project(opened, name, device=device), "predict")
    for slide_id, reason in result.failed.items():
        complain(slide_id, reason)
    say(f"Predicted {len(result.predicted)} slides in {opened.predictions_dir(name)}")
    return {
        "run": name,
        "predicted": list(result.predicted),
        "empty": list(result.empty),
        "failed": dict(result.failed),
    }


def _complaining(job: Generator[Any, None, Any]) -> Generator[Any, None, Any]:
    """Pass a fit's reports on; say a warning when it begins, not every epoch."""
    from weno.mil import EpochReport

    said: list[str] = []
    while True:
        try:
            report = next(job)
        except StopIteration as stop:
            return stop.value
        if isinstance(report, EpochReport):
            begins = report.warning.split()[:2]  # the rest has numbers
            if begins and begins != said:
                complain(report.text, report.warning)
            said = begins
        yield report


def _warn_of_chance(metrics: dict[str, Any]) -> None:
    """Say so if validation is no better than a coin: attention can go astray."""
    loss = (metrics.get("val") or {}).get("teacher_loss")
    if loss is not None and loss > math.log(2):
        complain(
            "warning",
            f"the validation loss, {loss:.2f}, is worse than a coin's, "
            f"{math.log(2):.2f}: do not trust this run; try other seeds, more slides, "
            "or --folds to see how much it varies",
        )


def _predict_slides(
    run_dir: Path, slides: list[Path], out: Path, mpp: float | None, device: str
) -> dict[str, Any]:
    from weno.mil import predict_slide
    from weno.prediction import write_prediction

    if not slides:
        raise WenoError("no slide given: weno predict --model RUN_DIR SLIDE…")
    stems = [path.stem for path in slides]
    if len(set(stems)) < len(stems):
        raise WenoError(
            "two slides have the same name, and so would their predictions: predict "
            "them one by one, each with its own --out"
        )
    done, failed = {}, {}
    for path in slides:
        try:
            job = predict_slide(run_dir, path, mpp=mpp, device=device)
            prediction = follow(job, path.name)
        except WenoError as error:
            if len(slides) == 1:
                raise
            failed[str(path)] = str(error)
            complain(path.name, str(error))
            continue
        write_prediction(out / f"{prediction.slide_id}.parquet", prediction)
        done[prediction.slide_id] = {
            "teacher_probability": prediction.teacher_probability,
            "student_probability": prediction.student_probability,
            "threshold": prediction.threshold,
        }
    print_table("slide", done)
    return {"predicted": done, "failed": failed}


@command(app)
def evaluate(
    project: ProjectArgument = Path(),
    run: RunOption = None,
    tiles: Annotated[
        Path | None,
        typer.Option(
            help="CSV of tile truth with the columns slide_id, y, x, size, positive: "
            "squares in level-0 pixels."
        ),
    ] = None,
) -> dict[str, Any]:
    """Compare predictions with labels, on the test split or out of fold."""
    from weno.mil import evaluate_project
    from weno.project import Project

    opened = Project.open(project)
    result: dict[str, Any] = evaluate_project(opened, _run_name(opened, run), tiles)
    shown = {who: result[who] for who in ("teacher", "student")}
    print_table("AUC of the", shown)
    return result


@command(app)
def view(
    slide: Annotated[
        str | None,
        typer.Argument(help="A slide, the id of a slide of the project, or a project."),
    ] = None,
    project: Annotated[
        Path, typer.Option(help="Project folder.", show_default=".")
    ] = Path(),
    run: RunOption = None,
) -> dict[str, Any]:
    """Open napari on a slide file, or on a project."""
    from weno.project import Project
    from weno.slides import is_slide

    is_path = slide is not None and (Path(slide).is_file() or is_slide(slide))
    if slide is not None and Path(slide).is_dir() and not is_path:
        project, slide = Path(slide), None
    if not is_path:
        opened = Project.open(project)
        if slide is not None:
            opened.slide(slide)
        if run is not None:
            _run_name(opened, run)
    _launcher().view(project, slide, run)
    return {}


@command(app)
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where to make the demo project.")
    ] = Path("demo"),
    screenshot: Annotated[
        Path | None,
        typer.Option(help="Save a picture of the window there and close it."),
    ] = None,
    window: Annotated[bool, typer.Option(help="Open napari at the end.")] = True,
) -> dict[str, Any]:
    """Make a synthetic cohort, fit WENO on it and open napari on what it found."""
    from weno.demo import RUN, demo_steps, slide_to_show, truth_path
    from weno.mil import evaluate_project
    from weno.project import Project

    launcher = _launcher() if window or screenshot else None
    for title, job in demo_steps(folder):
        follow(job, title)
    project = Project.open(folder)
    result = evaluate_project(project, RUN, truth_path(folder))
    metrics = {who: result[who] for who in ("teacher", "student")}
    print_table("AUC of the", metrics)
    slide_id = slide_to_show(project)
    if launcher is not None:
        launcher.show_demo(folder, slide_id, screenshot)
    return {"project": str(project.root), "slide": slide_id, "metrics": metrics}


@command(app)
def doctor() -> dict[str, Any]:
    """Tell versions, GPU, OpenSlide, Qt, what is missing and how to get it."""
    from weno.doctor import examine

    findings = examine()
    marks = {"ok": "ok", "warning": "!!", "missing": "--"}
    for finding in findings:
        say(f"{marks[finding.status]}  {finding.name}: {finding.detail}")
        if finding.remedy:
            say(f"    {finding.remedy}")
    return {"findings": [dataclasses.asdict(finding) for finding in findings]}


def _launcher() -> Any:
    """Return what opens napari, or say how to get napari."""
    import_extra("napari", "all")
    import_extra("qtpy", "all")
    return import_extra("napari_weno.launch", "all")


def _run_name(project: Project, name: str | None) -> str:
    """Return the run asked for, or the newest."""
    names = project.run_names()
    if not names:
        raise RunError(f"no run in {project.runs_dir}; make one with: weno fit")
    if name is not None and name not in names:
        raise RunError(f"no run {name!r}; there are: {', '.join(names)}")
    return name or names[-1]


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"napari-weno {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None: ...


app.add_typer(benchmarks, name="bench")


def main() -> None:
    """Run the command line."""
    app()
