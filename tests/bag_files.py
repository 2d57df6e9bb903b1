"""Writes bags in the layouts in which TRIDENT, CLAM, DSMIL and NumPy write them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from weno.mil import (
    TrainConfig,
)

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
