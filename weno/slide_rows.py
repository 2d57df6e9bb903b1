"""The table of a project's slides: read, checked as a whole, and written."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weno.atomic import replacing
from weno.errors import ProjectError
from weno.table_text import parse, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_COLUMNS = ("slide_id", "path", "label", "patient_id", "split", "mpp")
_SPLITS = ("train", "val", "test")

# A scheme and a slash, of which a `Path` keeps one; a single letter is a drive.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:[/\\]")
DOWNLOAD = "a project may come from anybody, so it reads files only; download the slide"

# An id becomes a file name: no separator, no leading dot, nothing a file system bends.
_ID = re.compile(r"[^\W_][\w.\- +()]{0,119}")


@dataclass(frozen=True, slots=True)
class SlideRow:
    """One line of slides.csv.

    Parameters
    ----------
    slide_id : str
        Unique; also the name of the slide's files in the project.
    path : Path or None
        The slide, absolute; None where there are features only.
    label : int or None
        1 for the positive class, 0 for the negative one or, where a project has more
        than two, for all others; None if not known.
    patient_id : str
        Slides of one patient stay in one split; the slide's id if not given.
    split : str or None
        ``"train"``, ``"val"`` or ``"test"``, None to let the fit decide.
    mpp : float or None
        Size of a level-0 pixel in µm; wins over what the slide says.
    class_index : int or None
        Which of the project's classes the slide is of, whatever is asked; None if not
        known.
    """

    slide_id: str
    path: Path | None
    label: int | None
    patient_id: str
    split: str | None
    mpp: float | None
    class_index: int | None = None


def read_records(path: Path, *, path_needed: bool = True) -> list[dict[str, str]]:
    """Read a CSV as it stands, unknown columns included.

    Unless `path_needed`, there may be no column path; paths are empty then.
    """
    return parse_records(read_text(path), path, path_needed=path_needed)


def parse_records(
    text: str, path: Path, *, path_needed: bool = True
) -> list[dict[str, str]]:
    """Read the text of a CSV that is, or is going to be, in `path`."""
    records = parse_cells(text, path, path_needed=path_needed)
    for record in records:
        slide = record.setdefault("path", "")
        if slide and not is_address(slide):
            record["path"] = str((path.parent / slide).resolve())
    return records


def parse_cells(
    text: str, path: Path, *, path_needed: bool = True
) -> list[dict[str, str]]:
    """Read the text of such a CSV, paths as they stand.

    To resolve them asks the file system about each folder on the way to each slide.
    """
    try:
        columns, records = parse(text)
    except csv.Error as error:
        raise ProjectError(f"{path} is not a CSV in UTF-8: {error}") from error
    needed = {"slide_id", "path"} if path_needed else {"slide_id"}
    if missing := needed - set(columns):
        raise ProjectError(f"{path}: no column {', '.join(sorted(missing))}")
    return records


def is_address(path: str) -> bool:
    """Tell whether a path is one of the network; opening one must be a user's wish."""
    return _ADDRESS.match(path) is not None


def search_records(folder: Path) -> list[dict[str, str]]:
    """Return records of the slides in a folder, named by their files."""
    # Here, so that tables can be checked where no slide can be opened.
    from weno.slides import slides_in

    if not folder.is_dir():
        raise ProjectError(f"{folder} is neither a CSV file nor a folder")
    found = sorted(slides_in(folder))
    if not found:
        raise ProjectError(f"no slide found in {folder}")
    records, taken = [], set[str]()
    for path in found:
        slide_id = free_id(path.stem, taken)
        taken.add(slide_id.casefold())
        records.append({"slide_id": slide_id, "path": str(path), "label": ""})
    return records


def write_records(path: Path, root: Path, records: list[dict[str, str]]) -> None:
    """Write a CSV of the project in `root`."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for record in records:
            writer.writerow(record | {"path": path_text(record["path"], root)})


def path_text(path: str, root: Path) -> str:
    """Return how a project in `root` writes a path.

    A slide inside the project moves with it; others stay where they are.
    """
    slide = Path(path)
    return slide.relative_to(root).as_posix() if slide.is_relative_to(root) else path


def check_rows(
    records: Iterable[Mapping[str, str]],
    source: Path,
    classes: Sequence[str],
    positive: str,
) -> list[SlideRow]:
    """Turn records into rows, or name all that is wrong with them at once."""
    labels: dict[str, int | None] = {"": None}
    labels |= {str(k): k for k in range(len(classes))}
    labels |= {name: k for k, name in enumerate(classes)}
    asked = classes.index(positive)
    rows, problems, seen = [], [], set[str]()
    for line, record in enumerate(records, start=2):
        values = {column: record.get(column, "") for column in _COLUMNS}
        slide_id, label, split = values["slide_id"], values["label"], values["split"]
        if not _ID.fullmatch(slide_id) or slide_id.endswith((".", " ")):
            problems.append(f"line {line}: {slide_id!r} cannot be a file name")
        # Names that differ in case alone are one file on many systems.
        if slide_id.casefold() in seen:
            problems.append(f"line {line}: slide_id {slide_id!r} is there twice")
        seen.add(slide_id.casefold())
        if is_address(values["path"]):
            problems.append(f"line {line}: {values['path']} is an address: {DOWNLOAD}")
        if label not in labels:
            known = ", ".join(filter(None, labels))
            problems.append(f"line {line}: label {label!r} is none of {known}")
        if split and split not in _SPLITS:
            problems.append(f"line {line}: split {split!r} is none of {_SPLITS}")
        mpp = _number(values["mpp"])
        if values["mpp"] and mpp is None:
            problems.append(f"line {line}: mpp {values['mpp']!r} is no pixel size")
        index = labels.get(label)
        rows.append(
            SlideRow(
                slide_id=slide_id,
                path=Path(values["path"]) if values["path"] else None,
                label=None if index is None else int(index == asked),
                patient_id=values["patient_id"] or slide_id,
                split=split or None,
                mpp=mpp,
                class_index=index,
            )
        )
    if problems:
        raise ProjectError(f"{source}:\n  " + "\n  ".join(problems))
    return rows


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def free_id(stem: str, taken: set[str]) -> str:
    """Return an id made of a file's name that none of `taken`, in lower case, is."""
    base = re.sub(r"[^\w.\-]+", "_", stem).strip("._-")[:100] or "slide"
    candidate, number = base, 2
    while candidate.casefold() in taken:
        candidate, number = f"{base}_{number}", number + 1
    return candidate


def safe_name(name: str, what: str) -> str:
    """Return `name` if it can be the name of a file in the project.

    Raises
    ------
    ProjectError
        If it would leave its folder, or some file system cannot have it.
    """
    if not _ID.fullmatch(name) or name.endswith((".", " ")):
        raise ProjectError(f"{name!r} cannot be the name of a {what}: use letters")
    return name
