"""slides.csv of a project, edited by a program as carefully as by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weno.atomic import lock_of, replacing
from weno.errors import ProjectError
from weno.slide_rows import parse_cells, parse_records, path_text
from weno.table_text import Edit, changed, extended, read_text, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from weno.table_text import Cells

_KEY = "slide_id"
_PATIENCE_S = 10.0  # others hold the table for as long as it takes to write it


@dataclass(frozen=True, slots=True)
class SlideFile:
    """The table of a project's slides: columns, lines and comments of others stay.

    Parameters
    ----------
    path : Path
        In the folder of the project.
    check : callable
        Raises `ProjectError` if records make no table of slides.
    """

    path: Path
    check: Callable[[list[dict[str, str]]], object]

    def records(self) -> list[dict[str, str]]:
        """Return the cells of all lines by column; paths are absolute."""
        return parse_records(read_text(self.path), self.path)

    def add(
        self, records: Sequence[Mapping[str, str]], changes: Cells | None = None
    ) -> Edit:
        """Add lines at the end, and change cells in the same stroke.

        Parameters
        ----------
        records : sequence of mapping
            Cells by column; paths are absolute.
        changes : mapping of str to mapping of str to str, optional
            See `edit`.

        Returns
        -------
        Edit
            What `undo` takes back.

        Raises
        ------
        ProjectError
            If the table would be wrong then.
        """
        with self._held():
            text = read_text(self.path)
            shown = [self._shown(record) for record in records]
            if shown:
                text = extended(text, shown)
            text, edit = self._changed(text, changes or {})
            self._write(text)
        lines = {cells[_KEY]: cells for cells in shown}
        return Edit(edit.before, {**edit.after, **lines}, frozenset(lines))

    def edit(self, changes: Cells) -> Edit:
        """Change cells.

        Parameters
        ----------
        changes : mapping of str to mapping of str to str
            New cells by slide_id and column; paths are absolute.

        Returns
        -------
        Edit
            What `undo` takes back.

        Raises
        ------
        ProjectError
            If there is no such slide, or the table would be wrong then.
        """
        with self._held():
            return self._edit(changes)

    def undo(self, edit: Edit) -> Edit:
        """Take an edit back.

        Returns
        -------
        Edit
            What takes this back, but for lines: those that are gone stay away.

        Raises
        ------
        ProjectError
            If a cell is no longer as the edit has left it.
        """
        with self._held():
            text = read_text(self.path)
            if changed(text, _KEY, edit.after)[1]:
                raise ProjectError(f"{self.path} was changed since: nothing is undone")
            text = shortened(text, _KEY, edit.added)
            text, back = self._changed(text, edit.before)
            self._write(text)
        return back

    def _held(self) -> AbstractContextManager[object]:
        """Keep other processes and threads from writing what they read before."""
        return lock_of(self.path).acquire(timeout=_PATIENCE_S)

    def _edit(self, changes: Cells) -> Edit:
        text, edit = self._changed(read_text(self.path), changes)
        if edit:
            self._write(text)
        return edit

    def _changed(self, text: str, changes: Cells) -> tuple[str, Edit]:
        known = {record[_KEY] for record in parse_cells(text, self.path)}
        if unknown := sorted(changes.keys() - known):
            raise ProjectError(f"no slide {', '.join(unknown)} in {self.path}")
        shown = {slide_id: self._shown(cells) for slide_id, cells in changes.items()}
        return changed(text, _KEY, shown)

    def _shown(self, cells: Mapping[str, str]) -> dict[str, str]:
        shown = dict(cells)
        if "path" in shown:
            shown["path"] = path_text(shown["path"], self.path.parent)
        return shown

    def _write(self, text: str) -> None:
        self.check(parse_cells(text, self.path))
        with replacing(self.path) as temporary:
            temporary.write_bytes(text.encode())
