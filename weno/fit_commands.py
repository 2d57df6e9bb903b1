"""``weno fit``: which runs it is to make, and what it says on the way."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weno.classes import run_names
from weno.errors import RunError, WenoError, import_extra
from weno.mil.reports import chance_warning
from weno.terminal import complain, follow, hush, say

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from weno.project import Project

_PANEL = "More than two classes"
_STAMP = "%Y-%m-%d_%H-%M-%S"

PositiveOption = Annotated[
    str | None,
    typer.Option(
        metavar="CLASS",
        help="The class to tell from all others.  [default: that of the project]",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
AllClassesOption = Annotated[
    bool,
    typer.Option(
        "--all-classes",
        help="One run a class, each against all others, named NAME-CLASS.",
        rich_help_panel=_PANEL,
    ),
]


DevicesOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="GPUs that train together (with --device cpu, processes); each takes a "
        "share of every step, so give at least as many --bags-per-step.",
    ),
]


def start_crew(
    devices: int, device: str, name: str | None, *, resume: bool
) -> tuple[dict[str, Any], str | None]:
    """Start the processes that fit together.

    Returns
    -------
    how : dict
        "device", and "crew" of several, as `weno.mil.fit` takes them.
    name : str or None
        Of the run, the same for all.
    """
    if devices == 1:
        return {"device": device}, name
    import_extra("torch", "torch")
    from weno.mil.crew import launch

    crew = launch(devices, device)
    if not crew.first:
        hush()
    name = crew.agree(name if resume or name else time.strftime(_STAMP))
    return {"device": str(crew.device), "crew": crew}, name


def runs_to_fit(
    project: Project, name: str | None, *, all_classes: bool, resume: bool
) -> list[tuple[Project, str | None, bool]]:
    """Return which runs to fit: a project with its question, a name, and if to resume.

    Parameters
    ----------
    project : Project
    name : str, optional
        Of the run; of several, what their names begin with.
    all_classes : bool
        One run for each class that can be asked about.
    resume : bool

    Raises
    ------
    WenoError
        If a class has no slide, or a run is there already, before any has begun.
    """
    if not all_classes:
        return [(project, name, resume)]
    if resume and name is None:
        raise WenoError("--resume with --all-classes needs the --name that was given")
    found = {row.class_index for row in project.slides}
    lacking = [
        one for one in project.questions if project.classes.index(one) not in found
    ]
    if lacking:
        raise WenoError(f"no slide is labelled {', '.join(lacking)}; fit one by one")
    names = run_names(name or time.strftime(_STAMP), project.questions)
    begun = [
        run for run in names.values() if (project.run_dir(run) / "config.json").exists()
    ]
    if begun and not resume:
        raise RunError(f"there already: {', '.join(begun)}; give another --name")
    # Stopped in the second of three, the third is still to begin.
    return [(project.asking(one), run, run in begun) for one, run in names.items()]


def follow_fit(job: Generator[Any, None, Path], following: str) -> dict[str, Any]:
    """Run a fit to its end; say what there is to say, return what ``--json`` prints.

    Parameters
    ----------
    job : generator of reports
    following : str
        The command that comes next.
    """
    run_dir = follow(_complaining(job), "fit")
    card = json.loads((run_dir / "card.json").read_text(encoding="utf-8"))
    if warning := chance_warning(card["metrics"]):
        complain("warning", warning)
    say(f"Run {run_dir.name} in {run_dir}. Next: {following}")
    return {"run": run_dir.name, "run_dir": str(run_dir), "metrics": card["metrics"]}


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
