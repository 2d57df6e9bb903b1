"""Slides whose files have moved: which are not found, and where they are now."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weno.errors import WenoError
from weno.geojson import read_collection
from weno.slides import open_slide, slides_in

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from weno.project import Project, SlideRow


@dataclass(frozen=True, slots=True)
class Moved:
    """A slide that was found again.

    Parameters
    ----------
    slide_id : str
    path : Path
        Where it is now.
    by_content : bool
        Whether its content was compared; else the name alone tells.
    """

    slide_id: str
    path: Path
    by_content: bool


@dataclass(frozen=True, slots=True)
class Search:
    """How far a search is.

    Parameters
    ----------
    looked_at, found, wanted : int
        Files, and slides.
    """

    looked_at: int
    found: int
    wanted: int


def missing_slides(rows: Iterable[SlideRow]) -> dict[str, str]:
    """Say of slides whose file is not there why, by slide_id.

    Lists each folder once: a project may have thousands of slides on a network share.
    """
    listed: dict[Path, set[str] | None] = {}
    missing = {}
    for row in rows:
        if row.path is None:
            continue
        folder = row.path.parent
        if folder not in listed:
            listed[folder] = _names_in(folder)
        names = listed[folder]
        if names is None:
            missing[row.slide_id] = f"the folder {folder} is not there: is it mounted?"
        # Some systems list a name in other letters than one may ask for it by.
        elif row.path.name not in names and not row.path.exists():
            missing[row.slide_id] = f"{row.path} is not there: moved or renamed?"
    return missing


def _names_in(folder: Path) -> set[str] | None:
    try:
        return set(os.listdir(folder))
    except OSError:
        return None


def find_moved(
    project: Project, slide_ids: Sequence[str], folder: Path
) -> Generator[Search, None, list[Moved]]:
    """Look for slides in a folder and in those below it.

    A file of the same name comes first; where the project knows the content of a slide,
    from its features or its outline of the tissue, that decides, whatever the name.
    Of the others the name decides, if there is one such file only.

    Parameters
    ----------
    project : Project
    slide_ids : sequence of str
        Slides that are not found where they were.
    folder : Path

    Raises
    ------
    WenoError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise WenoError(f"{folder} is no folder")
    wanted = {slide_id: project.slide(slide_id) for slide_id in slide_ids}
    contents = {slide_id: _known_content(project, slide_id) for slide_id in wanted}
    taken = {row.path for row in project.slides if row.slide_id not in wanted}
    files, found = list[Path](), dict[str, Moved]()
    for path in slides_in(folder.resolve()):
        if path not in taken:
            files.append(path)
        yield Search(len(files), 0, len(wanted))
    names = [row.path.name.casefold() for row in wanted.values() if row.path]
    files.sort(key=lambda path: path.name.casefold() not in names)
    for number, path in enumerate(files):
        if all(s in found for s, content in contents.items() if content):
            break
        content = _content(path)
        for slide_id, known in contents.items():
            if content and content == known and slide_id not in found:
                found[slide_id] = Moved(slide_id, path, by_content=True)
        yield Search(number + 1, len(found), len(wanted))
    used = {moved.path for moved in found.values()}
    rest = [path for path in files if path not in used]
    for slide_id, row in wanted.items():
        same = _of_name(row, rest) if contents[slide_id] is None else None
        if same is not None:
            found[slide_id] = Moved(slide_id, same, by_content=False)
    return [found[slide_id] for slide_id in slide_ids if slide_id in found]


def _of_name(row: SlideRow, files: Iterable[Path]) -> Path | None:
    """Return the only file that is named as a slide's was, None if there are more."""
    if row.path is None:
        return None
    name = row.path.name.casefold()
    same = [path for path in files if path.name.casefold() == name]
    return same[0] if len(same) == 1 else None


def _known_content(project: Project, slide_id: str) -> str | None:
    """Return the fingerprint that the project has of a slide's content."""
    from weno.features import read_header

    try:
        return read_header(project.features_path(slide_id)).content_hash or None
    except (WenoError, OSError):
        pass
    try:
        said = read_collection(project.outline(slide_id).path)[1]
    except (WenoError, OSError):
        return None
    return str(said["content_hash"]) if "content_hash" in said else None


def _content(path: Path) -> str | None:
    try:
        with open_slide(path) as slide:
            return slide.content_hash
    except (WenoError, OSError):
        return None
