"""Every choice of a training run, in one dataclass that makes form, CLI and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self, get_args, get_type_hints

from weno.atomic import replacing
from weno.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Mining = Literal["off", "threshold", "top_fraction"]


def _setting(
    default: Any,
    label: str,
    help: str,
    limits: tuple[float, float] | None = None,
    *,
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
    advanced : bool
        Whether a form hides it until asked.
    """
    metadata = {"label": label, "help": help, "limits": limits, "advanced": advanced}
    return field(default=default, metadata=metadata)


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
        advanced=False,
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
        "hide easy positives from the teacher: by threshold or as a share of the bag",
        advanced=False,
    )  # fmt: skip
    learning_rate: float = _setting(
        5e-4, "Learning rate", "of AdamW, all parts", (1e-7, 1)
    )
    weight_decay: float = _setting(
        0.1, "Weight decay", "of AdamW; cohorts are small", (0, 10)
    )
    batch_size: int = _setting(
        256, "Student batch", "tiles in a student step", (1, 100_000)
    )
    projector_dim: int = _setting(
        64, "Projector", "dimensions that teacher and student share", (1, 8192)
    )
    teacher_dim: int = _setting(
        64, "Teacher width", "hidden units of the teacher", (1, 8192)
    )
    attention_dim: int = _setting(
        32, "Attention width", "hidden units of the attention", (1, 8192)
    )
    student_width: int = _setting(
        64,
        "Student width",
        "hidden units; 4096 as published, at many times the cost",
        (1, 8192),
    )
    teacher_dropout: float = _setting(
        0.5, "Teacher dropout", "share of units left out in training", (0, 0.9)
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
    layer_norm: bool = _setting(
        False,
        "Layer norm",
        "in the projector; it hides how unusual a tile is, which is the length of z",
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
    label_tail: float = _setting(
        0.1, "Label tail",
        "per cent of scores beyond either label limit; outliers squeeze the rest",
        (0, 25),
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
    mining_max_drop: float = _setting(
        0.1, "Mining ceiling", "largest share of a bag that is hidden", (0, 1)
    )
    mining_min_keep: int = _setting(
        1, "Mining floor", "tiles always kept; 0 is the published rule", (0, 10**6)
    )
    mining_start: int = _setting(
        10, "Mining start", "epochs before it; the student must know something",
        (0, 10_000),
    )  # fmt: skip
    mining_ramp: int = _setting(
        10, "Mining ramp", "epochs until the ceiling is reached", (0, 10_000)
    )
    mining_calibrated: bool = _setting(
        True, "Calibrated threshold",
        "raw probabilities are biased upward and hide nearly everything",
    )  # fmt: skip
    mining_full_view: bool = _setting(
        True, "Full view in the loss", "average the loss with and without mining"
    )
    min_epochs: int = _setting(
        20,
        "First epochs",
        "epochs before validation compares them; the student learns last",
        (1, 100_000),
    )
    patience: int = _setting(
        10, "Patience", "epochs without a better validation before it stops",
        (1, 100_000),
    )  # fmt: skip
    top_k: int = _setting(
        10, "Top tiles", "the student's mean over them is a slide score", (1, 10**6)
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
        return cls.from_dict(values)


def _problem(config: TrainConfig, item: Any) -> str | None:
    """Say what is wrong with one field, None if nothing is."""
    value, name = getattr(config, item.name), item.name
    kind = get_type_hints(TrainConfig)[name]
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
}
