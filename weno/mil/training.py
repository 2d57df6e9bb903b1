"""Train a run: a generator of reports that leaves a self-contained folder."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from weno.errors import RunError
from weno.mil.bags import check_cohort, count_answers, load_bags
from weno.mil.checkpoint import (
    FitState,
    load_model,
    load_tensors,
    random_state,
    restore_checkpoint,
    save_checkpoint,
    save_tensors,
    set_random_state,
)
from weno.mil.crew import ALONE, Crew
from weno.mil.descent import make_optimisers, matrix_precision
from weno.mil.network import EpochResult, Weno, train_epoch
from weno.mil.packed import PackedBags, device_memory
from weno.mil.published import load_teacher
from weno.mil.reports import READING, EpochReport, StepReport
from weno.mil.run_folder import (
    BEST,
    CONFIG,
    INITIAL,
    LAST,
    append_metrics,
    begun_with,
    check_resumable,
    finish_run,
    fold_folder,
    held,
    keep_metrics,
    start_run,
)
from weno.mil.scores import BagScores, best_threshold, choose_device, score_bags
from weno.mil.splits import make_splits
from weno.mil.survey import Survey, survey

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from weno.mil.bags import Bag
    from weno.mil.config import TrainConfig
    from weno.mil.splits import Split
    from weno.mil.standardise import Moments
    from weno.project import Project

    Reports = Generator[StepReport | EpochReport, None, None]

_SECONDS_PER_REPORT = 0.25
_HISTOGRAM_BINS = 20
# Below this many validation slides of a class an AUC moves in steps too large to
# choose an epoch by; the loss is used instead.
_MIN_FOR_AUC = 10


def run_context(project: Project) -> dict[str, Any]:
    """Return what a run must know of its project to predict without it."""
    return {
        "encoder": project.encoder,
        "spec": project.spec.to_dict(),
        "tissue": project.tissue,
        "class_names": list(project.class_names),
    }


def fit_project(
    project: Project,
    config: TrainConfig,
    *,
    name: str | None = None,
    device: str = "auto",
    resume: bool = False,
    teacher_weights: Path | None = None,
    crew: Crew = ALONE,
) -> Generator[StepReport | EpochReport, None, Path]:
    """Fit a run in a project, on its labelled slides; see `fit`.

    Parameters
    ----------
    project : Project
        Not learnt from are slides without a label, and those whose extraction has
        failed.
    config : TrainConfig
    name : str, optional
        Of the run; the time now if not given, or, with `resume`, the newest run.
    device : str
    resume : bool
    teacher_weights : Path, optional
    crew : Crew
    """
    names = project.run_names()
    if name is None:
        newest = names[-1] if resume and names else None
        name = crew.agree(newest or time.strftime("%Y-%m-%d_%H-%M-%S"))
    failed = project.failed_slides()
    labelled = [
        row.slide_id
        for row in project.slides
        if row.label is not None
        and (project.features_path(row.slide_id).exists() or row.slide_id not in failed)
    ]
    return fit(
        project.run_dir(name),
        load_bags(project, labelled),
        config,
        device=device,
        resume=resume,
        teacher_weights=teacher_weights,
        crew=crew,
        context=run_context(project),
    )


def fit(
    run_dir: Path,
    bags: Sequence[Bag],
    config: TrainConfig,
    *,
    device: str = "auto",
    resume: bool = False,
    teacher_weights: Path | None = None,
    crew: Crew = ALONE,
    context: Mapping[str, Any],
) -> Generator[StepReport | EpochReport, None, Path]:
    """Train teacher and student in turn; yield at least once an epoch.

    Every epoch is on disk before it is reported, so leaving the loop loses nothing:
    called again with `resume`, the fit goes on where it stood, and on the CPU ends
    with the same weights as one that was never stopped.

    Parameters
    ----------
    run_dir : Path
        Folder of the run.
    bags : sequence of Bag
        All labelled; bags without tiles are left out and listed in the card.
    config : TrainConfig
    device : str
        "auto", "cpu", "cuda" or another name that torch knows.
    resume : bool
        Go on with a run that was begun; begins one where there is none.
    teacher_weights : Path, optional
        Checkpoint of a published CLAM-SB or DSMIL for the teacher to begin with, see
        `weno.mil.published.load_teacher`. It was trained on features as they are, so
        the config should neither project nor standardise them.
    crew : Crew
        Processes that train together, see `weno.mil.crew.launch`: each calls this with
        the same arguments, and its own device. The first one writes the folder, which
        all of them must see.
    context : mapping
        "encoder", "spec" and "class_names", see `run_context`.

    Returns
    -------
    Path
        `run_dir`.

    Raises
    ------
    FeatureError
        If the bags cannot be learnt from.
    RunError
        If there is a run already, it cannot be resumed, or another process is at it.
    """
    check_cohort(bags)
    full = [bag for bag in bags if len(bag)]
    splits = make_splits(full, config)
    target = choose_device(device)
    with held(run_dir, crew):
        begun = crew.agree((run_dir / CONFIG).exists())
        if begun and not resume:
            raise RunError(
                f"{run_dir}: there is a run already; resume it or name another"
            )
        if begun:  # a sum depends on how many threads divide it
            torch.set_num_threads(begun_with(run_dir)["threads"])
        known = yield from _surveyed(full, config, crew)
        if begun:
            check_resumable(run_dir, known.digest, config)
        else:

            def begin() -> None:
                if teacher_weights is not None:
                    teacher = Weno(full[0].width, config).teacher
                    _keep_weights(run_dir, teacher, teacher_weights)
                start_run(run_dir, bags, splits, config, known.digest)

            crew.by_first(begin)
        outcomes = []
        with matrix_precision(config, target):
            for number, split in enumerate(splits, 1 if config.folds else 0):
                fold = _Fold(
                    run_dir, full, known.moments, split, config, number, target, crew
                )
                yield from fold.train()
                outcomes.append(fold.outcome())
                del fold  # the next one's bags take its place
        crew.by_first(lambda: finish_run(run_dir, bags, context, outcomes))
    return run_dir


def _surveyed(
    bags: Sequence[Bag], config: TrainConfig, crew: Crew
) -> Generator[StepReport, None, Survey]:
    """Read all bags once, reporting every now and then."""
    steps, reported = survey(bags, crew), time.perf_counter()
    while True:
        try:
            done, total = next(steps)
        except StopIteration as stop:
            result: Survey = stop.value
            return result
        if time.perf_counter() - reported > _SECONDS_PER_REPORT:
            yield StepReport(0, config.folds, 1, config.epochs, READING, done, total)
            reported = time.perf_counter()


def _keep_weights(run_dir: Path, teacher: nn.Module, path: Path) -> None:
    """Copy a foreign checkpoint into the run, where it is found when it resumes."""
    load_teacher(teacher, path)
    save_tensors(run_dir / INITIAL, teacher.state_dict())


class _Fold:
    """One model in training: everything that changes from epoch to epoch."""

    def __init__(
        self,
        run_dir: Path,
        bags: Sequence[Bag],
        moments: Moments,
        split: Split,
        config: TrainConfig,
        fold: int,
        device: torch.device,
        crew: Crew,
    ) -> None:
        self.config, self.fold, self.crew = config, fold, crew
        self.folder = fold_folder(run_dir, fold, config.folds)
        parts = {
            name: [b for b, bag in enumerate(bags) if split[bag.slide_id] == name]
            for name in ("train", "val", "test")
        }
        torch.manual_seed(config.seed * 1000 + fold)
        self.model = Weno(bags[0].width, config)
        if (run_dir / INITIAL).exists():
            self.model.teacher.load_state_dict(load_tensors(run_dir / INITIAL))
        self.model.standardise.adapt(moments[parts["train"]])
        self.model.to(device)
        self.optimisers = make_optimisers(self.model, config)
        memory = config.feature_memory * 1e9 or device_memory(device) / 2
        if device.type == "cpu":
            memory /= crew.size
        share = memory / sum(len(bag) for bag in bags)  # bytes a tile
        self.bags = {
            name: PackedBags.pack(
                [bags[b] for b in part],
                device,
                self.model.standardise,
                memory=share * sum(len(bags[b]) for b in part),
                moments=moments[part],
            )
            for name, part in parts.items()
            if part
        }
        self.trained = [bags[b] for b in parts["train"]]
        self.state = FitState()
        self.reported = time.perf_counter()

    def train(self) -> Reports:
        """Run the epochs that are left."""
        last = self.folder / LAST
        if last.exists():
            self.state = restore_checkpoint(last, self.model, self.optimisers)
        self.crew.by_first(lambda: keep_metrics(self.folder, self.state.epoch))
        while not self.state.is_finished(self.config):
            yield from self._epoch()

    def _epoch(self) -> Reports:
        started = time.perf_counter()
        result = yield from self._steps()
        scores = self._scores("val") if "val" in self.bags else None
        report = self._judge(result, scores, started)
        if report.is_best:
            self._choose_threshold(scores)
        self.crew.by_first(lambda: self._save(report))
        yield from self._pause(report)

    def _save(self, report: EpochReport) -> None:
        if report.is_best:
            save_tensors(self.folder / BEST, self._tensors())
        # Metrics before the checkpoint: a kill between the two is repaired on resume.
        append_metrics(self.folder, asdict(report))
        save_checkpoint(self.folder / LAST, self.model, self.optimisers, self.state)

    def _steps(self) -> Generator[StepReport | EpochReport, None, EpochResult]:
        """Train one epoch, reporting every now and then."""
        config, epoch = self.config, self.state.epoch + 1
        if rank := self.crew.rank:  # other dropout and augmentation for other bags
            own = (config.seed * 1000 + self.fold) * 10**5 + epoch
            torch.manual_seed(own + rank * 10**15)
        steps = train_epoch(
            self.model,
            self.optimisers,
            self.bags["train"],
            config,
            epoch,
            mining=self.state.may_mine(config),
            crew=self.crew,
        )
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                result: EpochResult = stop.value
                return result
            if time.perf_counter() - self.reported > _SECONDS_PER_REPORT:
                yield from self._pause(
                    StepReport(
                        self.fold,
                        config.folds,
                        epoch,
                        config.epochs,
                        step.stage,
                        step.done,
                        step.total,
                    )
                )

    def _pause(self, report: StepReport | EpochReport) -> Reports:
        """Yield; whoever draws random numbers meanwhile does not change the run."""
        device = self.model.threshold.device
        state = random_state(device)
        yield report
        set_random_state(state, device)
        self.reported = time.perf_counter()

    def _judge(
        self, result: EpochResult, scores: BagScores | None, started: float
    ) -> EpochReport:
        """Look at the validation, and move the state of the fit on."""
        config = self.config
        if not math.isfinite(result.teacher_loss + (result.student_loss or 0)):
            raise RunError(
                f"training diverged in epoch {self.state.epoch + 1} (a loss is not "
                f"finite): lower learning_rate, which is {config.learning_rate}"
            )
        validation = scores.metrics() if scores else {}
        value = self._value(scores)
        best = self.state.best_epoch
        loss = validation.get("teacher_loss")
        self.state = self.state.after(value, loss, result.mined)
        positive = result.labels[self.bags["train"].positive]
        histogram = torch.histc(positive.float().cpu(), _HISTOGRAM_BINS, 0, 1)
        low, high = self.model.label_limits[0].tolist()
        return EpochReport(
            fold=self.fold,
            folds=config.folds,
            epoch=self.state.epoch,
            epochs=config.epochs,
            teacher_loss=result.teacher_loss,
            student_loss=result.student_loss,
            val_loss=loss,
            val_teacher_auc=validation.get("teacher_bag_auc"),
            val_student_auc=validation.get("student_bag_auc"),
            val_student_top_auc=validation.get("student_bag_auc_top_mean"),
            val_mixed_auc=validation.get("mixed_bag_auc"),
            mined=result.mined,
            mining=self.state.may_mine(config),
            val_loss_before_mining=self.state.loss_before_mining
            if result.mined
            and loss is not None
            and math.isfinite(self.state.loss_before_mining)
            else None,
            label_limits=(low, high),
            label_histogram=tuple(histogram.int().tolist()),
            is_best=self.state.best_epoch != best,
            seconds=time.perf_counter() - started,
        )

    def _value(self, scores: BagScores | None) -> float:
        """Return what epochs are compared by; smaller is better.

        The first epochs do not compete: the student has yet to learn. Without
        validation the latest epoch is the best.
        """
        epoch = self.state.epoch + 1
        if epoch < self.config.first_choice:
            return float("inf")
        if scores is None:
            return -float(epoch)
        if min(np.bincount(scores.labels, minlength=2)) < _MIN_FOR_AUC:
            return scores.loss
        teacher, student = scores.aucs["teacher"], scores.aucs["student_top"]
        return -((teacher or 0.0) + (student or 0.0)) / 2

    def _choose_threshold(self, scores: BagScores | None) -> None:
        """Set the decision threshold, on training bags where validation cannot."""
        if scores is None or len(set(scores.labels)) < 2:
            scores = self._scores("train")
        if len(set(scores.labels)) == 2:
            self.model.threshold.fill_(best_threshold(scores.labels, scores.teacher))

    def _scores(self, split: str) -> BagScores:
        return score_bags(self.model, self.bags[split], self.config, self.crew)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {f"model.{k}": v for k, v in self.model.state_dict().items()}

    def outcome(self) -> dict[str, Any]:
        """Return the best model's numbers, for the card."""
        load_model(self.model, load_tensors(self.folder / BEST))
        return {
            "fold": self.fold,
            "epochs": self.state.epoch,
            "best_epoch": self.state.best_epoch,
            "threshold": self.model.threshold.item(),
            "label_limits": self.model.label_limits.tolist(),
            "answered_tiles": count_answers(self.trained),
            "familiarity_limit": self.model.standardise.familiarity_limit(self.trained),
            "metrics": {
                name: self._scores(name).metrics()
                for name in ("val", "test")
                if name in self.bags
            },
        }
