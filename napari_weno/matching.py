"""Whether a project, a slide and a prediction speak of the same pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_weno.docks import EXPECTED
from weno.errors import RunError
from weno.prediction import read_prediction

if TYPE_CHECKING:
    from napari_weno.opened import OpenedSlide
    from weno.prediction import Prediction
    from weno.project import Project, SlideRow
    from weno.slides import Slide

_MPP_RTOL = 1e-6


def slides_of(project: Project | None) -> list[SlideRow]:
    """Return the lines of a project's slides.csv; none while it cannot be read.

    For what is shown beside the table: the Cohort and Train docks say what is wrong.
    """
    try:
        return project.slides if project else []
    except EXPECTED:
        return []


def row_of(project: Project | None, slide: Slide) -> SlideRow | None:
    """Return the line that a slide has in a project, None if it has none."""
    path = slide.path.resolve()
    return next((row for row in slides_of(project) if row.path == path), None)


def differs(slide: Slide, row: SlideRow) -> bool:
    """Tell whether a project gives a slide another pixel size than it has."""
    if row.mpp is None:
        return slide.mpp_source == "given"
    return not _same_mpp(slide.mpp, (row.mpp, row.mpp))


def stored_prediction(
    project: Project | None, run: str | None, opened: OpenedSlide | None
) -> Prediction | None:
    """Return what a run predicts for a slide, None if that is not on disk.

    Raises
    ------
    RunError
        If it cannot be read.
    """
    if project and run and opened and opened.slide_id:
        path = project.prediction_path(run, opened.slide_id)
        if path.is_file():
            return read_prediction(path)
    return None


def run_to_show(project: Project) -> str | None:
    """Return the newest run that is finished and predicts, else the newest one.

    A run that was stopped has nothing to show until somebody goes on with it.
    """
    newest_first = project.run_names()[::-1]
    for run in newest_first:
        finished = (project.run_dir(run) / "card.json").is_file()
        if finished and any(project.predictions_dir(run).glob("*.parquet")):
            return run
    return next(iter(newest_first), None)


def check_fits(prediction: Prediction, opened: OpenedSlide) -> None:
    """Refuse a prediction whose overlays would not lie where its tiles are.

    Raises
    ------
    RunError
        If it is for another slide, or for another pixel size.
    """
    if prediction.content_hash != opened.slide.content_hash:
        raise RunError(
            f"the prediction is for slide {prediction.slide_id} with other "
            f"content than {opened.name}; predict this slide anew"
        )
    mpp = opened.slide.mpp or (1.0, 1.0)
    if not _same_mpp(mpp, prediction.mpp):
        raise RunError(
            f"the prediction for {prediction.slide_id} is for pixels of "
            f"{_mpp_text(prediction.mpp)}, but the open slide has {_mpp_text(mpp)}; "
            "correct mpp in slides.csv, or prepare and predict this slide anew"
        )


def _same_mpp(one: tuple[float, float] | None, other: tuple[float, float]) -> bool:
    return one is not None and np.allclose(one, other, rtol=_MPP_RTOL, atol=0)


def _mpp_text(mpp: tuple[float, float]) -> str:
    return f"{mpp[0]:.7g} x {mpp[1]:.7g} µm"
