"""Makes projects of features alone, and runs the jobs of child processes on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from weno.features import SlideFeatures, write_features
from weno.project import Project
from weno.tiles import TileSpec

TILES = 30


def project_of_features(folder: Path, *, empty: str = "") -> Project:
    """Make a project of twelve slides that can be learnt; `empty` has no tiles."""
    rng = np.random.default_rng(0)
    lines = ["slide_id,path,label", *(f"s{i},s{i}.svs,{i % 2}" for i in range(12))]
    table = folder / "in.csv"
    table.write_text("\n".join(lines) + "\n")
    project = Project.create(folder / "p", table, spec=TileSpec(64, 0.5))
    for row in project.slides:
        n = 0 if row.slide_id == empty else TILES
        features = rng.standard_normal((n, 8)).astype(np.float32)
        features[:10, 0] += 4 * (row.label or 0)
        origins = np.stack([np.zeros(n, np.int64), 128 * np.arange(n)], axis=1)
        spec = ("texture", project.spec, (0.5, 0.5), (128, 3840), row.slide_id)
        write_features(
            project.features_path(row.slide_id),
            SlideFeatures(row.slide_id, features, origins, *spec),
        )
    return project


def told(job: Any) -> tuple[list[Any], Any]:
    """Run a job to its end; return its reports and its result."""
    reports = []
    while True:
        try:
            report = next(job)
        except StopIteration as end:
            return reports, end.value
        if report is not None:
            reports.append(report)
