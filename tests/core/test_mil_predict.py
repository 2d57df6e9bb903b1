from __future__ import annotations

import dataclasses
import json
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from weno.errors import FeatureError, RunError
from weno.features import SlideFeatures, write_features
from weno.mil import (
    Bag,
    TrainConfig,
    evaluate,
    evaluate_project,
    fit,
    load_run,
    predict_features,
    predict_project,
    read_truth,
)
from weno.mil.evaluation import SlideTruth, tile_truth
from weno.prediction import read_prediction
from weno.project import SlideRow
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from pathlib import Path

    from weno.mil import Run

SPEC = TileSpec(tile_um=64, mpp=0.5)  # 128 px at 0.5 µm/px
CONTEXT = {
    "encoder": "texture",
    "spec": SPEC.to_dict(),
    "class_names": ["no", "tumour"],
}
SIDE = 6


def slide_features(slide_id: str, label: int, tiles: int = SIDE**2) -> SlideFeatures:
    rng = np.random.default_rng([ord(c) for c in slide_id])
    features = rng.standard_normal((tiles, 6)).astype(np.float32)
    features[: tiles // 3 * label, 0] += 4
    origins = np.indices((SIDE, SIDE)).reshape(2, -1).T[:tiles] * 128
    shape = (SIDE * 128, SIDE * 128)
    values = ("texture", SPEC, (0.5, 0.5), shape, "hash")
    return SlideFeatures(slide_id, features, origins.astype(np.int64), *values)


def cohort(count: int = 16) -> list[SlideFeatures]:
    return [slide_features(f"s{i:02}", i % 2) for i in range(count)]


def fitted(run_dir: Path, **settings: Any) -> Path:
    settings = {"epochs": 8, "min_epochs": 6, "student_warmup": 1, **settings}
    bags = [
        Bag(slide.slide_id, slide.slide_id, i % 2, slide.features)
        for i, slide in enumerate(cohort())
    ]
    config = TrainConfig(learning_rate=2e-3, student_dropout=0.2, **settings)
    list(fit(run_dir, bags, config, device="cpu", context=CONTEXT))
    return run_dir


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("runs") / "single")


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(tmp_path_factory.mktemp("runs") / "folded", folds=2)


@pytest.fixture
def run(single: Path) -> Run:
    return load_run(single, device="cpu")


def test_a_prediction_holds_what_it_promises(run: Run) -> None:
    prediction = predict_features(run, slide_features("new", 1))
    assert prediction is not None
    assert prediction.is_positive
    assert (prediction.run, prediction.class_name) == ("single", "tumour")
    assert prediction.attention.sum() == pytest.approx(1, abs=1e-5)
    assert prediction.re_attention.sum() == pytest.approx(1, abs=1e-5)
    for name in ("attention_percentile", "pseudo_label", "probability"):
        values = getattr(prediction, name)
        assert values.dtype == np.float32, name
        assert ((values >= 0) & (values <= 1)).all(), name
    assert np.abs(prediction.disagreement).max() <= 1
    assert prediction.student_probability == prediction.probability.max()
    assert prediction.student_top_mean < prediction.student_probability


def test_easy_positives_are_hidden_and_are_no_candidates(run: Run) -> None:
    prediction = predict_features(run, slide_features("new", 1))
    assert prediction is not None
    hidden = prediction.easy_positive
    assert 0 < hidden.sum() <= 0.1 * len(prediction)
    assert (prediction.re_attention[hidden] == 0).all()
    assert (prediction.candidate_rank[hidden] == 0).all()
    assert prediction.probability[hidden].min() >= prediction.probability[~hidden].max()
    ranks = prediction.candidate_rank[prediction.candidate_rank > 0]
    assert sorted(ranks) == list(range(1, (~hidden).sum() + 1))
    order = np.argsort(prediction.candidate_rank[~hidden])
    assert (np.diff(prediction.re_attention[~hidden][order]) <= 0).all()


def test_nothing_is_easy_on_a_slide_that_is_called_negative(run: Run) -> None:
    prediction = predict_features(run, slide_features("new", 0))
    assert prediction is not None
    assert not prediction.is_positive
    assert not prediction.easy_positive.any()
    assert np.array_equal(prediction.re_attention, prediction.attention)


def test_values_stay_on_their_tile_when_tiles_are_permuted(run: Run) -> None:
    slide = slide_features("new", 1)
    order = np.random.default_rng(0).permutation(len(slide.features))
    moved = dataclasses.replace(
        slide, features=slide.features[order], origins=slide.origins[order]
    )
    plain, permuted = predict_features(run, slide), predict_features(run, moved)
    assert plain is not None
    assert permuted is not None
    for field in dataclasses.fields(plain):
        before, after = getattr(plain, field.name), getattr(permuted, field.name)
        if isinstance(before, np.ndarray) and field.name != "candidate_rank":
            np.testing.assert_allclose(after, before[order], atol=1e-5)


def test_strange_tiles_are_unfamiliar(run: Run) -> None:
    slide = slide_features("new", 0)
    slide.features[3] += 20
    prediction = predict_features(run, slide)
    assert prediction is not None
    assert prediction.familiarity.argmax() == 3
    assert prediction.familiarity[3] > 5
    assert np.median(prediction.familiarity) == pytest.approx(1, abs=0.3)


def test_a_run_keeps_how_far_its_training_tiles_lie(folded: Path) -> None:
    run = load_run(folded, device="cpu")
    limits = []
    for fold, model in run.models.items():
        trained = [
            slide.features
            for slide in cohort()
            if run.splits[slide.slide_id][fold] == "train"
        ]
        distances = model.standardise.familiarity(
            torch.from_numpy(np.concatenate(trained))
        )
        limits.append(np.quantile(distances.numpy(), 0.99))
    assert run.familiarity_limit == pytest.approx(np.mean(limits), rel=1e-5)
    prediction = predict_features(run, slide_features("new", 0))
    assert prediction.familiarity_limit == run.familiarity_limit


@pytest.mark.parametrize("tiles", [1, 2])
def test_tiny_slides_are_predicted(run: Run, tiles: int) -> None:
    prediction = predict_features(run, slide_features("new", 1, tiles))
    assert prediction is not None
    assert np.isfinite(prediction.disagreement).all()
    assert prediction.candidate_rank.max() >= 1


def test_a_slide_without_tiles_has_no_prediction(run: Run) -> None:
    assert predict_features(run, slide_features("new", 1, 0)) is None


def test_constant_features_are_predicted(run: Run) -> None:
    slide = slide_features("new", 0)
    slide.features[:] = 0
    prediction = predict_features(run, slide)
    assert prediction is not None
    assert np.unique(prediction.attention_percentile).tolist() == [0.5]
    assert (prediction.disagreement == 0).all()


def test_another_encoder_is_refused(run: Run) -> None:
    slide = dataclasses.replace(slide_features("new", 1), encoder="timm:vit")
    with pytest.raises(FeatureError, match="'timm:vit', wanted 'texture'"):
        predict_features(run, slide)


def test_a_slide_is_left_to_the_fold_that_has_not_seen_it(folded: Path) -> None:
    run = load_run(folded, device="cpu")
    assert set(run.models) == {1, 2}
    for slide_id, splits in run.splits.items():
        (fold,) = [fold for fold, split in splits.items() if split == "test"]
        assert run.models_for(slide_id) == [run.models[fold]]
    assert run.models_for("new") == list(run.models.values())
    slide = slide_features("new", 1)
    both = predict_features(run, slide)
    alone = [
        predict_features(dataclasses.replace(run, models={k: model}), slide)
        for k, model in run.models.items()
    ]
    assert both is not None
    mean = np.mean([one.probability for one in alone if one], axis=0)
    np.testing.assert_allclose(both.probability, mean, rtol=1e-5)


def test_a_run_folder_predicts_from_anywhere(single: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(single, copy, ignore=shutil.ignore_patterns("last.*", "metrics*"))
    slide = slide_features("new", 1)
    here = predict_features(load_run(single, device="cpu"), slide)
    there = predict_features(load_run(copy, device="cpu"), slide)
    assert here is not None
    assert there is not None
    assert np.array_equal(here.probability, there.probability)


@pytest.mark.parametrize("name", ["card.json", "config.json", "best.safetensors"])
def test_a_damaged_run_is_refused_by_name(
    single: Path, tmp_path: Path, name: str
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(single, copy)
    (copy / name).write_text("{")
    with pytest.raises(RunError, match=name):
        load_run(copy, device="cpu")


def fake_project(folder: Path, run_dir: Path) -> Any:
    rows = [
        SlideRow(slide.slide_id, folder, i % 2, slide.slide_id, None, None)
        for i, slide in enumerate(cohort())
    ]
    rows.append(SlideRow("bare", folder, None, "bare", None, None))
    rows.append(SlideRow("lost", folder, None, "lost", None, None))
    for slide in [*cohort(), slide_features("bare", 0, 0)]:
        write_features(folder / f"{slide.slide_id}.h5", slide)
    project = SimpleNamespace(
        slides=rows,
        slide=lambda slide_id: next(r for r in rows if r.slide_id == slide_id),
        features_path=lambda slide_id: folder / f"{slide_id}.h5",
        run_dir=lambda name: run_dir,
        asked_by=lambda name: project,
        review_dir=folder / "review",
        predictions_dir=lambda name: folder / "predictions" / name,
        prediction_path=lambda name, s: folder / "predictions" / name / f"{s}.parquet",
        encoder="texture",
        spec=SPEC,
    )
    return project


def result_of(job: Any) -> tuple[list[Any], Any]:
    reports = []
    while True:
        try:
            reports.append(next(job))
        except StopIteration as stop:
            return reports, stop.value


def test_a_project_is_predicted_and_evaluated(folded: Path, tmp_path: Path) -> None:
    project = fake_project(tmp_path, folded)
    reports, result = result_of(predict_project(project, "folded", device="cpu"))
    assert len(reports) == 18
    assert len(result.predicted) == 16
    assert result.empty == ("bare",)
    assert "no features" in result.failed["lost"]
    table = (tmp_path / "predictions" / "folded" / "slides.csv").read_text()
    assert len(table.splitlines()) == 17
    read_prediction(project.prediction_path("folded", "s01"))

    truth = tmp_path / "truth.csv"
    rows = ["slide_id,y,x,size,positive"]
    for i, slide in enumerate(cohort()):
        positive = np.arange(SIDE**2) < 12 * (i % 2)
        rows += [
            f"{slide.slide_id},{y},{x},128,{int(one)}"
            for (y, x), one in zip(slide.origins, positive, strict=True)
        ]
    truth.write_text("\n".join(rows[:-1]))
    found = evaluate_project(project, "folded", truth)
    assert found["split"] == "out of fold"
    assert (found["slides"], found["positive_slides"]) == (16, 8)
    assert (found["tiles"], found["tiles_without_truth"]) == (16 * 36 - 1, 1)
    for who in ("teacher", "student"):
        assert found[who]["bag_auc"] > 0.9
    assert found["student"]["bag_auc_top_mean"] > 0.9
    assert found["student"]["tile_auc"] > 0.9
    assert found["student"]["tile_auc_in_positive"] > 0.9
    json.dumps(found)


def test_predicting_one_slide_keeps_the_rows_of_the_others(
    single: Path, tmp_path: Path
) -> None:
    project = fake_project(tmp_path, single)
    list(predict_project(project, "single", ["s00", "s01"], device="cpu"))
    list(predict_project(project, "single", ["s01", "s02"], device="cpu"))
    table = (tmp_path / "predictions" / "single" / "slides.csv").read_text()
    ids = [line.split(",")[0] for line in table.splitlines()]
    assert ids == ["slide_id", "s00", "s01", "s02"]


def test_only_the_test_split_is_evaluated(single: Path, tmp_path: Path) -> None:
    project = fake_project(tmp_path, single)
    with pytest.raises(RunError, match="run predict first"):
        evaluate_project(project, "single")
    list(predict_project(project, "single", device="cpu"))
    found = evaluate_project(project, "single")
    assert (found["split"], found["slides"]) == ("test", 4)
    assert found["student"]["tile_auc"] is None


def test_one_class_has_no_auc(run: Run) -> None:
    prediction = predict_features(run, slide_features("new", 1))
    assert prediction is not None
    found = evaluate([prediction], {"new": 1}, {})
    assert found["teacher"]["bag_auc"] is None
    assert found["teacher"]["tile_auc_in_positive"] is None


@pytest.mark.parametrize(
    ("boxes", "positive", "expected"),
    [
        ([(0, 0, 128, 128)], [True], 1),
        ([(0, 0, 128, 128)], [False], 0),
        ([(0, 0, 64, 128), (64, 0, 64, 128)], [True, False], 1),
        ([(0, 0, 63, 128), (63, 0, 65, 128)], [True, False], 0),
        ([(0, 0, 40, 128), (0, 0, 40, 128)], [True, True], None),
        ([(0, 0, 63, 128)], [True], None),
        ([(-64, -64, 192, 192)], [True], 1),
        ([(500, 500, 128, 128)], [True], None),
        ([], [], None),
    ],
)
def test_truth_of_a_tile_is_by_area(
    boxes: list[tuple[float, ...]], positive: list[bool], expected: int | None
) -> None:
    grid = slide_features("new", 1, 1).grid
    truth = SlideTruth(np.array(boxes, float).reshape(-1, 4), np.array(positive, bool))
    (found,) = tile_truth(grid, truth)
    assert (None if np.isnan(found) else found) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "slide_id,y,x\na,1,2",
        "slide_id,y,x,size,positive\na,b,1,1,1",
        "slide_id,y,x,size,positive\na,1,1,0,1",
        "slide_id,y,x,size,positive\na,1,nan,8,1",
    ],
)
def test_truth_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(RunError, match=r"truth\.csv"):
        read_truth(path)
