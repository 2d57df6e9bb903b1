"""How fast the built-in encoder is, and how much its features know.

    python benchmarks/encoder.py --data FOLDER

FOLDER holds ``tiles.csv`` (slide_id, y, x, size, positive; level-0 pixels) and one
``<slide_id>.tif`` per slide. The probe is a logistic regression on standardised
features, fitted on all slides but one and applied to that one. Run it with
OMP_NUM_THREADS=1 for speed per core.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from weno.features import TextureEncoder
from weno.slides import open_slide

if TYPE_CHECKING:
    from collections.abc import Callable

C = 0.01  # strong regularisation: hundreds of features, hundreds of positive tiles
REPEATS = 100  # short ones: the best is the one that nothing else disturbed

Tiles = npt.NDArray[np.uint8]


def tiles_per_second(tiles: Tiles) -> float:
    """Best of some repeats, in processor time of this thread."""
    encoder = TextureEncoder()
    best = np.inf
    for _ in range(REPEATS):
        start = time.thread_time()
        encoder.encode(tiles)
        best = min(best, time.thread_time() - start)
    return float(len(tiles) / best)


def read_cells(
    folder: Path,
) -> tuple[Tiles, npt.NDArray[np.int_], npt.NDArray[np.str_]]:
    """Return the cells (N, size, size, 3), their truth and their slides."""
    with (folder / "tiles.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["slide_id"])
    tiles = []
    for slide_id in sorted({row["slide_id"] for row in rows}):
        with open_slide(folder / f"{slide_id}.tif") as slide:
            for row in rows:
                if row["slide_id"] == slide_id:
                    size = int(row["size"])
                    y, x = int(row["y"]), int(row["x"])
                    tiles.append(slide.read(0, y, x, size, size))
    truth = np.array([int(row["positive"]) for row in rows])
    return np.stack(tiles), truth, np.array([row["slide_id"] for row in rows])


def probe(
    features: npt.NDArray[np.float32],
    truth: npt.NDArray[np.int_],
    slides: npt.NDArray[np.str_],
) -> tuple[float, float]:
    """Leave one slide out: AUC pooled, and mean over positive slides."""
    logit = np.empty(len(truth))
    for slide_id in np.unique(slides):
        out = slides == slide_id
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=C, max_iter=1000)
        ).fit(features[~out], truth[~out])
        logit[out] = model.decision_function(features[out])
    inside = [
        roc_auc_score(truth[slides == slide_id], logit[slides == slide_id])
        for slide_id in np.unique(slides[truth == 1])
    ]
    return float(roc_auc_score(truth, logit)), float(np.mean(inside))


def mean_rgb(tiles: Tiles) -> npt.NDArray[np.float32]:
    """Return the mean colour of each tile, the floor of what a feature can be."""
    return tiles.mean(axis=(1, 2), dtype=np.float32)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Speed and probe of the encoder.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the cells")
    folder = parser.parse_args().data
    tiles, truth, slides = read_cells(folder)
    side = tiles.shape[1]
    quads = tiles[:32].reshape(8, 2, 2, side, side, 3).swapaxes(2, 3)
    large = np.ascontiguousarray(quads.reshape(8, 2 * side, 2 * side, 3))
    print("| tile | tiles a second and core |\n|---|---|")
    for some in (tiles[:32], large):
        print(f"| {some.shape[1]} px | {tiles_per_second(some):.0f} |")
    print("\n| features | numbers | AUC pooled | AUC inside positive slides |")
    print("|---|---|---|---|")
    rows: dict[str, Callable[[Tiles], npt.NDArray[np.float32]]] = {
        "mean RGB": mean_rgb,
        "texture": TextureEncoder().encode,
    }
    for name, encode in rows.items():
        features = encode(tiles)
        pooled, inside = probe(features, truth, slides)
        print(f"| {name} | {features.shape[1]} | {pooled:.3f} | {inside:.3f} |")


if __name__ == "__main__":
    main()
