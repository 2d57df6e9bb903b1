"""The command line: ``weno COMMAND [PROJECT] …``.

Every command is a thin loop over a job of the core; `weno.terminal` has what they
share.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weno import (
    __version__,
    bag_commands,
    encoder_commands,
    extract_commands,
    fit_commands,
    init_command,
)
from weno.bench.commands import benchmarks
from weno.errors import RunError, WenoError, import_extra
from weno.mil.config import PRESETS, TrainConfig
from weno.terminal import (
    ProjectArgument,
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

DeviceOption = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …: where to compute.")
]
RunOption = Annotated[str | None, typer.Option(help="Run to use.  [default: newest]")]


command(app)(init_command.init)
command(app)(encoder_commands.encoders)


@command(app)
def tissue(project: ProjectArgument = Path()) -> dict[str, Any]:
    """Find the tissue; tell its area, the tiles, and what encoding them will take.

    The outlines are GeoJSON files for QuPath and napari. What is edited there is what
    `weno extract` tiles.
    """
    from weno.project import Project
    from weno.tissue_commands import outline_slides

    return outline_slides(Project.open(project))


@command(app)
def extract(
    project: ProjectArgument = Path(),
    device: DeviceOption = "auto",
    precision: extract_commands.PrecisionOption = "auto",
    scheduler: extract_commands.SchedulerOption = None,
    workers: extract_commands.WorkersOption = None,
) -> dict[str, Any]:
    """Find the tissue, cut it into tiles and encode them. Goes on where it stopped."""
    from weno.project import Project

    opened = Project.open(project)
    return extract_commands.extract_project(
        opened, device, precision, scheduler, workers
    )


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
    devices: fit_commands.DevicesOption = 1,
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
    positive: fit_commands.PositiveOption = None,
    all_classes: fit_commands.AllClassesOption = False,
    bags: bag_commands.TableOption = None,
    features: bag_commands.FeaturesOption = None,
    classes: bag_commands.ClassesOption = None,
    splits: bag_commands.SplitsOption = None,
    labels_first: bag_commands.LabelsFirstOption = False,
    feature_encoder: bag_commands.EncoderOption = "",
    out: bag_commands.RunDirOption = None,
    **options: Any,
) -> dict[str, Any]:
    """Fit WENO: attention-MIL teacher, instance student, hard positive mining.

    On a project, or, with --bags and --out, on bags that other programs made.
    """
    if preset not in PRESETS:
        raise WenoError(f"no preset {preset!r}; there are: {', '.join(PRESETS)}")
    config = dataclasses.replace(PRESETS[preset], **options)
    if positive and all_classes:
        raise WenoError("give --positive or --all-classes, not both")
    if bags is not None and (positive or all_classes or name):
        raise WenoError("--name, --positive and --all-classes are for projects")
    of_bags = (out, features, classes, splits, labels_first, feature_encoder)
    if bags is None and any(of_bags):
        raise WenoError(
            "--out, --features, --classes, --splits, --labels-first and "
            "--feature-encoder go with --bags"
        )
    how, name = fit_commands.start_crew(devices, device, name, resume=resume)
    how["teacher_weights"] = teacher_weights
    if bags is not None:
        given = bag_commands.BagOptions(bags, features, classes, splits, labels_first)
        job = bag_commands.fit_bags(
            given, out, config, options, encoder=feature_encoder, resume=resume, **how
        )
        return fit_commands.follow_fit(job, f"weno predict --model {out} --bags …")
    from weno.project import Project

    opened = Project.open(project, positive)
    runs = []
    for asking, run, again in fit_commands.runs_to_fit(
        opened, name, all_classes=all_classes, resume=resume
    ):
        job = _fit_project(asking, run, config, options, resume=again, **how)
        following = f"weno predict --run {run}" if all_classes else "weno predict"
        fitted = fit_commands.follow_fit(job, following)
        runs.append({"class": asking.positive, **fitted})
    return {"runs": runs} if all_classes else fitted


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
    scheduler: extract_commands.SchedulerOption = None,
    workers: extract_commands.WorkersOption = None,
    bags: bag_commands.TableOption = None,
    features: bag_commands.FeaturesOption = None,
    labels_first: bag_commands.LabelsFirstOption = False,
) -> dict[str, Any]:
    """Predict slides and every tile in them: one parquet file per slide.

    With --model and --bags, bags that other programs made: one CSV per bag.
    """
    paths = paths or []
    if (scheduler or workers or run) and (bags is not None or model is not None):
        raise WenoError("--run, --scheduler and --workers are for projects")
    if bags is not None and (paths or mpp):
        raise WenoError("with --bags there are no slides, and no --mpp")
    if bags is None and (features or labels_first):
        raise WenoError("--features and --labels-first go with --bags")
    if bags is None and model is None and mpp:
        raise WenoError("--mpp goes with --model; in a project it is in slides.csv")
    if bags is not None:
        given = bag_commands.BagOptions(bags, features, labels_first=labels_first)
        return bag_commands.predict_bags(given, model, out, device=device)
    if model is not None:
        return _predict_slides(model, paths, out, mpp, device)
    if len(paths) > 1:
        raise WenoError("one project at a time; for slide files give --model RUN_DIR")
    from weno.mil import predict_on, predict_project
    from weno.project import Project

    opened = Project.open(paths[0] if paths else Path())
    name = _run_name(opened, run)
    with extract_commands.workers_of(scheduler, workers) as client:
        job = (
            predict_project(opened, name, device=device)
            if client is None
            else predict_on(client, opened, name, device=device)
        )
        result = follow(job, "predict")
    for slide_id, reason in result.failed.items():
        complain(slide_id, reason)
    say(f"Predicted {len(result.predicted)} slides in {opened.predictions_dir(name)}")
    return {
        "run": name,
        "predicted": list(result.predicted),
        "empty": list(result.empty),
        "failed": dict(result.failed),
    }


def _fit_project(
    project: Project,
    name: str | None,
    config: TrainConfig,
    options: dict[str, Any],
    *,
    resume: bool,
    **how: Any,
) -> Generator[Any, None, Path]:
    """Return the job of fitting a run in a project."""
    from weno.mil import fit_project

    if resume and (name or project.run_names()):
        begun = project.run_dir(_run_name(project, name)) / "config.json"
        config = dataclasses.replace(TrainConfig.read(begun), **options)
    return fit_project(project, config, name=name, resume=resume, **how)


def _predict_slides(
    run_dir: Path, slides: list[Path], out: Path, mpp: float | None, device: str
) -> dict[str, Any]:
    from weno.features import get_encoder
    from weno.mil import load_run, predict_slide
    from weno.prediction import write_prediction

    if not slides:
        raise WenoError("no slide given: weno predict --model RUN_DIR SLIDE…")
    stems = [path.stem for path in slides]
    if len(set(stems)) < len(stems):
        raise WenoError(
            "two slides have the same name, and so would their predictions: predict "
            "them one by one, each with its own --out"
        )
    run = load_run(run_dir, device=device)
    encoder = get_encoder(run.card["encoder"], device=device)
    done, failed = {}, {}
    for path in slides:
        try:
            job = predict_slide(run, path, mpp=mpp, device=device, encoder=encoder)
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
    resamples: Annotated[
        int, typer.Option(help="Bootstrap resamples of the patients; 0: none.", min=0)
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the resamples.", min=0)] = 0,
) -> dict[str, Any]:
    """Compare predictions with labels, on the test split or out of fold.

    Of slides, AUC, average precision (AP) and, at the threshold that validation
    chose, balanced accuracy. With `--tiles` also of tiles, and of lesions: FROC.
    Then how far probabilities can be taken at their word. Intervals are 95 %, by
    drawing patients; they do not tell how another training would have turned out.
    """
    from weno.mil import evaluate_project
    from weno.mil.evaluation_tables import remarks, tables
    from weno.project import Project

    opened = Project.open(project)
    result: dict[str, Any] = evaluate_project(
        opened, _run_name(opened, run), tiles, resamples=resamples, seed=seed
    )
    for heading, rows in tables(result).items():
        print_table(heading, rows)
    for remark in remarks(result):
        say(remark)
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


# What the demo prints of its evaluation, and of what it is the AUC.
_AREAS = {
    "bag_auc": "slides",
    "tile_auc": "tiles",
    "tile_auc_in_positive": "tiles of positive slides",
}


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
    areas = {
        who: {of: found[key] for key, of in _AREAS.items() if key in found}
        for who, found in metrics.items()
    }
    print_table("AUC of the", areas)
    say(f"To come back: weno view {folder}")
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
