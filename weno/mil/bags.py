"""Bags: what the learner sees of a slide, checked before any work begins."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from weno.errors import FeatureError
from weno.mil.instance_labels import UNKNOWN, UNSURE, Said
from weno.mil.splits import leaks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from weno.features import FeatureHeader, SlideFeatures
    from weno.project import Project
    from weno.tiles import Outline

SPLITS = ("train", "val", "test")


class Rows(Protocol):
    """What holds the instances of a bag, in memory or on disk."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> npt.NDArray[Any]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Bag:
    """All tiles of one slide, and the slide's label.

    Parameters
    ----------
    slide_id, patient_id : str
    label : int or None
        1 positive, 0 negative, None not known.
    instances : array of shape (N, F), float, or (N, H, W, 3), uint8
        Features of the tiles, or their pixels. What can be sliced will do, such as a
        memory-mapped array: a bag is read when it is its turn.
    split : str, optional
        "train", "val" or "test", where the cohort prescribes it.
    instance_labels : ndarray of shape (N,), int8, optional
        People's answers: 1, 0, `UNKNOWN` or `UNSURE`.
    """

    slide_id: str
    patient_id: str
    label: int | None
    instances: Rows
    split: str | None = None
    instance_labels: npt.NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.instances)

    def read(self, rows: slice = slice(None)) -> npt.NDArray[Any]:
        """Read instances into memory: features as float32, pixels as uint8."""
        return as_read(np.ascontiguousarray(self.instances[rows]))

    @property
    def width(self) -> int:
        """Features of a tile, or the side of a tile in pixels."""
        return int(self.instances.shape[1])

    @property
    def verdicts(self) -> npt.NDArray[np.int8]:
        """People's answers, of shape (N,); `UNKNOWN` for all where there are none."""
        if self.instance_labels is None:
            return np.full(len(self), UNKNOWN, np.int8)
        return self.instance_labels


def count_answers(bags: Iterable[Bag]) -> dict[str, int]:
    """Count people's answers in bags: instances of each class, and unsure."""
    said = Counter[int]()
    for bag in bags:
        if bag.instance_labels is not None:
            said.update(bag.instance_labels.tolist())
    return {"positive": said[1], "negative": said[0], "unsure": said[UNSURE]}


def as_read(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return instances as a step wants them: features as float32, pixels as uint8."""
    return stored if stored.dtype == np.uint8 else stored.astype(np.float32, copy=False)


def load_bags(project: Project, slide_ids: Sequence[str] | None = None) -> list[Bag]:
    """Check what a project's feature files say; return them as bags, with answers.

    The features themselves stay on disk until they are needed.

    Parameters
    ----------
    project : Project
    slide_ids : sequence of str, optional
        Only these; None is all slides.

    Raises
    ------
    FeatureError
        If files are missing, damaged or do not fit the project; all are named.
    ReviewError
        If a verdict file, or a file of labelled regions, is damaged or does not fit.
    """
    from weno.mil.bag_files import read_bag

    ids = [row.slide_id for row in project.slides] if slide_ids is None else slide_ids
    people = Said.read(project)
    bags, problems = [], []
    for slide_id in ids:
        try:
            header = read_slide_header(project, slide_id)
            file = read_bag(project.features_path(slide_id))
        except FeatureError as error:
            problems.append(str(error))
        else:
            assert file.origins is not None, "read_header has seen coords"
            said = people.labels(header, np.asarray(file.origins))
            row, rows = project.slide(slide_id), file.instances
            bags.append(Bag(slide_id, row.patient_id, row.label, rows, row.split, said))
    problems += _width_problems(bags)
    if problems:
        raise FeatureError("\n".join(problems))
    return bags


def read_slide_header(project: Project, slide_id: str) -> FeatureHeader:
    """Read what one slide's features say, and compare it with the project's choices."""
    from weno.features import read_header

    path = project.features_path(slide_id)
    if not path.exists():
        raise FeatureError(f"{slide_id}: no features at {path}; run extract first")
    header = read_header(path)
    check_features(header, project.encoder, project.spec.to_dict())
    if header.slide_id != slide_id:
        raise FeatureError(f"{path}: holds features of slide {header.slide_id!r}")
    if header.outline:
        _check_outline(header, project.outline(slide_id))
    mpp = project.slide(slide_id).mpp
    if mpp is not None and not np.allclose(header.mpp, mpp, rtol=1e-6):
        raise FeatureError(
            f"{slide_id}: extracted at {header.mpp[0]:g} µm/px, slides.csv says "
            f"{mpp:g}; run extract again"
        )
    return header


def _check_outline(header: FeatureHeader, outline: Outline) -> None:
    found = outline.hash
    if found and found != header.outline:
        raise FeatureError(
            f"{header.slide_id}: tiled by the outline {header.outline[:8]}, "
            f"{outline.path} is now {found[:8]}; run extract again"
        )


def check_features(
    features: FeatureHeader | SlideFeatures,
    encoder: str,
    spec: Mapping[str, Any],
    width: int | None = None,
) -> None:
    """Refuse features that another encoder or tile spec made.

    Parameters
    ----------
    features : FeatureHeader or SlideFeatures
    encoder : str
        The encoder's name that is asked for.
    spec : mapping
        The tile spec that is asked for, as `TileSpec.to_dict` gives it.
    width : int, optional
        Number of features a tile that is asked for.

    Raises
    ------
    FeatureError
        With both values.
    """
    problems = []
    if features.encoder != encoder:
        problems.append(f"encoder is {features.encoder!r}, wanted {encoder!r}")
    found = features.spec.to_dict()
    problems += [
        f"{name} is {found.get(name)}, wanted {spec.get(name)}"
        for name in sorted({*found, *spec})
        if found.get(name) != spec.get(name)
    ]
    if width is not None and features.shape[1] != width:
        problems.append(f"{features.shape[1]} features a tile, wanted {width}")
    if problems:
        raise FeatureError(f"{features.slide_id}: " + "; ".join(problems))


def check_cohort(bags: Sequence[Bag]) -> None:
    """Refuse bags that cannot be learnt from; all problems are said at once.

    The features themselves are not read; see `weno.mil.survey`.

    Raises
    ------
    FeatureError
    """
    problems = [
        *_id_problems(bags),
        *_label_problems(bags),
        *_leak_problems(bags),
        *_width_problems(bags),
    ]
    if problems:
        raise FeatureError("cannot fit: " + "; ".join(problems))


def _id_problems(bags: Sequence[Bag]) -> list[str]:
    counts = Counter(bag.slide_id for bag in bags)
    twice = [slide_id for slide_id, count in counts.items() if count > 1]
    return [f"slide_id given more than once: {_listed(twice)}"] if twice else []


def _label_problems(bags: Sequence[Bag]) -> list[str]:
    problems = []
    if missing := [bag.slide_id for bag in bags if bag.label is None]:
        problems.append(f"no label: {_listed(missing)}")
    if odd := [bag.slide_id for bag in bags if bag.label not in (0, 1, None)]:
        problems.append(f"label is neither 0 nor 1: {_listed(odd)}")
    labels = {bag.label for bag in bags if len(bag) and bag.label is not None}
    if len(labels) < 2:
        found = f"only label {labels.pop()}" if labels else "no labelled slide"
        problems.append(f"{found} among slides with tiles: both classes are needed")
    return problems


def _leak_problems(bags: Sequence[Bag]) -> list[str]:
    found = list(leaks(bags))
    problems = [f"patient in more than one split: {_listed(found)}"] if found else []
    odd = {bag.split for bag in bags if bag.split} - set(SPLITS)
    if odd:
        problems.append(f"unknown split: {_listed(sorted(odd))}; use {_listed(SPLITS)}")
    return problems


def _width_problems(bags: Sequence[Bag]) -> list[str]:
    widths = Counter(bag.instances.shape[1:] for bag in bags if len(bag))
    problems = []
    if len(widths) > 1:
        usual = widths.most_common(1)[0][0]
        odd = [
            f"{bag.slide_id} ({_shown(bag.instances.shape[1:])})"
            for bag in bags
            if len(bag) and bag.instances.shape[1:] != usual
        ]
        problems.append(f"not {_shown(usual)} features a tile: {_listed(odd)}")
    return problems


def _shown(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
