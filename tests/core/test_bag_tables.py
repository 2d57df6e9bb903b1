"""Tables of bags, those of CLAM and DSMIL too."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bag_files import (
    mixed_cohort,
    tiles,
    write_dsmil,
    write_npy,
    write_trident,
)

from weno.errors import FeatureError
from weno.mil import (
    read_bag_table,
    read_cohort,
)


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
