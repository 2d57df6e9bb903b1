from __future__ import annotations

import shutil
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from weno.errors import WenoError
from weno.features import extract
from weno.project import Project
from weno.relink import find_moved, missing_slides
from weno.tiles import TileSpec


@pytest.fixture
def project(write_pyramid, tmp_path: Path) -> Project:
    """Three slides; the project knows the content of the first two."""
    rng = np.random.default_rng(0)
    records = []
    for name in "abc":
        pixels = rng.integers(90, 200, (256, 256, 3), np.uint8)
        path = write_pyramid(tmp_path / "old" / f"{name}.tif", [pixels], 0.5)
        records.append({"slide_id": name, "path": str(path)})
    spec = TileSpec(tile_um=64.0, mpp=0.5, min_tissue=0.0)
    made = Project.create(tmp_path / "project", records, spec=spec)
    deque(extract(made, ["a"]), maxlen=0)
    with made.open_slide("b") as slide:
        made.outline("b").find(slide)
    return made


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()


def search(project: Project, folder: Path) -> dict[str, tuple[str, bool]]:
    job = find_moved(project, list(missing_slides(project.slides)), folder)
    while True:
        try:
            next(job)
        except StopIteration as end:
            return {m.slide_id: (m.path.name, m.by_content) for m in end.value}


def test_nothing_is_missing_at_first(project: Project) -> None:
    assert missing_slides(project.slides) == {}


def test_it_is_said_why_a_slide_is_not_found(project: Project, tmp_path: Path) -> None:
    (tmp_path / "old" / "b.tif").unlink()
    assert missing_slides(project.slides) == {
        "b": f"{tmp_path / 'old' / 'b.tif'} is not there: moved or renamed?"
    }
    (tmp_path / "old").rename(tmp_path / "away")
    reasons = missing_slides(project.slides)
    assert len(reasons) == 3
    assert "is it mounted?" in reasons["a"]


def test_a_listing_in_other_letters_is_no_loss(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weno.relink.os.listdir", lambda _: ["A.TIF", "B.TIF", "C.TIF"])
    assert missing_slides(project.slides) == {}


def test_files_of_the_same_name_are_looked_at_first(
    project: Project, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    (tmp_path / "old").rename(new)
    for name in ("0.tif", "1.tif", "2.tif"):
        shutil.copy(new / "c.tif", new / name)
    job = find_moved(project, ["a", "b"], new)
    looked_at = [search.looked_at for search in job]
    # All are listed; then the two with the known names are opened, and no other.
    assert looked_at == [1, 2, 3, 4, 5, 6, 1, 2]


def test_content_decides_and_a_name_only_where_it_is_not_known(
    project: Project, tmp_path: Path
) -> None:
    new = tmp_path / "new" / "deep"
    new.mkdir(parents=True)
    old = tmp_path / "old"
    old.joinpath("a.tif").rename(new / "b.tif")
    old.joinpath("b.tif").rename(new / "renamed.tif")
    old.joinpath("c.tif").rename(new / "C.tif")
    assert search(project, tmp_path / "new") == {
        "a": ("b.tif", True),
        "b": ("renamed.tif", True),
        "c": ("C.tif", False),
    }


def test_another_slide_of_the_same_name_is_not_taken(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    shutil.copy(tmp_path / "old" / "b.tif", tmp_path / "new" / "a.tif")
    (tmp_path / "old" / "a.tif").unlink()
    assert search(project, tmp_path / "new") == {}


def test_of_two_files_of_one_name_none_is_taken(
    project: Project, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / "new" / name).mkdir(parents=True)
        shutil.copy(tmp_path / "old" / "c.tif", tmp_path / "new" / name / "c.tif")
    (tmp_path / "old" / "c.tif").unlink()
    assert search(project, tmp_path / "new") == {}


def test_a_file_of_another_slide_of_the_project_is_not_taken(
    project: Project, tmp_path: Path
) -> None:
    moved = shutil.copy(tmp_path / "old" / "a.tif", tmp_path / "old" / "twin.tif")
    project.table.add([{"slide_id": "twin", "path": str(moved)}])
    (tmp_path / "old" / "a.tif").unlink()
    assert search(project, tmp_path / "old") == {}


def test_no_folder_is_an_error(project: Project, tmp_path: Path) -> None:
    with pytest.raises(WenoError, match="is no folder"):
        search(project, tmp_path / "nowhere")
