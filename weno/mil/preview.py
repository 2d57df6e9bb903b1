"""What a model in training says of a slide, now and then."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from weno.errors import WenoError
from weno.features import read_features
from weno.mil.bags import read_slide_header
from weno.mil.checkpoint import load_model, load_tensors
from weno.mil.network import Weno
from weno.mil.predict import predict_features
from weno.mil.run import Run
from weno.mil.run_folder import LAST, fold_folder
from weno.mil.training import run_context
from weno.prediction import write_prediction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from weno.features import SlideFeatures
    from weno.mil.config import TrainConfig
    from weno.mil.reports import EpochReport
    from weno.prediction import Prediction
    from weno.project import Project

_SHARE = 0.1
_FIRST_S = 0.2  # what the first is taken to cost, before anything is known
_APART_S = 1.0  # whoever draws them in a window has something else to do, too


@dataclass
class Allowance:
    """Keeps what is done beside a job to a share of the job's own time.

    Parameters
    ----------
    share : float
    clock : callable
        Returns seconds.
    """

    share: float = _SHARE
    clock: Callable[[], float] = time.perf_counter
    _spent: float = field(default=0.0, init=False)
    _next: float = field(default=_FIRST_S, init=False)
    _begun: float = field(default=0.0, init=False)
    _ended: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._begun = self._ended = self.clock()

    def allows(self) -> bool:
        """Whether another one would still be within the share."""
        now = self.clock()
        own = now - self._begun - self._spent
        within = self._spent + self._next <= self.share * own
        return within and now - self._ended >= _APART_S

    def spend(self, seconds: float) -> None:
        """Count one that has just been done; the next may take as long."""
        self._spent += seconds
        self._next, self._ended = seconds, self.clock()


class Previews:
    """Predicts slides from the weights of a fit that goes on.

    Parameters
    ----------
    project : Project
    run_dir : Path
    config : TrainConfig
    device : torch.device
    path : Path
        File that each prediction is written to, in place of the one before.
    """

    def __init__(
        self,
        project: Project,
        run_dir: Path,
        config: TrainConfig,
        device: torch.device,
        path: Path,
    ) -> None:
        self._project, self._run_dir = project, run_dir
        self._config, self._device = config, device
        self._path = path
        self._allowance = Allowance()

    def after(self, report: EpochReport, slide_id: str | None) -> bool:
        """Predict a slide with the weights of the epoch that was just reported.

        Returns
        -------
        bool
            False if no slide is asked for, it is not the time yet, or the slide cannot
            be predicted: a fit does not end for want of a picture.
        """
        if slide_id is None or not self._allowance.allows():
            return False
        started = time.perf_counter()
        try:
            prediction = self._predict(report.fold, slide_id)
            if prediction is not None:
                write_prediction(self._path, prediction)
            return prediction is not None
        # The slide may be one that the window has added to the project meanwhile.
        except (WenoError, OSError, torch.OutOfMemoryError):
            return False
        finally:
            self._allowance.spend(time.perf_counter() - started)

    def _predict(self, fold: int, slide_id: str) -> Prediction | None:
        read_slide_header(self._project, slide_id)
        features = read_features(self._project.features_path(slide_id))
        return predict_features(self._run(fold, features), features)

    def _run(self, fold: int, features: SlideFeatures) -> Run:
        """Return a run with the weights that lie on disk."""
        width = features.features.shape[1]
        folder = fold_folder(self._run_dir, fold, self._config.folds)
        model = Weno(width, self._config)
        load_model(model, load_tensors(folder / LAST))
        card: dict[str, Any] = {**run_context(self._project), "width": width}
        return Run(
            name=self._run_dir.name,
            config=self._config,
            card=card,
            models={fold: model.to(self._device).eval()},
            splits={},
            device=self._device,
        )
