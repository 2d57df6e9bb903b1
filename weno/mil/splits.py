"""Which slides train, validate and test: by patient, stratified, by seed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from weno.errors import FeatureError

# With fewer patients of a class a split takes none rather than one of two.
_MIN_TO_SHARE = 4

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weno.mil.config import TrainConfig
    from weno.project import SlideRow

    Split = dict[str, str]  # slide_id to "train", "val" or "test"


class Member(Protocol):
    """What a split needs to know of a slide: a `Bag` or a line of slides.csv."""

    @property
    def slide_id(self) -> str: ...
    @property
    def patient_id(self) -> str: ...
    @property
    def label(self) -> int | None: ...
    @property
    def split(self) -> str | None: ...


def leaks(slides: Iterable[Member]) -> dict[str, list[str]]:
    """Return the patients whose slides are prescribed more than one split.

    What is learned from one slide of a patient would be tested on another.

    Returns
    -------
    dict of str to list of str
        The splits of each such patient.
    """
    found: dict[str, set[str]] = {}
    for slide in slides:
        if slide.split:
            found.setdefault(slide.patient_id, set()).add(slide.split)
    return {patient: sorted(each) for patient, each in found.items() if len(each) > 1}


def split_slides(
    rows: Sequence[SlideRow], config: TrainConfig, *, keep: bool = True
) -> Split:
    """Draw a split for every labelled slide of a project, each class by itself.

    Parameters
    ----------
    rows : sequence of SlideRow
    config : TrainConfig
        `seed`, `val` and `test` are used.
    keep : bool
        Leave splits that are prescribed already as they are.

    Raises
    ------
    FeatureError
        If a patient is in two splits that are to be kept, or a class would have no
        slide to train on.
    """
    given = [
        replace(row, label=row.class_index, split=row.split if keep else None)
        for row in rows
        if row.class_index is not None
    ]
    if found := leaks(given):
        raise FeatureError(f"patient in more than one split: {', '.join(found)}")
    rng, patients = np.random.default_rng(config.seed), _patients(given)
    tested = _draw(patients, config.test, rng, "test")
    # What is written into the table as train stays that, unlike for a single fit.
    return _complete(given, patients, tested, config.val, rng, from_train=False)


def make_splits(bags: Sequence[Member], config: TrainConfig) -> list[Split]:
    """Assign every slide a split, once or once per fold.

    A patient is never divided. A split that the cohort prescribes wins; where it
    prescribes no validation, that is drawn from its training slides. With folds,
    slides prescribed as "train" or "val" are never tested and the others take their
    turn in the test split.

    Parameters
    ----------
    bags : sequence of Member
        Labelled slides.
    config : TrainConfig
        `seed`, `val`, `test` and `folds` are used.

    Returns
    -------
    list of dict
        From slide_id to "train", "val" or "test"; one dict per fold.

    Raises
    ------
    FeatureError
        If a class would have no slide to train on.
    """
    rng = np.random.default_rng(config.seed)
    patients = _patients(bags)
    if not config.folds:
        tested = _draw(patients, config.test, rng, "test")
        return [_complete(bags, patients, tested, config.val, rng)]
    turns = _turns(patients, config.folds, rng)
    return [
        _complete(bags, patients, {p for p in turns if turns[p] == k}, config.val, rng)
        for k in range(config.folds)
    ]


def _patients(bags: Sequence[Member]) -> dict[str, tuple[int, str | None]]:
    """Return label (of any slide) and prescribed split of each patient."""
    patients: dict[str, tuple[int, str | None]] = {}
    for bag in sorted(bags, key=lambda bag: bag.slide_id):
        label, split = patients.get(bag.patient_id, (0, None))
        patients[bag.patient_id] = (max(label, bag.label or 0), split or bag.split)
    return patients


def _draw(
    patients: dict[str, tuple[int, str | None]],
    share: float,
    rng: np.random.Generator,
    name: str,
    *,
    from_train: bool = False,
) -> set[str]:
    """Choose patients for a split: the prescribed ones, else a share of each class.

    Of those prescribed to train only if `from_train`.
    """
    chosen = {p for p, (_, split) in patients.items() if split == name}
    if chosen:
        return chosen
    for label in sorted({own for own, _ in patients.values()}):
        free = [
            p
            for p, (own, split) in patients.items()
            if own == label and (not split or (from_train and split == "train"))
        ]
        count = min(round(share * len(free)), max(0, len(free) - 1))
        if share and len(free) >= _MIN_TO_SHARE:
            count = max(1, count)
        chosen.update(free[i] for i in rng.permutation(len(free))[:count])
    return chosen


def _turns(
    patients: dict[str, tuple[int, str | None]], folds: int, rng: np.random.Generator
) -> dict[str, int]:
    """Deal the patients that may be tested into folds, class by class."""
    turns: dict[str, int] = {}
    for label in (0, 1):
        free = [
            p
            for p, (own, split) in patients.items()
            if own == label and split in (None, "test")
        ]
        if len(free) < folds:
            raise FeatureError(
                f"{folds} folds need {folds} patients of each class to test, label "
                f"{label} has {len(free)}: take fewer folds"
            )
        # The second class goes on where the first one ended: folds stay equal in size.
        start = len(turns)
        for place, i in enumerate(rng.permutation(len(free))):
            turns[free[i]] = (start + place) % folds
    return turns


def _complete(
    bags: Sequence[Member],
    patients: dict[str, tuple[int, str | None]],
    tested: set[str],
    val: float,
    rng: np.random.Generator,
    *,
    from_train: bool = True,
) -> Split:
    """Divide what is not tested into training and validation."""
    rest = {p: patient for p, patient in patients.items() if p not in tested}
    validated = _draw(rest, val, rng, "val", from_train=from_train)
    splits = {
        bag.slide_id: "test"
        if bag.patient_id in tested
        else "val"
        if bag.patient_id in validated
        else "train"
        for bag in bags
    }
    trained = {bag.label for bag in bags if splits[bag.slide_id] == "train"}
    if len(trained) < 2:
        raise FeatureError(
            f"of the {len(bags)} slides with tiles, those left for training have only "
            f"label {trained or 'none'}: make val and test smaller, or add slides"
        )
    return splits
