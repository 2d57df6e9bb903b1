"""CIFAR-10-MIL, as the paper builds it: bags of 100 images, trucks are positive."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from weno.bench.trials import interval, run_trials
from weno.errors import RunError, import_extra
from weno.mil.bags import Bag
from weno.mil.config import PRESETS, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    Images = npt.NDArray[np.uint8]
    Labels = npt.NDArray[np.int64]

_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_POSITIVE = _CLASSES.index("truck")
_BAG = 100

#: Published AUCs of ABMIL + WENO by share of positives: instance, bag.
PUBLISHED = {
    0.01: (0.7427, 0.6005),
    0.05: (0.9289, 0.9300),
    0.1: (0.9492, 0.9973),
    0.2: (0.9581, 1.0),
    0.5: (0.9495, 1.0),
    0.7: (0.9454, 1.0),
}

_ENCODER: dict[str, Any] = {
    "encoder": "alexnet_cifar",
    "projector_dim": 0,
    "val": 0.0,
    "folds": 0,
}
CONFIGS: dict[str, TrainConfig] = {
    "paper": replace(
        PRESETS["paper"],
        **_ENCODER,
        norm="none",
        negative_weight=0.2,
        batch_size=256,
        mining="off",
    ),
    "default": TrainConfig(
        **_ENCODER,
        norm="layer",
        epochs=100,
        patience=100,
        teacher_dim=512,
        attention_dim=128,
        student_width=512,
        teacher_dropout=0.25,
        pooling_dropout=0.0,
        critical_share=0.0,
        student_dropout=0.25,
        precision="bf16",
        weight_decay=0.01,
        bags_per_step=4,
    ),
}
_QUICK: dict[str, Any] = {
    "encoder": "cnn",
    "epochs": 12,
    "patience": 12,
    "precision": "fp32",
}
_QUICK_BAGS = 16  # of each label and split


def bench_cifar(
    data: Path,
    folder: Path,
    *,
    ratio: float,
    seeds: Sequence[int] = (0, 1, 2),
    preset: str = "default",
    epochs: int | None = None,
    quick: bool = False,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure instance and bag AUC on CIFAR-10-MIL.

    Parameters
    ----------
    data : Path
        Folder of CIFAR-10, see `read_cifar`.
    folder : Path
        For the runs; those that are there are kept, or go on.
    ratio : float
        Share of positive images in a positive bag.
    seeds : sequence of int
        Each draws other bags and starts the weights anew.
    preset : "default" or "paper"
    epochs : int, optional
        Instead of the preset's; the last one is tested.
    quick : bool
        A few bags and a small encoder, to see that it works.
    device : str

    Returns
    -------
    dict
        Metrics with mean, low and high over seeds, the numbers of bags, and "published"
        of ABMIL + WENO where the paper has this ratio.
    """
    config = CONFIGS[preset]
    if quick:
        config = replace(config, **_QUICK)
    if epochs is not None:
        config = replace(config, epochs=epochs, patience=epochs)
    parts = read_cifar(data)
    trials, counts = [], {}
    for seed in seeds:
        bags: list[Bag] = []
        truth: dict[str, npt.NDArray[np.bool_]] = {}
        for split, (images, labels) in parts.items():
            made, known = make_bags(
                images, labels, ratio, seed, split, _QUICK_BAGS if quick else None
            )
            bags += made
            truth |= known
            counts[split] = [sum(bag.label == c for bag in made) for c in (1, 0)]
        name = f"{preset}{'-quick' if quick else ''}-{ratio:g}-seed-{seed}"
        chosen = replace(config, seed=seed)
        trials += run_trials(
            folder / name, bags, truth, chosen, title=f"seed {seed}", device=device
        )
    metrics = {name: interval([trial[name] for trial in trials]) for name in trials[0]}
    published = PUBLISHED.get(ratio)
    return {"metrics": metrics, "bags": counts, "published": published}


def bag_counts(positives: int, negatives: int, ratio: float) -> tuple[int, int]:
    """Return how many positive and negative bags the published rule makes.

    As many positives are used as leave enough negatives for equally many bags of both
    labels. The rule's rounding is kept: at 5 % there is one positive bag less.

    Parameters
    ----------
    positives, negatives : int
        Images.
    ratio : float
        Share of positives in a positive bag.
    """
    inside = int(_BAG * ratio)
    most = int(negatives / (1 / ratio + (1 - ratio) / ratio))
    used = min(most, positives) // inside * inside
    beside = int(used * ((1 - ratio) / ratio))
    return min(used // inside, beside // (_BAG - inside)), used // inside


def make_bags(
    images: Images,
    labels: Labels,
    ratio: float,
    seed: int,
    split: str,
    most: int | None = None,
) -> tuple[list[Bag], dict[str, npt.NDArray[np.bool_]]]:
    """Deal images into bags of 100, none into two.

    Parameters
    ----------
    images : ndarray of shape (n, 32, 32, 3), uint8
    labels : ndarray of shape (n,)
        Class numbers; 9 is the positive one.
    ratio : float
        Share of positives in a positive bag.
    seed : int
    split : str
        "train" or "test", which the bags then prescribe.
    most : int, optional
        Bags of each label at most.

    Returns
    -------
    bags : list of Bag
    truth : dict
        From slide_id to which of its images are positive, of shape (100,).
    """
    rng = np.random.default_rng([seed, split == "train"])
    positives = rng.permutation(np.flatnonzero(labels == _POSITIVE))
    negatives = rng.permutation(np.flatnonzero(labels != _POSITIVE))
    counts = bag_counts(len(positives), len(negatives), ratio)
    limit = max(counts) if most is None else most
    inside = int(_BAG * ratio)
    bags: list[Bag] = []
    truth: dict[str, npt.NDArray[np.bool_]] = {}
    for label, count in zip((1, 0), counts, strict=True):
        for k in range(min(count, limit)):
            own = inside if label else 0
            chosen, positives = positives[:own], positives[own:]
            others, negatives = negatives[: _BAG - own], negatives[_BAG - own :]
            index = rng.permutation(np.concatenate([chosen, others]))
            name = f"{split}-{label}-{k}"
            truth[name] = labels[index] == _POSITIVE
            bags.append(Bag(name, name, label, images[index], split))
    return bags, truth


def read_cifar(folder: Path) -> dict[str, tuple[Images, Labels]]:
    """Read CIFAR-10 from a tree of PNG files, or from torchvision's folder.

    Parameters
    ----------
    folder : Path
        Holds ``train`` and ``test``, in each a folder for every class; or
        ``cifar-10-batches-py``, whose checksums torchvision compares before it reads.

    Returns
    -------
    dict
        "train" and "test": images of shape (n, 32, 32, 3), and class numbers (n,).

    Raises
    ------
    RunError
        If it is neither.
    """
    if (folder / "train").is_dir():
        return {split: _read_tree(folder / split) for split in ("train", "test")}
    if (folder / "cifar-10-batches-py").is_dir():
        datasets = import_extra("torchvision.datasets", "timm")
        parts = {}
        for split in ("train", "test"):
            try:
                part = datasets.CIFAR10(folder, train=split == "train")
            except RuntimeError as error:
                raise RunError(f"{folder}: not the official files: {error}") from error
            parts[split] = (np.asarray(part.data), np.asarray(part.targets, np.int64))
        return parts
    raise RunError(
        f"{folder}: no CIFAR-10; it holds train/<class>/*.png and test/<class>/*.png, "
        "or torchvision's cifar-10-batches-py"
    )


def _read_tree(folder: Path) -> tuple[Images, Labels]:
    images, labels = [], []
    for number, name in enumerate(_CLASSES):
        paths = sorted((folder / name).glob("*.png"))
        if not paths:
            raise RunError(f"{folder / name}: no PNG files")
        for path in paths:
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("RGB")))
        labels += [number] * len(paths)
    return np.stack(images), np.array(labels)
