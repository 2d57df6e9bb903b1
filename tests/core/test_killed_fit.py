"""A fit that is killed goes on and ends as one that never was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from weno.mil.checkpoint import load_tensors

if TYPE_CHECKING:
    from pathlib import Path

FIT = """
import sys
import numpy as np, torch
from pathlib import Path
from weno.mil import EpochReport, TrainConfig, fit
from weno.mil.bags import Bag

torch.set_num_threads(int(sys.argv[2]))
rng = np.random.default_rng(0)
bags = []
for i in range(20):
    features = rng.standard_normal((200, 16)).astype(np.float32)
    features[:50, 0] += 3 * (i % 2)
    bags.append(Bag(f"s{i}", f"p{i}", i % 2, features))
config = TrainConfig(epochs=12, min_epochs=2, student_warmup=1, patience=12,
                     mining="threshold", mining_start=3)
context = {"encoder": "", "spec": {}, "class_names": ["no", "yes"]}
for report in fit(Path(sys.argv[1]), bags, config, device="cpu", resume=True,
                  context=context):
    if isinstance(report, EpochReport):
        print(report.epoch, flush=True)
"""


def start(folder: Path, threads: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FIT, str(folder), str(threads)],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_again_and_again_it_ends_with_equal_weights(tmp_path: Path) -> None:
    with start(tmp_path / "whole", 1) as child:
        child.communicate()
    # Every resumed process would have two threads; the checkpoint brings one back.
    for epochs, threads in ((1, 1), (3, 2), (2, 2)):
        with start(tmp_path / "killed", threads) as child:
            assert child.stdout is not None
            for _ in range(epochs):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
    with start(tmp_path / "killed", 2) as child:
        child.communicate()
    for name in ("last.safetensors", "best.safetensors"):
        whole = load_tensors(tmp_path / "whole" / name)
        killed = load_tensors(tmp_path / "killed" / name)
        assert whole.keys() == killed.keys()
        assert all(value.equal(killed[key]) for key, value in whole.items())
    lines = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 13))
