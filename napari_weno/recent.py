"""The projects opened last: a small file in the user's own configuration folder.

It holds folders and names of projects, nothing of what is in them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_config_path
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QMenu, QPushButton

from weno.atomic import replacing

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from weno.project import Project

_MOST = 8


@dataclass(frozen=True, slots=True)
class Recent:
    """A project that was opened before; it need not be there any more.

    Parameters
    ----------
    name : str
    folder : str
    """

    name: str
    folder: str


def recent_path() -> Path:
    """Where the list is kept."""
    return user_config_path("napari-weno") / "recent.json"


def recent_projects() -> list[Recent]:
    """Return the projects opened last, the newest first; none if the list is damaged.

    Does not look whether they are there: a share that is away would be waited for.
    """
    try:
        entries = json.loads(recent_path().read_text(encoding="utf-8"))
        return [Recent(str(e["name"]), str(e["folder"])) for e in entries][:_MOST]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def remember(project: Project) -> None:
    """Put a project at the head of the list; one that cannot be kept is not."""
    this = Recent(project.name, str(project.root))
    others = [one for one in recent_projects() if one.folder != this.folder]
    kept = [{"name": r.name, "folder": r.folder} for r in [this, *others][:_MOST]]
    with suppress(OSError), replacing(recent_path()) as path:
        path.write_text(json.dumps(kept, indent=1), encoding="utf-8")


class RecentButton(QPushButton):
    """Offers the projects opened last in a menu."""

    #: Folder of the project to open.
    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Recent", parent)
        self.setToolTip("Projects opened last")
        self.setMenu(QMenu(self))
        self.menu().setToolTipsVisible(True)
        self.refresh()

    def refresh(self) -> None:
        """Read the list anew."""
        projects = recent_projects()
        self.menu().clear()
        for project in projects:
            # Of several demos the folder tells which.
            folder = Path(project.folder).name
            name = (
                project.name if project.name == folder else f"{project.name} ({folder})"
            )
            action = self.menu().addAction(name)
            action.setToolTip(project.folder)
            action.triggered.connect(
                lambda _=False, folder=project.folder: self.chosen.emit(folder)
            )
        self.setEnabled(bool(projects))
