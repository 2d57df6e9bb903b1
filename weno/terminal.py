"""How jobs look on a terminal: commands, their options, progress, errors, tables."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, get_type_hints

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from weno.errors import WenoError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    Command = Callable[..., dict[str, Any]]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ProjectArgument = Annotated[
    Path, typer.Argument(metavar="PROJECT", help="Project folder.", show_default="here")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object as the last line.")
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.")
]


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _with_parameters(
    wrapper: Callable[..., Any],
    function: Callable[..., Any],
    extra: list[inspect.Parameter],
) -> None:
    """Give `wrapper` the parameters of `function` and some more, for typer to see."""
    hints = get_type_hints(function, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    signature = inspect.Signature([*own, *extra])
    wrapper.__signature__ = signature  # type: ignore[attr-defined]
    wrapper.__annotations__ = {
        name: parameter.annotation for name, parameter in signature.parameters.items()
    }


def command(app: typer.Typer) -> Callable[[Command], Callable[..., None]]:
    """Return a decorator that makes a function a command of `app`.

    The function returns what ``--json`` prints. An error is one line and exit code 2,
    with ``--debug`` after its traceback; so are failures that the result names under
    ``"failed"``.
    """

    def decorate(function: Command) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            as_json, debug = kwargs.pop("json"), kwargs.pop("debug")
            try:
                result = function(*args, **kwargs)
            except (WenoError, OSError) as error:
                if debug:
                    traceback.print_exc()
                _complain("weno", str(error))
                result = {"error": str(error)}
            if as_json and not out.quiet:
                sys.stdout.write(json.dumps(result) + "\n")
            if result.get("error") or result.get("failed"):
                raise typer.Exit(2)

        _with_parameters(
            run,
            function,
            [
                _parameter("json", JsonOption, default=False),
                _parameter("debug", DebugOption, default=False),
            ],
        )
        app.command()(run)
        return run

    return decorate


def hush() -> None:
    """Print nothing but errors any more: of several processes, one speaks."""
    out.quiet = True


def say(text: str) -> None:
    """Print a line for people."""
    out.print(escape(text), soft_wrap=True)


def complain(who: str, text: str) -> None:
    """Print on standard error what went wrong with whom."""
    if not out.quiet:
        _complain(who, text)


def _complain(who: str, text: str) -> None:
    err.print(f"[bold red]{escape(who)}:[/] {escape(text)}", soft_wrap=True)


def options_of(config: type[Any]) -> Callable[[Command], Command]:
    """Return a decorator that adds an option for every field of a config dataclass.

    Only options that were given reach the function, so that it can change the preset
    it starts from. Help and panel come from the field's metadata.
    """

    def decorate(function: Command) -> Command:
        fields = {field.name: field for field in dataclasses.fields(config)}

        @functools.wraps(function)
        def run(**kwargs: Any) -> dict[str, Any]:
            left_out = [k for k in fields if kwargs.get(k, ...) is None]
            for name in left_out:
                del kwargs[name]
            return function(**kwargs)

        hints = get_type_hints(config)
        extra = [
            _parameter(name, _optional(hints[name], field), default=None)
            for name, field in fields.items()
        ]
        _with_parameters(run, function, extra)
        return run

    return decorate


def _optional(kind: Any, field: dataclasses.Field[Any]) -> Any:
    meta = field.metadata
    option = typer.Option(
        help=f"{meta['label']}: {meta['help']}.  [default: {field.default}]",
        show_default=False,
        rich_help_panel="Advanced" if meta["advanced"] else "Training",
    )
    return Annotated[kind | None, option]


class Report(Protocol):
    """What every report of a job can tell a progress bar."""

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, in [0, 1]."""

    @property
    def text(self) -> str:
        """What is being done, in a few words."""


def follow(job: Generator[Report, None, Any], title: str) -> Any:
    """Run a job to its end with a progress bar on standard error.

    Parameters
    ----------
    job : generator of reports
    title : str
        Shown before the bar.

    Returns
    -------
    object
        What the job returns.
    """
    with Progress(
        TextColumn("{task.fields[title]:<9}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}"),
        console=err,
        disable=out.quiet,
    ) as progress:
        task = progress.add_task("", title=title, total=1.0)
        try:
            while True:
                report = next(job)
                progress.update(
                    task, completed=report.fraction, description=report.text
                )
        except StopIteration as end:
            progress.update(task, completed=1.0, description="")
            return end.value
        finally:
            job.close()


def print_table(first: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Print rows by name; the first column is headed `first`."""
    table = Table()
    table.add_column(first, no_wrap=True)
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for name, values in rows.items():
        table.add_row(name, *(_cell(values.get(column)) for column in columns))
    out.print(table)


def _cell(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return "-" if value is None else value
