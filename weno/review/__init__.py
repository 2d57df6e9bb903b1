"""People's verdicts on tiles: the queue, the answers, and their way out."""

from __future__ import annotations

from weno.review.events import Kind, ReviewEvent, ReviewTile, Verdict
from weno.review.export import VERDICT_COLORS, write_csv, write_geojson
from weno.review.queue import (
    Queue,
    QueueItem,
    build_queue,
    queue_names,
    queue_path,
    read_queue,
    write_queue,
)
from weno.review.reviewers import (
    Agreement,
    agreement,
    audited_tiles,
    training_verdicts,
)
from weno.review.verdicts import ReviewLog, ReviewStore, read_verdicts

__all__ = [
    "VERDICT_COLORS",
    "Agreement",
    "Kind",
    "Queue",
    "QueueItem",
    "ReviewEvent",
    "ReviewLog",
    "ReviewStore",
    "ReviewTile",
    "Verdict",
    "agreement",
    "audited_tiles",
    "build_queue",
    "queue_names",
    "queue_path",
    "read_queue",
    "read_verdicts",
    "training_verdicts",
    "write_csv",
    "write_geojson",
    "write_queue",
]
