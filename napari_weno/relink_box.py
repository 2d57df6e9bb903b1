"""In the Cohort dock: slides that are not where they were, and finding them again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QGroupBox, QLineEdit, QVBoxLayout

from napari_weno.docks import listen, say, text_label
from napari_weno.import_box import line_for, with_browse
from napari_weno.jobs import JobBar
from weno.relink import find_moved

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_weno.session import Session
    from weno.project import Project
    from weno.relink import Moved, Search

_NONE = (
    "None of them is in {folder}. Where a slide's content is known, a file of its name "
    "with other content is not taken for it."
)


class RelinkBox(QGroupBox):
    """Says which slides are not found, and looks for them in a folder.

    Parameters
    ----------
    session : Session
    """

    #: New paths by slide_id and column, and what that does, for people.
    found = Signal(dict, str)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Slides not found", parent)
        self._session = session
        self._missing: dict[str, str] = {}
        self._searched: Project | None = None
        self._wanted: list[str] = []
        self.text = text_label(name="missing")
        self.folder: QLineEdit = line_for(
            "folder where they are now", "Searched with all folders in it"
        )
        self.job = JobBar(
            "Find them",
            "Look for the slides by content, where the project knows it, else by name, "
            "and write their new paths into slides.csv; Undo takes it back",
        )
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addLayout(with_browse(self.folder, self._browse))
        layout.addWidget(self.job)
        listen(self, session.project_changed, self._on_project)
        self.folder.returnPressed.connect(self._start)
        self.job.start_requested.connect(self._start)
        self.job.reported.connect(self._show_search)
        self.job.returned.connect(self._on_found)
        self.job.ended.connect(lambda: self.show_missing(self._missing))
        self.hide()

    def show_missing(self, missing: dict[str, str]) -> None:
        """Say of slides that are not found why, by slide_id."""
        if missing.keys() - self._missing.keys():
            self.job.say("")  # they were found again, and that was taken back
        self._missing = missing
        reason = next(iter(missing.values()), "")
        if len(missing) > 1:
            reason = f"{len(missing):,} slides are not found. The first: {reason}"
        say(self.text, reason)
        self.setVisible(bool(missing) or self.job.running)

    def _on_project(self, _: Project | None) -> None:
        self.job.stop()
        self.job.say("")
        self.show_missing({})

    def _browse(self) -> None:
        if chosen := QFileDialog.getExistingDirectory(self, "Folder of the slides"):
            self.folder.setText(chosen)

    def _start(self) -> None:
        folder = self.folder.text().strip()
        if not folder:
            self.job.say("Give the folder where the slides are now.")
            return
        project = self._session.project
        if project is None or self.job.running:
            return
        self.job.say("")
        self._searched, self._wanted = project, list(self._missing)
        self.job.run(find_moved, project, self._wanted, Path(folder).expanduser())

    def _show_search(self, search: Search) -> None:
        self.job.show_progress(
            0, 0, f"{search.looked_at:,} files looked at, {search.found:,} found"
        )

    def _on_found(self, moved: list[Moved]) -> None:
        if self._session.project is not self._searched:
            return  # slides of another project may have the same names
        by_name = sum(not one.by_content for one in moved)
        text = f"{len(moved):,} of {len(self._wanted):,} slides found again"
        if by_name:
            text += f", {by_name:,} by name alone: look at them"
        self.job.say(text if moved else _NONE.format(folder=self.folder.text()))
        if moved:
            self.found.emit({m.slide_id: {"path": str(m.path)} for m in moved}, text)
