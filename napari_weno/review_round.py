"""One reviewer's way through a queue: where they are, what they may see."""

from __future__ import annotations

from collections import Counter
from itertools import chain
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
_OPEN = (None, Verdict.SKIP)


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
        self._given = [store.verdict(item.tile) for item in queue]
        self._on_slide: dict[str, list[int]] = {}
        for k, item in enumerate(queue):
            self._on_slide.setdefault(item.tile.content_hash, []).append(k)
        self._trail = sorted(
            (event for tile, event in store.answers().items() if tile in self._places),
            key=lambda event: event.time,
        )
        # After an undo, too, the tile is one whose values were seen.
        self._seen = {event.tile for event in store.events if _reveals(event)}
        start = self._next_open(0)
        self.position = len(queue) - 1 if start is None else start

    @property
    def item(self) -> QueueItem:
        """The tile asked about, and why."""
        return self.queue[self.position]

    @property
    def verdict(self) -> Verdict | None:
        """The reviewer's answer for the tile asked about."""
        return self._given[self.position]

    @property
    def finished(self) -> bool:
        """Whether every tile has an answer, or was skipped at least."""
        return None not in self._given

    @property
    def end_text(self) -> str:
        """Say that the end of the queue is reached; empty before."""
        if not self.finished:
            return ""
        if self.answered < len(self.queue):
            return (
                f"{self.answered:,} of {len(self.queue):,} tiles are answered; those "
                "skipped are asked about again. End the review to leave them without "
                "an answer."
            )
        return (
            f"All {len(self.queue):,} tiles are answered. End the review, or go back "
            "to change an answer."
        )

    def upcoming(self, count: int) -> list[ReviewTile]:
        """Return the tiles that are asked about next, as far as can be foreseen."""
        found: list[int] = []
        after = self.position
        while len(found) < count:
            following = self._next_open(after + 1)
            if following is None or following in (*found, self.position):
                break
            found.append(following)
            after = following
        return [self.queue[k].tile for k in found]

    def _next_open(self, start: int) -> int | None:
        """Return the first position without an answer, going round at the end.

        Those skipped come again when no other is left.
        """
        for wanted in (None, Verdict.SKIP):
            for k in chain(range(start, len(self._given)), range(start)):
                if self._given[k] is wanted:
                    return k
        return None

    def hides(self, *, blind: bool) -> bool:
        """Tell whether the values of the tile must not be on screen now.

        Parameters
        ----------
        blind : bool
            Whether the reviewer works blind; audit tiles are blind in any case.
        """
        return self.verdict in _OPEN and (blind or self.item.always_blind)

    def hides_overlays(self, *, blind: bool) -> bool:
        """Tell whether overlays must not be on screen now.

        They would give away the tiles around it too, so in blind work they wait
        until all tiles of the slide are answered.
        """
        if self.hides(blind=blind):
            return True
        places = self._on_slide[self.item.tile.content_hash]
        return blind and any(self._given[k] in _OPEN for k in places)

    def answer(self, verdict: Verdict, shown: Sequence[str]) -> ReviewEvent:
        """Save an answer, then go to the next tile without one, or one skipped.

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
        self._given[self.position] = event.verdict
        following = self._next_open(self.position + 1)
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
        self._check_ours(self.store.to_undo, "answer")
        event = self.store.undo()
        if event is not None:
            for k in reversed(range(len(self._trail))):
                if self._trail[k].tile == event.tile:
                    del self._trail[k]
                    break
            self._note(event.tile)
        return event

    def redo(self) -> ReviewEvent | None:
        """Restore the answer taken back last, go to its tile; None if there is none.

        Raises
        ------
        ReviewError
            If it was given in another queue, or could not be saved; nothing has
            changed.
        """
        self._check_ours(self.store.to_redo, "answer taken back")
        event = self.store.redo()
        if event is not None:
            self._trail.append(event)
            self._note(event.tile)
        return event

    def _note(self, tile: ReviewTile) -> None:
        """Go to a tile whose answer was taken back or given again."""
        self.go_to(tile)
        self._given[self.position] = self.store.verdict(tile)

    def _check_ours(self, answer: ReviewEvent | None, what: str) -> None:
        if answer is not None and answer.tile not in self._places:
            raise ReviewError(
                f"your last {what} is for slide {answer.tile.slide_id} and was "
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
            self.queue[k].index: str(verdict)
            for k in self._on_slide.get(content_hash, ())
            if (verdict := self._given[k]) is not None
        }

    def counts(self) -> Counter[Verdict]:
        """Count the answers of each sort in this queue."""
        return Counter(verdict for verdict in self._given if verdict is not None)

    @property
    def answered(self) -> int:
        """How many tiles have an answer; a skip is none."""
        return sum(verdict in _SURE for verdict in self._given)

    def earlier(self) -> list[ReviewEvent]:
        """Return the answers for the tile asked about that stand, oldest first."""
        return list(self.store.history(self.item.tile))

    def progress(self, class_names: tuple[str, str]) -> str:
        """Say how far the queue is, such as ``"3 of 50 · 2 tumour, 1 unsure"``."""
        counts = self.counts()
        told = f"{self.answered:,} of {len(self.queue):,}"
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
    # Down, so that 100 is the first tile alone.
    percentile = int(100 * prediction.attention_percentile[index])
    above = "all other" if percentile == 100 else f"{percentile} % of"
    told = [
        f"P({prediction.class_name}) {prediction.probability[index]:.2f}",
        f"attention above {above} tiles",
        f"disagreement {prediction.disagreement[index]:+.2f}",
    ]
    if rank := int(prediction.candidate_rank[index]):
        told.append(f"candidate {rank}")
    return " · ".join(told)


def others_text(said: Mapping[str, Verdict], class_names: tuple[str, str]) -> str:
    """Say what others answered; empty if nobody did."""
    told = [f"{name}: {verdict_name(v, class_names)}" for name, v in said.items()]
    return " · ".join(told)
