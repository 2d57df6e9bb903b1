"""The files of a run folder, written by the fit and read by whoever predicts."""

from __future__ import annotations

import csv
import json
import platform
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import Timeout

from weno import __version__
from weno.atomic import lock_of, replacing
from weno.errors import RunError
from weno.mil.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from weno.mil.bags import Bag
    from weno.mil.crew import Crew
    from weno.mil.splits import Split

CONFIG, CARD, SPLIT = "config.json", "card.json", "split.csv"
ENVIRONMENT, METRICS = "environment.json", "metrics.jsonl"
LAST, BEST = "last.safetensors", "best.safetensors"
INITIAL = "initial.safetensors"  # of the teacher, where it does not begin at random
_FORMAT = 1


def fold_folder(run_dir: Path, fold: int, folds: int) -> Path:
    """Return where the model of a fold lies; fold 1 is the first."""
    return run_dir / f"fold-{fold}" if folds else run_dir


@contextmanager
def held(run_dir: Path, crew: Crew) -> Iterator[None]:
    """Keep other processes from training the same run, for as long as a block lasts.

    Raises
    ------
    RunError
        If one is at it.
    """
    lock = lock_of(run_dir)

    def take() -> None:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"{run_dir}: another process is training this run; wait for it, or "
                "stop it first"
            ) from None

    crew.by_first(take)
    try:
        yield
    finally:
        lock.release()


def start_run(
    run_dir: Path,
    bags: Sequence[Bag],
    splits: Sequence[Split],
    config: TrainConfig,
    digest: str,
) -> None:
    """Write what is known before training; `digest` is that of the bags."""
    with (
        replacing(run_dir / SPLIT) as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(["slide_id", "patient_id", "label", "fold", "split"])
        for fold, split in enumerate(splits, 1 if config.folds else 0):
            for bag in bags:
                where = split.get(bag.slide_id, "empty")
                row = [bag.slide_id, bag.patient_id, bag.label, fold, where]
                table.writerow(row)
    values = {**_environment(), "data_hash": digest}
    write_json(run_dir / ENVIRONMENT, values)
    # The config comes last: a folder that has one is a run that was begun.
    config.write(run_dir / CONFIG)


def finish_run(
    run_dir: Path,
    bags: Sequence[Bag],
    context: Mapping[str, Any],
    outcomes: Sequence[Mapping[str, Any]],
) -> None:
    """Write the card: all that predicting needs beside the weights.

    It comes last of all, so that a folder with a card is a finished run.
    """
    card = {
        "format": _FORMAT,
        "run": run_dir.name,
        **context,
        "width": next(bag.width for bag in bags if len(bag)),
        "data_hash": begun_with(run_dir)["data_hash"],
        "slides": len(bags),
        "empty_slides": [bag.slide_id for bag in bags if not len(bag)],
        "metrics": _mean_metrics([outcome["metrics"] for outcome in outcomes]),
        "folds": list(outcomes),
    }
    write_json(run_dir / CARD, card)


def _mean_metrics(
    folds: Sequence[Mapping[str, Mapping[str, float | None]]],
) -> dict[str, dict[str, float | None]]:
    """Return each metric's mean over the folds that have it; slides are summed."""
    means: dict[str, dict[str, float | None]] = {}
    for part in dict.fromkeys(part for fold in folds for part in fold):
        rows = [fold[part] for fold in folds if part in fold]
        means[part] = {}
        for name in rows[0]:
            found = [value for row in rows if (value := row[name]) is not None]
            total = sum(found)
            mean = total / len(found) if found else None
            means[part][name] = total if name == "slides" else mean
    return means


def check_resumable(run_dir: Path, digest: str, config: TrainConfig) -> None:
    """Refuse to go on with other settings or other data than the run began with.

    Raises
    ------
    RunError
        With both values.
    """
    before, now = TrainConfig.read(run_dir / CONFIG).to_dict(), config.to_dict()
    changed = [
        f"{key} was {before[key]}, now {now[key]}"
        for key in now
        if before[key] != now[key]
    ]
    if begun_with(run_dir)["data_hash"] != digest:
        changed.append("slides, labels or features are not those it began with")
    if changed:
        raise RunError(f"{run_dir}: cannot resume: {'; '.join(changed)}")


def begun_with(run_dir: Path) -> dict[str, Any]:
    """Read what a run began with: versions, "threads" of torch, and "data_hash".

    Raises
    ------
    RunError
        If the file is missing or damaged.
    """
    path = run_dir / ENVIRONMENT
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return values | {
            "threads": int(values["threads"]),
            "data_hash": str(values["data_hash"]),
        }
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(f"{path}: not a readable environment: {error!r}") from error


def read_card(run_dir: Path) -> dict[str, Any]:
    """Read what a run says of itself.

    Raises
    ------
    RunError
        If it is missing, damaged, or of another format.
    """
    path = run_dir / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: not a readable run card: {error}") from error
    if not isinstance(card, dict) or card.get("format") != _FORMAT:
        raise RunError(f"{path}: not a run card of format {_FORMAT}")
    return card


def read_splits(run_dir: Path) -> dict[str, dict[int, str]]:
    """Return, of every slide, its split in each fold (fold 0 where there are none)."""
    path = run_dir / SPLIT
    splits: dict[str, dict[int, str]] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                splits.setdefault(row["slide_id"], {})[int(row["fold"])] = row["split"]
    except (OSError, KeyError, ValueError) as error:
        raise RunError(f"{path}: not a readable split: {error!r}") from error
    return splits


def keep_metrics(folder: Path, epochs: int) -> None:
    """Drop the lines of `metrics.jsonl` after `epochs`: they will be made again."""
    path = folder / METRICS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    with replacing(path) as temporary:
        temporary.write_text(
            "".join(f"{line}\n" for line in lines[:epochs]), encoding="utf-8"
        )


def append_metrics(folder: Path, values: Mapping[str, Any]) -> None:
    """Add one epoch to `metrics.jsonl`."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _environment() -> dict[str, Any]:
    return {
        "weno": __version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
