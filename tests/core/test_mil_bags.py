from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from weno.errors import FeatureError
from weno.features import SlideFeatures, write_features
from weno.mil.bags import (
    Bag,
    check_cohort,
    check_features,
    count_answers,
    load_bags,
)
from weno.mil.config import TrainConfig
from weno.mil.instance_labels import UNKNOWN
from weno.mil.splits import make_splits
from weno.project import SlideRow
from weno.review import ReviewStore, ReviewTile, Verdict
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from pathlib import Path

SPEC = TileSpec(tile_um=64, mpp=0.5)


def bag(slide_id: str, label: int | None, **values: Any) -> Bag:
    values = {
        "patient_id": slide_id,
        "instances": np.zeros((3, 4), np.float32),
        **values,
    }
    return Bag(slide_id=slide_id, label=label, **values)


def test_all_problems_of_a_cohort_are_said_at_once() -> None:
    cohort = [
        bag("a", 1, patient_id="p", split="train"),
        bag("b", 1, patient_id="p", split="test"),
        bag("c", None),
        bag("c", 1),
        bag("d", 3, instances=np.zeros((3, 5), np.float32)),
        bag("e", 1, split="tset"),
    ]
    with pytest.raises(FeatureError) as caught:
        check_cohort(cohort)
    for part in (
        "more than once: c",
        "no label: c",
        "neither 0 nor 1: d",
        "more than one split: p",
        "unknown split: tset",
        "not 4 features a tile: d (5)",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "cohort",
    [
        [],
        [bag("a", 1), bag("b", 1)],
        [bag("a", 1), bag("b", 0, instances=np.zeros((0, 4), np.float32))],
    ],
    ids=["nothing", "one class", "the other class has no tiles"],
)
def test_both_classes_are_needed(cohort: list[Bag]) -> None:
    with pytest.raises(FeatureError, match="both classes are needed"):
        check_cohort(cohort)


def slide_features(slide_id: str = "a", **values: Any) -> SlideFeatures:
    values = {
        "features": np.ones((2, 4), np.float32),
        "origins": np.array([[0, 0], [0, 128]], np.int64),
        "encoder": "texture",
        "spec": SPEC,
        "mpp": (0.5, 0.5),
        "slide_shape": (512, 512),
        "content_hash": "x",
        **values,
    }
    return SlideFeatures(slide_id=slide_id, **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder": "timm:vit"}, "'timm:vit', wanted 'texture'"),
        ({"spec": TileSpec(tile_um=128, mpp=0.5)}, r"tile_um is 128\.0, wanted 64\.0"),
        ({"features": np.ones((2, 5), np.float32)}, "5 features a tile, wanted 4"),
    ],
)
def test_features_of_another_making_are_refused_with_both_values(
    values: dict[str, Any], message: str
) -> None:
    features = slide_features(**values)
    with pytest.raises(FeatureError, match=message):
        check_features(features, "texture", SPEC.to_dict(), 4)


def fake_project(tmp_path: Path) -> Any:
    rows = [SlideRow(s, tmp_path / s, 1, f"p{s}", "train", None) for s in "ab"]
    return SimpleNamespace(
        slides=rows,
        slide=lambda slide_id: next(r for r in rows if r.slide_id == slide_id),
        features_path=lambda slide_id: tmp_path / f"{slide_id}.h5",
        review_dir=tmp_path / "review",
        classes=("negative", "positive"),
        positive="positive",
        runs_asking=lambda: None,
        encoder="texture",
        spec=SPEC,
    )


def test_answers_of_people_reach_their_tiles(tmp_path: Path) -> None:
    for slide_id in "ab":
        write_features(tmp_path / f"{slide_id}.h5", slide_features(slide_id))
    other = slide_features("c", content_hash="another file")
    write_features(tmp_path / "b.h5", dataclasses.replace(other, slide_id="b"))
    with ReviewStore(tmp_path / "review", "me") as store:
        second = ReviewTile("a", "x", (0, 128), (128, 128))
        store.answer(second, Verdict.POSITIVE, blind=True)
        store.answer(ReviewTile("a", "x", (0, 0), (64, 64)), Verdict.UNSURE, blind=True)
    first, untouched = load_bags(fake_project(tmp_path))
    assert first.verdicts.tolist() == [UNKNOWN, 1]
    assert untouched.instance_labels is None
    counted = {"positive": 1, "negative": 0, "unsure": 0}
    assert count_answers([first, untouched]) == counted


def test_features_of_another_slide_are_refused(tmp_path: Path) -> None:
    for slide_id in "ab":
        write_features(tmp_path / f"{slide_id}.h5", slide_features("a"))
    with pytest.raises(FeatureError, match=r"b\.h5: holds features of slide 'a'"):
        load_bags(fake_project(tmp_path))


def test_bags_are_read_from_the_projects_features(tmp_path: Path) -> None:
    project = fake_project(tmp_path)
    for slide_id in "ab":
        write_features(tmp_path / f"{slide_id}.h5", slide_features(slide_id))
    first, second = load_bags(project)
    assert (first.slide_id, first.patient_id, first.label) == ("a", "pa", 1)
    assert second.instances.shape == (2, 4)
    assert [one.slide_id for one in load_bags(project, ["b"])] == ["b"]


def test_missing_and_odd_features_are_all_named(tmp_path: Path) -> None:
    odd = dataclasses.replace(slide_features("b"), encoder="timm:vit")
    write_features(tmp_path / "b.h5", odd)
    with pytest.raises(FeatureError, match=r"(?s)a: no features.*b: encoder is"):
        load_bags(fake_project(tmp_path))


def cohort(count: int, **values: Any) -> list[Bag]:
    return [bag(f"s{i:02}", i % 2, **values) for i in range(count)]


def counts(split: dict[str, str]) -> dict[str, int]:
    return {name: list(split.values()).count(name) for name in ("train", "val", "test")}


def test_a_split_is_stratified_and_honours_the_seed() -> None:
    bags = cohort(20)
    (split,) = make_splits(bags, TrainConfig())
    assert counts(split) == {"train": 12, "val": 4, "test": 4}
    labels = {one.slide_id: one.label for one in bags}
    tested = [labels[s] for s, where in split.items() if where == "test"]
    assert sorted(tested) == [0, 0, 1, 1]
    assert make_splits(bags[::-1], TrainConfig()) == [split]
    assert make_splits(bags, TrainConfig(seed=1)) != [split]


def test_patients_are_never_divided() -> None:
    bags = [bag(f"s{i}", i // 3 % 2, patient_id=f"p{i // 3}") for i in range(36)]
    for config in (TrainConfig(), TrainConfig(folds=3)):
        for split in make_splits(bags, config):
            for i in range(0, 36, 3):
                assert len({split[f"s{k}"] for k in range(i, i + 3)}) == 1


def test_folds_test_every_slide_once_with_both_classes() -> None:
    bags = cohort(24)
    splits = make_splits(bags, TrainConfig(folds=4))
    for one in bags:
        assert [split[one.slide_id] for split in splits].count("test") == 1
    assert {counts(split)["test"] for split in splits} == {6}


def test_a_prescribed_split_wins() -> None:
    bags = [
        dataclasses.replace(one, split="test" if i < 6 else "train")
        for i, one in enumerate(cohort(12))
    ]
    (split,) = make_splits(bags, TrainConfig(test=0.5, val=0.0))
    assert counts(split) == {"train": 6, "val": 0, "test": 6}
    assert all(split[one.slide_id] == one.split for one in bags)


def test_validation_is_drawn_from_training_slides_if_none_is_prescribed() -> None:
    bags = [
        dataclasses.replace(one, split="test" if i < 6 else "train")
        for i, one in enumerate(cohort(12))
    ]
    (split,) = make_splits(bags, TrainConfig(val=0.34))
    assert counts(split) == {"train": 4, "val": 2, "test": 6}
    bags[-1] = dataclasses.replace(bags[-1], split="val")
    (split,) = make_splits(bags, TrainConfig(val=0.34))
    assert counts(split) == {"train": 5, "val": 1, "test": 6}


@pytest.mark.parametrize(
    ("bags", "config"),
    [
        (cohort(4), TrainConfig(folds=4)),
        (
            [
                dataclasses.replace(one, split="test" if one.label else None)
                for one in cohort(8)
            ],
            TrainConfig(),
        ),
    ],
    ids=["fewer than folds", "all positives are tested"],
)
def test_impossible_splits_are_refused(bags: list[Bag], config: TrainConfig) -> None:
    with pytest.raises(FeatureError):
        make_splits(bags, config)


def test_few_slides_leave_something_to_train_on() -> None:
    (split,) = make_splits(cohort(2), TrainConfig())
    assert counts(split) == {"train": 2, "val": 0, "test": 0}
