from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from weno.cli import app
from weno.features import SlideFeatures, read_header, write_features
from weno.project import Project
from weno.tiles import TileSpec


def weno(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def last_json(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


@pytest.fixture(scope="module")
def glands(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gland cohort, prepared and fitted by commands alone."""
    project = tmp_path_factory.mktemp("glands") / "project"
    slides = test_data / "gland_cohort" / "slides.csv"
    tiles = ("--tile-um", 79.36, "--tile-mpp", 0.62)
    made = last_json(weno("init", project, "--slides", slides, *tiles, "--json"))
    assert (made["slides"], made["positive"], made["unlabelled"]) == (24, 12, 0)
    outlined = last_json(weno("tissue", project, "--json"))
    assert len(list((project / "tissue").glob("*.geojson"))) == 24
    extracted = last_json(weno("extract", project, "--json"))
    tiles = [read_header(path).shape[0] for path in project.glob("features/*/*.h5")]
    assert outlined["tiles"] == sum(tiles) > 2900
    assert outlined["seconds"] > 0
    assert not outlined["empty"]
    assert len(extracted["extracted"]) == 24
    assert extracted["failed"] == {}
    fitted = last_json(
        weno("fit", project, "--name", "cv", "--folds", 4, "--seed", 1, "--json")
    )
    assert fitted["run"] == "cv"
    last_json(weno("predict", project, "--json"))
    return project


def test_the_whole_path_on_real_slides(glands: Path, test_data: Path) -> None:
    truth = test_data / "gland_cohort" / "tiles.csv"
    result = last_json(weno("evaluate", glands, "--tiles", truth, "--json"))
    for who in ("teacher", "student"):
        assert set(result[who]) >= {"bag_auc", "tile_auc", "tile_auc_in_positive"}
    # Well under what is measured, well over chance: a broken stage falls through.
    assert result["student"]["tile_auc_in_positive"] > 0.7
    assert result["student"]["tile_auc"] > 0.7
    assert len(list((glands / "predictions" / "cv").glob("*.parquet"))) == 24


def test_extract_again_does_nothing(glands: Path) -> None:
    again = last_json(weno("extract", glands, "--json"))
    assert again["extracted"] == []
    assert len(again["skipped"]) == 24


def test_a_run_folder_is_all_that_a_slide_needs(
    glands: Path, test_data: Path, tmp_path: Path
) -> None:
    slide = test_data / "gland_cohort" / "gland_11_03.tif"
    model = (tmp_path / "model").resolve()
    (glands / "runs" / "cv").rename(model)
    try:
        answer = last_json(
            weno("predict", "--model", model, slide, "--out", tmp_path, "--json")
        )
    finally:
        model.rename(glands / "runs" / "cv")
    assert 0 <= answer["predicted"]["gland_11_03"]["teacher_probability"] <= 1
    assert (tmp_path / "gland_11_03.parquet").is_file()


def test_a_run_finds_tissue_as_its_training_slides_were(
    glands: Path, test_data: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(glands / "runs" / "cv", tmp_path / "model")
    card = json.loads((model / "card.json").read_text())
    assert card["tissue"] == "classical"
    (model / "card.json").write_text(json.dumps(card | {"tissue": "deep"}))
    slide = test_data / "gland_cohort" / "gland_11_03.tif"
    result = weno("predict", "--model", model, slide, "--out", tmp_path)
    assert result.exit_code == 2
    assert "unknown tissue model 'deep'" in result.stderr


def test_project_defaults_to_the_current_folder(
    glands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(glands)
    assert last_json(weno("evaluate", "--json"))["student"]["bag_auc"] is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "nowhere"], "is not a project"),
        (["init", "p", "--slides", "missing.csv"], "neither a CSV file nor a folder"),
        (["init", "p", "--slides", ".", "--classes", "one"], "--classes"),
        (["init", "p", "--slides", ".", "--tissue", "best"], "unknown tissue model"),
        (["init", "p", "--features", ".", "--stride-um", "9"], "are cut already"),
        (["fit", ".", "--preset", "best"], "no preset 'best'"),
        (["fit", ".", "--val", "2"], "val is 2.0, not in"),
        (["predict", "a", "b"], "one project at a time"),
        (["predict", "--model", "m"], "no slide given"),
        (["predict", "--model", "m", "--run", "r", "s.svs"], "are for projects"),
        (["predict", "--model", "m", "--bags", "b", "--mpp", "1"], "no --mpp"),
        (["predict", "--labels-first"], "go with --bags"),
        (["predict", "--mpp", "1"], "in slides.csv"),
        (["fit", "--bags", "b.csv", "--out", "r", "--name", "x"], "are for projects"),
        (["view", "nothing.svs"], "is not a project"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = weno(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.strip().count("\n") == 0


def test_resume_takes_the_settings_of_the_run(glands: Path) -> None:
    first = ("fit", glands, "--name", "short", "--epochs", 3, "--seed", 5, "--json")
    last_json(weno(*first))
    resumed = last_json(weno("fit", glands, "--name", "short", "--resume", "--json"))
    assert resumed["run"] == "short"
    changed = weno("fit", glands, "--name", "short", "--resume", "--seed", 6)
    assert changed.exit_code == 2
    assert "seed was 5, now 6" in changed.stderr


def test_slides_of_one_name_are_refused(glands: Path, tmp_path: Path) -> None:
    model = glands / "runs" / "cv"
    slides = [tmp_path / folder / "same.svs" for folder in "ab"]
    result = weno("predict", "--model", model, *slides)
    assert result.exit_code == 2
    assert "same name" in result.stderr


def test_an_unwritable_place_is_one_line(test_data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    slides = test_data / "gland_cohort" / "slides.csv"
    result = weno("init", tmp_path / "file" / "p", "--slides", slides)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "weno:" in result.stderr


def labelled_project(root: Path, *, misleading: bool) -> Project:
    """A project of features alone; validation can contradict what training says."""
    rng = np.random.default_rng(0)
    lines = ["slide_id,path,label,split"]
    for i in range(16):
        split = "val" if i >= 12 else "train"
        lines.append(f"s{i:02},s{i}.svs,{i % 2},{split}")
    table = root / "in.csv"
    table.write_text("\n".join(lines) + "\n")
    project = Project.create(root / "p", table, spec=TileSpec(64, 0.5))
    for i, row in enumerate(project.slides):
        features = rng.standard_normal((30, 8)).astype(np.float32)
        shown = row.label == 1
        features[:6, 0] += 8 * (shown != (misleading and i >= 12))
        origins = np.stack([np.zeros(30, np.int64), 128 * np.arange(30)], axis=1)
        write_features(
            project.features_path(row.slide_id),
            SlideFeatures(
                slide_id=row.slide_id,
                features=features,
                origins=origins,
                encoder="texture",
                spec=project.spec,
                mpp=(0.5, 0.5),
                slide_shape=(128, 3840),
                content_hash=row.slide_id,
            ),
        )
    return project


@pytest.mark.parametrize("misleading", [True, False])
def test_a_run_at_chance_is_warned_of(tmp_path: Path, misleading: bool) -> None:
    project = labelled_project(tmp_path, misleading=misleading)
    settings = ("--epochs", 30, "--learning-rate", 2e-3)
    result = weno("fit", project.root, "--test", 0, *settings)
    assert result.exit_code == 0, result.output
    assert ("about a coin's" in result.stderr) == misleading


def test_debug_shows_the_traceback_and_json_the_error(tmp_path: Path) -> None:
    result = weno("extract", tmp_path, "--debug", "--json")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "is not a project" in json.loads(result.stdout.splitlines()[-1])["error"]


def test_a_slide_that_fails_is_named_and_the_others_go_on(
    test_data: Path, tmp_path: Path
) -> None:
    table = tmp_path / "slides.csv"
    good = test_data / "gland_cohort" / "gland_11_03.tif"
    bad = test_data / "slides" / "broken.svs"
    table.write_text(f"slide_id,path\ngood,{good}\nbad,{bad}\n")
    project = tmp_path / "p"
    tiles = ("--tile-um", 79.36, "--tile-mpp", 0.62)
    last_json(weno("init", project, "--slides", table, *tiles, "--json"))
    result = weno("extract", project, "--json")
    assert result.exit_code == 2
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["extracted"] == ["good"]
    assert str(bad.resolve()) in answer["failed"]["bad"]


@pytest.mark.parametrize("command", ["", "init", "extract", "fit", "predict", "view"])
def test_help_teaches_without_loading_the_learner(command: str) -> None:
    code = (
        "import sys; from weno.cli import app; "
        f"app({[*command.split(), '--help']!r}, standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    environment = os.environ | {"COLUMNS": "120", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    if command == "fit":
        for option in ("--folds", "--teacher", "--mining", "--resume", "--device"):
            assert option in done.stdout


def test_python_runs_it_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "weno", "extract", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "python -m weno" in done.stdout


def test_init_cuts_tiles_as_it_is_told_to(test_data: Path, tmp_path: Path) -> None:
    slides = test_data / "gland_cohort" / "slides.csv"
    tiles = ("--tile-um", 80, "--tile-mpp", 0.31, "--stride-um", 60)
    more = ("--min-tissue", 0, "--upsample", "--tissue", "classical")
    last_json(weno("init", tmp_path / "p", "--slides", slides, *tiles, *more, "--json"))
    project = Project.open(tmp_path / "p")
    assert project.spec == TileSpec(80, 0.31, 60, min_tissue=0, upsample=True)
    assert project.tissue == "classical"
    example = project.root / "project.toml"
    example.write_text(
        example.read_text().replace("# [reg", "[reg").replace("# in", "in")
    )
    outline = Project.open(project.root).outline(project.slides[0].slide_id)
    assert outline.inside == ("Tumor",)


def test_init_warns_of_slides_too_coarse_for_the_tiles(
    test_data: Path, tmp_path: Path
) -> None:
    slides = test_data / "gland_cohort" / "slides.csv"
    done = weno("init", tmp_path / "p", "--slides", slides, "--tile-mpp", 0.3)
    assert "its pixels are 0.62 µm" in " ".join(done.stderr.split())
    assert "mpp = 0.62 or more" in " ".join(done.stderr.split())
    told = last_json(
        weno("init", tmp_path / "q", "--slides", slides, "--tile-mpp", 0.62, "--json")
    )
    assert told["advice"] is None


def test_tissue_tells_what_is_edited_and_what_fails(
    test_data: Path, tmp_path: Path
) -> None:
    cohort, table = test_data / "gland_cohort", tmp_path / "slides.csv"
    names = ("gland_11_00", "gland_11_01", "gland_11_02")
    rows = [f"{name},{cohort / name}.tif" for name in names]
    table.write_text("\n".join(["slide_id,path", *rows]))
    project = tmp_path / "project"
    last_json(weno("init", project, "--slides", table, "--tile-mpp", 1, "--json"))
    folder = project / "tissue"
    folder.mkdir()
    (folder / f"{names[0]}.geojson").write_text('{"type": "FeatureCollection"')
    empty = '{"type": "FeatureCollection", "features": []}'
    (folder / f"{names[1]}.geojson").write_text(empty)
    settings = project / "project.toml"
    built_in = settings.read_text()
    # A network, whose weights are not here, is not loaded to guess the time.
    settings.write_text(built_in.replace('"texture"', '"uni"'))
    network = json.loads(weno("tissue", project, "--json").stdout.splitlines()[-1])
    settings.write_text(built_in)
    result = weno("tissue", project, "--json")
    assert result.exit_code == 2
    answer = json.loads(result.stdout.splitlines()[-1])
    assert "no GeoJSON" in answer["failed"][names[0]]
    assert answer["slides"][names[1]]["outline"] == "edited"
    assert answer["slides"][names[2]]["outline"] == "found"
    assert answer["slides"][names[2]]["area_mm2"] > 0.5
    assert answer["empty"] == [names[1]]
    assert network == answer | {"seconds": None}
    assert f"{answer['tiles']:,} tiles, about" in result.stdout
