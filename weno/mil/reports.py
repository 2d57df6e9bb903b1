"""What a fit tells while it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weno.prediction import Prediction

READING = "reading"  # the stage before the first epoch

_OF_CHANCE = 0.9  # of a coin's loss: what is above has hardly been learnt
_MUCH = 0.5  # share of the tiles of positive bags that should not be hidden


@dataclass(frozen=True, slots=True)
class StepReport:
    """How far an epoch has come; promises nothing.

    Parameters
    ----------
    fold, folds : int
        1-based, and how many there are; 0 and 0 for a single split.
    epoch, epochs : int
        1-based, and how many there are at most.
    stage : str
        `READING`, once before all epochs, then "teacher" and "student" in each.
    step, steps : int
        Steps of the stage done, and how many there are; of reading, slides.
    """

    fold: int
    folds: int
    epoch: int
    epochs: int
    stage: str
    step: int
    steps: int

    @property
    def done(self) -> int:
        """Epochs done, over all folds."""
        return max(0, self.fold - 1) * self.epochs + self.epoch - 1

    @property
    def total(self) -> int:
        """Epochs at most, over all folds."""
        return max(1, self.folds) * self.epochs

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, in [0, 1], if it does not stop early."""
        return self.done / self.total

    @property
    def text(self) -> str:
        """What is being done, in a few words."""
        if self.stage == READING:
            return f"reading features, slide {self.step:,} of {self.steps:,}"
        return f"{_where(self)}, {self.stage}"


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What an epoch did; its state is on disk.

    Parameters
    ----------
    fold, folds, epoch, epochs : int
        As in `StepReport`.
    teacher_loss : float
    student_loss : float or None
        None while the student has not begun.
    val_loss : float or None
        The teacher's, on validation bags; None without any.
    val_teacher_auc, val_student_auc, val_student_top_auc : float or None
        Of bags; the student's by its maximum and by its mean over the top tiles.
        None where validation has one class only.
    val_mixed_auc : float or None
        Of the teacher with the student's logits in place of its scores.
    mined : float
        Share of the tiles of positive bags that was hidden from the teacher.
    mining : bool
        False once mining was switched off because validation got worse.
    val_loss_before_mining : float or None
        The best `val_loss` before anything was hidden; None while nothing is.
    label_limits : (float, float)
        Scores that stand for pseudo-label 0 and 1.
    label_histogram : tuple of int
        Pseudo-labels of the tiles of positive bags, in 20 bins over [0, 1].
    is_best : bool
        Whether this is the best epoch so far.
    seconds : float
    """

    fold: int
    folds: int
    epoch: int
    epochs: int
    teacher_loss: float
    student_loss: float | None
    val_loss: float | None
    val_teacher_auc: float | None
    val_student_auc: float | None
    val_student_top_auc: float | None
    val_mixed_auc: float | None
    mined: float
    mining: bool
    val_loss_before_mining: float | None
    label_limits: tuple[float, float]
    label_histogram: tuple[int, ...]
    is_best: bool
    seconds: float

    @property
    def done(self) -> int:
        """Epochs done, over all folds."""
        return max(0, self.fold - 1) * self.epochs + self.epoch

    @property
    def total(self) -> int:
        """Epochs at most, over all folds."""
        return max(1, self.folds) * self.epochs

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, in [0, 1], if it does not stop early."""
        return self.done / self.total

    @property
    def warning(self) -> str:
        """What of the mining should worry whoever trains; empty if nothing does."""
        before, now = self.val_loss_before_mining, self.val_loss
        if not self.mining:
            return "Mining was switched off: validation had got worse with it."
        if self.mined > _MUCH:
            return (
                f"Mining hides {self.mined:.0%} of the tiles of positive slides: few "
                "are left to tell them by. Lower the ceiling or raise the threshold."
            )
        if before is not None and now is not None and now > before:
            return (
                f"The validation loss is {now:.2f}; before mining it was {before:.2f}. "
                "If it stays so, train without mining."
            )
        return ""

    @property
    def text(self) -> str:
        """What has been done, in a few words."""
        return f"{_where(self)}, teacher loss {self.teacher_loss:.3f}"


@dataclass(frozen=True, slots=True)
class PredictReport:
    """How far a prediction job is; the slide's file is on disk.

    Parameters
    ----------
    slide_id : str
    done, total : int
        Slides.
    error : str or None
        Why there is no prediction of this slide.
    """

    slide_id: str
    done: int
    total: int
    error: str | None

    @property
    def fraction(self) -> float:
        """Share of the whole job that is done, in [0, 1]."""
        return self.done / self.total

    @property
    def text(self) -> str:
        """What has been done, in a few words."""
        return self.slide_id


@dataclass(frozen=True, slots=True)
class PredictResult:
    """What a prediction job has done.

    Parameters
    ----------
    predicted : tuple of str
        Ids of the slides that have a prediction now.
    empty : tuple of str
        Slides without any tile: there is nothing to predict.
    failed : mapping
        From slide_id to the reason.
    unnamed : tuple of str
        Slides whose features do not say what made them, though the run knows what it
        was trained on.
    """

    predicted: tuple[str, ...]
    empty: tuple[str, ...]
    failed: Mapping[str, str]
    unnamed: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> PredictResult:
        """Return what `told` says, which has been JSON and knows no tuples."""
        return cls(
            tuple(told["predicted"]),
            tuple(told["empty"]),
            told["failed"],
            tuple(told["unnamed"]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class PreviewReport:
    """What a model in training says of a slide.

    Parameters
    ----------
    epoch : int
        Whose weights have said it.
    prediction : Prediction
    """

    epoch: int
    prediction: Prediction


def chance_warning(metrics: Mapping[str, Any]) -> str:
    """Say so if the validation of a run is hardly better than a coin, or worse.

    Its attention can then have settled on anything. Empty if nothing is amiss.

    Parameters
    ----------
    metrics : mapping
        As in the run's card.
    """
    scores = metrics.get("val") or {}
    loss, student = scores.get("teacher_loss"), scores.get("student_bag_auc_top_mean")
    signs = []
    if loss is not None and loss > _OF_CHANCE * math.log(2):
        signs.append(f"the loss, {loss:.2f}, is about a coin's, {math.log(2):.2f}")
    if student is not None and student < 0.5:
        signs.append(f"the student ranks slides the wrong way round, AUC {student:.2f}")
    if not signs:
        return ""
    return (
        f"In validation {' and '.join(signs)}: do not trust this run; try other "
        "seeds, more slides, or folds to see how much it varies"
    )


def _where(report: StepReport | EpochReport) -> str:
    fold = f"fold {report.fold} of {report.folds}, " if report.folds else ""
    return f"{fold}epoch {report.epoch}"
