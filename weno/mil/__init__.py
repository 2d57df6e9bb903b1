"""The learner: WENO's teacher and student, from bags to predictions.

Names load on first use, so that the choices of a run (`TrainConfig`, `PRESETS`) can
be shown where no deep-learning library is installed.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from weno.errors import import_extra
from weno.mil.config import PRESETS, TrainConfig

if TYPE_CHECKING:
    from weno.mil.bag_files import BagFile, FileRows, read_bag
    from weno.mil.bag_predictions import predict_bags
    from weno.mil.bag_table import BagRow, bags_context, read_bag_table, read_cohort
    from weno.mil.bags import Bag, load_bags
    from weno.mil.evaluation import evaluate, evaluate_project
    from weno.mil.on_cluster import predict_on
    from weno.mil.predict import (
        BagPrediction,
        PredictReport,
        PredictResult,
        Run,
        load_run,
        predict_bag,
        predict_features,
        predict_project,
        predict_slide,
    )
    from weno.mil.reports import EpochReport, StepReport
    from weno.mil.training import fit, fit_project, run_context
    from weno.mil.truth import read_truth

__all__ = [
    "PRESETS",
    "Bag",
    "BagFile",
    "BagPrediction",
    "BagRow",
    "EpochReport",
    "FileRows",
    "PredictReport",
    "PredictResult",
    "Run",
    "StepReport",
    "TrainConfig",
    "bags_context",
    "evaluate",
    "evaluate_project",
    "fit",
    "fit_project",
    "load_bags",
    "load_run",
    "predict_bag",
    "predict_bags",
    "predict_features",
    "predict_on",
    "predict_project",
    "predict_slide",
    "read_bag",
    "read_bag_table",
    "read_cohort",
    "read_truth",
    "run_context",
]

# Before torch allocates for the first time: gradients of tens of megabytes come and go
# with every step, and without huge pages Linux clears them page by page each time,
# which costs a wide student on a CPU a tenth of its time and more.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_HOMES = {
    **dict.fromkeys(("BagFile", "FileRows", "read_bag"), "bag_files"),
    **dict.fromkeys(
        ("BagRow", "bags_context", "read_bag_table", "read_cohort"), "bag_table"
    ),
    "predict_bags": "bag_predictions",
    "predict_on": "on_cluster",
    **dict.fromkeys(("Bag", "load_bags"), "bags"),
    **dict.fromkeys(("evaluate", "evaluate_project"), "evaluation"),
    "read_truth": "truth",
    **dict.fromkeys(
        ("EpochReport", "StepReport", "fit", "fit_project", "run_context"), "training"
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_extra("torch", "torch")
    module = import_module(f"weno.mil.{_HOMES.get(name, 'predict')}")
    return getattr(module, name)
