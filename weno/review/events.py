"""The words of a review: verdict, tile, event; and how an event is written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weno.prediction import Prediction

Action = Literal["answer", "undo", "redo"]


class Verdict(StrEnum):
    """A person's answer for one tile."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNSURE = "unsure"
    SKIP = "skip"


class Kind(StrEnum):
    """Why a person was asked about a tile."""

    CANDIDATE = "candidate"
    DISAGREEMENT = "disagreement"
    UNCERTAINTY = "uncertainty"
    AUDIT = "audit"
    """Drawn at random to measure the model: shown blind, never trained on."""
    MANUAL = "manual"
    """Nobody asked: picked on the slide or in a gallery."""

    @property
    def trains(self) -> bool:
        """Whether a fit may learn from the answer."""
        return self is not Kind.AUDIT


@dataclass(frozen=True, slots=True)
class ReviewTile:
    """A square of a slide that a verdict is about.

    Two are equal if they are the same place of the same pixels, whatever the slide
    is called.

    Parameters
    ----------
    slide_id : str
        What the slide was called at the time.
    content_hash : str
        Of the slide.
    origin : (int, int)
        ``(y, x)`` of the top-left corner in level-0 pixels.
    size : (int, int)
        ``(height, width)`` in level-0 pixels, rounded.
    """

    slide_id: str = field(compare=False)
    content_hash: str
    origin: tuple[int, int]
    size: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, prediction: Prediction, index: int) -> Self:
        """Return one tile of a prediction.

        Parameters
        ----------
        prediction : Prediction
        index : int
            Of the tile in the slide's grid.
        """
        y, x = prediction.origins[index].tolist()
        height, width = prediction.grid.tile_l0
        return cls(
            slide_id=prediction.slide_id,
            content_hash=prediction.content_hash,
            origin=(y, x),
            size=(round(height), round(width)),
        )

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Make a tile of a JSON object that has its fields among others."""
        (y, x), (height, width) = record["origin"], record["size"]
        return cls(
            slide_id=str(record["slide_id"]),
            content_hash=str(record["content_hash"]),
            origin=(int(y), int(x)),
            size=(int(height), int(width)),
        )


@dataclass(frozen=True, slots=True)
class ReviewEvent:
    """One line of a verdict file.

    Parameters
    ----------
    action : {"answer", "undo", "redo"}
        Undo and redo repeat the answer that they take back or restore; only
        `action` and `time` differ.
    tile : ReviewTile
    verdict : Verdict
    reviewer : str
    time : datetime
        When, in UTC.
    run : str
        Whose prediction the tile was chosen by; empty if there was none.
    kind : Kind
        Why the tile was shown.
    blind : bool
        Whether model values, overlays and others' verdicts were hidden.
    shown : tuple of str
        Names of what was on screen, layers included.
    """

    action: Action
    tile: ReviewTile
    verdict: Verdict
    reviewer: str
    time: datetime
    run: str
    kind: Kind
    blind: bool
    shown: tuple[str, ...]

    def to_json(self) -> str:
        """Return the event as one line of JSON, without the line break."""
        record = {
            "action": self.action,
            **self.tile.to_dict(),
            "verdict": self.verdict,
            "reviewer": self.reviewer,
            "time": self.time.isoformat(timespec="milliseconds"),
            "run": self.run,
            "kind": self.kind,
            # For other programs: follows from the kind.
            "trains": self.kind.trains,
            "blind": self.blind,
            "shown": self.shown,
        }
        return json.dumps(record, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Read an event; keys that a later version added are passed over.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the line is no event.
        """
        record = json.loads(line)
        if record["action"] not in ("answer", "undo", "redo"):
            raise ValueError(f"unknown action {record['action']!r}")
        if not isinstance(record["blind"], bool):
            raise TypeError(f"blind is neither true nor false: {record['blind']!r}")
        return cls(
            action=record["action"],
            tile=ReviewTile.from_dict(record),
            verdict=Verdict(record["verdict"]),
            reviewer=str(record["reviewer"]),
            time=datetime.fromisoformat(record["time"]),
            run=str(record["run"]),
            kind=Kind(record["kind"]),
            blind=record["blind"],
            shown=tuple(map(str, record["shown"])),
        )
