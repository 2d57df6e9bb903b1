"""``weno fit --bags`` and ``weno predict --bags``: the bags of other programs.

What such a command loads, a server has that only trains: no library that reads slides.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weno.errors import WenoError
from weno.terminal import complain, follow, say

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from weno.mil import TrainConfig
    from weno.mil.bag_files import FirstColumn

_PANEL = "Bags of other programs"

TableOption = Annotated[
    Path | None,
    typer.Option(
        "--bags",
        help="CSV with the columns slide_id, path, label and, if wanted, patient_id, "
        "split; a dataset CSV of CLAM; DSMIL's list. For predict also a folder.",
        rich_help_panel=_PANEL,
    ),
]
FeaturesOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the bag files.  [default: that of the CSV]",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        help="Names of the negative and the positive class, as normal,tumour.",
        rich_help_panel=_PANEL,
    ),
]
SplitsOption = Annotated[
    Path | None,
    typer.Option(
        help="Splits of CLAM: a CSV with the columns train, val and test.",
        rich_help_panel=_PANEL,
    ),
]
EncoderOption = Annotated[
    str,
    typer.Option(
        help="What made the features; kept with the run.", rich_help_panel=_PANEL
    ),
]
LabelsFirstOption = Annotated[
    bool,
    typer.Option(
        "--labels-first",
        help="The first column of every file is the tile's label, not a feature.",
        rich_help_panel=_PANEL,
    ),
]
RunDirOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the run, with --bags.", rich_help_panel=_PANEL),
]


@dataclass(frozen=True, slots=True)
class BagOptions:
    """Which bags a command is about, as the options above say it."""

    table: Path
    features: Path | None = None
    classes: str | None = None
    splits: Path | None = None
    labels_first: bool = False

    @property
    def first_column(self) -> FirstColumn:
        return "label" if self.labels_first else "feature"


def fit_bags(
    given: BagOptions,
    run_dir: Path | None,
    config: TrainConfig,
    options: Mapping[str, Any],
    *,
    encoder: str = "",
    resume: bool = False,
    **rest: Any,
) -> Generator[Any, None, Path]:
    """Return the job of fitting a run on a table of bags.

    Parameters
    ----------
    given : BagOptions
    run_dir : Path, optional
        Refused if missing: there is no project to put the run in.
    config : TrainConfig
    options : mapping
        What of the config was asked for; of a run that is resumed, the rest is its own.
    encoder : str
        What made the features.
    resume : bool
    **rest
        Of `weno.mil.fit`.
    """
    from weno.mil import TrainConfig, bags_context, fit, read_cohort

    if run_dir is None:
        raise WenoError("with --bags, say with --out where the run is to be")
    classes = _class_names(given.classes)
    bags = read_cohort(
        given.table,
        given.features,
        classes=classes,
        splits=given.splits,
        first_column=given.first_column,
    )
    labels = [bag.label for bag in bags]
    say(f"{len(bags)} bags: {labels.count(0)} negative, {labels.count(1)} positive")
    begun = run_dir / "config.json"
    if resume and begun.exists():
        config = replace(TrainConfig.read(begun), **options)
    context = bags_context(classes, encoder)
    return fit(run_dir, bags, config, context=context, resume=resume, **rest)


def predict_bags(
    given: BagOptions, run_dir: Path | None, out: Path, *, device: str
) -> dict[str, Any]:
    """Predict the bags of a table with a run folder; return what ``--json`` prints."""
    from weno.mil import predict_bags as job
    from weno.mil import read_bag_table
    from weno.mil.run_folder import read_card

    if run_dir is None:
        raise WenoError("with --bags, give the run to predict with: --model RUN_DIR")
    negative, positive = read_card(run_dir)["class_names"]
    rows = read_bag_table(given.table, given.features, classes=(negative, positive))
    reports = job(run_dir, rows, out, first_column=given.first_column, device=device)
    result = follow(reports, "predict")
    for slide_id, reason in result.failed.items():
        complain(slide_id, reason)
    if result.unnamed:
        complain(
            "warning",
            f"{len(result.unnamed)} files do not say which encoder made them; of them "
            "only the number of features was compared with the run's",
        )
    say(f"Predicted {len(result.predicted)} bags in {out}")
    return asdict(result)


def _class_names(classes: str | None) -> tuple[str, str] | None:
    if classes is None:
        return None
    negative, _, positive = (name.strip() for name in classes.partition(","))
    if not negative or not positive or "," in positive:
        raise WenoError(f"--classes needs two names, as normal,tumour: {classes!r}")
    return negative, positive
