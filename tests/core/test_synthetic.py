from __future__ import annotations

import csv
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import openslide
import pytest

from weno.synthetic import (
    SlideRecipe,
    SyntheticReport,
    make_cohort,
    render_slide,
    write_slide,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SLIDES, SIZE, CELL = 6, 2048, 128


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_pixels(path: Path) -> npt.NDArray[np.uint8]:
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    reports = list(make_cohort(folder, slides=SLIDES, size=SIZE, workers=2))
    assert reports[-1].done == reports[-1].total == SLIDES
    return folder


@pytest.fixture(scope="module")
def tiles(
    cohort: Path,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tiles with tissue in most of them, their truth, and the number of their slide."""
    rows = defaultdict(list)
    for row in read_csv(cohort / "truth.csv"):
        rows[row["slide_id"]].append([int(row[k]) for k in ("y", "x", "positive")])
    found, truth, slide = [], [], []
    for number, (slide_id, cells) in enumerate(rows.items()):
        pixels = read_pixels(cohort / "slides" / f"{slide_id}.tif")
        for y, x, positive in cells:
            tile = pixels[y : y + CELL, x : x + CELL]
            if (tile.min(axis=-1) < 215).mean() >= 0.5:
                found.append(tile)
                truth.append(positive)
                slide.append(number)
    return np.stack(found), np.array(truth), np.array(slide)


def auc_across_slides(
    features: npt.NDArray[np.float32],
    truth: npt.NDArray[np.int64],
    slide: npt.NDArray[np.int64],
) -> float:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = GroupKFold(SLIDES // 2)
    probability = cross_val_predict(
        model, features, truth, groups=slide, cv=folds, method="predict_proba"
    )
    return float(roc_auc_score(truth, probability[:, 1]))


def test_openslide_opens_a_pyramid_with_its_pixel_size(cohort: Path) -> None:
    with openslide.OpenSlide(cohort / "slides" / "synthetic_000.tif") as slide:
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5)
        assert slide.level_dimensions == ((2048, 2048), (1024, 1024))


def test_levels_halve_until_one_fits_1024_pixels(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    write_slide(path, np.full((2304, 2560, 3), 200, np.uint8), 0.25)
    with openslide.OpenSlide(path) as slide:
        assert slide.level_dimensions == ((2560, 2304), (1280, 1152), (640, 576))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
        level = np.asarray(slide.read_region((0, 0), 2, (640, 576)))
    assert np.abs(level[..., :3].astype(int) - 200).max() <= 2


def test_table_names_every_slide_and_keeps_patients_in_one_split(cohort: Path) -> None:
    rows = read_csv(cohort / "slides.csv")
    assert [row["label"] for row in rows] == ["0", "1"] * (SLIDES // 2)
    assert all((cohort / row["path"]).is_file() for row in rows)
    splits = defaultdict(set)
    for row in rows:
        splits[row["patient_id"]].add(row["split"])
    assert all(len(split) == 1 for split in splits.values())
    assert {row["split"] for row in rows} == {"train", "test"}


def test_equal_recipes_give_equal_pixels_in_any_process(cohort: Path) -> None:
    pixels, _ = render_slide(SlideRecipe(seed=0, ordinal=1, size=SIZE, positive=True))
    path = cohort.parent / "again.tif"
    write_slide(path, pixels, 0.5)
    written = read_pixels(cohort / "slides" / "synthetic_001.tif")
    assert np.array_equal(read_pixels(path), written)
    other, _ = render_slide(SlideRecipe(seed=1, ordinal=1, size=SIZE, positive=True))
    assert not np.array_equal(pixels, other)


def test_truth_is_the_mask_the_lesion_was_painted_with(cohort: Path) -> None:
    recipe = SlideRecipe(seed=0, ordinal=1, size=SIZE, positive=True)
    _, lesion = render_slide(recipe)
    rows = read_csv(cohort / "truth.csv")
    cells = [row for row in rows if row["slide_id"] == "synthetic_001"]
    for row in cells:
        y, x, size = (int(row[k]) for k in ("y", "x", "size"))
        share = lesion[y : y + size, x : x + size].mean()
        assert int(row["positive"]) == (share >= 0.5)
    listed = sum(int(row["positive"]) for row in cells)
    blocks = lesion.reshape(SIZE // CELL, CELL, SIZE // CELL, CELL).mean(axis=(1, 3))
    assert listed == (blocks >= 0.5).sum() > 0


def test_negative_slides_have_no_lesion(cohort: Path) -> None:
    _, lesion = render_slide(SlideRecipe(seed=0, ordinal=0, size=SIZE, positive=False))
    assert not lesion.any()
    labels = {row["slide_id"]: row["label"] for row in read_csv(cohort / "slides.csv")}
    positive = {
        row["slide_id"]
        for row in read_csv(cohort / "truth.csv")
        if row["positive"] == "1"
    }
    assert positive == {slide_id for slide_id, label in labels.items() if label == "1"}


def test_mean_colour_does_not_give_the_lesion_away(tiles) -> None:
    pixels, truth, slide = tiles
    colour = pixels.mean(axis=(1, 2), dtype=np.float32)
    assert auc_across_slides(colour, truth, slide) < 0.75


def test_texture_finds_the_lesion(tiles) -> None:
    features = pytest.importorskip("weno.features")
    pixels, truth, slide = tiles
    encoded = features.get_encoder("texture").encode(pixels)
    assert auc_across_slides(encoded, truth, slide) >= 0.95


def test_second_call_writes_nothing(cohort: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cohort.rglob("*.*")}
    assert len(before) == SLIDES + 2
    list(make_cohort(cohort, slides=SLIDES, size=SIZE, workers=1))
    assert {path: path.stat().st_mtime_ns for path in cohort.rglob("*.*")} == before


def test_slides_of_another_seed_or_damaged_ones_are_replaced(tmp_path: Path) -> None:
    list(make_cohort(tmp_path, slides=1, size=1024, workers=1))
    path = tmp_path / "slides" / "synthetic_000.tif"
    first = path.read_bytes()
    list(make_cohort(tmp_path, slides=1, size=1024, seed=5, workers=1))
    assert path.read_bytes() != first
    path.write_bytes(b"not a slide")
    list(make_cohort(tmp_path, slides=1, size=1024, workers=1))
    assert path.read_bytes() == first


@pytest.mark.parametrize("workers", [1, 2])
def test_closing_leaves_only_whole_slides(tmp_path: Path, workers: int) -> None:
    job = make_cohort(tmp_path, slides=8, size=1024, workers=workers)
    report = next(report for report in job if report.done)
    assert isinstance(report, SyntheticReport)
    assert report.total == 8
    job.close()
    files = [path.name for path in (tmp_path / "slides").iterdir()]
    # Processes drop what they draw, and what their queue holds, instead of ending it.
    assert report.done <= len(files) <= min(7, report.done + workers)
    assert all(name.startswith("synthetic_") for name in files)
    for name in files:
        with openslide.OpenSlide(tmp_path / "slides" / name) as slide:
            slide.read_region((0, 0), 0, slide.dimensions)
    assert not (tmp_path / "slides.csv").exists()


@pytest.mark.parametrize("size", [512, 1100])
def test_impossible_sizes_are_named(size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        SlideRecipe(seed=0, ordinal=0, size=size, positive=True)
