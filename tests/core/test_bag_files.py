"""Bags of TRIDENT, CLAM, DSMIL and NumPy, in the layouts in which those write them."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from weno.cli import app
from weno.errors import FeatureError
from weno.mil import (
    Bag,
    FileRows,
    TrainConfig,
    bags_context,
    fit,
    load_run,
    predict_bag,
    predict_bags,
    read_bag,
    read_bag_table,
    read_cohort,
)
from weno.mil.checkpoint import load_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    Features = np.ndarray[Any, np.dtype[np.floating[Any]]]
    Write = Callable[[Path, Features], Path]

WIDTH = 6
CONFIG = TrainConfig(epochs=4, min_epochs=1, student_warmup=1, batch_size=64)


def tiles(label: int = 0, seed: int = 0, count: int = 30) -> Features:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((count, WIDTH)).astype(np.float32)
    features[: count // 3 * label, 0] += 4
    return features


def places(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(x, y) of tiles in a row, 256 px apart; x and y are never equal."""
    return np.stack([256 * np.arange(count), np.full(count, 7)], axis=1)


def write_trident(path: Path, features: Features) -> Path:
    """As TRIDENT writes: chunks of a row, attributes beside both datasets."""
    path = path.with_suffix(".h5")
    xy = places(features.shape[-2])
    with h5py.File(path, "w") as file:
        for name, data in (("features", features), ("coords", xy)):
            chunks = (1, *data.shape[1:])
            limits = (None, *data.shape[1:])
            file.create_dataset(name, data=data, maxshape=limits, chunks=chunks)
        file["features"].attrs.update({"name": path.stem, "savetodir": "out"})
        file["coords"].attrs.update({"patch_size": 256, "patch_size_level0": 512})
    return path


def write_clam(path: Path, features: Features) -> Path:
    path = path.with_suffix(".pt")
    torch.save(torch.from_numpy(features), path)
    return path


def write_old_clam(path: Path, features: Features) -> Path:
    path = path.with_suffix(".pt")
    tensor = torch.from_numpy(features)
    torch.save(tensor, path, _use_new_zipfile_serialization=False)
    return path


def write_dsmil(path: Path, features: Features) -> Path:
    path = path.with_suffix(".csv")
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(range(features.shape[1]))
        table.writerows(features.tolist())
    return path


def write_npy(path: Path, features: Features) -> Path:
    path = path.with_suffix(".npy")
    np.save(path, features)
    return path


def write_npz(path: Path, features: Features) -> Path:
    path = path.with_suffix(".npz")
    np.savez(path, features=features, coords=places(len(features)))
    return path


WRITERS = [write_trident, write_clam, write_old_clam, write_dsmil, write_npy, write_npz]
every_format = pytest.mark.parametrize("write", WRITERS, ids=lambda w: w.__name__)


@every_format
def test_what_was_written_is_read(write: Write, tmp_path: Path) -> None:
    features = tiles()
    file = read_bag(write(tmp_path / "a", features))
    assert file.instances.shape == features.shape
    assert np.array_equal(file.instances[:], features)
    assert np.array_equal(file.instances[4:9], features[4:9])
    assert len(file) == 30
    if write in (write_trident, write_npz):
        assert file.origins is not None
        assert file.origins.dtype == np.int64
        assert file.origins[3].tolist() == [7, 768]  # (y, x)
    else:
        assert file.origins is None
    assert file.instance_labels is None


@every_format
def test_a_bag_may_have_no_tiles(write: Write, tmp_path: Path) -> None:
    file = read_bag(write(tmp_path / "a", np.empty((0, WIDTH), np.float32)))
    assert file.instances.shape == (0, WIDTH)
    assert file.instances[:].shape == (0, WIDTH)


@pytest.mark.parametrize("write", [write_trident, write_clam, write_npy, write_npz])
def test_half_precision_stays_so_on_disk(write: Write, tmp_path: Path) -> None:
    features = tiles().astype(np.float16)
    rows = read_bag(write(tmp_path / "a", features)).instances
    assert rows.dtype == rows[:3].dtype == np.float16
    read = Bag("a", "a", 0, rows).read()
    assert read.dtype == np.float32
    assert np.array_equal(read, features)


def test_bfloat16_becomes_single_precision(tmp_path: Path) -> None:
    tensor = torch.from_numpy(tiles()).bfloat16()
    torch.save(tensor, tmp_path / "a.pt")
    assert np.array_equal(
        read_bag(tmp_path / "a.pt").instances[:], tensor.float().numpy()
    )


@pytest.mark.parametrize("write", [write_trident, write_clam, write_npy])
def test_a_leading_one_is_dropped(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a", tiles()[None])  # (1, N, F)
    file = read_bag(path)
    assert file.instances.shape == (30, WIDTH)
    assert np.array_equal(file.instances[5:7], tiles()[5:7])


def test_coords_may_have_a_leading_one_and_may_be_missing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["coords"] = tiles()[None], places(30)[None]
    origins = read_bag(tmp_path / "a.h5").origins
    assert origins is not None
    assert origins[1].tolist() == [7, 256]
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["features"] = tiles()
    assert read_bag(tmp_path / "b.h5").origins is None


@pytest.mark.parametrize("write", [write_trident, write_clam, write_npy, write_npz])
def test_rows_stay_in_their_file(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a", tiles())
    rows = pickle.loads(pickle.dumps(read_bag(path).instances))
    assert isinstance(rows, FileRows)
    assert np.array_equal(rows[:], tiles())
    assert rows[:2].flags.writeable  # as torch wants it
    path.unlink()
    with pytest.raises(FeatureError, match="no such file"):
        rows[:2]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux counts here")
def test_a_cohort_keeps_no_file_open(tmp_path: Path) -> None:
    writers = [write_trident, write_clam, write_npy, write_npz]
    for i in range(40):
        writers[i % 4](tmp_path / f"s{i:02}", tiles())
    before = len(os.listdir("/proc/self/fd"))
    bags = read_cohort(tmp_path)
    kept = [bag.read(slice(5)) for bag in bags]
    assert len(kept) == 40
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_dsmil_may_have_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(',0,1,label,position\n0,0.5,1.5,1,"3,4"\n1,2.5,3.5,0,"3,5"\n')
    file = read_bag(path)
    assert file.instances[:].tolist() == [[0.5, 1.5], [2.5, 3.5]]
    assert file.instance_labels is not None
    assert file.instance_labels.tolist() == [1, 0]


def test_npz_may_have_labels(tmp_path: Path) -> None:
    labels = np.arange(30) % 2
    np.savez(tmp_path / "a.npz", features=tiles(), labels=labels)
    file = read_bag(tmp_path / "a.npz")
    assert file.instance_labels is not None
    assert file.instance_labels.dtype == np.int8
    assert np.array_equal(file.instance_labels, labels)


def test_the_first_column_is_a_label_only_if_told(tmp_path: Path) -> None:
    truth = (np.arange(30) < 10).astype(np.float32)
    np.save(tmp_path / "a.npy", np.column_stack([truth, tiles()]))
    assert read_bag(tmp_path / "a.npy").instances.shape == (30, WIDTH + 1)
    file = read_bag(tmp_path / "a.npy", first_column="label")
    assert file.instances.shape == (30, WIDTH)
    assert np.array_equal(file.instances[2:5], tiles()[2:5])
    assert file.instance_labels is not None
    assert np.array_equal(file.instance_labels, truth)
    np.save(tmp_path / "b.npy", tiles())
    with pytest.raises(FeatureError, match="label of a tile is"):
        read_bag(tmp_path / "b.npy", first_column="label")


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".npy", ".npz"])
def test_nothing_is_unpickled(suffix: str, tmp_path: Path) -> None:
    trap, path = tmp_path / "executed", tmp_path / f"a{suffix}"
    payload: Any = np.array([Malicious(trap)], object)
    if suffix == ".npy":
        np.save(path, payload, allow_pickle=True)
    elif suffix == ".npz":
        np.savez(path, features=payload)
    elif suffix == ".pt":
        torch.save(Malicious(trap), path)
    else:
        path.write_bytes(pickle.dumps(Malicious(trap), protocol=2))
    with pytest.raises(FeatureError, match=path.name):
        read_bag(path)
    assert not trap.exists()


def test_a_dict_of_tensors_is_not_a_bag(tmp_path: Path) -> None:
    torch.save({"features": torch.zeros(3, 2)}, tmp_path / "a.pt")
    with pytest.raises(FeatureError, match="holds a dict, not one tensor"):
        read_bag(tmp_path / "a.pt")


@every_format
def test_damage_is_told(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a", tiles(count=300))
    whole = path.read_bytes()
    cut = whole[: len(whole) // 2]
    if write is write_dsmil:
        cut = cut.rpartition(b",")[0]  # or the last number would only be shorter
    path.write_bytes(cut)
    with pytest.raises(FeatureError, match=path.name):
        read_bag(path).instances[:]
    path.write_bytes(b"")
    with pytest.raises(FeatureError, match=path.name):
        read_bag(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": tiles()}, "no array features; it has embeddings"),
        ({"features": tiles()[0]}, "whole slide"),
        ({"features": tiles()[None, None]}, r"of shape \(1, 1, 30, 6\)"),
        ({"features": tiles().astype(int)}, "features are int64"),
        ({"features": tiles(), "coords": places(29)}, "do not fit 30 tiles"),
        ({"features": tiles(), "coords": places(30) + 0.5}, "whole level-0 pixels"),
        ({"features": tiles(), "labels": np.ones(29)}, "do not fit 30 tiles"),
        ({"features": tiles(), "labels": np.full(30, 2)}, "label of a tile is 2"),
    ],
)
def test_other_layouts_are_told(
    arrays: dict[str, Any], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(FeatureError, match=message):
        read_bag(tmp_path / "a.npz")
    if "labels" in arrays:
        return
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in arrays.items():
            file[name] = values
    with pytest.raises(FeatureError, match=message):
        read_bag(tmp_path / "a.h5")


def test_a_csv_without_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0.5,1.5\n2.5,3.5\n")
    with pytest.raises(FeatureError, match="no header"):
        read_bag(tmp_path / "a.csv")


def mixed_cohort(folder: Path, count: int = 18) -> Path:
    """Bags of all formats and their table; labels 0 and 1 take turns."""
    lines = ["slide_id,path,label,patient_id"]
    (folder / "bags").mkdir(parents=True)
    for i in range(count):
        features = tiles(i % 2, seed=i)
        path = WRITERS[i % len(WRITERS)](folder / "bags" / f"s{i:02}", features)
        lines.append(f"s{i:02},bags/{path.name},{i % 2},p{i:02}")
    table = folder / "bags.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def test_a_table_of_mixed_formats(tmp_path: Path) -> None:
    bags = read_cohort(mixed_cohort(tmp_path))
    assert [bag.slide_id for bag in bags] == [f"s{i:02}" for i in range(18)]
    assert [bag.label for bag in bags] == [i % 2 for i in range(18)]
    assert bags[3].patient_id == "p03"
    assert {bag.split for bag in bags} == {None}
    assert all(
        np.array_equal(bag.read(), tiles(i % 2, seed=i)) for i, bag in enumerate(bags)
    )


def test_a_dataset_and_splits_of_clam(tmp_path: Path) -> None:
    """Labels in words, no paths, features where CLAM puts them."""
    (tmp_path / "FEATURES" / "h5_files").mkdir(parents=True)
    (tmp_path / "FEATURES" / "pt_files").mkdir()
    names = ["normal_1", "tumor.2", "normal_3", "tumor_4", "tumor_5"]
    lines = ["case_id,slide_id,label"]
    for i, name in enumerate(names):
        # pt alone for the first: what has coordinates is taken where there are both
        target = tmp_path / "FEATURES" / "pt_files" / f"{name}.pt"
        torch.save(torch.from_numpy(tiles()), target)
        if i:
            place = tmp_path / "FEATURES" / "h5_files" / f"{name}.h5"
            write_trident(place.with_name("x"), tiles()).rename(place)
        lines.append(f"patient_{i // 2},{name},{re.split('[_.]', name)[0]}_tissue")
    table, splits = tmp_path / "dataset.csv", tmp_path / "splits_0.csv"
    table.write_text("\n".join(lines) + "\n")
    splits.write_text(",train,val,test\n0,normal_1,normal_3,tumor_4\n1,tumor.2,,\n")
    folder, classes = tmp_path / "FEATURES", ("normal_tissue", "tumor_tissue")
    with pytest.raises(FeatureError, match="words, normal_tissue, tumor_tissue: name"):
        read_cohort(table, folder)
    with pytest.raises(FeatureError, match="unknown labels tumor_tissue: the classes"):
        read_cohort(table, folder, classes=("normal_tissue", "tumour"))
    rows = read_bag_table(table, folder, classes=classes, splits=splits)
    assert [row.path.suffix for row in rows] == [".pt", ".h5", ".h5", ".h5"]
    bags = read_cohort(table, folder, classes=classes, splits=splits)
    got = {bag.slide_id: (bag.patient_id, bag.label, bag.split) for bag in bags}
    assert got == {  # tumor_5 is in no split
        "normal_1": ("patient_0", 0, "train"),
        "tumor.2": ("patient_0", 1, "train"),
        "normal_3": ("patient_1", 0, "val"),
        "tumor_4": ("patient_1", 1, "test"),
    }


def test_wrong_splits_are_told(tmp_path: Path) -> None:
    table = mixed_cohort(tmp_path, 6)
    splits = tmp_path / "splits.csv"
    for text, message in (
        (",train,val\n0,s00,s00\n", "listed more than once: s00"),
        (",train,val\n0,s00,s77\n", "not in the table: s77"),
        (",train,val\ns00,True,False\n", "beside it"),
        ("slide_id\ns00\n", "no column train"),
    ):
        splits.write_text(text)
        with pytest.raises(FeatureError, match=message):
            read_bag_table(table, splits=splits)


@pytest.mark.parametrize("header", ["0,label\n", ""])
def test_a_list_of_dsmil(header: str, tmp_path: Path) -> None:
    for name in ("0-normal/a", "1-tumour/b"):
        (tmp_path / "datasets" / name).parent.mkdir(parents=True)
        write_dsmil(tmp_path / "datasets" / name, tiles())
    table = tmp_path / "list.csv"
    table.write_text(f"{header}datasets/0-normal/a.csv,0\ndatasets/1-tumour/b,1\n")
    bags = read_cohort(table)
    assert [(bag.slide_id, bag.label) for bag in bags] == [("a", 0), ("b", 1)]


def test_tile_labels_do_not_teach_unless_asked(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=tiles(), labels=np.ones(30))
    assert read_cohort(tmp_path)[0].instance_labels is None
    (bag,) = read_cohort(tmp_path, learn_labels=True)
    assert bag.verdicts.tolist() == [1] * 30


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    write_npy(tmp_path / "good", tiles())
    write_npy(tmp_path / "same", tiles())
    write_npy(tmp_path / "wide", np.zeros((3, 9), np.float32))
    whole = write_trident(tmp_path / "cut", tiles(count=300)).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[:2000])
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(1))
    table = tmp_path / "t.csv"
    table.write_text(
        "slide_id,path,label,split\n"
        "good,good.npy,0,\nsame,same.npy,1,\nSAME,same.npy,1,later\nwide,wide.npy,1,\n"
        "cut,cut.h5,0,\np,p.pkl,0,\ngone,gone.pt,2,\n../up,good.npy,0,\n"
    )
    with pytest.raises(FeatureError) as caught:
        read_cohort(table)
    said = str(caught.value)
    for message in (
        "given more than once: SAME, same",
        "'../up' cannot be the name",
        "labels in words, 2:",
        "split later is none of",
        "wide.npy: 9 features a tile, most files have 6",
        "cut.h5: damaged",
        "p.pkl: not a bag file",
        "gone.pt: there is no such file",
    ):
        assert message in said
    assert "good.npy" not in said


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n", "\xff"])
def test_a_table_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(FeatureError, match=r"t\.csv"):
        read_bag_table(tmp_path / "t.csv")
    with pytest.raises(FeatureError, match="no bag file"):
        read_bag_table((tmp_path / "empty").mkdir() or tmp_path / "empty")


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
