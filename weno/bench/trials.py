"""Fits of bags whose instances are known, and what they are worth: paired trials."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch

from weno.atomic import replacing
from weno.mil.evaluation import auc
from weno.mil.packed import PackedBags
from weno.mil.predict import load_run
from weno.mil.scores import score_bags
from weno.mil.training import fit
from weno.terminal import follow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from weno.mil.bags import Bag
    from weno.mil.config import TrainConfig
    from weno.mil.network import Weno

    Trial = dict[str, float]

_RESAMPLES = 10_000
_DONE = "trials.json"
_CONTEXT = {"encoder": "", "spec": {}, "class_names": ["negative", "positive"]}


def run_trials(
    folder: Path,
    bags: Sequence[Bag],
    truth: Mapping[str, npt.NDArray[np.bool_]],
    config: TrainConfig,
    *,
    title: str,
    device: str = "auto",
) -> list[Trial]:
    """Fit, unless that was done before, and test every fold.

    Parameters
    ----------
    folder : Path
        Of the run; a run that was begun there goes on.
    bags : sequence of Bag
    truth : mapping
        From slide_id to which of its instances are positive, of shape (N,).
    config : TrainConfig
    title : str
        Shown beside the progress.
    device : str

    Returns
    -------
    list of dict
        One for each fold: AUCs of the test bags by "teacher_bag", "student_bag",
        "student_top_bag" and "mixed_bag", of their instances by "attention_tile" (the
        raw score that attention is the softmax of), "label_tile" (the pseudo-label) and
        "student_tile", pooled over the bags, and by "…_inside", the mean over positive
        bags; NaN where there is nothing to compare.
    """
    done = folder / _DONE
    if done.exists():
        trials: list[Trial] = json.loads(done.read_text(encoding="utf-8"))
        return trials
    job = fit(folder, bags, config, device=device, resume=True, context=_CONTEXT)
    follow(job, title)
    run = load_run(folder, device=device)
    by_id = {bag.slide_id: bag for bag in bags}
    trials = []
    for fold, model in run.models.items():
        tested = [by_id[s] for s, split in run.splits.items() if split[fold] == "test"]
        trials.append(_test(model, tested, truth, config, run.device))
    with replacing(done) as temporary:
        temporary.write_text(json.dumps(trials), encoding="utf-8")
    return trials


@torch.no_grad()
def _test(
    model: Weno,
    bags: Sequence[Bag],
    truth: Mapping[str, npt.NDArray[np.bool_]],
    config: TrainConfig,
    device: torch.device,
) -> Trial:
    packed = PackedBags.pack(bags, device, model.standardise)
    scores = score_bags(model, packed, config)
    values: dict[str, list[npt.NDArray[np.float64]]] = {}
    for b in range(len(bags)):
        judged = model.judge(packed.bag(b))
        said = {
            "attention": judged.teacher.scores,
            "label": model.pseudo_labels(judged.teacher),
            "student": judged.probability,
        }
        for who, value in said.items():
            values.setdefault(who, []).append(value.double().cpu().numpy())
    known = [truth[bag.slide_id] for bag in bags]
    trial = {f"{who}_bag": value for who, value in scores.aucs.items()}
    for who, parts in values.items():
        trial[f"{who}_tile"] = auc(np.concatenate(known), np.concatenate(parts))
        inside = [auc(k, v) for k, v in zip(known, parts, strict=True)]
        found = [value for value in inside if value is not None]
        trial[f"{who}_inside"] = float(np.mean(found)) if found else None
    return {name: np.nan if v is None else float(v) for name, v in trial.items()}


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return mean and 95 % bootstrap interval of the mean of trials.

    Trials of other folds share training bags, so the interval is somewhat too narrow:
    it says what other folds and seeds of the same data would give.
    """
    known = np.asarray([value for value in values if np.isfinite(value)])
    if not len(known):
        return dict.fromkeys(("mean", "low", "high"), float("nan"))
    rng = np.random.default_rng(0)
    draws = known[rng.integers(len(known), size=(_RESAMPLES, len(known)))].mean(1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"mean": float(known.mean()), "low": float(low), "high": float(high)}


def difference(
    ours: Sequence[Trial],
    theirs: Sequence[Trial],
    metric: str,
    other: str | None = None,
) -> dict[str, float]:
    """Return the mean of paired differences of a metric, and its interval."""
    pairs = zip(ours, theirs, strict=True)
    return interval([a[metric] - b[other or metric] for a, b in pairs])
