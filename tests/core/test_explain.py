"""What the core says of predictions: rankings, outcomes, patients, comparisons."""

from __future__ import annotations

import csv
import dataclasses
from collections import deque
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from weno.errors import RunError
from weno.explain import (
    Bar,
    ColourScale,
    Figure,
    Outcome,
    compare,
    familiarity_of,
    figure_svg,
    outcomes_of,
    patient_reading,
    picked,
    slides_apart,
    tally,
    write_overlay,
)
from weno.explain.figure import scale_length
from weno.prediction import Prediction, read_prediction, write_prediction
from weno.project import Project
from weno.slides import open_slide
from weno.tiles import TileSpec

SPEC = TileSpec(tile_um=50.0, mpp=0.5)
MPP = (0.27, 0.31)
SHAPE = (1111, 1777)
SVG = "{http://www.w3.org/2000/svg}"


def make_prediction(spec: TileSpec = SPEC, **changes: object) -> Prediction:
    """Six tiles: attention grows, probability falls; tile 2 and 5 are candidates."""
    ramp = np.linspace(0, 1, 6, dtype=np.float32)
    stride = (spec.stride_um or spec.tile_um) / np.array(MPP)
    cells = np.array([(0, 0), (0, 2), (1, 1), (2, 0), (2, 3), (3, 3)])
    values: dict[str, object] = {
        "slide_id": "case",
        "run": "first",
        "class_name": "tumour",
        "teacher_probability": 0.7,
        "student_probability": 0.8,
        "student_top_mean": 0.8,
        "threshold": 0.4,
        "encoder": "texture",
        "spec": spec,
        "mpp": MPP,
        "slide_shape": SHAPE,
        "content_hash": "abc",
        "origins": np.rint(cells * stride).astype(np.int64),
        "score": ramp,
        "attention": ramp / ramp.sum(),
        "attention_percentile": ramp,
        "pseudo_label": ramp,
        "probability": 1 - ramp,
        "re_attention": ramp / ramp.sum(),
        "disagreement": np.array([0.1, -0.9, 0.5, 0.0, 0.3, 0.8], np.float32),
        "familiarity": ramp * 3,
        "easy_positive": np.zeros(6, bool),
        "candidate_rank": np.array([0, 0, 2, 0, 0, 1], np.int32),
    }
    return Prediction(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("which", "column", "tiles"),
    [
        ("candidates", "attention", [5, 2]),
        ("highest", "attention", [5, 4, 3]),
        ("lowest", "attention", [0, 1, 2]),
        ("highest", "probability", [0, 1, 2]),
        ("lowest", "disagreement", [1, 3, 0]),
        ("highest", "familiarity", [5, 4, 3]),
        ("disagreeing", "attention", [1, 5, 2]),
    ],
)
def test_tiles_are_picked_by_what_is_asked(which, column, tiles) -> None:
    assert picked(make_prediction(), which, column, 3).tolist() == tiles


def test_equal_tiles_keep_their_order_and_a_slide_may_have_none() -> None:
    flat = make_prediction(probability=np.full(6, 0.5, np.float32))
    assert picked(flat, "highest", "probability", 9).tolist() == [0, 1, 2, 3, 4, 5]
    assert picked(flat, "lowest", "probability", 9).tolist() == [0, 1, 2, 3, 4, 5]


def test_outcomes_are_told_apart() -> None:
    truth = [1, 1, 0, 0, np.nan]
    outcomes = outcomes_of(truth, [0.5, 0.49, 0.5, 0.1, 0.9], 0.5)
    assert outcomes.tolist() == [
        Outcome.FOUND,
        Outcome.MISSED,
        Outcome.FALSE_ALARM,
        Outcome.CLEAR,
        Outcome.UNKNOWN,
    ]
    counts = tally(np.repeat(outcomes, [1, 2, 3, 4, 5]))
    assert dataclasses.astuple(counts) == (1, 2, 3, 4, 5)


def test_a_slide_is_unlike_the_training_from_a_tenth_of_strange_tiles() -> None:
    usual = np.full(40, 1.0, np.float32)
    four, three = usual.copy(), usual.copy()
    four[:4] = three[:3] = 1.6
    measured = {"familiarity_limit": 1.5}
    assert familiarity_of(make_prediction(familiarity=four, **measured)).is_unlike
    assert not familiarity_of(make_prediction(familiarity=three, **measured)).is_unlike
    by_thumb = familiarity_of(make_prediction(familiarity=four))
    assert (by_thumb.limit, by_thumb.is_measured, by_thumb.strange) == (2.0, False, 0)
    assert not familiarity_of(make_prediction(familiarity=usual[:0])).is_unlike


@pytest.mark.parametrize("limit", [None, 1.25])
def test_the_limit_of_familiarity_is_kept_with_the_prediction(
    tmp_path: Path, limit: float | None
) -> None:
    path = tmp_path / "case.parquet"
    write_prediction(path, make_prediction(familiarity_limit=limit))
    assert read_prediction(path).familiarity_limit == limit


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project of three slides, two of them of one patient; no slide is opened."""
    with (tmp_path / "slides.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["slide_id", "path", "label", "patient_id"])
        for slide_id, patient in (("a", "p1"), ("b", "p1"), ("c", "p2")):
            (tmp_path / f"{slide_id}.tif").touch()
            table.writerow([slide_id, f"{slide_id}.tif", "", patient])
    return Project.create(
        tmp_path / "project",
        tmp_path / "slides.csv",
        spec=SPEC,
        class_names=("normal", "tumour"),
    )


def write_rows(project: Project, *rows: tuple[str, float, float, float]) -> None:
    folder = project.predictions_dir("first")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "slides.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["slide_id", "teacher_probability", "student_probability", "threshold"]
        )
        table.writerows(rows)


def test_a_patient_is_as_suspicious_as_its_worst_slide(project: Project) -> None:
    assert patient_reading(project, "first", "a") is None
    write_rows(project, ("a", 0.2, 0.9, 0.5), ("c", 0.99, 1.0, 0.5))
    alone = patient_reading(project, "first", "a")
    assert alone is not None
    assert (alone.slides, alone.predicted, alone.is_positive) == (2, ("a",), False)
    write_rows(project, ("a", 0.2, 0.9, 0.5), ("b", 0.6, 0.4, 0.5))
    both = patient_reading(project, "first", "a")
    assert both is not None
    assert (both.patient_id, both.predicted) == ("p1", ("b", "a"))
    assert (both.teacher, both.student, both.is_positive) == (0.6, 0.9, True)


def test_a_damaged_table_of_slides_is_named(project: Project) -> None:
    write_rows(project, ("a", "high", 0.9, 0.5))  # type: ignore[arg-type]
    with pytest.raises(RunError, match=r"slides\.csv: damaged"):
        patient_reading(project, "first", "a")


def test_slides_are_listed_by_how_far_two_runs_are_apart(project: Project) -> None:
    same = ("a", 0.2, 0.9, 0.5)
    write_rows(project, same, ("b", 0.1, 0.4, 0.5), ("c", 0.55, 0.4, 0.5))
    assert slides_apart(project, "first", "second") == []
    first = project.predictions_dir("first") / "slides.csv"
    second = project.predictions_dir("second") / "slides.csv"
    second.parent.mkdir(parents=True)
    first.rename(second)
    write_rows(project, same, ("b", 0.45, 0.4, 0.5), ("c", 0.45, 0.4, 0.5))
    found = slides_apart(project, "first", "second")
    # Another call counts for more than a larger difference without one.
    assert [slide.slide_id for slide in found] == ["c", "b", "a"]
    assert [slide.calls_differ for slide in found] == [True, False, False]
    assert found[0].difference == pytest.approx(0.1)
    second.write_text("slide_id\na\n")
    with pytest.raises(RunError, match=r"second.slides\.csv: damaged"):
        slides_apart(project, "first", "second")


def test_two_runs_are_compared_where_both_have_the_tile() -> None:
    one = make_prediction()
    keep = [0, 1, 2, 4, 5]  # the other run has one tile less, in another order
    order = np.array(keep)[::-1]
    changes = {
        name: getattr(one, name)[order]
        for name in ("origins", "attention", "probability", "candidate_rank")
    }
    changes["probability"] = changes["probability"].copy()
    changes["probability"][-1] = 0.2  # of tile 0, which had 1.0
    result = compare(one, make_prediction(run="second", **changes))
    assert result.shared_tiles == 5
    assert result.shared_candidates == 2
    assert result.difference[0] == pytest.approx(-0.8)
    assert np.isnan(result.difference[3])
    assert result.most_different(1).tolist() == [0]
    assert 3 not in result.most_different()
    assert result.attention_agreement == pytest.approx(1.0)
    assert result.calls_agreement == pytest.approx(4 / 5)


def test_runs_of_other_tiles_share_none_and_other_slides_are_refused() -> None:
    one = make_prediction()
    other = compare(one, make_prediction(TileSpec(tile_um=80.0, mpp=0.5)))
    assert (other.shared_tiles, other.calls_agreement) == (0, None)
    assert other.most_different().tolist() == []
    with pytest.raises(RunError, match="different slides"):
        compare(one, make_prediction(content_hash="xyz"))


COLOURS = np.array([(1, 1, 0, 0.5), (1, 0, 0, 1.0)])


def test_a_figure_is_svg_with_its_words_as_text() -> None:
    pixels = np.full((300, 800, 3), (190, 150, 180), np.uint8)
    bar = Bar("P(tumour) of a tile", COLOURS, "0.50", "1.00")
    svg = figure_svg(Figure(pixels, 0.5, ("case & run",), bar))
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert words == [
        "100 µm",
        "P(tumour) of a tile",
        "0.50",
        "1.00",
        "case & run",
        "Research use only",
    ]
    (scale,) = root.findall(f".//{SVG}rect[@id='scale-bar']")
    assert float(scale.get("width", "")) == pytest.approx(100 / 0.5)
    stops = root.findall(f".//{SVG}linearGradient/{SVG}stop")
    assert stops[0].get("stop-color") == "#ffff00"
    assert stops[-1].get("stop-color") == "#ff0000"
    assert float(stops[0].get("stop-opacity", "")) == 0.5
    (image,) = root.findall(f"{SVG}image")
    assert image.get("{http://www.w3.org/1999/xlink}href", "").startswith("data:image")


def test_a_figure_without_pixel_size_has_no_scale_bar() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    root = ElementTree.fromstring(figure_svg(Figure(pixels, None, ())))
    assert not root.findall(f".//{SVG}rect[@id='scale-bar']")
    assert not root.findall(f".//{SVG}linearGradient")


@pytest.mark.parametrize(
    ("um_per_px", "length"), [(0.25, 50.0), (0.51, 100.0), (8.0, 2000.0), (1e-3, 0.2)]
)
def test_a_scale_bar_has_a_length_that_one_can_say(um_per_px, length) -> None:
    assert scale_length(um_per_px, 1000) == pytest.approx(length)


def test_values_have_colours_and_what_is_below_the_limit_is_clear() -> None:
    scale = ColourScale(COLOURS, 0.5, 1.0, opacity=0.5)
    colours = scale.of([0.49, 0.5, 1.0, 7.0, np.nan])
    assert colours[:, 3].tolist() == [0, 0.25, 0.5, 0.5, 0]
    np.testing.assert_array_equal(colours[1, :3], COLOURS[0, :3])


@pytest.mark.parametrize("shift", [(0, 0), (40, 71)])
@pytest.mark.parametrize("stride", [None, 37.7, 61.3])
def test_an_overlay_file_lies_on_the_slide(
    tmp_path: Path, stride: float | None, shift: tuple[int, int]
) -> None:
    prediction = make_prediction(TileSpec(tile_um=50.0, mpp=0.5, stride_um=stride))
    # Tiles that others have cut need not begin where the slide does.
    moved = prediction.origins + shift
    prediction = dataclasses.replace(prediction, origins=moved)
    values = np.zeros(6, np.float32)
    values[4] = 1
    path = tmp_path / "overlay.ome.tif"
    scale = ColourScale(np.array([(1, 0, 0, 1), (1, 0, 0, 1.0)]), 0.5, 1.0)
    job = write_overlay(path, prediction, values, scale, "P(tumour)", mpp=0.5)
    deque(job, maxlen=0)
    sizes = np.multiply(SHAPE, MPP)
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx((0.5, 0.5), rel=2e-3)
        np.testing.assert_allclose(np.multiply(slide.shape, slide.mpp), sizes, 1e-6)
        pixels = slide.read(0, 0, 0, *slide.shape)
        assert len(slide.downsamples) > 1
        mpp = slide.mpp
    red = (pixels == (255, 0, 0)).all(2)
    assert (pixels[~red] == 255).all()
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    middle = prediction.origins[4] + np.array(prediction.grid.tile_l0) / 2
    for found, axis in ((rows, 0), (columns, 1)):
        centre_um = (found[0] + found[-1] + 1) / 2 * mpp[axis]
        assert centre_um == pytest.approx(middle[axis] * MPP[axis], abs=0.7)
        side_um = len(found) * mpp[axis]
        assert side_um == pytest.approx(stride or 50.0, abs=0.6)


def test_an_overlay_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "overlay.ome.tif"
    scale = ColourScale(COLOURS, 0.0, 1.0)
    prediction = make_prediction()
    job = write_overlay(path, prediction, prediction.probability, scale, "P(tumour)")
    deque(job, maxlen=0)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        told = tiff.ome_metadata
        shapes = [level.shape for level in tiff.series[0].levels]
    assert "case, run first: P(tumour). Research use only" in told
    assert 'PhysicalSizeXUnit="µm"' in told
    assert shapes[0] == (75, 138, 3)


def test_a_large_overlay_is_a_pyramid_with_the_slide_beneath(
    tmp_path: Path, write_pyramid
) -> None:
    pixels = np.full((*SHAPE, 3), (190, 150, 180), np.uint8)
    pixels[:400] = (10, 20, 30)
    path = tmp_path / "overlay.ome.tif"
    scale = ColourScale(COLOURS, 0.5, 1.0, opacity=0.0)
    prediction = make_prediction()
    with open_slide(write_pyramid(tmp_path / "s.tif", [pixels], None), mpp=MPP) as s:
        job = write_overlay(
            path, prediction, prediction.probability, scale, "P", slide=s, mpp=0.4
        )
        reports = list(job)
    assert [report.done for report in reports] == [512, 750]
    assert reports[-1].fraction == 1
    with tifffile.TiffFile(path) as tiff:
        levels = tiff.series[0].levels
        shapes = [level.shape[:2] for level in levels]
        whole = levels[0].asarray()
    assert shapes == [(750, 1377), (375, 689), (188, 345)]
    assert (whole[:265] == (10, 20, 30)).all()
    assert (whole[275:] == (190, 150, 180)).all()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    prediction = make_prediction()
    scale = ColourScale(COLOURS, 0.0, 1.0)
    path = tmp_path / "file" / "overlay.ome.tif"
    with pytest.raises(RunError, match="cannot be written"):
        deque(write_overlay(path, prediction, prediction.probability, scale, "P"), 0)
