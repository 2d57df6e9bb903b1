"""The learner: WENO's teacher and student, from bags to predictions.

Names load on first use, so that the choices of a run (`TrainConfig`, `PRESETS`) can
be shown where no deep-learning library is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from weno.errors import import_extra
from weno.mil.config import PRESETS, TrainConfig

if TYPE_CHECKING:
    from weno.mil.bags import Bag, load_bags
    from weno.mil.evaluation import evaluate, evaluate_project, read_truth
    from weno.mil.predict import (
        PredictReport,
        PredictResult,
        Run,
        load_run,
        predict_features,
        predict_project,
        predict_slide,
    )
    from weno.mil.reports import EpochReport, StepReport
    from weno.mil.training import fit, fit_project, run_context

__all__ = [
    "PRESETS",
    "Bag",
    "EpochReport",
    "PredictReport",
    "PredictResult",
    "Run",
    "StepReport",
    "TrainConfig",
    "evaluate",
    "evaluate_project",
    "fit",
    "fit_project",
    "load_bags",
    "load_run",
    "predict_features",
    "predict_project",
    "predict_slide",
    "read_truth",
    "run_context",
]

_HOMES = {
    **dict.fromkeys(("Bag", "load_bags"), "bags"),
    **dict.fromkeys(("evaluate", "evaluate_project", "read_truth"), "evaluation"),
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
