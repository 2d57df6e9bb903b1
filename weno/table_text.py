"""A CSV as text: cells are changed and lines added, all else stays as it stands.

People keep columns, comments and an order of their own in a table of slides. A line
that begins with ``#`` is a comment.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from weno.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    #: By the key of a line and the name of a column, the text of a cell.
    Cells = Mapping[str, Mapping[str, str]]

_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Edit:
    """Cells that were changed, and lines that were added.

    Parameters
    ----------
    before, after : mapping of str to mapping of str to str
        By the key of a line and the name of a column, what was and what is there; what
        lines that were added hold is in `after` alone.
    added : frozenset of str, optional
        Keys of the lines that were added.
    """

    before: Cells
    after: Cells
    added: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.after)


@dataclass(frozen=True, slots=True)
class _Line:
    """A record as it stands in the file; without cells a comment or empty."""

    text: str
    cells: list[str]

    @property
    def end(self) -> str:
        """What ends it: the last line of a file may have nothing."""
        return self.text[len(self.text.rstrip("\r\n")) :]


def read_text(path: Path) -> str:
    """Read a table with its line ends as they are.

    Raises
    ------
    ProjectError
        If it is not in UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProjectError(f"{path} is not a CSV in UTF-8: {error}") from error


def parse(text: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of a table and its records, spaces round cells left out.

    Raises
    ------
    csv.Error
        If it is no CSV.
    """
    lines = [line for line in _lines(text) if line.cells]
    if not lines:
        return [], []
    columns = lines[0].cells
    records = [
        {column: cell.strip() for column, cell in _named(columns, line.cells) if column}
        for line in lines[1:]
    ]
    return columns, records


def changed(text: str, key: str, changes: Cells) -> tuple[str, Edit]:
    """Return a table with other cells, and what that changed.

    Parameters
    ----------
    text : str
    key : str
        Column whose cell names a line.
    changes : mapping of str to mapping of str to str
        New cells by the key of their line and the name of their column; a column that
        is missing is added.
    """
    lines = list(_lines(text))
    first = next(number for number, line in enumerate(lines) if line.cells)
    columns = list(lines[first].cells)
    columns += dict.fromkeys(
        c for new in changes.values() for c in new if c not in columns
    )
    wider = len(columns) > len(lines[first].cells)
    before: dict[str, dict[str, str]] = {}
    after: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines[first + 1 :], start=first + 1):
        old = {c: cell.strip() for c, cell in _named(columns, line.cells)}
        name = old.get(key, "")
        new = {c: t for c, t in changes.get(name, {}).items() if t != old.get(c)}
        if line.cells and new:
            before[name] = {column: old.get(column, "") for column in new}
            after[name] = new
            lines[number] = _rewritten(line, columns, new)
        elif line.cells and wider:
            lines[number] = _padded(line, len(columns))
    if after and columns != lines[first].cells:
        lines[first] = _header(lines[first], columns)
    return "".join(line.text for line in lines), Edit(before, after)


def extended(text: str, records: Sequence[Mapping[str, str]]) -> str:
    """Return a table with more lines at its end, columns of theirs added."""
    lines = list(_lines(text))
    first = next(number for number, line in enumerate(lines) if line.cells)
    header, end = lines[first], lines[first].end or "\n"
    columns = list(dict.fromkeys([*header.cells, *chain.from_iterable(records)]))
    if columns != header.cells:
        lines = [_padded(line, len(columns)) if line.cells else line for line in lines]
        lines[first] = _header(header, columns)
    kept = "".join(line.text for line in lines)
    if not lines[-1].end:
        kept += end
    added = [_written([r.get(column, "") for column in columns], end) for r in records]
    return kept + "".join(added)


def shortened(text: str, key: str, names: Collection[str]) -> str:
    """Return a table without the lines of these keys."""
    lines = list(_lines(text))
    first = next(number for number, line in enumerate(lines) if line.cells)
    columns = lines[first].cells
    return "".join(
        line.text
        for number, line in enumerate(lines)
        if number <= first
        or not line.cells
        or dict(_named(columns, line.cells)).get(key, "").strip() not in names
    )


def _lines(text: str) -> Iterator[_Line]:
    """Cut a table into records; a quoted cell may hold line breaks."""
    rest = iter(io.StringIO(text, newline=""))
    for line in rest:
        shown = line.removeprefix(_BOM)
        if shown.startswith("#") or not shown.strip():
            yield _Line(line, [])
            continue
        taken: list[str] = []
        cells = next(csv.reader(_noting(chain([line], rest), taken)))
        cells[0] = cells[0].removeprefix(_BOM)
        yield _Line("".join(taken), cells)


def _noting(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line.removeprefix(_BOM)


def _named(columns: Sequence[str], cells: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pair cells with their columns; those of a line that is too short are empty."""
    missing = [""] * (len(columns) - len(cells))
    return zip(columns, [*cells, *missing], strict=False)


def _header(line: _Line, columns: list[str]) -> _Line:
    mark = _BOM if line.text.startswith(_BOM) else ""
    return _Line(mark + _written(columns, line.end or "\n"), columns)


def _rewritten(line: _Line, columns: Sequence[str], new: Mapping[str, str]) -> _Line:
    cells = [*line.cells, *[""] * (len(columns) - len(line.cells))]
    for column, text in new.items():
        cells[columns.index(column)] = text
    return _Line(_written(cells, line.end), cells)


def _padded(line: _Line, width: int) -> _Line:
    """Give a line empty cells for new columns, those it has staying as they are."""
    missing = width - len(line.cells)
    text = line.text.rstrip("\r\n") + "," * missing + line.end
    return _Line(text, [*line.cells, *[""] * missing])


def _written(cells: Sequence[str], end: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end).writerow(cells)
    return out.getvalue()
