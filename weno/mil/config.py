"""Every choice of a training run, in one dataclass that makes form, CLI and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self, get_args, get_type_hints

from weno.atomic import replacing
from weno.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Mining = Literal["off", "threshold", "top_fraction", "top_k"]
Norm = Literal["none", "layer", "batch"]
Optimiser = Literal["adamw", "sgd"]
Initial = Literal["torch", "normal"]
Precision = Literal["auto", "fp32", "tf32", "bf16"]


def _setting(
    default: Any,
    label: str,
    help: str,
    limits: tuple[float, float] | None = None,
    *,
    unit: str = "",
    advanced: bool = True,
) -> Any:
    """Declare a field with what a form and ``--help`` need to show it.

    Parameters
    ----------
    default : int, float, str or bool
    label : str
        Short name for a form.
    help : str
        Unit, and the reason for the default.
    limits : (float, float), optional
        Smallest and largest value.
    unit : str
        What the value counts or measures.
    advanced : bool
        Whether a form hides it until asked.
    """
    metadata = {"label": label, "help": help, "limits": limits, "unit": unit}
    return field(default=default, metadata={**metadata, "advanced": advanced})


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """What a run was trained with. The defaults are for tens of slides.

    Raises
    ------
    RunError
        If a value is out of its range; all such fields are named at once.
    """

    teacher: str = _setting(
        "abmil", "Teacher", "attention model that sees bags", advanced=False
    )
    epochs: int = _setting(
        40, "Epochs", "at most; it stops early on validation", (1, 100_000),
        advanced=False, unit="epochs",
    )  # fmt: skip
    seed: int = _setting(
        0, "Seed", "of the split and of the weights", (0, 2**31), advanced=False
    )
    val: float = _setting(
        0.2, "Validation share",
        "of the slides that are not tested; chooses epoch and threshold",
        (0, 0.9), advanced=False,
    )  # fmt: skip
    test: float = _setting(
        0.2, "Test share", "of all slides; never seen in training", (0, 0.9),
        advanced=False,
    )  # fmt: skip
    folds: int = _setting(
        0, "Folds", "0 is one split; K tests every slide once, by K models", (0, 100),
        advanced=False,
    )  # fmt: skip
    mining: Mining = _setting(
        "off", "Mining",
        "hide easy positives from the teacher: by threshold, as a share of the bag, "
        "or all but so many",
        advanced=False,
    )  # fmt: skip
    distillation: bool = _setting(
        True, "Distillation", "train the student; without it the teacher is alone"
    )
    encoder: str = _setting(
        "",
        "Trained encoder",
        "for bags of pixels: cnn, alexnet_cifar, resnet18 or timm:NAME; none for "
        "bags of features",
    )
    augment: bool = _setting(
        True, "Augmentation", "turn, mirror and recolour tiles (pixels only)"
    )
    chunk: int = _setting(
        1024,
        "Chunk",
        "tiles that the encoder sees at once; larger bags are encoded in turns, "
        "twice, and so need no more memory (pixels only)",
        (1, 10**6),
        unit="tiles",
    )
    feature_memory: float = _setting(
        0.0,
        "Memory for tiles",
        "GB; what does not fit is read from disk as it is needed; 0 is half of the "
        "device's memory",
        (0, 1e6),
        unit="GB",
    )
    precision: Precision = _setting(
        "auto", "Precision", "of matrix products; auto is tf32 on a GPU, else fp32"
    )
    optimiser: Optimiser = _setting(
        "adamw", "Optimiser", "one for each part; sgd is plain, as published"
    )
    learning_rate: float = _setting(
        5e-4, "Learning rate", "of the optimisers, all parts", (1e-7, 1)
    )
    weight_decay: float = _setting(
        0.1, "Weight decay", "of the optimisers; cohorts are small", (0, 10)
    )
    bags_per_step: int = _setting(
        1, "Bags a step", "whose mean loss moves the teacher", (1, 10_000), unit="bags"
    )
    batch_size: int = _setting(
        256, "Student batch", "tiles in a student step", (1, 100_000), unit="tiles"
    )
    projector_dim: int = _setting(
        64,
        "Projector",
        "dimensions that teacher and student share; 0 is none, for trained encoders",
        (0, 8192),
        unit="dimensions",
    )
    teacher_dim: int = _setting(
        64, "Teacher width", "hidden units of the teacher", (1, 8192), unit="units"
    )
    attention_dim: int = _setting(
        32, "Attention width", "hidden units of the attention", (1, 8192), unit="units"
    )
    student_width: int = _setting(
        64,
        "Student width",
        "hidden units; 4096 as published, at many times the cost",
        (1, 8192),
        unit="units",
    )
    teacher_depth: int = _setting(
        1,
        "Teacher depth",
        "layers before the attention; 2 as published",
        (1, 8),
        unit="layers",
    )
    teacher_dropout: float = _setting(
        0.5, "Teacher dropout", "share of units left out in training", (0, 0.9)
    )
    pooling_dropout: float = _setting(
        0.5,
        "Pooling dropout",
        "share of units left out before the attention; 0 as published",
        (0, 0.9),
    )
    student_dropout: float = _setting(
        0.7,
        "Student dropout",
        "share of units left out in training; labels of few slides are easily "
        "learnt by heart",
        (0, 0.9),
    )
    slide_relative: bool = _setting(
        True,
        "Slide-relative features",
        "a tile minus the median of its slide, which takes stain and scanner out; "
        "switch it off where whole slides are diseased",
    )
    standardise: bool = _setting(
        True, "Standardised features", "centred and scaled; not so as published"
    )
    feature_limit: float = _setting(
        3.0,
        "Feature limit",
        "standardised features beyond it, to either side, count as it, so that a rare "
        "tile of fat or ink cannot decide a slide; 0 for no limit, as published",
        (0, 1000),
    )
    norm: Norm = _setting(
        "none",
        "Norm",
        "in the projector; layer hides how unusual a tile is, which is the length of "
        "z; batch, as published, depends on what else is in the batch",
    )
    shared_projector: bool = _setting(
        True, "Shared projector", "of teacher and student; else each trains its own"
    )
    initial: Initial = _setting(
        "torch",
        "Initial weights",
        "torch's, or, as published, normal of deviation .01 in the teacher",
    )
    loss_epsilon: float = _setting(
        0.0, "Loss epsilon", "added to probabilities in logarithms", (0, 0.1)
    )
    critical_share: float = _setting(
        0.5,
        "Critical share",
        "of the teacher's loss, on the tiles with the most evidence: with few slides "
        "attention alone may settle on what tells a negative one; 0 as published",
        (0, 1),
    )
    critical_tiles: int = _setting(
        10, "Critical tiles", "so many of them, by their mean", (1, 10**6), unit="tiles"
    )
    input_noise: float = _setting(
        0.0, "Input noise", "in deviations of a feature; blurs single tiles", (0, 3)
    )
    student_warmup: int = _setting(
        10,
        "Student warm-up",
        "epochs of the teacher alone, at most a third of all; its first scores are "
        "noise",
        (0, 10_000),
        unit="epochs",
    )
    negative_weight: float = _setting(
        0.1, "Negative weight",
        "weight of the negative half of the student's loss; positives are few",
        (0.001, 0.999),
    )  # fmt: skip
    evidence_share: float = _setting(
        0.5,
        "Evidence share",
        "in the pseudo-label, of what a tile alone says to the bag head; the rest is "
        "attention, which may settle on what tells a negative slide; 0 as published",
        (0, 1),
    )
    clean_labels: bool = _setting(
        True,
        "Clean labels",
        "pseudo-labels from one pass an epoch without dropout; else, as published, "
        "in training mode, batch by batch",
    )
    true_negatives: bool = _setting(
        True,
        "True negatives",
        "no tile of a negative slide is positive; switch it off where both classes "
        "share tissue that the labels do not tell apart, as in subtyping",
    )
    label_tail: float = _setting(
        0.1, "Label tail",
        "per cent of scores beyond either label limit; outliers squeeze the rest",
        (0, 25), unit="%",
    )  # fmt: skip
    label_memory: float = _setting(
        0.5, "Label memory", "share of last epoch's label limits that is kept", (0, 1)
    )
    verdict_weight: float = _setting(
        1.0, "Verdict weight", "of a tile that a person has answered", (0, 1000)
    )
    mining_threshold: float = _setting(
        0.5, "Mining threshold", "a tile above it is easy (threshold)", (0, 1)
    )
    mining_fraction: float = _setting(
        0.1, "Mining fraction", "share of a bag that is easy (top_fraction)", (0, 1)
    )
    mining_keep: int = _setting(
        100,
        "Mining rest",
        "hardest tiles that are not easy (top_k)",
        (1, 10**6),
        unit="tiles",
    )
    mining_spare: float = _setting(
        0.5,
        "Mining spares",
        "share of the tiles above the threshold that is never hidden, so that what is "
        "left still deserves the label; 0 as published",
        (0, 1),
    )
    mining_max_drop: float = _setting(
        0.1, "Mining ceiling", "largest share of a bag that is hidden", (0, 1)
    )
    mining_min_keep: int = _setting(
        1,
        "Mining floor",
        "tiles always kept; 0 is the published rule",
        (0, 10**6),
        unit="tiles",
    )
    mining_start: int = _setting(
        10, "Mining start", "epochs before it; the student must know something",
        (0, 10_000), unit="epochs",
    )  # fmt: skip
    mining_ramp: int = _setting(
        10,
        "Mining ramp",
        "epochs until the ceiling is reached",
        (0, 10_000),
        unit="epochs",
    )
    mining_calibrated: bool = _setting(
        True, "Calibrated threshold",
        "raw probabilities are biased upward and hide nearly everything",
    )  # fmt: skip
    mining_full_view: bool = _setting(
        True, "Full view in the loss", "average the loss with and without mining"
    )
    mining_patience: int = _setting(
        10,
        "Mining patience",
        "epochs of a validation loss above that before mining, until it is switched "
        "off; 0 is never",
        (0, 10_000),
        unit="epochs",
    )
    min_epochs: int = _setting(
        20,
        "First epochs",
        "epochs before validation compares them; the student learns last",
        (1, 100_000),
        unit="epochs",
    )
    patience: int = _setting(
        10, "Patience", "epochs without a better validation before it stops",
        (1, 100_000), unit="epochs",
    )  # fmt: skip
    top_k: int = _setting(
        10,
        "Top tiles",
        "the student's mean over them is a slide score",
        (1, 10**6),
        unit="tiles",
    )

    def __post_init__(self) -> None:
        wrong = [text for item in fields(self) if (text := _problem(self, item))]
        if self.folds == 1:
            wrong.append("folds is 1: take 0 for one split, or 2 and more")
        if wrong:
            raise RunError("training settings: " + "; ".join(wrong))

    @property
    def teacher_epochs(self) -> int:
        """Epochs before the student begins; at most a third of a short run."""
        return min(self.student_warmup, self.epochs // 3)

    @property
    def first_choice(self) -> int:
        """The first epoch, 1-based, that can be the best: the student has learnt."""
        return min(max(self.min_epochs, self.teacher_epochs + 1), self.epochs)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a config of its fields; an unknown name or a wrong type is an error."""
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise RunError(f"unknown training setting: {', '.join(unknown)}")
        return cls(**values)

    def write(self, path: Path) -> None:
        """Write all fields to a JSON file."""
        with replacing(path) as temporary:
            temporary.write_text(
                json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8"
            )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a JSON file; a damaged or unknown one is a `RunError`."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: not a readable config: {error}") from error
        if not isinstance(values, dict):
            raise RunError(f"{path}: not a config but a {type(values).__name__}")
        # Runs of before there was a limit learnt without one.
        return cls.from_dict({"feature_limit": 0.0} | values)


@cache  # a fifth of a second for the presets, else
def _kinds() -> dict[str, Any]:
    return get_type_hints(TrainConfig)


def _problem(config: TrainConfig, item: Any) -> str | None:
    """Say what is wrong with one field, None if nothing is."""
    value, name = getattr(config, item.name), item.name
    kind = _kinds()[name]
    if choices := get_args(kind):
        return None if value in choices else f"{name} is {value!r}, not in {choices}"
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (kind is not bool and value is True):
        return f"{name} is {value!r}, not of type {kind.__name__}"
    limits = item.metadata["limits"]
    if limits and not (math.isfinite(value) and limits[0] <= value <= limits[1]):
        return f"{name} is {value}, not in [{limits[0]:g}, {limits[1]:g}]"
    return None


PRESETS: dict[str, TrainConfig] = {
    "default": TrainConfig(),
    "quick": TrainConfig(epochs=15, min_epochs=10, patience=5),
    # Qu et al., NeurIPS 2022, and what their published code adds to it.
    "paper": TrainConfig(
        epochs=1500,
        patience=1500,
        mining="threshold",
        optimiser="sgd",
        learning_rate=1e-3,
        weight_decay=0.0,
        batch_size=512,
        projector_dim=512,
        teacher_dim=1024,
        teacher_depth=2,
        attention_dim=512,
        student_width=4096,
        teacher_dropout=0.5,
        pooling_dropout=0.0,
        student_dropout=0.0,
        slide_relative=False,
        standardise=False,
        feature_limit=0.0,
        augment=False,
        norm="batch",
        initial="normal",
        loss_epsilon=1e-5,
        critical_share=0.0,
        student_warmup=0,
        negative_weight=0.1,
        evidence_share=0.0,
        clean_labels=False,
        label_tail=0.0,
        label_memory=0.0,
        mining_threshold=0.5,
        mining_spare=0.0,
        mining_max_drop=1.0,
        mining_min_keep=0,
        mining_start=11,
        mining_ramp=0,
        mining_calibrated=False,
        mining_full_view=False,
        mining_patience=0,
        min_epochs=1,
    ),
}
