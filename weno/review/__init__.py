"""People's verdicts on tiles: the queue, the answers, and their way out."""

from __future__ import annotations

from weno.review._audit import AuditResult, audit
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
from weno.review.regions import (
    COVERED,
    IGNORED,
    covered_tiles,
    import_regions,
    labelled_path,
    labelled_slides,
    read_labelled,
    region_verdicts,
    verdict_of,
    write_labelled,
)
from weno.review.reviewers import (
    Agreement,
    agreement,
    audit_verdicts,
    audited_tiles,
    training_verdicts,
)
from weno.review.verdicts import ReviewLog, ReviewStore, read_verdicts

__all__ = [
    "COVERED",
    "IGNORED",
    "VERDICT_COLORS",
    "Agreement",
    "AuditResult",
    "Kind",
    "Queue",
    "QueueItem",
    "ReviewEvent",
    "ReviewLog",
    "ReviewStore",
    "ReviewTile",
    "Verdict",
    "agreement",
    "audit",
    "audit_verdicts",
    "audited_tiles",
    "build_queue",
    "covered_tiles",
    "import_regions",
    "labelled_path",
    "labelled_slides",
    "queue_names",
    "queue_path",
    "read_labelled",
    "read_queue",
    "read_verdicts",
    "region_verdicts",
    "training_verdicts",
    "verdict_of",
    "write_csv",
    "write_geojson",
    "write_labelled",
    "write_queue",
]
