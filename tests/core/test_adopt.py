"""Folders of TRIDENT and CLAM, written here as these programs write them."""

from __future__ import annotations

import csv
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from weno.cli import app
from weno.errors import FeatureError, ProjectError, SlideError
from weno.features import Adopted, adopt, read_features
from weno.project import Project
from weno.slides import open_slide

NAMES = ["gland_11_00", "gland_11_01", "gland_11_02", "gland_11_03"]
TILE = 128
TRIDENT = {
    "patch_size": TILE,
    "patch_size_level0": 2 * TILE,
    "level0_magnification": 40,
    "target_magnification": 20,
    "overlap": 0,
}


def run(job: Generator[object, None, Adopted]) -> Adopted:
    while True:
        try:
            next(job)
        except StopIteration as end:
            assert isinstance(end.value, Adopted)
            return end.value


def content(name: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 6), and coords (N, 2) as TRIDENT orders them: column by column."""
    side = 2 * TILE
    ys, xs = np.arange(0, shape[0], side), np.arange(0, shape[1], side)
    coords = np.array([(x, y) for x in xs for y in ys])
    rng = np.random.default_rng(NAMES.index(name))
    features = rng.standard_normal((len(coords), 6)).astype(np.float32)
    features[:3, 0] += 4 * (NAMES.index(name) % 2)
    return features, coords


def write(
    path: Path, features: np.ndarray, coords: np.ndarray, **attributes: Any
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=features, chunks=True)
        file.create_dataset("coords", data=coords).attrs.update(attributes)


@pytest.fixture(scope="module")
def shapes(test_data: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for name in NAMES:
        with open_slide(test_data / "gland_cohort" / f"{name}.tif") as slide:
            found[name] = slide.shape
    return found


@pytest.fixture
def trident(tmp_path: Path, shapes: dict[str, tuple[int, int]]) -> Path:
    folder = tmp_path / "job" / "20x_128px_0px_overlap" / "features_uni_v1"
    for name, shape in shapes.items():
        said = {"level0_height": shape[0], "level0_width": shape[1], "name": name}
        write(folder / f"{name}.h5", *content(name, shape), **TRIDENT, **said)
    return tmp_path / "job"


def table(path: Path, test_data: Path, mpp: float | str) -> Path:
    """Slides whose labels go with their features, and one without features."""
    lines = ["slide_id,path,label,mpp"]
    for k, name in enumerate([*NAMES, "gland_11_04"]):
        slide = test_data / "gland_cohort" / f"{name}.tif"
        lines.append(f"{name},{slide},{k % 2},{mpp}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def weno(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer


def test_a_trident_folder_becomes_a_project_that_fits_predicts_and_reviews(
    trident: Path, shapes: dict[str, tuple[int, int]], test_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from weno.prediction import read_prediction
    from weno.review import build_queue

    root = tmp_path / "project"
    slides = table(tmp_path / "slides.csv", test_data, 0.252)
    made = weno("init", root, "--features", trident, "--slides", slides)
    assert (made["encoder"], made["tile_um"], made["mpp"]) == (
        "trident:uni_v1",
        64,
        0.5,
    )
    assert made["adopted"] == made["resized"] == NAMES
    assert made["without"] == ["gland_11_04"]
    project = Project.open(root)
    for name in NAMES:
        found = read_features(project.features_path(name))
        features, coords = content(name, shapes[name])
        np.testing.assert_array_equal(found.features, features)
        np.testing.assert_array_equal(found.origins, coords[:, ::-1])
        assert found.grid.tile_l0 == (2 * TILE, 2 * TILE)
        # The slide opens with the pixels that the tiles were cut by.
        assert found.mpp == (0.25, 0.25)
        with project.open_slide(name) as slide:
            assert slide.mpp == pytest.approx(found.mpp)
            assert slide.content_hash == found.content_hash
        for i in (0, len(coords) - 1):
            y, x = found.origins[i] + TILE
            assert found.grid.index_at(y, x) == i
    (root / "slides.csv").write_text(
        "\n".join((root / "slides.csv").read_text().splitlines()[:-1])
    )
    weno("fit", root, "--name", "run", "--epochs", 2, "--device", "cpu")
    predicted = weno("predict", root, "--device", "cpu")
    assert predicted["predicted"] == NAMES
    predictions = [read_prediction(project.prediction_path("run", n)) for n in NAMES]
    assert len(build_queue(predictions, limit=5)) == 5


def test_without_slides_a_table_of_labels_is_enough(
    trident: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    rows = [f"{name},{k % 2}" for k, name in enumerate(NAMES[:3])]
    labels.write_text("\n".join(["slide_id,label", *rows]))
    made = run(adopt(tmp_path / "project", trident, labels))
    assert made.adopted == tuple(NAMES[:3])
    assert made.unlisted == (NAMES[3],)
    assert [row.label for row in made.project.slides] == [0, 1, 0]
    found = [read_features(made.project.features_path(n)) for n in NAMES[:3]]
    assert len({features.content_hash for features in found}) == 3
    with pytest.raises(SlideError, match=r"no path in .*slides\.csv"):
        made.project.open_slide(NAMES[0])


def test_without_a_table_each_file_is_a_slide(trident: Path, tmp_path: Path) -> None:
    made = run(adopt(tmp_path / "project", trident / "20x_128px_0px_overlap"))
    assert [row.slide_id for row in made.project.slides] == NAMES
    with (made.project.root / "slides.csv").open() as file:
        assert {row["path"] for row in csv.DictReader(file)} == {""}


def clam(tmp_path: Path, shapes: dict[str, tuple[int, int]], *, patches: bool) -> Path:
    for name, shape in shapes.items():
        features, coords = content(name, shape)
        write(tmp_path / "clam" / "h5_files" / f"{name}.h5", features, coords)
        if patches:
            said = {"patch_size": TILE, "patch_level": 1, "downsample": [2.0, 2.0]}
            write(tmp_path / "patches" / f"{name}.h5", features, coords, **said)
    return tmp_path / "clam"


def test_a_clam_folder_becomes_a_project_with_what_its_files_lack(
    shapes: dict[str, tuple[int, int]], test_data: Path, tmp_path: Path
) -> None:
    folder = clam(tmp_path, shapes, patches=True)
    slides = table(tmp_path / "slides.csv", test_data, 0.25)
    root = tmp_path / "project"
    with pytest.raises(FeatureError, match=r"which encoder.*--encoder NAME"):
        run(adopt(root, folder, slides))
    with pytest.raises(FeatureError, match="give --tile-mpp"):
        run(adopt(root, folder, slides, encoder="resnet50"))
    made = run(adopt(root, folder, slides, encoder="resnet50", tile_mpp=0.5))
    assert (made.project.spec.tile_px, made.project.spec.mpp) == (TILE, 0.5)
    assert (made.adopted, made.resized) == (tuple(NAMES), ())


def test_a_clam_folder_alone_needs_the_size_of_tiles(
    shapes: dict[str, tuple[int, int]], test_data: Path, tmp_path: Path
) -> None:
    folder = clam(tmp_path, shapes, patches=False)
    slides = table(tmp_path / "slides.csv", test_data, 0.25)
    with pytest.raises(FeatureError, match="give --tile-um and --tile-mpp"):
        run(adopt(tmp_path / "a", folder, slides, encoder="e"))
    sizes = {"tile_um": 64, "tile_mpp": 0.5}
    with pytest.raises(FeatureError, match="give the slides, or their mpp"):
        run(adopt(tmp_path / "a", folder, encoder="e", **sizes))
    made = run(adopt(tmp_path / "a", folder, slides, encoder="e", **sizes))
    found = read_features(made.project.features_path(NAMES[0]))
    assert found.grid.tile_l0 == (2 * TILE, 2 * TILE)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def leave_out_coords(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["coords"]


def move_a_tile_out(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["coords"][1] = (10**6, 0)


def say_another_slide(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["coords"].attrs["level0_width"] = 4321


def say_another_magnification(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["coords"].attrs["target_magnification"] = 10


def say_another_size_at_level_0(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["coords"].attrs["patch_size_level0"] = TILE


def narrow(path: Path) -> None:
    with h5py.File(path, "a") as file:
        features = file["features"][:, :5]
        del file["features"]
        file["features"] = features


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_short, r"gland_11_02\.h5: cut short or not HDF5"),
        (leave_out_coords, r"gland_11_02\.h5: no dataset 'coords'"),
        (move_a_tile_out, r"a tile begins at \(0, 1000000\), outside of the slide"),
        (say_another_slide, r"is of a slide of \(\d+, 4321\) pixels"),
        (say_another_magnification, r"more than one resolution \(mpp\): .*1\.0 in"),
        (say_another_size_at_level_0, r"said to have 0\.5 µm/px, but with 0\.25 µm"),
        (narrow, r"more than one width: .*5 in gland_11_02"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_anything_is_written(
    trident: Path, test_data: Path, tmp_path: Path, damage: Any, reason: str
) -> None:
    damage(trident / "20x_128px_0px_overlap" / "features_uni_v1" / "gland_11_02.h5")
    slides = table(tmp_path / "slides.csv", test_data, 0.25)
    with pytest.raises(FeatureError, match=reason):
        run(adopt(tmp_path / "project", trident, slides))
    assert not (tmp_path / "project").exists()


def test_a_file_with_nan_is_left_out_and_named(
    trident: Path, test_data: Path, tmp_path: Path
) -> None:
    path = trident / "20x_128px_0px_overlap" / "features_uni_v1" / "gland_11_02.h5"
    with h5py.File(path, "a") as file:
        file["features"][2, 3] = np.nan
    slides = table(tmp_path / "slides.csv", test_data, 0.25)
    made = run(adopt(tmp_path / "project", trident, slides))
    assert list(made.failed) == list(made.project.failed_slides()) == ["gland_11_02"]
    assert "hold NaN" in made.failed["gland_11_02"]
    assert not made.project.features_path("gland_11_02").exists()


def test_folders_of_two_encoders_are_to_be_named(trident: Path, tmp_path: Path) -> None:
    other = trident / "20x_128px_0px_overlap" / "features_resnet50"
    write(other / "a.h5", np.zeros((1, 3), np.float32), np.zeros((1, 2)), **TRIDENT)
    with pytest.raises(FeatureError, match="features in several folders, name one"):
        run(adopt(tmp_path / "project", trident))


def test_a_project_that_is_there_is_not_overwritten(
    trident: Path, tmp_path: Path
) -> None:
    run(adopt(tmp_path / "project", trident))
    with pytest.raises(ProjectError, match="is a project already"):
        run(adopt(tmp_path / "project", trident))
