"""Slides that are too coarse for the tiles that are asked for."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from weno.errors import WenoError
from weno.slides import open_slide

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weno.tiles._grid import TileSpec

# Of a cohort; over a network each takes time.
_LOOKED_AT = 8


def find_coarser(
    records: Sequence[Mapping[str, str]], spec: TileSpec
) -> Iterator[tuple[str, float] | None]:
    """Look for slides whose pixels are coarser than a tile spec wants them.

    Parameters
    ----------
    records : sequence of mapping
        Cells by column; of many a few are looked at, and paths are absolute.
    spec : TileSpec

    Yields
    ------
    (str, float) or None
        For each slide that is looked at, if it is one of these, its slide_id and the
        size of its pixels in µm.
    """
    for record in records[:: len(records) // _LOOKED_AT + 1]:
        coarser = None
        # What is wrong with a slide, or with the number, is said where it is used.
        with (
            suppress(WenoError, OSError, ValueError),
            open_slide(record["path"]) as slide,
        ):
            own = float(record.get("mpp") or max(slide.mpp or (0.0,)))
            if spec.wants_finer(own):
                coarser = record["slide_id"], own
        yield coarser
