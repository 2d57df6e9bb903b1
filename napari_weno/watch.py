"""Whether somebody else has changed what a project is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QFileSystemWatcher, QObject, Signal

if TYPE_CHECKING:
    from weno.project import Project

_FILES = ("project.toml", "slides.csv")


class ProjectWatch(QObject):
    """Looks at project.toml and slides.csv, where the file system tells of changes."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._paths: list[str] = []
        self._watcher = QFileSystemWatcher(self)
        self._watcher.fileChanged.connect(self._on_change)

    def watch(self, project: Project | None) -> None:
        """Look at another project."""
        if self._watcher.files():
            self._watcher.removePaths(self._watcher.files())
        self._paths = [str(project.root / name) for name in _FILES] if project else []
        if self._paths:
            self._watcher.addPaths(self._paths)

    def _on_change(self) -> None:
        # One that is written anew under its old name is another file.
        if lost := [p for p in self._paths if p not in self._watcher.files()]:
            self._watcher.addPaths(lost)
        self.changed.emit()
