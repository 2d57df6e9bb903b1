"""What a run says of slides: every value of the overlays, tile by tile."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from weno.atomic import lock_of
from weno.errors import FeatureError, RunError
from weno.mil.bags import Bag, check_features, read_slide_header
from weno.mil.mining import MiningRule, keep_mask
from weno.mil.reports import PredictReport as PredictReport
from weno.mil.reports import PredictResult as PredictResult
from weno.mil.run import Run as Run
from weno.mil.run import load_run as load_run
from weno.mil.scores import top_mean
from weno.mil.slide_table import read_rows, slide_row, write_rows

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy.typing as npt

    from weno.features import Encoder, ExtractReport, SlideFeatures
    from weno.mil.config import TrainConfig
    from weno.mil.network import Weno
    from weno.prediction import Prediction
    from weno.project import Project

    Floats = npt.NDArray[np.float32]

_CANDIDATES = 50


class _Output(NamedTuple):
    """What one model says of a slide; of several models, their mean."""

    bag_probability: Tensor  # ()
    scores: Tensor  # (N,)
    attention: Tensor  # (N,)
    pseudo_labels: Tensor  # (N,)
    raw_probability: Tensor  # (N,)
    probability: Tensor  # (N,) calibrated
    familiarity: Tensor  # (N,)


@dataclass(frozen=True, slots=True, eq=False)
class BagPrediction:
    """All values of one bag; value `i` belongs to instance `i`.

    What each of them says, `Prediction` tells, which has them of a slide.
    """

    slide_id: str
    teacher_probability: float
    student_probability: float
    student_top_mean: float
    threshold: float
    score: Floats  # (N,), as all that follow
    attention: Floats
    attention_percentile: Floats
    pseudo_label: Floats
    probability: Floats
    re_attention: Floats
    disagreement: Floats
    familiarity: Floats
    easy_positive: npt.NDArray[np.bool_]
    candidate_rank: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.score)


def predict_features(run: Run, features: SlideFeatures) -> Prediction | None:
    """Predict one slide from its features; None if it has no tiles.

    Parameters
    ----------
    run : Run
    features : SlideFeatures

    Raises
    ------
    FeatureError
        If the features are not of the run's encoder and tile spec.
    """
    from weno.prediction import Prediction

    card, slide_id = run.card, features.slide_id
    check_features(features, card["encoder"], card["spec"], card["width"])
    predicted = predict_bag(run, Bag(slide_id, slide_id, None, features.features))
    if predicted is None:
        return None
    return Prediction(
        **{item.name: getattr(predicted, item.name) for item in fields(predicted)},
        run=run.name,
        class_name=card["class_names"][1],
        encoder=features.encoder,
        spec=features.spec,
        mpp=features.mpp,
        slide_shape=features.slide_shape,
        content_hash=features.content_hash,
        origins=features.origins,
        familiarity_limit=run.familiarity_limit,
    )


@torch.no_grad()
def predict_bag(run: Run, bag: Bag) -> BagPrediction | None:
    """Predict one bag; None if it has no instances.

    Parameters
    ----------
    run : Run
    bag : Bag
        Of what encoder and tile spec its instances are, it does not say: that they are
        the run's is for the caller to know.

    Raises
    ------
    FeatureError
        If the instances are of another width than the run's, or hold NaN.
    """
    if not len(bag):
        return None
    width = run.card["width"]
    if bag.width != width:
        raise FeatureError(
            f"{bag.slide_id}: {bag.width} features a tile, the run was trained on "
            f"{width}"
        )
    values = bag.read()
    if not np.isfinite(values).all():
        raise FeatureError(f"{bag.slide_id}: features hold NaN or infinity")
    models = run.models_for(bag.slide_id)
    raw = torch.from_numpy(values).to(run.device)  # (N, F)
    asked = [_ask(model, raw) for model in models]
    output = _Output(
        *(torch.stack(values).mean(0) for values in zip(*asked, strict=True))
    )
    threshold = float(np.mean([model.threshold.item() for model in models]))
    keep = torch.ones_like(output.probability, dtype=torch.bool)  # (N,)
    re_attention = output.attention
    if output.bag_probability.item() >= threshold:
        keep = _keep(run.config, output)
        attended = [m.teach(m.standardise(raw), keep).attention for m in models]
        re_attention = torch.stack(attended).mean(0)
    return BagPrediction(
        slide_id=bag.slide_id,
        threshold=threshold,
        **_tile_values(output, keep, re_attention),
        **_slide_values(output, run.config),
    )


def _ask(model: Weno, raw: Tensor) -> _Output:
    x = model.standardise(raw)  # (N, F)
    teacher, probability, _ = model.judge(x)
    return _Output(
        torch.sigmoid(teacher.logits[0]),
        teacher.scores,
        teacher.attention,
        model.pseudo_labels(teacher),
        probability,
        model.calibrated(probability),
        model.standardise.familiarity(raw),
    )


def _keep(config: TrainConfig, output: _Output) -> Tensor:
    """Return what is not an easy positive, of shape (N,).

    A run that was trained without mining still tells the obvious from the rest: by
    its threshold rule.
    """
    rule = MiningRule.of(config)
    if rule.mode == "off":
        rule = replace(rule, mode="threshold")
    calibrated = config.mining_calibrated
    value = output.probability if calibrated else output.raw_probability
    return keep_mask(value, rule)


def _slide_values(output: _Output, config: TrainConfig) -> dict[str, Any]:
    return {
        "teacher_probability": output.bag_probability.item(),
        "student_probability": output.probability.max().item(),
        "student_top_mean": top_mean(output.probability, config.top_k).item(),
    }


def _tile_values(output: _Output, keep: Tensor, re_attention: Tensor) -> dict[str, Any]:
    attention, probability = output.attention.cpu().numpy(), output.probability.cpu()
    percentile = _percentile(attention)
    return {
        "score": output.scores.cpu().numpy(),
        "attention": attention,
        "attention_percentile": percentile,
        "pseudo_label": output.pseudo_labels.cpu().numpy(),
        "probability": probability.numpy(),
        "re_attention": re_attention.cpu().numpy(),
        "disagreement": percentile - _percentile(probability.numpy()),
        "familiarity": output.familiarity.cpu().numpy(),
        "easy_positive": ~keep.cpu().numpy(),
        "candidate_rank": _candidate_rank(re_attention.cpu(), keep.cpu()),
    }


def _percentile(values: Floats) -> Floats:
    """Return ranks in (0, 1); equal values share the middle of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = (counts.cumsum() - counts / 2) / len(values)
    return middle[inverse].astype(np.float32)


def _candidate_rank(re_attention: Tensor, keep: Tensor) -> npt.NDArray[np.int32]:
    """Rank the tiles that re-attention finds first, the hidden ones left out."""
    rank = np.zeros(len(keep), np.int32)
    order = torch.argsort(re_attention, descending=True, stable=True)  # (N,)
    first = order[keep[order]][:_CANDIDATES].numpy()
    rank[first] = np.arange(1, len(first) + 1)
    return rank


def predict_project(
    project: Project,
    run: str,
    slide_ids: Sequence[str] | None = None,
    *,
    device: str = "auto",
) -> Generator[PredictReport, None, PredictResult]:
    """Predict slides of a project, one file each, and list them in slides.csv.

    A slide whose features are missing or do not fit is reported and skipped.

    Parameters
    ----------
    project : Project
    run : str
    slide_ids : sequence of str, optional
        None is all slides.
    device : str

    Returns
    -------
    PredictResult

    Raises
    ------
    RunError
        If the run cannot be loaded.
    """
    from weno.features import read_features
    from weno.prediction import write_prediction

    loaded = load_run(project.run_dir(run), device=device)
    project = project.asked_by(run)  # labels are those of its class
    ids = [row.slide_id for row in project.slides] if slide_ids is None else slide_ids
    predicted, empty, failed = [], [], {}
    table = project.predictions_dir(run) / "slides.csv"
    for done, slide_id in enumerate(ids, 1):
        error = None
        try:
            read_slide_header(project, slide_id)
            features = read_features(project.features_path(slide_id))
            prediction = predict_features(loaded, features)
        except FeatureError as problem:
            error = failed[slide_id] = str(problem)
        else:
            if prediction is None:
                empty.append(slide_id)
                error = "no tiles: no tissue was found"
            else:
                path = project.prediction_path(run, slide_id)
                write_prediction(path, prediction)
                row = slide_row(project.slide(slide_id), loaded.splits, prediction)
                with lock_of(table):  # others may predict other slides
                    write_rows(table, read_rows(table) | {slide_id: row})
                predicted.append(slide_id)
        yield PredictReport(slide_id, done, len(ids), error)
    return PredictResult(tuple(predicted), tuple(empty), failed)


def predict_slide(
    run: Path | Run,
    path: Path,
    *,
    mpp: float | tuple[float, float] | None = None,
    device: str = "auto",
    encoder: Encoder | None = None,
) -> Generator[ExtractReport, None, Prediction]:
    """Predict a slide file with a run folder alone, without any project.

    Parameters
    ----------
    run : Path or Run
        The folder, or what `load_run` made of it: for many slides it is loaded once.
    path : Path
        The slide.
    mpp : float or (float, float), optional
        Size of a level-0 pixel in µm, ``(y, x)``, where the slide does not say it.
    device : str
    encoder : Encoder, optional
        That of the run, loaded if not given.

    Raises
    ------
    RunError
        If the run cannot be loaded, or the slide has no tiles.
    SlideError
        If the slide cannot be read.
    WenoError
        If the run's tissue model is not installed.
    """
    from weno.features import extract_slide, get_encoder, read_features
    from weno.slides import open_slide
    from weno.tiles import CLASSICAL, TileSpec, tissue_mask

    run = run if isinstance(run, Run) else load_run(run, device=device)
    encoder = encoder or get_encoder(run.card["encoder"], device=device)
    spec = TileSpec.from_dict(run.card["spec"])
    with tempfile.TemporaryDirectory() as folder, open_slide(path, mpp=mpp) as slide:
        target = Path(folder) / "features.h5"
        # Runs of before there was a choice do not say it.
        tissue = tissue_mask(slide, model=run.card.get("tissue", CLASSICAL))
        yield from extract_slide(
            slide, Path(path).stem, spec, encoder, target, tissue=tissue
        )
        features = read_features(target)
    prediction = predict_features(run, features)
    if prediction is None:
        raise RunError(f"{path}: no tissue was found, so there is nothing to predict")
    return prediction
