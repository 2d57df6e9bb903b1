"""A trained run, read back from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weno.errors import RunError
from weno.mil.checkpoint import load_model, load_tensors
from weno.mil.config import TrainConfig
from weno.mil.network import Weno
from weno.mil.run_folder import BEST, CONFIG, fold_folder, read_card, read_splits
from weno.mil.scores import choose_device

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A trained run, ready to predict.

    Parameters
    ----------
    name : str
    config : TrainConfig
    card : mapping
        What the run says of itself, as in card.json.
    models : mapping
        From fold to model; fold 0 where there is one split.
    splits : mapping
        From slide_id to its split in each fold.
    device : torch.device
    """

    name: str
    config: TrainConfig
    card: Mapping[str, Any]
    models: Mapping[int, Weno]
    splits: Mapping[str, Mapping[int, str]]
    device: torch.device

    @property
    def familiarity_limit(self) -> float | None:
        """Distance below which 99 of 100 training tiles lie, the mean of the folds.

        None for runs of before it was kept.
        """
        kept = [fold.get("familiarity_limit") for fold in self.card.get("folds", [])]
        limits = [limit for limit in kept if limit is not None]
        return sum(limits) / len(limits) if limits else None

    def models_for(self, slide_id: str) -> list[Weno]:
        """Return the models to ask about a slide.

        A slide that was tested in a fold is left to that fold's model, which has not
        seen it in training; of any other slide all models are asked.
        """
        folds = self.splits.get(slide_id, {})
        tested = [fold for fold, split in folds.items() if split == "test"]
        return [self.models[fold] for fold in tested or self.models]


def load_run(run_dir: Path, *, device: str = "auto") -> Run:
    """Load a run folder.

    Raises
    ------
    RunError
        If it is not a finished run, or damaged.
    """
    target = choose_device(device)
    card = read_card(run_dir)
    if missing := {"width", "encoder", "spec", "class_names"} - set(card):
        raise RunError(f"{run_dir}: its card lacks {', '.join(sorted(missing))}")
    config = TrainConfig.read(run_dir / CONFIG)
    models = {}
    for fold in range(1, config.folds + 1) if config.folds else [0]:
        path = fold_folder(run_dir, fold, config.folds) / BEST
        model = Weno(card["width"], config)
        try:
            load_model(model, load_tensors(path))
        except RuntimeError as error:
            raise RunError(f"{path}: not a model of this run: {error}") from error
        models[fold] = model.to(target).eval()
    name = run_dir.resolve().name
    return Run(name, config, card, models, read_splits(run_dir), target)
