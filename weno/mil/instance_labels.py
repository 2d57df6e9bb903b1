"""What people have said of the tiles of a slide: verdicts, and regions drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    import numpy.typing as npt

    from weno.features import FeatureHeader
    from weno.project import Project
    from weno.review import ReviewTile, Verdict

UNKNOWN = -1  # no person has answered this tile
UNSURE = -2  # a person could not tell: the tile does not train the student

_OF_VERDICT = {"positive": 1, "negative": 0, "unsure": UNSURE}


@dataclass(frozen=True, slots=True)
class Said:
    """What people have said in a project about what it asks.

    Parameters
    ----------
    project : Project
    verdicts : mapping of ReviewTile to Verdict
        That a fit may learn from.
    audited : set of ReviewTile
        What measures the model: nothing that is said of these trains.
    """

    project: Project
    verdicts: Mapping[ReviewTile, Verdict]
    audited: set[ReviewTile]

    @classmethod
    def read(cls, project: Project) -> Self:
        """Read the verdict files.

        Raises
        ------
        ReviewError
            If one is damaged.
        """
        from weno.review import audited_tiles, read_verdicts, training_verdicts

        # What a person said of one class says nothing of another.
        logs = read_verdicts(project.review_dir, project.runs_asking()).values()
        return cls(project, training_verdicts(logs), audited_tiles(logs))

    def labels(
        self, header: FeatureHeader, origins: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int8] | None:
        """Return what is said of each tile of a slide, None if nothing is.

        A verdict on a tile wins over a region that it lies in.

        Parameters
        ----------
        header : FeatureHeader
        origins : ndarray of shape (N, 2), int64
            ``(y, x)`` of the tiles in level-0 pixels.

        Returns
        -------
        ndarray of shape (N,), int8
            1, 0, `UNKNOWN` or `UNSURE`.

        Raises
        ------
        ReviewError
            If the regions were drawn on another slide, or have an unknown class.
        """
        labels = self._of_regions(header, origins)
        index = {tuple(map(int, yx)): i for i, yx in enumerate(origins)}
        size = tuple(round(header.spec.tile_um / mpp) for mpp in header.mpp)

        def at(tile: ReviewTile) -> int | None:
            known = tile.content_hash == header.content_hash and tile.size == size
            return index.get(tile.origin) if known else None

        for tile in self.audited:
            if (i := at(tile)) is not None:
                labels[i] = UNKNOWN
        for tile, verdict in self.verdicts.items():
            if (i := at(tile)) is not None:
                labels[i] = _OF_VERDICT[verdict.value]
        return labels if (labels != UNKNOWN).any() else None

    def _of_regions(
        self, header: FeatureHeader, origins: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int8]:
        from weno.review import labelled_path, read_labelled, region_verdicts

        project = self.project
        labels = np.full(len(origins), UNKNOWN, np.int8)
        path = labelled_path(project.review_dir, header.slide_id)
        regions = read_labelled(path, header.content_hash, project.classes)
        tile_l0 = (
            header.spec.tile_um / header.mpp[0],
            header.spec.tile_um / header.mpp[1],
        )
        said = region_verdicts(regions, origins, tile_l0, project.positive)
        for i, verdict in said.items():
            labels[i] = _OF_VERDICT[verdict.value]
        return labels
