"""What people answered, one event per line, safe against being killed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from weno.errors import ReviewError
from weno.review._journal import Journal, read_lines, safe_name
from weno.review.events import Kind, ReviewEvent, ReviewTile, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path


class ReviewLog:
    """All events of one reviewer and what follows from them; read only.

    Parameters
    ----------
    reviewer : str
    runs : collection of str, optional
        Only answers given under these runs are read: those to one question, where a
        project asks several.
    """

    def __init__(self, reviewer: str, runs: Collection[str] | None = None) -> None:
        self.reviewer = reviewer
        self._runs = runs
        self._events: list[ReviewEvent] = []
        self._done: list[ReviewEvent] = []
        self._undone: list[ReviewEvent] = []
        self._standing: defaultdict[ReviewTile, list[ReviewEvent]] = defaultdict(list)

    def __repr__(self) -> str:
        name, count = type(self).__name__, len(self.answers())
        return f"<{name} of {self.reviewer!r}, {count} tiles answered>"

    @classmethod
    def read(cls, path: Path, runs: Collection[str] | None = None) -> ReviewLog:
        """Replay a verdict file.

        Parameters
        ----------
        path : Path
            A ``.jsonl`` file; its name is the reviewer's.
        runs : collection of str, optional
            Only answers given under these.

        Raises
        ------
        ReviewError
            If the file is damaged other than by a last line cut short, which was
            never reported as saved.
        """
        log = ReviewLog(path.stem, runs)
        log._replay(path, read_lines(path))
        return log

    @property
    def events(self) -> Sequence[ReviewEvent]:
        """Everything that happened, oldest first, undone answers included."""
        return tuple(self._events)

    @property
    def to_undo(self) -> ReviewEvent | None:
        """The answer that is taken back next, None if there is none."""
        return self._done[-1] if self._done else None

    @property
    def to_redo(self) -> ReviewEvent | None:
        """The answer that is restored next, None if there is none.

        A new answer ends that.
        """
        return self._undone[-1] if self._undone else None

    def history(self, tile: ReviewTile) -> Sequence[ReviewEvent]:
        """Return the answers for a tile that have not been undone, oldest first."""
        return tuple(self._standing.get(tile, ()))

    def verdict(self, tile: ReviewTile) -> Verdict | None:
        """Return the current answer for a tile, None if there is none."""
        answers = self._standing.get(tile)
        return answers[-1].verdict if answers else None

    def verdicts(self) -> dict[ReviewTile, Verdict]:
        """Return the current answer for each answered tile."""
        return {tile: event.verdict for tile, event in self.answers().items()}

    def answers(self, content_hash: str | None = None) -> dict[ReviewTile, ReviewEvent]:
        """Return the event behind the current verdict of each answered tile.

        Parameters
        ----------
        content_hash : str, optional
            Only tiles of this slide.
        """
        return {
            tile: answers[-1]
            for tile, answers in self._standing.items()
            if answers and content_hash in (None, tile.content_hash)
        }

    def _replay(self, path: Path, lines: Iterable[bytes]) -> None:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                event = ReviewEvent.from_json(line)
                # An undo repeats the run of its answer: both are read or neither is.
                if self._runs is None or event.run in self._runs:
                    self._apply(event)
            except (LookupError, TypeError, ValueError) as error:
                raise ReviewError(
                    f"{path}, line {number}: not a review event ({error!r}); "
                    "restore the file from a copy or take this line out"
                ) from error

    def _apply(self, event: ReviewEvent) -> None:
        if event.action == "answer":
            self._done.append(event)
            self._undone.clear()
            self._standing[event.tile].append(event)
        elif event.action == "undo":
            self._undone.append(_take(self._done, event))
            _take(self._standing[event.tile], event)
        else:
            answer = _take(self._undone, event)
            self._done.append(answer)
            self._standing[event.tile].append(answer)
        self._events.append(event)


def _take(stack: list[ReviewEvent], event: ReviewEvent) -> ReviewEvent:
    """Remove and return the newest answer that an undo or redo is about.

    It need not lie on top: a file merged from two machines mixes their answers.
    """
    for k in reversed(range(len(stack))):
        if stack[k].tile == event.tile and stack[k].verdict == event.verdict:
            return stack.pop(k)
    raise LookupError(f"nothing to {event.action}")


class ReviewStore(ReviewLog):
    """The verdict file of one reviewer, open for writing.

    Each call that answers, undoes or redoes returns after the event is on disk, and
    not before; if it raises, nothing has changed. The file belongs to one store at a
    time, until `close` or the end of the process, however it ends.

    Parameters
    ----------
    folder : Path
        ``review/`` of a project; made if missing.
    reviewer : str
        Becomes the file's name: letters, digits, spaces and ``. _ - + @ '``.
    runs : collection of str, optional
        Only answers given under these runs, and those still to come, count; the others
        stay in the file.

    Raises
    ------
    ReviewError
        If the name cannot be a file name, the file is damaged, or another window or
        person is writing it.
    """

    def __init__(
        self, folder: Path, reviewer: str, runs: Collection[str] | None = None
    ) -> None:
        super().__init__(safe_name(reviewer, "reviewer"), runs)
        for other in (path.stem for path in _files(folder)):
            if other != self.reviewer and other.casefold() == self.reviewer.casefold():
                raise ReviewError(
                    f"{self.reviewer!r} and {other!r} would be one file on some "
                    f"computers; answer as {other!r} or choose another name"
                )
        self.path = folder / f"{self.reviewer}.jsonl"
        self._journal = Journal(self.path)
        try:
            self._replay(self.path, self._journal.lines)
        except ReviewError:
            self._journal.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write the file; what was read stays readable here."""
        self._journal.close()

    def answer(
        self,
        tile: ReviewTile,
        verdict: Verdict,
        *,
        run: str = "",
        kind: Kind = Kind.MANUAL,
        blind: bool,
        shown: Iterable[str] = (),
    ) -> ReviewEvent:
        """Save an answer; one for the same tile before it stays on record.

        Parameters
        ----------
        tile : ReviewTile
        verdict : Verdict
        run : str
            Run whose prediction the tile was chosen by.
        kind : Kind
            Why the tile was shown.
        blind : bool
            Whether model values, overlays and others' verdicts were hidden until
            this answer.
        shown : iterable of str
            What was on screen.

        Raises
        ------
        ReviewError
            If the event could not be written.
        """
        return self._save(
            ReviewEvent(
                action="answer",
                tile=tile,
                verdict=Verdict(verdict),
                reviewer=self.reviewer,
                time=_now(),
                run=run,
                kind=Kind(kind),
                blind=blind,
                shown=tuple(shown),
            )
        )

    def undo(self) -> ReviewEvent | None:
        """Take back the last answer; None if there is none.

        The answer that the tile had before, if any, is current again.
        """
        answer = self.to_undo
        if answer is None:
            return None
        return self._save(replace(answer, action="undo", time=_now()))

    def redo(self) -> ReviewEvent | None:
        """Restore the answer that was taken back last; None if there is none."""
        answer = self.to_redo
        if answer is None:
            return None
        return self._save(replace(answer, action="redo", time=_now()))

    def _save(self, event: ReviewEvent) -> ReviewEvent:
        self._journal.append(event.to_json().encode())
        self._apply(event)
        return event


def _now() -> datetime:
    now = datetime.now(UTC)
    # What is in memory equals what is read back.
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.jsonl"))


def read_verdicts(
    folder: Path, runs: Collection[str] | None = None
) -> dict[str, ReviewLog]:
    """Read the verdict files of all reviewers, also while they are being written.

    Parameters
    ----------
    folder : Path
        ``review/`` of a project; may be missing.
    runs : collection of str, optional
        Only answers given under these.

    Returns
    -------
    dict of str to ReviewLog
        By reviewer, in alphabetical order.

    Raises
    ------
    ReviewError
        If a file is damaged.
    """
    return {path.stem: ReviewLog.read(path, runs) for path in _files(folder)}
