from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from weno.errors import FeatureError
from weno.mil import TrainConfig
from weno.mil.splits import leaks, split_slides
from weno.project import SlideRow

CONFIG = TrainConfig(val=0.25, test=0.25, seed=3)


def row(number: int, kind: int | None, split: str | None = None, patient: str = ""):
    """Make a line whose label says only whether it is of class 2."""
    name = f"s{number}"
    label = None if kind is None else int(kind == 2)
    return SlideRow(name, Path(name), label, patient or name, split, None, kind)


ROWS = [row(number, number % 3) for number in range(24)] + [row(24, None)]


def test_each_class_has_its_share_of_every_split() -> None:
    drawn = split_slides(ROWS, CONFIG)
    assert "s24" not in drawn, "without a label"
    for kind in range(3):
        ids = [one.slide_id for one in ROWS if one.class_index == kind]
        counts = Counter(drawn[slide_id] for slide_id in ids)
        # A quarter of 8, then a quarter of the 6 that are left.
        assert counts == {"test": 2, "val": 2, "train": 4}


def test_the_same_seed_draws_the_same() -> None:
    assert split_slides(ROWS, CONFIG) == split_slides(ROWS, CONFIG)
    other = TrainConfig(val=0.25, test=0.25, seed=4)
    assert split_slides(ROWS, CONFIG) != split_slides(ROWS, other)


def test_a_patient_is_in_one_split() -> None:
    rows = [row(number, number % 2, patient=f"p{number // 2}") for number in range(32)]
    drawn = split_slides(rows, CONFIG)
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert drawn[first.slide_id] == drawn[second.slide_id]


def test_given_splits_are_kept_or_drawn_anew() -> None:
    rows = [
        row(number, number % 2, "train" if number else "test") for number in range(16)
    ]
    kept = split_slides(rows, CONFIG)
    assert [name for name, split in kept.items() if split == "test"] == ["s0"]
    assert set(kept.values()) == {"train", "test"}
    rows += [row(number, number % 2) for number in range(16, 32)]
    more = split_slides(rows, CONFIG)
    assert [more[one.slide_id] for one in rows[:16]] == ["test"] + 15 * ["train"]
    assert Counter(more.values()) == {"test": 1, "val": 4, "train": 27}
    anew = split_slides(rows[:16], CONFIG, keep=False)
    assert Counter(anew.values())["test"] == 4


def test_leaks_are_named_and_never_kept() -> None:
    rows = [*ROWS, row(30, 0, "train", "p"), row(31, 1, "test", "p"), row(32, 1, "val")]
    assert leaks(rows) == {"p": ["test", "train"]}
    assert leaks(ROWS) == {}
    with pytest.raises(FeatureError, match="more than one split: p"):
        split_slides(rows, CONFIG)
    drawn = split_slides(rows, CONFIG, keep=False)
    assert drawn["s30"] == drawn["s31"]
