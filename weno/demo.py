"""The demo: from synthetic slides of known truth to a fitted, predicted run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weno.project import Project
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

RUN = "demo"
_SPEC = TileSpec(tile_um=64.0, mpp=0.5)


def demo_steps(folder: Path) -> Iterator[tuple[str, Generator[Any, None, Any]]]:
    """Yield the jobs that make the demo project, each with its title, in order.

    A job must have run to its end before the next is asked for. What is there
    already is kept, so that the second time is quick.

    Parameters
    ----------
    folder : Path
        Becomes the project folder; the slides lie in ``folder/cohort``.
    """
    from weno.features import extract
    from weno.mil import PRESETS, fit_project, predict_project
    from weno.synthetic import make_cohort

    yield "slides", make_cohort(folder / "cohort")
    project = _open_or_create(folder)
    yield "extract", extract(project)
    run_dir = project.run_dir(RUN)
    if not (run_dir / "card.json").is_file():
        config = PRESETS["default"]
        yield "fit", fit_project(project, config, name=RUN, resume=run_dir.is_dir())
    yield "predict", predict_project(project, RUN)


def truth_path(folder: Path) -> Path:
    """CSV with the truth about every tile of the demo's slides."""
    return folder / "cohort" / "truth.csv"


def slide_to_show(project: Project) -> str:
    """Id of a positive slide that the demo's model has not seen in training."""
    tested = [row for row in project.slides if row.split == "test" and row.label == 1]
    return (tested or project.slides)[0].slide_id


def _open_or_create(folder: Path) -> Project:
    if (folder / "project.toml").is_file():
        return Project.open(folder)
    return Project.create(
        folder,
        folder / "cohort" / "slides.csv",
        spec=_SPEC,
        name="WENO demo",
        class_names=("normal", "tumour"),
    )
