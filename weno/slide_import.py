"""Tables and folders as others have them, turned into lines of slides.csv."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weno.errors import ProjectError
from weno.slide_rows import DOWNLOAD, free_id, is_address, safe_name, search_records
from weno.table_text import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weno.project import Project
    from weno.table_text import Edit

#: The columns of slides.csv that mean something, with what they hold.
ROLES = {
    "slide_id": "name of the slide",
    "path": "its file",
    "label": "its class",
    "patient_id": "whose it is",
    "split": "train, val or test",
    "mpp": "size of a pixel in µm",
}
_OTHER_NAMES = {
    "slide_id": ("slideid", "slide", "slidename", "image", "imageid", "wsi", "id"),
    "path": ("filepath", "file", "filename", "slidepath", "imagepath", "location"),
    "label": ("class", "diagnosis", "target", "category", "group", "grade", "finding"),
    "patient_id": ("patientid", "patient", "case", "caseid", "subject", "subjectid"),
    "split": ("set", "partition", "subset", "dataset"),
    "mpp": ("pixelsize", "micronsperpixel", "umperpixel", "resolution"),
}
# What a spreadsheet puts between cells, by the country of whoever uses it.
_DELIMITERS = ",;\t|"
_WITHOUT_FINDING = re.compile(r"(?i)^(0|no|none|neg.*|norm.*|benign|healthy|control)$")
_MOST_CLASSES = 12
_LOOK = 4096  # bytes


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table of slides as somebody has written it.

    Parameters
    ----------
    path : Path
    columns : list of str
    records : list of dict
        Cells by column.
    """

    path: Path
    columns: list[str]
    records: list[dict[str, str]]

    @property
    def is_plain(self) -> bool:
        """Whether its columns are named as those of slides.csv."""
        return {"slide_id", "path"} <= set(self.columns)


def read_source(path: Path) -> SourceTable:
    """Read a CSV from wherever it comes.

    Raises
    ------
    ProjectError
        If it is no table.
    """
    with path.open("rb") as file:
        content = file.read(_LOOK)
        # A slide may be larger than the memory.
        if b"\0" in content:
            raise ProjectError(f"{path} is no table of text: give a CSV, or a folder")
        content += file.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    try:
        columns, records = parse(_with_commas(text))
    except csv.Error as error:
        raise ProjectError(f"{path} is no table: {error}") from error
    if not records:
        raise ProjectError(f"{path} lists no slide")
    return SourceTable(path, [column.strip() for column in columns], records)


def _with_commas(text: str) -> str:
    """Return a table whose cells have commas between them."""
    lines = (line for line in text.splitlines() if line.strip())
    header = next((line for line in lines if not line.startswith("#")), "")
    delimiter = max(_DELIMITERS, key=header.count)
    if delimiter == ",":
        return text
    from io import StringIO

    rows = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    out = StringIO(newline="")
    # A comment with a comma would be put in quotes, and be one no longer.
    csv.writer(out).writerows(r for r in rows if not "".join(r[:1]).startswith("#"))
    return out.getvalue()


def guess_columns(columns: Sequence[str]) -> dict[str, str]:
    """Guess which column has which role; a role for which none fits is left out."""
    plain = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in columns}
    found: dict[str, str] = {}
    for role, others in _OTHER_NAMES.items():
        names = [role.replace("_", ""), *others]
        fitting = [plain[name] for name in names if name in plain]
        free = [column for column in fitting if column not in found.values()]
        if free:
            found[role] = free[0]
    return found


def mapped_records(
    source: SourceTable, columns: Mapping[str, str], folder: Path | None = None
) -> list[dict[str, str]]:
    """Turn a table into records of slides.csv; columns without a role are kept.

    Parameters
    ----------
    source : SourceTable
    columns : mapping of str to str
        From roles, see `ROLES`, to columns of the table.
    folder : Path, optional
        Where slides are looked for by name that the table gives no path of.

    Raises
    ------
    ProjectError
        If nothing tells which file a slide is.
    """
    if "path" not in columns and (folder is None or "slide_id" not in columns):
        raise ProjectError(
            "say which column has the file of a slide, or its name and the folder "
            "where the slides lie"
        )
    known = _by_name(folder) if folder is not None else {}
    taken: set[str] = set()
    records = []
    for cells in source.records:
        record = {role: cells.get(column, "") for role, column in columns.items()}
        record["path"] = _found(source.path.parent, record, known)
        given, stem = record.get("slide_id"), Path(record["path"]).stem
        slide_id = _valid_id(given or stem, taken)
        if not given and slide_id.casefold() in taken:
            # Files of one name in several folders are several slides.
            slide_id = free_id(stem, taken)
        record["slide_id"] = slide_id
        taken.add(record["slide_id"].casefold())
        used = {*columns.values(), *ROLES}
        record |= {c: cell for c, cell in cells.items() if c not in used}
        records.append({"slide_id": record.pop("slide_id"), **record})
    return records


def _by_name(folder: Path) -> dict[str, Path]:
    known: dict[str, Path] = {}
    for record in search_records(folder):
        path = Path(record["path"])
        for name in (path.stem, path.name):
            known.setdefault(name.casefold(), path)
    return known


def _found(start: Path, record: Mapping[str, str], known: Mapping[str, Path]) -> str:
    """Return the path of a slide; one in `known` if the table's leads nowhere."""
    given = record.get("path", "")
    if is_address(given):
        return given
    path = (start / given).resolve() if given else None
    if path is not None and (not known or path.exists()):
        return str(path)
    # A path of another system has other separators.
    name = re.split(r"[/\\]", given)[-1] or record.get("slide_id", "")
    there = known.get(name.casefold())
    return str(there or path or "")


def _valid_id(text: str, taken: set[str]) -> str:
    try:
        return safe_name(text, "slide")
    except ProjectError:
        return free_id(text, taken)


def labels_by_folder(
    records: Iterable[Mapping[str, str]], folder: Path
) -> list[dict[str, str]]:
    """Give slides the name of the folder, right below `folder`, in which they lie."""
    labelled = []
    for record in records:
        inside = Path(record["path"]).relative_to(folder.resolve()).parts[:-1]
        labelled.append({**record, "label": inside[0] if inside else ""})
    return labelled


def classes_in(records: Iterable[Mapping[str, str]]) -> list[str]:
    """Return the labels of a table as classes, the one without the finding first.

    Empty where they are no names, or too many for classes.
    """
    found = sorted({r.get("label", "") for r in records} - {""}, key=str.casefold)
    if not 2 <= len(found) <= _MOST_CLASSES or set(found) <= {"0", "1"}:
        return []
    return sorted(found, key=lambda name: not _WITHOUT_FINDING.match(name))


def add_file(project: Project, path: Path, *, mpp: float | None = None) -> Edit:
    """Add one slide to a project, named by its file; one that it has stays.

    Parameters
    ----------
    project : Project
    path : Path
    mpp : float, optional
        Size of its pixels in µm, where the file does not tell.

    Raises
    ------
    ProjectError
        If the slide is read from an address.
    """
    if is_address(str(path)):
        raise ProjectError(f"{path} is an address: {DOWNLOAD}")
    record = {"slide_id": free_id(path.stem, set()), "path": str(path.resolve())}
    if mpp is not None:
        record["mpp"] = f"{mpp:.9g}"
    return add_slides(project, [record], named=False)[1]


def add_slides(
    project: Project, records: Sequence[Mapping[str, str]], *, named: bool = True
) -> tuple[int, Edit]:
    """Add slides to a project; of those it has, fill in what it does not know yet.

    Parameters
    ----------
    project : Project
    records : sequence of mapping
        Cells by column; paths are absolute.
    named : bool
        Whether somebody has given the slides their ids; else two files of one name
        are two slides.

    Returns
    -------
    added : int
    edit : Edit
        The new lines, and the cells that were empty before.

    Raises
    ------
    ProjectError
        If the table would be wrong then; nothing is written.
    """
    by_id = {row.slide_id.casefold(): row.slide_id for row in project.slides}
    by_path = {str(row.path): row.slide_id for row in project.slides if row.path}
    cells = {record["slide_id"]: record for record in project.table.records()}
    paths = {row.slide_id: row.path for row in project.slides}
    taken = {*by_id, *(record["slide_id"].casefold() for record in records)}
    new, filled = [], dict[str, dict[str, str]]()
    for record in records:
        here = by_path.get(record["path"]) or by_id.get(record["slide_id"].casefold())
        if here is None:
            new.append(record)
            continue
        other = None if named or record["path"] in by_path else paths[here]
        if other is not None and other.exists():
            slide_id = free_id(record["slide_id"], taken)
            taken.add(slide_id.casefold())
            new.append({**record, "slide_id": slide_id})
            continue
        missing = {c: t for c, t in record.items() if t and not cells[here].get(c)}
        if missing:
            filled[here] = missing
    return len(new), project.table.add(new, filled)
