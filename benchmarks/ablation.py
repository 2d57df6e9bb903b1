"""What each choice of the default is worth on the gland cohort: one row a change.

usage: python benchmarks/ablation.py --data DIR [--out DIR] [--seeds 0,1,2]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from weno.bench import bench_glands
from weno.mil import PRESETS

CHANGES = {
    "default": {},
    "features not slide-relative": {"slide_relative": False},
    "layer norm in the projector": {"layer_norm": True},
    "labels from attention alone": {"evidence_share": 0.0},
    "labels from evidence alone": {"evidence_share": 1.0},
    "student warm-up of 5 epochs": {"student_warmup": 5},
    "student dropout 0.25": {"student_dropout": 0.25},
    "mining by threshold": {"mining": "threshold"},
    "mining by top fraction": {"mining": "top_fraction"},
    "mining as published": {
        "mining": "threshold",
        "mining_max_drop": 1.0,
        "mining_min_keep": 0,
        "mining_calibrated": False,
        "mining_full_view": False,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    lines = []
    for name, change in CHANGES.items():
        table = bench_glands(
            arguments.data,
            arguments.out / "glands",
            seeds=seeds,
            config=replace(PRESETS["default"], **change),
            name=name.replace(" ", "-").replace(".", ""),
        )
        figures = [
            f"{table[who][metric]['mean']:.3f}"
            for who in ("teacher", "student")
            for metric in ("bag_auc", "tile_auc", "tile_auc_in_positive")
        ]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    print(f"seeds {arguments.seeds}; AUC of bags, tiles, tiles in positive slides")
    print("| | teacher bag | tile | inside | student bag | tile | inside |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
