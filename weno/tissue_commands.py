"""``weno tissue``: the outlines of a project's slides, before the long run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weno.features import cost_text, find_tissue, quick_encoder
from weno.terminal import complain, follow, print_table, say

if TYPE_CHECKING:
    from weno.project import Project


def outline_slides(project: Project) -> dict[str, Any]:
    """Find the tissue of all slides; print and return what there is to tile."""
    encoder = quick_encoder(project.encoder)
    reports = follow(find_tissue(project, encoder=encoder), "tissue")
    rows, failed = {}, {}
    for report in reports:
        if report.error:
            failed[report.slide_id] = report.error
            complain(report.slide_id, report.error)
            continue
        rows[report.slide_id] = {
            "area_mm2": round(report.area_mm2, 3),
            "tiles": report.tiles,
            "outline": report.outline,
        }
    table = {
        name: {"area in mm²": row["area_mm2"], "tiles": f"{row['tiles']:,}"}
        | {"outline": row["outline"]}
        for name, row in rows.items()
    }
    print_table("slide", table)
    tiles = sum(row["tiles"] for row in rows.values())
    seconds = sum(report.seconds or 0.0 for report in reports) if encoder else None
    told = cost_text(tiles, seconds, encoder.dim if encoder else None)
    say(f"{told}. Outlines in {project.root / 'tissue'}. Next: weno extract")
    return {
        "slides": rows,
        "tiles": tiles,
        "seconds": seconds,
        "empty": [name for name, row in rows.items() if not row["tiles"]],
        "failed": failed,
    }
