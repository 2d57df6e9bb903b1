"""Bags of TRIDENT, CLAM, DSMIL and NumPy, as they are read."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from bag_files import (
    WIDTH,
    Write,
    every_format,
    places,
    tiles,
    write_clam,
    write_dsmil,
    write_npy,
    write_npz,
    write_trident,
)

from weno.errors import FeatureError
from weno.mil import (
    Bag,
    FileRows,
    read_bag,
    read_cohort,
)


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
    # As a data loader sends them to its processes; no file is ever unpickled.
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
