from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from weno.mil import TrainConfig, evaluate, evaluate_project
from weno.mil.bootstrap import Bootstrap, interval
from weno.mil.evaluation_tables import remarks, tables
from weno.mil.metrics import as_trained, calibration
from weno.mil.truth import SlideTruth, tile_truth
from weno.prediction import Prediction, write_prediction
from weno.project import SlideRow
from weno.tiles import TileSpec

SPEC = TileSpec(tile_um=64, mpp=0.5)  # 128 px at 0.5 µm/px
SIDE = 8
SIZE = SIDE * 128


def prediction_of(
    slide_id: str,
    teacher: float = 0.5,
    probability: Sequence[float] | None = None,
    pseudo_label: Sequence[float] | None = None,
    threshold: float = 0.5,
) -> Prediction:
    origins = np.indices((SIDE, SIDE)).reshape(2, -1).T * 128
    values = np.full(SIDE**2, 0.5) if probability is None else np.array(probability)
    origins = origins[: len(values)].astype(np.int64)
    values = values.astype(np.float32)
    label = values if pseudo_label is None else np.array(pseudo_label, np.float32)
    return Prediction(
        slide_id=slide_id,
        run="run",
        class_name="tumour",
        teacher_probability=teacher,
        student_probability=float(values.max()),
        student_top_mean=float(np.sort(values)[-5:].mean()),
        threshold=threshold,
        encoder="texture",
        spec=SPEC,
        mpp=(0.5, 0.5),
        slide_shape=(SIZE, SIZE),
        content_hash="hash",
        origins=origins,
        **dict.fromkeys(
            ("score", "attention", "attention_percentile", "re_attention"), values
        ),
        **dict.fromkeys(("disagreement", "familiarity"), values),
        pseudo_label=label,
        probability=values,
        easy_positive=np.zeros(len(values), bool),
        candidate_rank=np.zeros(len(values), np.int32),
    )


def truth_of(positive: np.ndarray[Any, Any], known: Any = slice(None)) -> SlideTruth:
    """Truth of tiles in the order of the grid, as one square each."""
    origins = np.indices((SIDE, SIDE)).reshape(2, -1).T * 128.0
    boxes = np.column_stack([origins, np.full((SIDE**2, 2), 128.0)])
    return SlideTruth(boxes[known], np.asarray(positive, bool)[known])


@dataclasses.dataclass
class Case:
    predictions: list[Prediction]
    labels: dict[str, int]
    truth: dict[str, SlideTruth]
    patients: dict[str, str]
    known: list[np.ndarray[Any, Any]]

    def evaluated(self, **options: Any) -> dict[str, Any]:
        options = {"patients": self.patients, "negative_weight": 0.1, **options}
        found = evaluate(self.predictions, self.labels, self.truth, **options)
        json.dumps(found, allow_nan=False)
        return found


def case_of(slides: int = 14, per_patient: int = 2, decimals: int = 2) -> Case:
    """Slides of patients; few digits, so that there are equal values."""
    rng = np.random.default_rng(3)
    case = Case([], {}, {}, {}, [])
    for k in range(slides):
        slide_id, label = f"s{k:02}", k // per_patient % 2
        patch = np.zeros((SIDE, SIDE), bool)
        if label:
            y, x = rng.integers(0, SIDE - 3, 2)
            patch[y : y + 3, x : x + 2] = True
        positive = patch.ravel()
        student, teacher = (
            np.clip(rng.normal(0.4 + gap * positive, 0.2), 0, 1).round(decimals)
            for gap in (0.3, 0.1)
        )
        of_slide = float(np.clip(rng.normal(0.4 + 0.2 * label, 0.2), 0.01, 0.99))
        threshold = float(rng.choice([0.4, 0.6]))
        case.predictions.append(
            prediction_of(slide_id, of_slide, student, teacher, threshold)
        )
        case.labels[slide_id] = label
        case.truth[slide_id] = truth_of(positive)
        case.patients[slide_id] = f"p{k // per_patient}"
        case.known.append(positive.astype(float))
    return case


def numbers_of(
    predictions: Sequence[Prediction],
    labels: Sequence[int],
    known: Sequence[np.ndarray[Any, Any]],
) -> dict[str, dict[str, float]]:
    """All numbers but FROC by scikit-learn, of slides as they are given."""
    bags = np.array(labels)
    truth = np.concatenate(known)
    teacher = np.array([p.teacher_probability for p in predictions])
    called = np.array([p.teacher_probability >= p.threshold for p in predictions])
    student = [p.student_probability for p in predictions]
    top = [p.student_top_mean for p in predictions]
    found: dict[str, dict[str, float]] = {
        "teacher": {
            "bag_auc": sk.roc_auc_score(bags, teacher),
            "bag_ap": sk.average_precision_score(bags, teacher),
            "bag_balanced_accuracy": sk.balanced_accuracy_score(bags, called),
            "bag_sensitivity": called[bags == 1].mean(),
            "bag_specificity": (~called[bags == 0]).mean(),
        },
        "student": {
            "bag_auc": sk.roc_auc_score(bags, student),
            "bag_ap": sk.average_precision_score(bags, student),
            "bag_auc_top_mean": sk.roc_auc_score(bags, top),
            "bag_ap_top_mean": sk.average_precision_score(bags, top),
        },
    }
    for who, field in (("teacher", "pseudo_label"), ("student", "probability")):
        tiles = [getattr(p, field) for p in predictions]
        mixed = [k for k, values in enumerate(known) if 0 < values.mean() < 1]
        for name, metric in (
            ("tile_auc", sk.roc_auc_score),
            ("tile_ap", sk.average_precision_score),
        ):
            found[who][name] = metric(truth, np.concatenate(tiles))
            within = [metric(known[k], tiles[k]) for k in mixed]
            found[who][f"{name}_in_positive"] = float(np.mean(within))
    return found


def test_numbers_are_those_of_scikit_learn() -> None:
    case = case_of()
    found = case.evaluated()
    expected = numbers_of(case.predictions, list(case.labels.values()), case.known)
    for who, numbers in expected.items():
        for name, value in numbers.items():
            assert found[who][name] == pytest.approx(value), (who, name)
    truth = np.concatenate(case.known)
    assert found["tile_prevalence"] == pytest.approx(truth.mean())
    assert found["tile_prevalence_in_positive"] == pytest.approx(6 / SIDE**2)
    assert (found["slides"], found["positive_slides"], found["patients"]) == (14, 6, 7)
    assert (found["tiles"], found["tiles_without_truth"]) == (14 * SIDE**2, 0)


def test_a_slide_without_tiles_has_no_tile_truth() -> None:
    bare = prediction_of("a").grid
    bare = dataclasses.replace(bare, origins=bare.origins[:0])
    assert tile_truth(bare, truth_of(np.ones(SIDE**2))).tolist() == []


def test_decisions_are_at_the_threshold_of_each_prediction() -> None:
    predictions = [
        prediction_of("a", 0.3, threshold=0.2),  # right
        prediction_of("b", 0.3, threshold=0.4),  # missed
        prediction_of("c", 0.3, threshold=0.3),  # right: at the threshold
        prediction_of("d", 0.9, threshold=0.95),  # right
        prediction_of("e", 0.9, threshold=0.5),  # false alarm
    ]
    found = evaluate(predictions, {"a": 1, "b": 1, "c": 1, "d": 0, "e": 0}, {})
    assert found["teacher"]["bag_sensitivity"] == pytest.approx(2 / 3)
    assert found["teacher"]["bag_specificity"] == pytest.approx(1 / 2)
    assert found["teacher"]["bag_balanced_accuracy"] == pytest.approx(7 / 12)
    assert "bag_sensitivity" not in found["student"]


def test_a_patient_is_as_positive_as_the_worst_slide() -> None:
    values = {"a1": 0.9, "a2": 0.1, "b1": 0.5, "b2": 0.6, "c1": 0.2}
    labels = {"a1": 0, "a2": 1, "b1": 0, "b2": 0, "c1": 0}
    predictions = [prediction_of(name, value) for name, value in values.items()]
    patients = {name: name[0] for name in values}
    found = evaluate(predictions, labels, {}, patients=patients)
    assert found["teacher"]["bag_auc"] == 0
    assert found["teacher"]["patient_auc"] == 1
    alone = evaluate(predictions, labels, {})
    assert alone["teacher"]["patient_auc"] is None


def naive_intervals(case: Case, draws: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Copy the slides of each resample's patients, and ask scikit-learn."""
    names = np.unique(list(case.patients.values()))
    found: dict[str, dict[str, list[float]]] = {}
    for draw in draws:
        copies = [
            k
            for name, count in zip(names, draw, strict=True)
            for _ in range(int(count))
            for k, p in enumerate(case.predictions)
            if case.patients[p.slide_id] == name
        ]
        numbers = numbers_of(
            [case.predictions[k] for k in copies],
            [case.labels[case.predictions[k].slide_id] for k in copies],
            [case.known[k] for k in copies],
        )
        for who, values in numbers.items():
            for name, value in values.items():
                found.setdefault(who, {}).setdefault(name, []).append(value)
    return {
        who: {name: np.percentile(v, [2.5, 97.5]) for name, v in values.items()}
        for who, values in found.items()
    }


def test_quick_intervals_are_those_of_copied_patients() -> None:
    case = case_of()
    intervals = case.evaluated(resamples=60, seed=5)["intervals"]
    bags = np.array(list(case.labels.values()))
    patients = list(case.patients.values())
    draws = Bootstrap.over(patients, bags, resamples=60, seed=5).draws
    expected = naive_intervals(case, draws)
    for who, limits in expected.items():
        for name, pair in limits.items():
            assert intervals[who][name] == pytest.approx(pair), (who, name)
    assert pair[0] < pair[1]


def test_a_resample_has_as_many_patients_of_each_class() -> None:
    labels = np.array([0, 1, 0, 0, 1, 1, 0])
    patients = ["a", "a", "b", "c", "d", "e", "f"]
    draws = Bootstrap.over(patients, labels, resamples=200, seed=0).draws
    assert draws.shape == (200, 6)
    assert (draws[:, [0, 3, 4]].sum(1) == 3).all()
    assert (draws[:, [1, 2, 5]].sum(1) == 3).all()
    assert len(np.unique(draws, axis=0)) > 50


def doubled(case: Case, *, same_patient: bool) -> Case:
    """Every slide twice, as two slides of one patient or of two."""
    twins = [
        dataclasses.replace(p, slide_id=f"{p.slide_id}x") for p in case.predictions
    ]
    other = "" if same_patient else "x"

    def both(values: Mapping[str, Any], end: str = "") -> dict[str, Any]:
        copies = {f"{k}x": f"{v}{end}" if end else v for k, v in values.items()}
        return {**values, **copies}

    return Case(
        [*case.predictions, *twins],
        both(case.labels),
        both(case.truth),
        both(case.patients, other),
        [*case.known, *case.known],
    )


def test_more_slides_of_the_same_patients_are_no_more_certainty() -> None:
    case = case_of(per_patient=1)
    once = case.evaluated()["intervals"]
    twice = doubled(case, same_patient=True).evaluated()["intervals"]
    others = doubled(case, same_patient=False).evaluated()["intervals"]
    for who in ("teacher", "student"):
        for name, limits in once[who].items():
            if name != "patient_auc":
                assert twice[who][name] == pytest.approx(limits), (who, name)
    for name in ("bag_auc", "tile_ap", "froc"):
        wide, narrow = (np.diff(i["student"][name])[0] for i in (once, others))
        assert narrow < 0.9 * wide, name


def test_a_seed_gives_the_same_intervals_again() -> None:
    case = case_of()
    assert case.evaluated(seed=1) == case.evaluated(seed=1)
    first, second = (case.evaluated(seed=seed)["intervals"] for seed in (1, 2))
    assert first["student"]["tile_auc"] != second["student"]["tile_auc"]


def flat(values: Any, name: str = "") -> dict[str, Any]:
    if isinstance(values, list):
        values = dict(enumerate(values))
    if not isinstance(values, dict):
        return {name: values}
    return {
        key: value
        for part, inner in values.items()
        for key, value in flat(inner, f"{name}/{part}").items()
    }


def test_the_order_of_slides_and_tiles_does_not_matter() -> None:
    case = case_of()
    before = flat(case.evaluated(resamples=50))
    rng = np.random.default_rng(0)
    for k, prediction in enumerate(case.predictions):
        order = rng.permutation(len(prediction))
        moved = {
            field.name: value[order]
            for field in dataclasses.fields(prediction)
            if isinstance(value := getattr(prediction, field.name), np.ndarray)
        }
        case.predictions[k] = dataclasses.replace(prediction, **moved)
    case.predictions.reverse()
    after = flat(case.evaluated(resamples=50))
    assert after.keys() == before.keys()
    for key, value in before.items():
        assert after[key] == (value if value is None else pytest.approx(value)), key


@pytest.mark.parametrize("label", [0, 1])
def test_of_one_class_little_can_be_said(label: int) -> None:
    case = case_of()
    case.labels = dict.fromkeys(case.labels, label)
    found = case.evaluated()
    teacher = found["teacher"]
    for name in ("bag_auc", "bag_ap", "bag_balanced_accuracy", "patient_auc"):
        assert teacher[name] is None
        assert found["intervals"]["teacher"][name] is None
    said, unsaid = ("specificity", "sensitivity")[:: 1 - 2 * label]
    assert teacher[f"bag_{said}"] is not None
    assert found["intervals"]["teacher"][f"bag_{said}"] is not None
    assert teacher[f"bag_{unsaid}"] is None
    assert (teacher["tile_auc_in_positive"] is None) == (label == 0)
    assert found["calibration"]["teacher_slides"]["observed"] == label


def test_without_truth_nothing_is_said_of_tiles() -> None:
    case = case_of()
    case.truth = {}
    found = case.evaluated()
    for who in ("teacher", "student"):
        of_tiles = {k: v for k, v in found[who].items() if k.startswith("tile_")}
        assert len(of_tiles) == 4
        assert set(of_tiles.values()) == {None}
        assert found[who]["froc"] is None
        assert found["intervals"][who]["froc"] is None
    assert found["froc"] == {
        "slides": 0,
        "lesions": 0,
        "teacher": None,
        "student": None,
    }
    assert found["calibration"]["student_tiles_calibrated"]["bins"] == []
    assert (found["tiles"], found["tiles_without_truth"]) == (0, 14 * SIDE**2)
    assert found["tile_prevalence"] is None


def test_only_tiles_with_truth_count() -> None:
    case, lacking = case_of(), case_of()
    rng = np.random.default_rng(0)
    for k, prediction in enumerate(case.predictions):
        known = np.flatnonzero(rng.random(SIDE**2) < 0.5)
        case.truth[prediction.slide_id] = truth_of(case.known[k], known)
        case.known[k] = case.known[k][known]
        lacking.predictions[k] = dataclasses.replace(
            prediction,
            probability=prediction.probability[known],
            pseudo_label=prediction.pseudo_label[known],
        )
    expected = numbers_of(lacking.predictions, list(case.labels.values()), case.known)
    found = case.evaluated()
    for who, numbers in expected.items():
        for name, value in numbers.items():
            if name.startswith("tile_"):
                assert found[who][name] == pytest.approx(value), (who, name)
    assert found["tiles"] == sum(len(values) for values in case.known)
    brier = found["calibration"]["student_tiles_calibrated"]["brier"]
    p = np.concatenate([p.probability for p in lacking.predictions])
    squares = (p - np.concatenate(case.known)) ** 2
    assert brier == pytest.approx(squares.mean())


def test_lesions_are_found_where_the_student_peaks() -> None:
    positive = np.zeros((SIDE, SIDE))
    positive[0, 0] = positive[5, 5] = positive[6, 6] = 1
    values = np.full((SIDE, SIDE), 0.1)
    values[0, 0], values[2, 5], values[6, 6] = 0.9, 0.8, 0.7
    predictions = [
        prediction_of("a", 0.9, values.ravel()),
        prediction_of("b", 0.1, np.full(SIDE**2, 0.05)),
    ]
    truth = {"a": truth_of(positive.ravel()), "b": truth_of(np.zeros(SIDE**2))}
    found = evaluate(predictions, {"a": 1, "b": 0}, truth)
    assert (found["froc"]["slides"], found["froc"]["lesions"]) == (2, 2)
    # One false positive on two slides is 1/2 a slide: only 1/4 does not allow it.
    rates = {"0.25": 0.5, "0.5": 1, "1": 1, "2": 1, "4": 1, "8": 1}
    assert found["froc"]["student"] == rates
    assert found["student"]["froc"] == pytest.approx(5.5 / 6)


@pytest.mark.parametrize("label", [0, 1])
def test_one_slide_has_no_interval(label: int) -> None:
    positive = np.arange(SIDE**2) < 9
    values = np.linspace(1, 0, SIDE**2)
    found = evaluate(
        [prediction_of("a", 0.7, values)], {"a": label}, {"a": truth_of(positive)}
    )
    json.dumps(found, allow_nan=False)
    assert found["student"]["tile_auc"] == 1
    assert found["student"]["tile_auc_in_positive"] == (1 if label else None)
    assert found["resamples"] == 0
    assert {v for k, v in flat(found["intervals"]).items()} == {None}


def test_identical_scores_are_chance() -> None:
    case = case_of()
    case.predictions = [prediction_of(p.slide_id) for p in case.predictions]
    found = case.evaluated()
    for name in ("bag_auc", "tile_auc", "tile_auc_in_positive"):
        for who in ("teacher", "student"):
            assert found[who][name] == 0.5
            assert found["intervals"][who][name] == [0.5, 0.5]
    assert found["student"]["tile_ap"] == pytest.approx(found["tile_prevalence"])
    assert len(found["calibration"]["teacher_slides"]["bins"]) == 1


def test_no_interval_where_too_few_patients_have_a_value() -> None:
    case = case_of()
    positive = [k for k, label in case.labels.items() if label]
    case.truth = {positive[0]: case.truth[positive[0]]}
    found = case.evaluated()
    assert found["student"]["tile_auc"] is not None
    assert found["intervals"]["student"]["tile_auc"] is None
    assert interval(0.5, np.array([])) is None
    drawn = np.append(np.linspace(0, 1, 96), [np.nan] * 4)
    assert interval(0.5, drawn) == pytest.approx([0.025, 0.975])


def test_resampling_of_many_values_is_close_to_exact() -> None:
    rng = np.random.default_rng(0)
    slide = np.repeat(np.arange(8), 2000)
    truth = (rng.random(16_000) < 0.3).astype(int)
    values = rng.normal(truth * 1.5 + slide / 8)
    patients = [f"p{k}" for k in range(8)]
    drawn = Bootstrap.over(patients, np.arange(8) % 2, resamples=8, seed=0)
    areas, precisions = drawn.ranked(slide, truth, values)
    for area, precision, draw in zip(areas, precisions, drawn.draws, strict=True):
        weight = draw[slide]
        exact = sk.roc_auc_score(truth, values, sample_weight=weight)
        assert area == pytest.approx(exact, abs=1 / 2048)
        exact = sk.average_precision_score(truth, values, sample_weight=weight)
        assert precision == pytest.approx(exact, abs=2e-3)


def test_calibration_by_hand() -> None:
    found = calibration([0, 1, 1, 0], [0.2, 0.2, 0.9, 0.9])
    assert found["brier"] == pytest.approx((0.04 + 0.64 + 0.01 + 0.81) / 4)
    assert found["bins"] == [
        {"predicted": pytest.approx(0.2), "observed": 0.5, "count": 2},
        {"predicted": pytest.approx(0.9), "observed": 0.5, "count": 2},
    ]
    assert found["ece"] == pytest.approx((0.3 + 0.4) / 2)
    assert (found["predicted"], found["observed"]) == (pytest.approx(0.55), 0.5)


@pytest.mark.parametrize("decimals", [1, 6])
def test_bins_are_those_of_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(0)
    p = (rng.random(999) ** 3).round(decimals)
    y = rng.random(999) < p
    bins = calibration(y, p)["bins"]
    observed, predicted = calibration_curve(y, p, n_bins=10, strategy="quantile")
    assert [one["observed"] for one in bins] == pytest.approx(observed)
    assert [one["predicted"] for one in bins] == pytest.approx(predicted)
    assert sum(one["count"] for one in bins) == 999
    if decimals == 6:
        assert {one["count"] for one in bins} <= {99, 100, 101}


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_the_bias_of_the_loss_is_put_back(weight: float) -> None:
    p = np.linspace(0, 1, 21)
    calibrated = weight * p / (weight * p + (1 - weight) * (1 - p))
    assert as_trained(calibrated, weight) == pytest.approx(p)


def test_both_scales_of_the_student_are_told() -> None:
    found = case_of().evaluated()["calibration"]
    raw, undone = (
        found[f"student_tiles_{name}"] for name in ("as_trained", "calibrated")
    )
    assert raw["predicted"] > undone["predicted"]
    assert raw["observed"] == undone["observed"]
    without = case_of().evaluated(negative_weight=None)["calibration"]
    assert "student_tiles_as_trained" not in without
    assert without["student_tiles_calibrated"] == undone


def project_of(folder: Path, case: Case, config: TrainConfig) -> Any:
    run_dir = folder / "run"
    run_dir.mkdir(parents=True)
    config.write(run_dir / "config.json")
    rows = ["slide_id,patient_id,label,fold,split"]
    for p in case.predictions:
        write_prediction(folder / f"{p.slide_id}.parquet", p)
        rows.append(f"{p.slide_id},,{case.labels[p.slide_id]},0,test")
    (run_dir / "split.csv").write_text("\n".join(rows))
    project = SimpleNamespace(
        slides=[
            SlideRow(k, folder, label, case.patients[k], None, None)
            for k, label in case.labels.items()
        ],
        run_dir=lambda name: run_dir,
        asked_by=lambda name: project,
        prediction_path=lambda name, slide_id: folder / f"{slide_id}.parquet",
    )
    return project


def test_a_project_brings_patients_and_the_weight_of_the_loss(tmp_path: Path) -> None:
    case = case_of()
    truth = tmp_path / "truth.csv"
    truth.write_text(
        "slide_id,y,x,size,positive\n"
        + "".join(
            f"{slide_id},{y},{x},{size},{int(one)}\n"
            for slide_id, known in case.truth.items()
            for (y, x, size, _), one in zip(known.boxes, known.positive, strict=True)
        )
    )
    config = TrainConfig(negative_weight=0.3)
    project = project_of(tmp_path / "with", case, config)
    found = evaluate_project(project, "run", truth, resamples=40, seed=7)
    expected = case.evaluated(resamples=40, seed=7, negative_weight=0.3)
    assert {k: found[k] for k in expected} == expected
    alone = dataclasses.replace(config, distillation=False)
    project = project_of(tmp_path / "without", case, alone)
    found = evaluate_project(project, "run", truth, resamples=0)
    assert "student_tiles_as_trained" not in found["calibration"]


def test_tables_show_numbers_with_intervals() -> None:
    found = case_of().evaluated()
    shown = tables(found)
    assert list(shown) == [
        "95 % over patients",
        "sensitivity at FP/slide",
        "calibration",
        "bins",
    ]
    low, high = found["intervals"]["student"]["tile_auc"]
    assert shown["95 % over patients"]["tiles: AUC, pooled"]["student"] == (
        f"{found['student']['tile_auc']:.3f} ({low:.2f} to {high:.2f})"
    )
    assert shown["95 % over patients"]["slides: sensitivity"]["student"] is None
    assert set(shown["calibration"]) == {
        "slides, teacher",
        "tiles, as trained",
        "tiles, calibrated",
    }
    assert any("biases it upward" in remark for remark in remarks(found))


def test_tables_leave_out_what_cannot_be_said() -> None:
    case = case_of()
    case.truth = {}
    found = case.evaluated(resamples=0)
    shown = tables(found)
    assert list(shown) == ["metric", "calibration", "bins"]
    assert not [row for row in shown["metric"] if row.startswith(("tiles", "lesions"))]
    assert list(shown["calibration"]) == ["slides, teacher"]
    assert any(remark.startswith("No intervals") for remark in remarks(found))
