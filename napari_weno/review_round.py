"""One reviewer's way through a queue: where they are, what they may see."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from weno.errors import ReviewError
from weno.review import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weno.prediction import Prediction
    from weno.review import (
        Queue,
        QueueItem,
        ReviewEvent,
        ReviewLog,
        ReviewStore,
        ReviewTile,
    )

_SURE = (Verdict.POSITIVE, Verdict.NEGATIVE, Verdict.UNSURE)


class ReviewRound:
    """A queue that a reviewer answers, tile by tile.

    Parameters
    ----------
    queue : Queue
        Not empty.
    store : ReviewStore
        Where the answers go.
    others : mapping of str to ReviewLog
        What other reviewers answered.

    Attributes
    ----------
    position : int
        Of the tile asked about.
    """

    def __init__(
        self, queue: Queue, store: ReviewStore, others: Mapping[str, ReviewLog]
    ) -> None:
        self.queue = queue
        self.store = store
        self.others = others
        self._places = {item.tile: k for k, item in enumerate(queue)}
        self._trail = sorted(
            (event for tile, event in store.answers().items() if tile in self._places),
            key=lambda event: event.time,
        )
        # After an undo, too, the tile is one whose values were seen.
        self._seen = {event.tile for event in store.events if _reveals(event)}
        start = queue.next_unanswered(store)
        self.position = len(queue) - 1 if start is None else start

    @property
    def item(self) -> QueueItem:
        """The tile asked about, and why."""
        return self.queue[self.position]

    @property
    def verdict(self) -> Verdict | None:
        """The reviewer's answer for the tile asked about."""
        return self.store.verdict(self.item.tile)

    @property
    def finished(self) -> bool:
        """Whether every tile has an answer."""
        return self.queue.next_unanswered(self.store) is None

    def hides(self, *, blind: bool) -> bool:
        """Tell whether the values of the tile must not be on screen now.

        Parameters
        ----------
        blind : bool
            Whether the reviewer works blind; audit tiles are blind in any case.
        """
        return self.verdict is None and (blind or self.item.always_blind)

    def hides_overlays(self, *, blind: bool) -> bool:
        """Tell whether overlays must not be on screen now.

        They would give away the tiles around it too, so in blind work they wait
        until all tiles of the slide are answered.
        """
        if self.hides(blind=blind):
            return True
        content_hash = self.item.tile.content_hash
        return blind and any(
            self.store.verdict(item.tile) is None
            for item in self.queue
            if item.tile.content_hash == content_hash
        )

    def answer(self, verdict: Verdict, shown: Sequence[str]) -> ReviewEvent:
        """Save an answer, then go to the next tile without one.

        Parameters
        ----------
        verdict : Verdict
        shown : sequence of str
            What of the model, or of others' answers, was on screen.

        Raises
        ------
        ReviewError
            If it could not be saved; nothing has changed.
        """
        item = self.item
        event = self.store.answer(
            item.tile,
            verdict,
            run=self.queue.run,
            kind=item.kind,
            blind=not shown and item.tile not in self._seen,
            shown=shown,
        )
        self._trail.append(event)
        if _reveals(event):
            self._seen.add(event.tile)
        following = self.queue.next_unanswered(self.store, after=self.position)
        if following is not None:
            self.position = following
        return event

    def undo(self) -> ReviewEvent | None:
        """Take back the last answer and go to its tile; None if there is none.

        Raises
        ------
        ReviewError
            If it was given in another queue, or could not be saved; nothing has
            changed.
        """
        self._check_ours(_stacks(self.store.events)[0], "answer")
        event = self.store.undo()
        if event is not None:
            for k in reversed(range(len(self._trail))):
                if self._trail[k].tile == event.tile:
                    del self._trail[k]
                    break
            self.go_to(event.tile)
        return event

    def redo(self) -> ReviewEvent | None:
        """Restore the answer taken back last, go to its tile; None if there is none.

        Raises
        ------
        ReviewError
            If it was given in another queue, or could not be saved; nothing has
            changed.
        """
        self._check_ours(_stacks(self.store.events)[1], "answer taken back")
        event = self.store.redo()
        if event is not None:
            self._trail.append(event)
            self.go_to(event.tile)
        return event

    def _check_ours(self, stack: Sequence[ReviewEvent], what: str) -> None:
        if stack and stack[-1].tile not in self._places:
            raise ReviewError(
                f"your last {what} is for slide {stack[-1].tile.slide_id} and was "
                "given in another queue; open that queue to change it"
            )

    def move(self, step: int) -> None:
        """Go some tiles on or back, not beyond the ends."""
        self.position = min(max(self.position + step, 0), len(self.queue) - 1)

    def go_to(self, tile: ReviewTile) -> bool:
        """Go to a tile; False if the queue does not have it."""
        place = self._places.get(tile)
        if place is not None:
            self.position = place
        return place is not None

    def recent(self, count: int) -> list[ReviewEvent]:
        """Return the last answers that stand, the newest first."""
        return self._trail[: -count - 1 : -1]

    def verdicts_on(self, content_hash: str) -> dict[int, str]:
        """Return the answers for one slide, by index of the tile."""
        return {
            item.index: str(verdict)
            for item in self.queue
            if item.tile.content_hash == content_hash
            and (verdict := self.store.verdict(item.tile)) is not None
        }

    def counts(self) -> Counter[Verdict]:
        """Count the answers of each sort in this queue."""
        verdicts = (self.store.verdict(item.tile) for item in self.queue)
        return Counter(verdict for verdict in verdicts if verdict is not None)

    def progress(self, class_names: tuple[str, str]) -> str:
        """Say how far the queue is, such as ``"3 of 50 · 2 tumour, 1 unsure"``."""
        counts = self.counts()
        told = f"{counts.total():,} of {len(self.queue):,}"
        kinds = ", ".join(
            f"{counts[verdict]:,} {verdict_name(verdict, class_names)}"
            for verdict in Verdict
            if counts[verdict]
        )
        return f"{told} · {kinds}" if kinds else told

    def others_on(self, tile: ReviewTile) -> dict[str, Verdict]:
        """Return what others answered for a tile, by their names."""
        said = {name: log.verdict(tile) for name, log in self.others.items()}
        return {name: verdict for name, verdict in said.items() if verdict in _SURE}


def _stacks(
    events: Sequence[ReviewEvent],
) -> tuple[list[ReviewEvent], list[ReviewEvent]]:
    """Return the answers that stand and those taken back, the next to move last."""
    done: list[ReviewEvent] = []
    undone: list[ReviewEvent] = []
    for event in events:
        if event.action == "answer":
            done.append(event)
            undone.clear()
            continue
        source, target = (done, undone) if event.action == "undo" else (undone, done)
        for k in reversed(range(len(source))):
            if (source[k].tile, source[k].verdict) == (event.tile, event.verdict):
                target.append(source.pop(k))
                break
    return done, undone


def _reveals(event: ReviewEvent) -> bool:
    """Tell whether values have been on screen by the end of an event."""
    return not event.blind or event.verdict is not Verdict.SKIP


def verdict_name(verdict: Verdict, class_names: tuple[str, str]) -> str:
    """Return what a verdict is called on screen."""
    negative, positive = class_names
    return {
        Verdict.POSITIVE: positive,
        Verdict.NEGATIVE: negative,
        Verdict.UNSURE: "unsure",
        Verdict.SKIP: "skipped",
    }[verdict]


def values_text(prediction: Prediction, index: int) -> str:
    """Say what the model says of a tile."""
    percentile = 100 * prediction.attention_percentile[index]
    told = [
        f"P({prediction.class_name}) {prediction.probability[index]:.2f}",
        f"attention above {percentile:.0f} % of tiles",
        f"disagreement {prediction.disagreement[index]:+.2f}",
    ]
    if rank := int(prediction.candidate_rank[index]):
        told.append(f"candidate {rank}")
    return " · ".join(told)


def others_text(said: Mapping[str, Verdict], class_names: tuple[str, str]) -> str:
    """Say what others answered; empty if nobody did."""
    told = [f"{name}: {verdict_name(v, class_names)}" for name, v in said.items()]
    return " · ".join(told)
