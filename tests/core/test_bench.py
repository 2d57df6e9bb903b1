from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from weno.bench.cifar import bag_counts, make_bags, read_cifar
from weno.bench.nuclei import read_nuclei
from weno.bench.trials import difference, interval
from weno.cli import app
from weno.errors import RunError

DATA = os.environ.get("WENO_TEST_DATA")
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

# The paper's tables of bags: share of positives, then positive and negative bags of
# the training and of the test images.
PUBLISHED = [
    (0.01, (226, 226), (45, 45)),
    (0.05, (229, 230), (45, 46)),
    (0.1, (236, 236), (47, 47)),
    (0.2, (250, 250), (50, 50)),
    (0.5, (100, 100), (20, 20)),
    (0.7, (71, 71), (14, 14)),
]


@pytest.mark.parametrize(("ratio", "train", "test"), PUBLISHED)
def test_cifar_has_the_published_numbers_of_bags(
    ratio: float, train: tuple[int, int], test: tuple[int, int]
) -> None:
    assert bag_counts(5000, 45_000, ratio) == train
    assert bag_counts(1000, 9000, ratio) == test


def numbered_images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images that hold their own number, a tenth of them trucks."""
    images = np.zeros((count, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(count) % 256
    images[:, 0, 0, 1] = np.arange(count) // 256
    return images, np.arange(count) % 10


def test_no_image_is_in_two_bags_and_the_share_is_right() -> None:
    images, labels = numbered_images(5000)
    bags, truth = make_bags(images, labels, 0.2, seed=0, split="train")
    seen = []
    for bag in bags:
        pixels = bag.read().astype(int)
        numbers = pixels[:, 0, 0, 0] + 256 * pixels[:, 0, 0, 1]
        assert len(numbers) == 100
        assert truth[bag.slide_id].tolist() == (labels[numbers] == 9).tolist()
        assert truth[bag.slide_id].sum() == (20 if bag.label else 0)
        assert bag.split == "train"
        seen += numbers.tolist()
    assert len(seen) == len(set(seen))
    assert [bag.label for bag in bags].count(1) == bag_counts(500, 4500, 0.2)[0]
    first = [bag for bag in bags if bag.label]
    places = np.flatnonzero(truth[first[0].slide_id])
    assert places.tolist() != list(range(20)), "positives are not in one place"


def write_tree(folder: Path, per_class: int) -> None:
    """A stand-in with CIFAR-10's layout in which trucks are red."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for i in range(per_class):
                pixels = rng.integers(0, 120, (32, 32, 3)).astype(np.uint8)
                if name == "truck":
                    pixels[:, :, 0] += 130
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")


def test_cifar_from_png_files(tmp_path: Path) -> None:
    write_tree(tmp_path, 3)
    parts = read_cifar(tmp_path)
    images, labels = parts["test"]
    assert images.shape == (30, 32, 32, 3)
    assert labels.tolist() == [k for k in range(10) for _ in range(3)]
    assert images[-1, :, :, 0].min() >= 130


def test_what_is_not_cifar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no CIFAR-10"):
        read_cifar(tmp_path)
    (tmp_path / "train" / "airplane").mkdir(parents=True)
    with pytest.raises(RunError, match="airplane: no PNG"):
        read_cifar(tmp_path)


def test_the_cifar_command_finds_red_trucks_and_keeps_its_runs(tmp_path: Path) -> None:
    write_tree(tmp_path / "cifar", 45)
    arguments = [
        "bench", "cifar10-mil", "--data", str(tmp_path / "cifar"), "--ratio", "0.2",
        "--seeds", "0", "--quick", "--out", str(tmp_path / "out"), "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["bags"] == {"train": [2, 2], "test": [2, 2]}
    assert result["metrics"]["student_tile"]["mean"] > 0.9
    trials = next((tmp_path / "out").rglob("trials.json"))
    written = trials.stat().st_mtime_ns
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert trials.stat().st_mtime_ns == written


@pytest.mark.skipif(not DATA, reason="WENO_TEST_DATA is not set")
def test_nuclei_are_where_their_table_says() -> None:
    bags, truth = read_nuclei(Path(str(DATA)) / "crc_nuclei")
    assert len(bags) == 98
    assert sum(bag.label or 0 for bag in bags) == 51
    assert sum(map(len, bags)) == 20_280
    shares = [t.mean() for t in truth.values() if t.any()]
    assert np.median(shares) == pytest.approx(0.57, abs=0.01)
    # Nuclei are darker in their middle than at the rim of their crop.
    pixels = np.concatenate([bag.read() for bag in bags[:10]]).mean(3)
    assert pixels[:, 10:17, 10:17].mean() < pixels[:, :3].mean() - 20


def test_interval_and_paired_difference() -> None:
    noisy = [{"a": 0.5 + 0.1 * i, "b": 0.4 + 0.1 * i} for i in range(4)]
    value = interval([trial["a"] for trial in noisy])
    assert value["mean"] == pytest.approx(0.65)
    assert value["low"] < 0.62 < 0.68 < value["high"]
    paired = difference(noisy, noisy, "a", "b")
    assert paired["low"] == pytest.approx(0.1) == paired["high"]
    assert np.isnan(interval([float("nan")])["mean"])


def test_the_epoch_command_counts_operations() -> None:
    arguments = [
        "bench", "epoch", "--bags", "4", "--tiles", "50", "--width", "16",
        "--epochs", "1", "--plain", "--device", "cpu", "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    seconds = result["seconds"]
    parts = [seconds[k] for k in ("teacher", "labels and student", "evaluation")]
    assert seconds["all"] == pytest.approx(sum(parts))
    assert result["gflops"]["labels and student"] > 0
    assert result["matrix"] > 0
    assert result["layers"] > 0
    assert result["plain"] > 0
