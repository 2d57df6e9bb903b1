"""WENO end to end on real nuclei, against its own teacher alone."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weno.bench.trials import difference, interval, run_trials
from weno.errors import RunError
from weno.mil.bags import Bag
from weno.mil.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

_SIDE, _PER_SIDE = 27, 50  # pixels of a nucleus, nuclei of a mosaic
_FOLDS = 5

BASE = TrainConfig(
    encoder="cnn",
    projector_dim=0,
    norm="layer",
    teacher_dim=512,
    attention_dim=128,
    student_width=512,
    teacher_dropout=0.25,
    pooling_dropout=0.0,
    critical_share=0.0,
    student_dropout=0.25,
    learning_rate=5e-4,
    weight_decay=0.01,
    student_warmup=4,
    folds=_FOLDS,
    val=0.0,
)

#: What is compared, each with the same folds, epochs, encoder and seeds.
VARIANTS: dict[str, dict[str, Any]] = {
    "teacher alone": {"distillation": False},
    "WENO": {},
    "WENO, mining": {"mining": "threshold", "mining_start": 8, "mining_ramp": 4},
    "WENO, critical tiles": {"critical_share": 0.5},
}


def bench_nuclei(
    data: Path,
    folder: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 20,
    variants: Sequence[str] = tuple(VARIANTS),
    device: str = "auto",
) -> dict[str, Any]:
    """Compare teacher and student on nuclei of known class, out of fold.

    Parameters
    ----------
    data : Path
        Folder with ``nuclei.csv`` and the mosaics ``nuclei_KK.jxl``.
    folder : Path
        For the runs; those that are there are kept, or go on.
    seeds : sequence of int
        Each shuffles the folds and starts the weights anew.
    epochs : int
        Of every run; the last one is tested, nothing is chosen.
    variants : sequence of str
        Of `VARIANTS`.
    device : str

    Returns
    -------
    dict
        "variants": for each its metrics with mean, low and high over folds and seeds;
        "differences": paired, of the student to the attention of the teacher alone, and
        of mining, and of critical tiles, to none.
    """
    bags, truth = read_nuclei(data)
    trials = {}
    for name in variants:
        trials[name] = [
            trial
            for seed in seeds
            for trial in run_trials(
                folder / f"{name.replace(', ', '-').replace(' ', '-')}-seed-{seed}",
                bags,
                truth,
                replace(
                    BASE, epochs=epochs, patience=epochs, seed=seed, **VARIANTS[name]
                ),
                title=f"{name}, seed {seed}",
                device=device,
            )
        ]
    differences = {}
    if {"teacher alone", "WENO"} <= set(trials):
        alone, weno = trials["teacher alone"], trials["WENO"]
        differences["student - attention of the teacher alone, tiles"] = difference(
            weno, alone, "student_tile", "attention_tile"
        )
        differences["teacher - teacher alone, bags"] = difference(
            weno, alone, "teacher_bag"
        )
    for added in ("WENO, mining", "WENO, critical tiles"):
        if not {added, "WENO"} <= set(trials):
            continue
        for metric in ("teacher_bag", "student_bag", "student_tile", "student_inside"):
            differences[f"{added} - WENO, {metric}"] = difference(
                trials[added], trials["WENO"], metric
            )
    return {
        "variants": {
            name: {metric: interval([t[metric] for t in done]) for metric in done[0]}
            for name, done in trials.items()
        },
        "differences": differences,
    }


def read_nuclei(data: Path) -> tuple[list[Bag], dict[str, npt.NDArray[np.bool_]]]:
    """Read nuclei as bags of pixels, one for each image field.

    Returns
    -------
    bags : list of Bag
        Instances of shape (N, 27, 27, 3); a bag is positive if any nucleus is.
    truth : dict
        From slide_id to which of its nuclei are cancerous, of shape (N,).

    Raises
    ------
    RunError
        If files are missing.
    """
    import imagecodecs

    table = data / "nuclei.csv"
    if not table.is_file():
        raise RunError(f"{data}: no nuclei.csv; this is not the folder of the nuclei")
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    mosaics = [imagecodecs.imread(path) for path in sorted(data.glob("nuclei_*.jxl"))]
    cells = [
        mosaic.reshape(_PER_SIDE, _SIDE, _PER_SIDE, _SIDE, 3)
        .swapaxes(1, 2)
        .reshape(-1, _SIDE, _SIDE, 3)
        for mosaic in mosaics
    ]
    pixels = np.concatenate(cells)[: len(rows)]
    fields = np.array([int(row["patient"]) for row in rows])
    cancerous = np.array([row["is_cancerous"] == "1" for row in rows])
    bags, truth = [], {}
    for field in np.unique(fields):
        chosen, name = fields == field, f"field-{field}"
        truth[name] = cancerous[chosen]
        bags.append(Bag(name, name, int(truth[name].any()), pixels[chosen]))
    return bags, truth
