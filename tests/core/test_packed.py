"""Bags that do not fit are read when their turn comes, and nothing else changes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from weno.mil.bags import Bag
from weno.mil.checkpoint import load_tensors
from weno.mil.config import TrainConfig
from weno.mil.packed import PackedBags, StreamedRows
from weno.mil.scores import bag_maximum, roc_auc
from weno.mil.standardise import Moments, Standardiser
from weno.mil.training import fit

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
CONFIG = TrainConfig(epochs=3, min_epochs=1, student_warmup=1, batch_size=100)
CONTEXT = {"encoder": "", "spec": {}, "class_names": ["no", "yes"]}


def bags_on_disk(folder: Path, count: int = 12) -> list[Bag]:
    rng = np.random.default_rng(0)
    bags = []
    for i in range(count):
        features = rng.standard_normal((300 + 37 * i, 5)).astype(np.float16)
        features[:50, 0] += 3 * (i % 2)
        np.save(folder / f"{i}.npy", features)
        rows: Any = np.load(folder / f"{i}.npy", mmap_mode="r")
        bags.append(Bag(f"s{i}", f"p{i}", i % 2, rows))
    return bags


def both(folder: Path) -> tuple[PackedBags, PackedBags]:
    bags = bags_on_disk(folder)
    standardise = Standardiser(5, relative=True)
    standardise.adapt(Moments.of(bags))
    return (
        PackedBags.pack(bags, CPU, standardise),
        PackedBags.pack(bags, CPU, standardise, memory=1000),
    )


def test_streamed_bags_are_the_resident_ones(tmp_path: Path) -> None:
    resident, streamed = both(tmp_path)
    assert isinstance(resident.x, torch.Tensor)
    assert isinstance(streamed.x, StreamedRows)
    for b in (3, 0, 11):
        torch.testing.assert_close(streamed.bag(b), resident.bag(b))
    pair = streamed.group([5, 2])
    torch.testing.assert_close(pair.x, resident.group([5, 2]).x)
    assert pair.classes == [1, 0]


def test_shuffling_shows_every_instance_once(tmp_path: Path) -> None:
    resident, streamed = both(tmp_path)
    assert isinstance(resident.x, torch.Tensor)
    for bags in (resident, streamed):
        torch.manual_seed(1)
        batches = list(bags.shuffled(100))
        index = torch.cat([index for index, _ in batches])
        assert sorted(index.tolist()) == list(range(len(resident.positive)))
        assert [len(i) for i, _ in batches[:-1]] == [100] * (len(batches) - 1)
        for places, x in batches:
            torch.testing.assert_close(x, resident.x[places])
        # A batch is of many bags, or the student sees one label at a time.
        owners = resident.positive[batches[0][0]].float().mean()
        assert 0.2 < owners < 0.8


def test_streamed_blocks_mix_across_pools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weno.mil.packed._POOL_BYTES", 3 * 256 * 5 * 4)
    _, streamed = both(tmp_path)
    batches = list(streamed.shuffled(100))
    index = torch.cat([index for index, _ in batches])
    assert sorted(index.tolist()) == list(range(len(streamed.positive)))
    assert {len(i) for i, _ in batches[:-1]} == {100}


@pytest.mark.parametrize("memory", [0.0, 1e-5])
def test_a_fit_says_the_same_of_streamed_bags(tmp_path: Path, memory: float) -> None:
    bags = bags_on_disk(tmp_path)
    config = replace(CONFIG, feature_memory=memory, distillation=False)
    list(fit(tmp_path / "run", bags, config, device="cpu", context=CONTEXT))
    got = load_tensors(tmp_path / "run" / "last.safetensors")
    assert all(value.isfinite().all() for key, value in got.items() if "model" in key)
    if not memory:
        return
    kept = tmp_path / "resident"
    resident = replace(config, feature_memory=0.0)
    list(fit(kept, bags, resident, device="cpu", context=CONTEXT))
    for key, value in load_tensors(kept / "last.safetensors").items():
        # Without a student no instance is shuffled, so both see the same order.
        torch.testing.assert_close(got[key], value, msg=key, equal_nan=True)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_areas_on_the_device_are_those_of_the_library(count: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(count)
    labels = (torch.arange(count) % 3 == 0).float()
    values = torch.randn(4, count)
    values[1] = values[1].round()  # ties
    values[2] = 0.3
    values[3, -1] = torch.nan
    areas = roc_auc(labels, values)
    for found, row in zip(areas[:3].tolist(), values[:3], strict=True):
        assert found == pytest.approx(metrics.roc_auc_score(labels, row))
    assert areas[3].isnan()
    assert roc_auc(torch.ones(count), values).isnan().all()
    assert roc_auc(torch.zeros(count), values).isnan().all()


def test_bag_maximum() -> None:
    values = torch.tensor([0.2, 0.9, 0.1, 0.5, 0.4])
    assert bag_maximum(values, [2, 1, 2]).tolist() == pytest.approx([0.9, 0.1, 0.5])


MEASURE = """
import resource, sys
import numpy as np
from pathlib import Path
from weno.mil import TrainConfig, fit
from weno.mil.bags import Bag

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MB

folder = Path(sys.argv[1])
class Repeated:  # one file, again and again, mapped only while it is read
    shape, dtype = (5_000, 256), np.dtype(np.float16)
    def __len__(self): return 5_000
    def __getitem__(self, rows):
        return np.array(np.load(folder / "bag.npy", mmap_mode="r")[rows])

rng = np.random.default_rng(0)
np.save(folder / "bag.npy", rng.standard_normal((5_000, 256)).astype(np.float16))
config = TrainConfig(epochs=1, student_warmup=0, batch_size=4096, feature_memory=0.02,
                     projector_dim=8, teacher_dim=8, attention_dim=8, student_width=8)
context = {"encoder": "", "spec": {}, "class_names": ["no", "yes"]}
peaks = []
for count in (60, 160):  # both far more than what is shuffled together
    bags = [Bag(f"s{i}", f"p{i}", i % 2, Repeated()) for i in range(count)]
    list(fit(folder / f"run-{count}", bags, config, device="cpu", context=context))
    peaks.append(peak())
print(*peaks)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not count like this")
def test_memory_does_not_grow_with_the_cohort(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    few, many = map(float, done.stdout.split())
    # A hundred bags more would be 512 MB more in memory as single-precision numbers.
    assert many - few < 100
