"""WENO on the gland cohort.

WENO is compared with a ceiling and a floor on the same features and folds. The
ceiling is a linear probe that sees the truth of every training tile. The floor is
mean pooling: a linear classifier of the mean of a slide's features, whose weights,
applied to a tile, are the tile's score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weno.errors import import_extra
from weno.mil import PRESETS
from weno.project import Project
from weno.terminal import follow
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from weno.features import SlideFeatures
    from weno.mil import TrainConfig

    Values = npt.NDArray[np.float64]
    Table = dict[str, dict[str, dict[str, float]]]

_DEFAULT = PRESETS["default"]

#: The parts of WENO, as in the paper's table of ablations.
PARTS = {
    "teacher-alone": replace(_DEFAULT, distillation=False),
    "distillation": replace(_DEFAULT, shared_projector=False),
    "shared-projector": _DEFAULT,
    "mining": replace(_DEFAULT, mining="threshold"),
}

#: The choices of the default, each undone.
CHOICES = {
    "not-slide-relative": replace(_DEFAULT, slide_relative=False),
    "no-feature-limit": replace(_DEFAULT, feature_limit=0.0),
    "layer-norm": replace(_DEFAULT, norm="layer"),
    "without-critical-tiles": replace(_DEFAULT, critical_share=0.0),
    "attention-alone": replace(_DEFAULT, evidence_share=0.0),
    "evidence-alone": replace(_DEFAULT, evidence_share=1.0),
    "warm-up-of-5": replace(_DEFAULT, student_warmup=5),
    "student-dropout-25": replace(_DEFAULT, student_dropout=0.25),
    "mining-nothing-spared": replace(_DEFAULT, mining="top_fraction", mining_spare=0.0),
    "mining-as-published": replace(
        _DEFAULT,
        mining="threshold",
        mining_spare=0.0,
        mining_max_drop=1.0,
        mining_min_keep=0,
        mining_calibrated=False,
        mining_full_view=False,
        mining_patience=0,
    ),
}

_FOLDS = 4
_RESAMPLES = 1000
# The probes' inverse regularisation: of 0.001 to 1 the best for the ceiling, so that
# the comparison is not in WENO's favour; the floor takes its own best.
_CEILING_C, _FLOOR_C = 0.01, 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one predictor says of one slide that it was not trained on.

    Parameters
    ----------
    label : int
    score : float
        Of the slide.
    truth : ndarray of shape (N,), bool
    tile_scores : ndarray of shape (N,)
    """

    label: int
    score: float
    truth: npt.NDArray[np.bool_]
    tile_scores: Values


def bench_glands(
    data: Path,
    folder: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    config: TrainConfig | None = None,
    name: str = "default",
    device: str = "auto",
) -> Table:
    """Measure WENO on the gland cohort, out of fold, over several seeds.

    Parameters
    ----------
    data : Path
        Folder with ``slides.csv`` and ``tiles.csv``.
    folder : Path
        Becomes the project; features and finished runs that are there are kept.
    seeds : sequence of int
        Each shuffles the folds and starts the weights anew.
    config : TrainConfig, optional
        Its folds and seed are replaced.
    name : str
        What the runs of this config are called.
    device : str

    Returns
    -------
    dict
        Predictor to metric to ``mean``, ``low`` and ``high``: the mean over seeds,
        and the 95 % interval of that mean by a bootstrap over slides.
    """
    from weno.features import extract, read_features
    from weno.mil import fit_project, predict_project

    project = _gland_project(data, folder)
    follow(extract(project), "extract")
    features = [
        read_features(project.features_path(row.slide_id)) for row in project.slides
    ]
    truth = _tile_truth(data / "tiles.csv", features)
    outcomes: dict[str, list[list[Outcome]]] = {}
    for seed in seeds:
        run = f"{name}-seed-{seed}"
        chosen = replace(config or _DEFAULT, seed=seed, folds=_FOLDS)
        job = fit_project(project, chosen, name=run, device=device, resume=True)
        follow(job, f"seed {seed}")
        follow(predict_project(project, run, device=device), "predict")
        found = _weno(project, run, truth) | _probes(project, run, features, truth)
        for who, slides in found.items():
            outcomes.setdefault(who, []).append(slides)
    return {who: _summary(runs) for who, runs in outcomes.items()}


def _gland_project(data: Path, folder: Path) -> Project:
    if (folder / "project.toml").is_file():
        return Project.open(folder)
    spec = TileSpec(tile_um=79.36, mpp=0.62)
    return Project.create(folder, data / "slides.csv", spec=spec)


def _tile_truth(
    path: Path, features: Sequence[SlideFeatures]
) -> dict[str, npt.NDArray[np.bool_]]:
    from weno.mil.truth import read_truth, tile_truth

    known = read_truth(path)
    return {
        slide.slide_id: tile_truth(slide.grid, known[slide.slide_id]) == 1
        for slide in features
    }


def _weno(
    project: Project, run: str, truth: Mapping[str, npt.NDArray[np.bool_]]
) -> dict[str, list[Outcome]]:
    """Return teacher and student; the teacher's tile value is its pseudo-label."""
    from weno.prediction import read_prediction

    teacher: list[Outcome] = []
    student: list[Outcome] = []
    for row in project.slides:
        prediction = read_prediction(project.prediction_path(run, row.slide_id))
        label, known = row.label or 0, truth[row.slide_id]
        for who, score, tiles in (
            (teacher, prediction.teacher_probability, prediction.pseudo_label),
            (student, prediction.student_probability, prediction.probability),
        ):
            who.append(Outcome(label, score, known, tiles.astype(float)))
    return {"teacher": teacher, "student": student}


def _probes(
    project: Project,
    run: str,
    features: Sequence[SlideFeatures],
    truth: Mapping[str, npt.NDArray[np.bool_]],
) -> dict[str, list[Outcome]]:
    """Return ceiling and floor, trained on all slides that a fold does not test."""
    from weno.mil.run_folder import read_splits

    splits = read_splits(project.run_dir(run))
    labels = {row.slide_id: row.label or 0 for row in project.slides}
    found: dict[str, dict[str, Outcome]] = {"ceiling": {}, "floor": {}}
    for fold in range(1, _FOLDS + 1):
        tested = [s for s in features if splits[s.slide_id][fold] == "test"]
        others = [s for s in features if splits[s.slide_id][fold] != "test"]
        tiles = [s.features for s in others]
        known = np.concatenate([truth[s.slide_id] for s in others])
        ceiling = _linear(np.concatenate(tiles), known, _CEILING_C)
        means = np.array([values.mean(0) for values in tiles])  # (B, F)
        bags = np.array([labels[s.slide_id] for s in others])
        floor = _linear(means, bags, _FLOOR_C)
        for slide in tested:
            label, here = labels[slide.slide_id], truth[slide.slide_id]
            values = ceiling(slide.features)  # (N,)
            outcome = Outcome(label, float(values.max()), here, values)
            found["ceiling"][slide.slide_id] = outcome
            values = floor(slide.features)  # (N,)
            outcome = Outcome(label, float(values.mean()), here, values)
            found["floor"][slide.slide_id] = outcome
    return {
        who: [slides[s.slide_id] for s in features] for who, slides in found.items()
    }


def _linear(
    x: npt.NDArray[np.float32], y: npt.NDArray[Any], c: float
) -> Callable[[npt.NDArray[np.float32]], Values]:
    linear_model = import_extra("sklearn.linear_model", "torch")
    preprocessing = import_extra("sklearn.preprocessing", "torch")
    scaler = preprocessing.StandardScaler().fit(x)
    model = linear_model.LogisticRegression(C=c, max_iter=5000)
    model.fit(scaler.transform(x), y)
    return lambda values: model.decision_function(scaler.transform(values))


def _summary(runs: Sequence[Sequence[Outcome]]) -> dict[str, dict[str, float]]:
    """Return mean over runs, and its interval by resampling slides of each class."""
    labels = np.array([slide.label for slide in runs[0]])
    draws = list(_resamples(labels))
    summary = {}
    for name, metric in _METRICS.items():
        values = [np.mean([metric(run) for run in runs])]
        values += [
            np.mean([metric([run[k] for k in draw]) for run in runs]) for draw in draws
        ]
        low, high = np.percentile(values[1:], [2.5, 97.5])
        summary[name] = {
            "mean": float(values[0]),
            "low": float(low),
            "high": float(high),
        }
    return summary


def _resamples(labels: npt.NDArray[np.int_]) -> Iterator[npt.NDArray[np.intp]]:
    rng = np.random.default_rng(0)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    for _ in range(_RESAMPLES):
        yield np.concatenate([rng.choice(members, len(members)) for members in classes])


def _auc(labels: npt.ArrayLike, values: npt.ArrayLike) -> float:
    """Return the area under the ROC curve, from ranks: a thousand calls a second."""
    from scipy.stats import rankdata

    positive = np.asarray(labels, bool)
    ranks = rankdata(np.asarray(values, float))
    count = positive.sum()
    area = ranks[positive].sum() - count * (count + 1) / 2
    return float(area / (count * (len(positive) - count)))


def _tile_auc(slides: Sequence[Outcome]) -> float:
    return _auc(
        np.concatenate([slide.truth for slide in slides]),
        np.concatenate([slide.tile_scores for slide in slides]),
    )


def _tile_auc_in_positive(slides: Sequence[Outcome]) -> float:
    return float(
        np.mean([_auc(s.truth, s.tile_scores) for s in slides if s.truth.any()])
    )


_METRICS: dict[str, Callable[[Sequence[Outcome]], float]] = {
    "bag_auc": lambda slides: _auc(
        [s.label for s in slides], [s.score for s in slides]
    ),
    "tile_auc": _tile_auc,
    "tile_auc_in_positive": _tile_auc_in_positive,
}
