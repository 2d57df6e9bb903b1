"""Several processes that train one model come to what one process comes to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("lightning_fabric")

FIT = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import torch
from weno.mil import PRESETS, Bag, TrainConfig, fit
from weno.mil.crew import ALONE, launch

torch.set_num_threads(1)
folder, size = Path(sys.argv[1]), int(sys.argv[2])
crew = launch(size, "cpu") if size > 1 else ALONE
small = replace(
    PRESETS["default"], epochs=4, min_epochs=1, student_warmup=1,
    teacher_dropout=0.0, pooling_dropout=0.0, student_dropout=0.0,
    projector_dim=8, teacher_dim=8, attention_dim=8, student_width=8,
    bags_per_step=4, batch_size=50,
    optimiser="sgd", learning_rate=0.1)  # AdamW makes much of rounding
configs = {
    "default": replace(small, mining="top_fraction", mining_spare=0.0, mining_start=2,
                       mining_ramp=0, mining_fraction=0.2),
    "labels": replace(small, clean_labels=False, label_tail=0.0, evidence_share=0.0),
    "streamed": replace(small, feature_memory=1e-6),
}
rng = np.random.default_rng(0)
bags = []
for k in range(13):
    x = rng.standard_normal((int(rng.integers(5, 40)), 6)).astype(np.float32)
    x[: 3 * (k % 2), :2] += 3
    bags.append(Bag(f"s{k}", f"p{k}", k % 2, x))
context = {"encoder": "", "spec": {}, "class_names": ["no", "yes"]}
for name, config in configs.items():
    run = folder / f"{name}-{size}"
    list(fit(run, bags, config, device="cpu", crew=crew, context=context))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train each config by one process, and by two that share its steps."""
    folder = tmp_path_factory.mktemp("crew")
    script = folder / "train.py"
    script.write_text(FIT)
    for size in ("1", "2"):
        done = subprocess.run(
            [sys.executable, str(script), str(folder), size],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", ["default", "labels", "streamed"])
def test_two_processes_have_the_loss_curve_of_one(folder: Path, name: str) -> None:
    files = [folder / f"{name}-{size}" / "metrics.jsonl" for size in (1, 2)]
    alone, together = (
        [json.loads(line) for line in file.read_text().splitlines()] for file in files
    )
    assert len(together) == len(alone) == 4
    for one, two in zip(alone, together, strict=True):
        for key in ("teacher_loss", "student_loss", "val_loss", "mined"):
            known = one[key] is not None
            wanted = pytest.approx(one[key], rel=1e-4, abs=1e-6) if known else None
            assert two[key] == wanted, key
        assert two["label_histogram"] == one["label_histogram"]
    digests = [
        json.loads((file.parent / "environment.json").read_text())["data_hash"]
        for file in files
    ]
    assert digests[0] == digests[1]
    assert any(line["mined"] for line in alone) == (name == "default")
    one, two = (
        load_file(folder / f"{name}-{size}" / "best.safetensors") for size in (1, 2)
    )
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4)


def test_a_crew_that_cannot_be_is_refused() -> None:
    from weno.errors import RunError
    from weno.mil.crew import launch

    with pytest.raises(RunError, match="cannot train on 2 x cuda"):
        launch(2, "cuda")


def test_the_command_trains_by_two_processes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["slide_id,path,label"]
    for k in range(12):
        np.save(tmp_path / f"s{k}.npy", rng.standard_normal((20, 6), np.float32))
        rows.append(f"s{k},s{k}.npy,{k % 2}")
    (tmp_path / "bags.csv").write_text("\n".join(rows))
    command = [Path(sys.executable).with_name("weno"), "fit", "--bags"]
    command += [tmp_path / "bags.csv", "--out", tmp_path / "run", "--json"]
    command += ["--device", "cpu", "--devices", "2", "--epochs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert json.loads(line)["run"] == "run"
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
