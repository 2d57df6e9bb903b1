from __future__ import annotations

from dataclasses import replace

import pytest

from weno.mil import EpochReport

QUIET = EpochReport(
    fold=0,
    folds=0,
    epoch=12,
    epochs=40,
    teacher_loss=0.4,
    student_loss=0.1,
    val_loss=0.5,
    val_teacher_auc=0.9,
    val_student_auc=0.9,
    val_student_top_auc=0.9,
    val_mixed_auc=None,
    mined=0.1,
    mining=True,
    val_loss_before_mining=0.5,
    label_limits=(0.0, 1.0),
    label_histogram=(0,) * 20,
    is_best=False,
    seconds=1.0,
)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({}, ""),
        ({"mined": 0.5}, ""),
        ({"mined": 0.51}, "hides 51% of the tiles of positive slides"),
        ({"val_loss": 0.61}, "is 0.61; before mining it was 0.50"),
        ({"val_loss": 0.61, "val_loss_before_mining": None, "mined": 0.0}, ""),
        ({"val_loss": None}, ""),
        ({"mining": False, "mined": 0.0}, "switched off"),
    ],
)
def test_mining_that_harms_is_told(change: dict[str, float], warning: str) -> None:
    told = replace(QUIET, **change).warning
    assert warning in told
    assert bool(told) == bool(warning)
