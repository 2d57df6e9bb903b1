"""How much memory a fit takes whose features are far larger than it."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weno.mil.bag_files import FileRows
from weno.mil.bags import Bag
from weno.mil.training import fit
from weno.terminal import follow

if TYPE_CHECKING:
    from pathlib import Path

    from weno.mil.config import TrainConfig


def bench_memory(
    folder: Path,
    config: TrainConfig,
    *,
    bags: int = 1000,
    tiles: int = 20_000,
    width: int = 1024,
    device: str = "auto",
) -> dict[str, Any]:
    """Fit one epoch, teacher and student, on bags in half precision on disk.

    One file stands for all of them: as much is read as of so many files.

    Parameters
    ----------
    folder : Path
        For the file and the run; must not hold a run yet.
    config : TrainConfig
        Its epochs, warm-up and `feature_memory` are replaced.
    bags, tiles, width : int
        Bags, instances of each, and features of an instance.
    device : str

    Returns
    -------
    dict
        "features_gb", the size of all features; "before_gb" and "peak_gb", the memory
        of this process before the fit and at most; "seconds".
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bag.npy"
    values = np.random.default_rng(0).standard_normal((tiles, width), np.float32)
    np.save(path, values.astype(np.float16))
    rows = FileRows(path, (tiles, width), np.dtype(np.float16))
    made = [Bag(f"bag-{b}", f"bag-{b}", b % 2, rows) for b in range(bags)]
    # A GB of features may be kept: all others are read when it is their turn.
    config = replace(config, epochs=1, student_warmup=0, feature_memory=1.0)
    context = {"encoder": "", "spec": {}, "class_names": ["negative", "positive"]}
    before, started = _peak_gb(), time.perf_counter()
    follow(fit(folder / "run", made, config, device=device, context=context), "fit")
    return {
        "features_gb": bags * tiles * width * 2 / 1e9,
        "before_gb": before,
        "peak_gb": _peak_gb(),
        "seconds": time.perf_counter() - started,
    }


def _peak_gb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9
