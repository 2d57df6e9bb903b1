"""Bags of others are fitted and predicted, in Python and on the command line."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from bag_files import (
    CONFIG,
    WIDTH,
    mixed_cohort,
    tiles,
    write_npy,
    write_trident,
)
from typer.testing import CliRunner, Result

from weno.cli import app
from weno.mil import (
    Bag,
    FileRows,
    TrainConfig,
    bags_context,
    fit,
    load_run,
    predict_bag,
    predict_bags,
    read_bag_table,
    read_cohort,
)
from weno.mil.checkpoint import load_tensors


def test_files_teach_what_arrays_teach(tmp_path: Path) -> None:
    bags = read_cohort(mixed_cohort(tmp_path))
    arrays = [Bag(b.slide_id, b.patient_id, b.label, b.read()) for b in bags]
    for name, given in (("files", bags), ("arrays", arrays)):
        list(fit(tmp_path / name, given, CONFIG, device="cpu", context=bags_context()))
    one, two = (
        load_tensors(tmp_path / n / "last.safetensors") for n in ("files", "arrays")
    )
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=0, atol=0, equal_nan=True)


def test_a_fit_in_little_memory_asks_for_few_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bags = read_cohort(mixed_cohort(tmp_path))
    read, asked = FileRows.__getitem__, 0

    def counted(rows: FileRows, chosen: slice) -> Any:
        nonlocal asked
        asked += 1
        return read(rows, chosen)

    monkeypatch.setattr(FileRows, "__getitem__", counted)
    config = TrainConfig(epochs=3, min_epochs=1, feature_memory=1e-6)
    reports = fit(tmp_path / "run", bags, config, device="cpu", context=bags_context())
    first = next(reports)
    before, _ = asked, first
    for _ in reports:
        pass
    assert asked > before + 2 * len(bags)  # each epoch reads the files again


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A table, and a run that the command line has fitted on it."""
    folder = tmp_path_factory.mktemp("cohort")
    table = mixed_cohort(folder)
    settings = ("--epochs", 6, "--min-epochs", 1, "--student-warmup", 1)
    options = ("--classes", "normal,tumour", "--device", "cpu", "--json")
    run_dir = folder / "run"
    result = weno("fit", "--bags", table, "--out", run_dir, *settings, *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["run_dir"] == str(run_dir)
    return table, run_dir


def weno(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_line_says_what_python_says(
    cohort: tuple[Path, Path], tmp_path: Path
) -> None:
    table, run_dir = cohort
    card = json.loads((run_dir / "card.json").read_text())
    assert card["class_names"] == ["normal", "tumour"]
    chosen = ("--model", run_dir, "--bags", table, "--device", "cpu", "--json")
    result = weno("predict", *chosen, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    assert len(answer["predicted"]) == 18
    assert answer["unnamed"] == []  # the run does not know its encoder either
    slides = {row["slide_id"]: row for row in read_table(tmp_path / "slides.csv")}
    run = load_run(run_dir, device="cpu")
    for bag in read_cohort(table):
        expected = predict_bag(run, bag)
        assert expected is not None
        rows = read_table(tmp_path / f"{bag.slide_id}.csv")
        for name in ("score", "attention", "probability", "pseudo_label"):
            got = np.array([row[name] for row in rows], np.float32)
            assert np.array_equal(got, getattr(expected, name)), name
        for name in ("teacher_probability", "student_top_mean", "threshold"):
            assert float(slides[bag.slide_id][name]) == getattr(expected, name)
        assert slides[bag.slide_id]["label"] == str(bag.label)
    first = read_table(tmp_path / "s00.csv")[3]  # of TRIDENT
    assert (first["index"], first["x"], first["y"]) == ("3", "768", "7")
    assert "x" not in read_table(tmp_path / "s01.csv")[0]  # of CLAM


def test_the_order_of_tiles_does_not_matter(cohort: tuple[Path, Path]) -> None:
    run = load_run(cohort[1], device="cpu")
    features, order = tiles(1, seed=99), np.random.default_rng(0).permutation(30)
    one = predict_bag(run, Bag("new", "new", None, features))
    two = predict_bag(run, Bag("new", "new", None, features[order]))
    assert one is not None
    assert two is not None
    assert two.teacher_probability == pytest.approx(one.teacher_probability, abs=1e-6)
    for name in ("score", "attention", "probability", "pseudo_label"):
        values = getattr(one, name)[order]
        np.testing.assert_allclose(getattr(two, name), values, rtol=1e-4, atol=1e-6)


def test_bags_that_do_not_fit_are_named_and_the_others_go_on(
    cohort: tuple[Path, Path], tmp_path: Path
) -> None:
    write_npy(tmp_path / "good", tiles())
    write_npy(tmp_path / "wide", np.zeros((3, 9), np.float32))
    write_npy(tmp_path / "nan", np.full((3, WIDTH), np.nan, np.float32))
    write_npy(tmp_path / "none", np.empty((0, WIDTH), np.float32))
    write_npy(tmp_path / "slides", tiles())
    chosen = ("--model", cohort[1], "--bags", tmp_path, "--device", "cpu")
    result = weno("predict", *chosen, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 2
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["predicted"] == ["good"]
    assert answer["empty"] == ["none"]
    assert "9 features a tile, the run was trained on 6" in answer["failed"]["wide"]
    assert "NaN" in answer["failed"]["nan"]
    assert "give it another id" in answer["failed"]["slides"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, None),
        ({"encoder": "uni"}, None),
        ({"encoder": "conch"}, "encoder is 'conch', wanted 'uni'"),
        ({"encoder": "uni", "spec": '{"mpp": 0.5}'}, None),
        ({"encoder": "uni", "spec": '{"mpp": 1.0}'}, "mpp is 1.0, wanted 0.5"),
    ],
)
def test_what_a_file_says_of_itself_must_be_the_runs(
    said: dict[str, str], message: str | None, cohort: tuple[Path, Path], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for file in cohort[1].iterdir():
        (run_dir / file.name).write_bytes(file.read_bytes())
    card = json.loads((run_dir / "card.json").read_text())
    card |= {"encoder": "uni", "spec": {"mpp": 0.5}}
    (run_dir / "card.json").write_text(json.dumps(card))
    (tmp_path / "bags").mkdir()
    with h5py.File(write_trident(tmp_path / "bags" / "a", tiles()), "a") as file:
        file.attrs.update(said)
    job = predict_bags(
        run_dir, read_bag_table(tmp_path / "bags"), tmp_path / "out", device="cpu"
    )
    (report,) = job
    assert (report.error or "").endswith(message or "")
    assert (report.error is None) == (message is None)
    result = weno(
        "predict", "--model", run_dir, "--bags", tmp_path / "bags", "--out", tmp_path
    )
    assert ("do not say which encoder" in result.stderr) == (not said)


def test_labels_of_the_first_column_come_back(tmp_path: Path) -> None:
    """As in the files of WENO's authors: for measuring, not for learning."""
    for i in range(16):
        truth = np.zeros(30)
        truth[: 10 * (i % 2)] = 1
        values = np.column_stack([truth, tiles(i % 2, seed=i)])
        np.save(tmp_path / f"s{i:02}.npy", values.astype(np.float32))
    table = tmp_path / "t.csv"
    lines = [f"s{i:02},{i % 2}" for i in range(16)]
    table.write_text("\n".join(["slide_id,label", *lines]) + "\n")
    settings = ("--labels-first", "--epochs", 2, "--min-epochs", 1, "--device", "cpu")
    run_dir, out = tmp_path / "run", tmp_path / "out"
    result = weno("fit", "--bags", table, "--out", run_dir, *settings)
    assert result.exit_code == 0, result.output
    assert json.loads((run_dir / "card.json").read_text())["width"] == WIDTH
    chosen = ("--model", run_dir, "--bags", table, "--labels-first", "--out", out)
    result = weno("predict", *chosen)
    assert result.exit_code == 0, result.output
    labels = [row["label"] for row in read_table(out / "s01.csv")]
    assert labels == ["1"] * 10 + ["0"] * 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--bags", "t.csv"], "say with --out"),
        (["fit", "--bags", "t.csv", "--out", "r"], "not a readable CSV"),
        (["fit", "--bags", "t.csv", "--out", "r", "--classes", "a"], "two names"),
        (["fit", "--out", "r"], "go with --bags"),
        (["predict", "--bags", "t.csv"], "give the run to predict with"),
    ],
)
def test_what_is_missing_is_told(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = weno(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


SLIDE_LIBRARIES = ["dask", "openslide", "skimage", "PIL", "pyarrow", "tifffile", "zarr"]
SLIDE_LIBRARIES += ["pandas", "tomlkit", "imagecodecs"]


def test_what_trains_imports_no_library_for_slides() -> None:
    code = """
import sys
import weno.mil.training, weno.mil.predict, weno.mil.bag_files, weno.mil.bag_table
import weno.mil.bag_predictions, weno.mil.evaluation
print(*{name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & {*SLIDE_LIBRARIES, "scipy", "sklearn"}


def test_a_server_without_those_libraries_fits_and_predicts(
    cohort: tuple[Path, Path], tmp_path: Path
) -> None:
    code = f"""
import sys
from pathlib import Path

class Without:  # finds all but what such a server has not
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        missing = name.partition(".")[0] in {SLIDE_LIBRARIES}
        return None if missing else self.finder.find_spec(name, *rest)

sys.meta_path[:] = map(Without, sys.meta_path)
from weno.mil import TrainConfig, bags_context, fit, predict_bags
from weno.mil import read_bag_table, read_cohort
try:
    import PIL
    sys.exit("not hidden")
except ModuleNotFoundError:
    pass
table, out = map(Path, sys.argv[1:])
config = TrainConfig(epochs=2, min_epochs=1, student_warmup=1, batch_size=64)
bags = read_cohort(table)
list(fit(out / "run", bags, config, device="cpu", context=bags_context()))
reports = list(predict_bags(out / "run", read_bag_table(table), out, device="cpu"))
assert [report.error for report in reports] == [None] * len(bags)
from weno.cli import app
app(["predict", "--model", str(out / "run"), "--bags", str(table), "--out", str(out)])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(cohort[0]), str(tmp_path)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(read_table(tmp_path / "slides.csv")) == 18
