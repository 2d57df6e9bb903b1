"""Which tiles to ask about, and in what order."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from weno.atomic import replacing
from weno.errors import ReviewError
from weno.review._journal import safe_name
from weno.review.events import Kind, ReviewTile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from weno.prediction import Prediction

_KINDS = (Kind.CANDIDATE, Kind.DISAGREEMENT, Kind.UNCERTAINTY)


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A tile to ask about.

    Parameters
    ----------
    tile : ReviewTile
    index : int
        Of the tile in its slide's grid.
    kind : Kind
        Why it is asked about.
    rank : int
        Place among the tiles of this kind in its slide, from 1; for an audit, in the
        draw over all slides.
    """

    tile: ReviewTile
    index: int
    kind: Kind
    rank: int

    @property
    def always_blind(self) -> bool:
        """Whether values must stay hidden until the answer, whatever is set."""
        return self.kind is Kind.AUDIT


@dataclass(frozen=True, slots=True)
class Queue:
    """Tiles to ask about, in order; no tile twice.

    Parameters
    ----------
    run : str
        Run whose predictions it was built from.
    seed : int
    audit_share : float
    items : tuple of QueueItem
    """

    run: str
    seed: int
    audit_share: float
    items: tuple[QueueItem, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[QueueItem]:
        return iter(self.items)

    @overload
    def __getitem__(self, position: int) -> QueueItem: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[QueueItem, ...]: ...
    def __getitem__(self, position: int | slice) -> QueueItem | tuple[QueueItem, ...]:
        return self.items[position]


def build_queue(
    predictions: Iterable[Prediction],
    *,
    audit_share: float = 0.1,
    seed: int = 0,
    limit: int | None = None,
    kinds: Sequence[str] = _KINDS,
    per_slide: int = 50,
) -> Queue:
    """Choose the tiles worth a person's time.

    Candidates come first, the first of every slide before the second of any; then
    the tiles where teacher and student disagree most; then those where the student
    is least sure. Audit tiles lie at random places among them. They are drawn from
    all tiles, each as likely as any other, so that they measure the model fairly; a
    tile drawn is asked about for the audit only.

    Parameters
    ----------
    predictions : iterable of Prediction
        All of one run; read once. Of slides with the same content the first counts.
    audit_share : float
        Share of audit tiles in the queue, in [0, 1); a little more comes out where
        the draw takes tiles that would have been asked about anyway.
    seed : int
        Of the draw.
    limit : int, optional
        Largest number of tiles.
    kinds : sequence of str
        Which of ``"candidate"``, ``"disagreement"`` and ``"uncertainty"``, in the
        order wanted.
    per_slide : int
        Largest number of tiles of one kind and slide.

    Raises
    ------
    ReviewError
        If a setting is out of range, or the predictions are of more than one run.
    """
    wanted = _check_settings(audit_share, limit, kinds, per_slide)
    slides: list[_Slide] = []
    ranked: dict[Kind, list[_Choice]] = {kind: [] for kind in wanted}
    for prediction in _distinct(predictions):
        for kind in wanted:
            ranked[kind] += _choose(prediction, kind, len(slides), per_slide)
        first = ReviewTile.of(prediction, 0)
        slides.append(_Slide(prediction.run, first, prediction.origins))
    for choices in ranked.values():
        choices.sort(key=lambda choice: choice.order)
    # A tile wanted for two reasons is asked about for the first.
    chosen = {c.place: c for choices in reversed(ranked.values()) for c in choices}
    unique = [c for cs in ranked.values() for c in cs if chosen[c.place] is c]
    mixed = _mix_audit(unique, slides, audit_share, seed, limit)
    items = tuple(slides[c.place[0]].item(c) for c in mixed)
    run = slides[0].run if slides else ""
    return Queue(run, seed, audit_share, items)


@dataclass(frozen=True, slots=True)
class _Slide:
    """What a queue keeps of a prediction."""

    run: str
    first: ReviewTile
    origins: npt.NDArray[np.int64]  # (N, 2)

    def item(self, choice: _Choice) -> QueueItem:
        index = choice.place[1]
        y, x = self.origins[index].tolist()
        tile = replace(self.first, origin=(y, x))
        return QueueItem(tile, index, choice.kind, choice.rank)


@dataclass(frozen=True, slots=True)
class _Choice:
    place: tuple[int, int]  # number of the slide, index of the tile
    kind: Kind
    rank: int
    order: float = 0  # across slides, smallest first


def _check_settings(
    audit_share: float, limit: int | None, kinds: Sequence[str], per_slide: int
) -> list[Kind]:
    unknown = [kind for kind in kinds if kind not in _KINDS]
    if unknown:
        raise ReviewError(f"unknown kind {unknown[0]!r}; choose of {', '.join(_KINDS)}")
    if not 0 <= audit_share < 1:
        raise ReviewError(f"audit_share is a share in [0, 1): {audit_share}")
    for name, value in (("limit", limit), ("per_slide", per_slide)):
        if value is not None and value < 1:
            raise ReviewError(f"{name} must be 1 or more: {value}")
    return [Kind(kind) for kind in kinds]


def _distinct(predictions: Iterable[Prediction]) -> Iterator[Prediction]:
    runs, seen = set[str](), set[str]()
    for prediction in predictions:
        runs.add(prediction.run)
        if len(runs) > 1:
            raise ReviewError(
                f"a queue is of one run, not of {', '.join(sorted(runs))}; "
                "build one queue per run"
            )
        if len(prediction.origins) and prediction.content_hash not in seen:
            seen.add(prediction.content_hash)
            yield prediction


def _choose(
    prediction: Prediction, kind: Kind, slide: int, count: int
) -> Iterator[_Choice]:
    """Yield the best tiles of one slide for one kind."""
    if kind is Kind.CANDIDATE:
        ranks = prediction.candidate_rank
        order = np.where(ranks > 0, ranks, np.nan).astype(float)
    elif kind is Kind.DISAGREEMENT:
        gap = np.abs(prediction.disagreement)
        order = np.where(gap > 0, -gap, np.nan).astype(float)
    else:
        order = np.abs(prediction.probability - 0.5).astype(float)
    best = np.argsort(order, kind="stable")[:count]  # NaN, no choice, comes last
    for rank, index in enumerate(best[~np.isnan(order[best])].tolist(), start=1):
        yield _Choice((slide, index), kind, rank, float(order[index]))


def _mix_audit(
    ranked: Sequence[_Choice],
    slides: Sequence[_Slide],
    share: float,
    seed: int,
    limit: int | None,
) -> list[_Choice]:
    """Put a random sample of all tiles at random places among the ranked ones."""
    ends = np.cumsum([len(slide.origins) for slide in slides], dtype=np.int64)
    n_tiles = int(ends[-1]) if slides else 0
    total = min(round(len(ranked) / (1 - share)), n_tiles, limit or n_tiles)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(n_tiles, round(total * share), replace=False)
    numbers = np.searchsorted(ends, drawn, side="right")  # (audit,)
    indices = drawn - np.concatenate([[0], ends])[numbers]
    places = zip(numbers.tolist(), indices.tolist(), strict=True)
    audit = [_Choice(p, Kind.AUDIT, rank) for rank, p in enumerate(places, start=1)]
    taken = {choice.place for choice in audit}
    rest = [c for c in ranked if c.place not in taken][: total - len(audit)]
    is_audit = rng.permutation(len(rest) + len(audit)) < len(audit)
    sources = {True: iter(audit), False: iter(rest)}
    return [next(sources[here]) for here in is_audit.tolist()]


def queue_path(folder: Path, name: str) -> Path:
    """Return the file of a queue.

    Parameters
    ----------
    folder : Path
        ``review/`` of a project.
    name : str

    Raises
    ------
    ReviewError
        If the name cannot be a file name.
    """
    return folder / "queues" / f"{safe_name(name, 'queue')}.json"


def queue_names(folder: Path) -> list[str]:
    """Return the names of the queues in ``review/`` of a project, the newest last."""
    paths = (folder / "queues").glob("[!.]*.json")
    return [path.stem for path in sorted(paths, key=lambda path: path.stat().st_mtime)]


def write_queue(path: Path, queue: Queue) -> None:
    """Write a queue as JSON, one line per item."""
    head = {"run": queue.run, "seed": queue.seed, "audit_share": queue.audit_share}
    lines = ",\n".join(json.dumps(_to_record(item)) for item in queue)
    with replacing(path) as temporary:
        text = f'{json.dumps(head)[:-1]}, "items": [\n{lines}\n]}}\n'
        temporary.write_text(text, encoding="utf-8")


def read_queue(path: Path) -> Queue:
    """Read a queue.

    Raises
    ------
    ReviewError
        If the file is missing or is no queue.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Queue(
            run=str(record["run"]),
            seed=int(record["seed"]),
            audit_share=float(record["audit_share"]),
            items=tuple(map(_from_record, record["items"])),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ReviewError(
            f"{path} is not a review queue ({error!r}); build it again"
        ) from error


def _to_record(item: QueueItem) -> dict[str, Any]:
    return {
        **item.tile.to_dict(),
        "index": item.index,
        "kind": item.kind,
        "rank": item.rank,
        # For other programs: both follow from the kind.
        "always_blind": item.always_blind,
        "trains": item.kind.trains,
    }


def _from_record(record: dict[str, Any]) -> QueueItem:
    return QueueItem(
        tile=ReviewTile.from_dict(record),
        index=int(record["index"]),
        kind=Kind(record["kind"]),
        rank=int(record["rank"]),
    )
