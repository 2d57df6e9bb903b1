"""Where slides come from: a CSV, whose columns may be named otherwise, or a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
    QWidget,
)

from napari_weno.docks import EXPECTED, may_shrink, say, text_label
from napari_weno.jobs import QuietJob
from weno.errors import ProjectError, WenoError
from weno.slide_import import (
    ROLES,
    add_slides,
    classes_in,
    guess_columns,
    labels_by_folder,
    mapped_records,
    read_source,
)
from weno.slide_rows import check_rows, search_records

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from weno.project import Project
    from weno.slide_import import SourceTable
    from weno.table_text import Edit

    Records = list[dict[str, str]]

_TITLES = {
    "slide_id": "Name",
    "path": "File",
    "label": "Label",
    "patient_id": "Patient",
    "split": "Split",
    "mpp": "µm/px",
}
_CHECK = "The columns have names of their own: check what each is for, then go on."


@dataclass(frozen=True, slots=True)
class Choices:
    """Where slides come from, as a person has said it.

    Parameters
    ----------
    slides : Path
        A CSV or a folder.
    columns : mapping of str to str
        From roles to columns of the CSV.
    folder : Path, optional
        Where slides are looked for by name.
    by_folder : bool
        Sub-folders of `slides` are named by the class of what is in them.
    """

    slides: Path
    columns: Mapping[str, str]
    folder: Path | None
    by_folder: bool


def gather(choices: Choices) -> Generator[None, None, Records]:
    """Read a table, or search a folder, for lines of slides.csv."""
    yield
    slides = choices.slides
    if slides.is_file():
        source = read_source(slides)
        records = mapped_records(source, choices.columns, choices.folder)
    else:
        records = search_records(slides.resolve())
        if choices.by_folder:
            records = labels_by_folder(records, slides)
    yield  # that took its time: who has changed his mind gets nothing written
    return records


class ImportBox(QWidget):
    """Asks for a CSV or a folder, and for the columns of a CSV with other names."""

    #: The Enter key was pressed.
    entered = Signal()
    #: Names of the classes in a table that was chosen, the one without finding first.
    classes_found = Signal(list)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._source: SourceTable | None = None
        self._read_from: str | None = None
        self.slides = line_for(
            "CSV or folder of slides",
            "A CSV with the columns slide_id, path and, if known, label (0, 1 or a "
            "class name), patient_id, split, mpp (other names can be told); or a "
            "folder that is searched for slides",
        )
        self.columns = {role: QComboBox() for role in ROLES}
        self.folder = line_for(
            "if the CSV has names only",
            "Folder that is searched, with all in it, for slides by their names",
        )
        self.by_folder = QCheckBox("Sub-folders are the classes")
        self.by_folder.setToolTip(
            "A slide in normal/ is labelled normal, whatever lies between"
        )
        #: As wide as its column; one may make it wider, to fit a form around.
        self.label = QLabel("Slides")
        self._form = QFormLayout(self)
        self._lay_out()
        self.slides.returnPressed.connect(self.entered)
        self.slides.editingFinished.connect(self.refresh)
        self.refresh()

    def choices(self) -> Choices:
        """Return what `gather` wants to know.

        Raises
        ------
        WenoError
            If nothing is given, or columns have just been shown that are to be
            checked.
        """
        shown_before = self._read_from == self.slides.text().strip()
        self.refresh()
        text, folder = self.slides.text().strip(), self.folder.text().strip()
        if not text:
            raise WenoError("Give a CSV or a folder of slides.")
        if self._asks() and not shown_before:
            raise WenoError(_CHECK)
        chosen = {role: combo.currentData() for role, combo in self.columns.items()}
        return Choices(
            Path(text).expanduser(),
            {role: column for role, column in chosen.items() if column},
            Path(folder).expanduser() if folder else None,
            by_folder=self.by_folder.isChecked(),
        )

    def refresh(self) -> None:
        """Read the header of the chosen table and show what is to be asked."""
        text = self.slides.text().strip()
        if text != self._read_from:
            self._read_from, self._source = text, None
            path = Path(text).expanduser()
            if text and path.is_file():
                try:
                    self._source = read_source(path)
                except EXPECTED:
                    self._source = None  # said when it is to be used
            self._show_columns()
        is_folder = bool(text) and Path(text).expanduser().is_dir()
        self._form.setRowVisible(self.by_folder, is_folder)

    def _asks(self) -> bool:
        return self._source is not None and not self._source.is_plain

    def _show_columns(self) -> None:
        columns = self._source.columns if self._source else []
        guessed = guess_columns(columns)
        for role, combo in self.columns.items():
            combo.clear()
            combo.addItem("-", "")
            for column in columns:
                combo.addItem(column, column)
            combo.setCurrentIndex(max(0, combo.findData(guessed.get(role, ""))))
            self._form.setRowVisible(combo, self._asks())
        self._form.setRowVisible(self._folder_row, self._asks())
        self._tell_classes()

    def _tell_classes(self) -> None:
        column = self.columns["label"].currentData()
        if self._source is not None and column:
            labels = [{"label": record[column]} for record in self._source.records]
            if found := classes_in(labels):
                self.classes_found.emit(found)

    def _lay_out(self) -> None:
        form = self._form
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(self.label, with_browse(self.slides, self._browse))
        for role, combo in self.columns.items():
            may_shrink(combo)
            combo.setToolTip(f"Column that holds {ROLES[role]}; - if there is none")
            form.addRow(_TITLES[role], combo)
        self.columns["label"].activated.connect(self._tell_classes)
        self._folder_row = with_browse(self.folder, self._browse_folder)
        form.addRow("Slides in", self._folder_row)
        form.addRow(self.by_folder)

    def _browse(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, "CSV of slides, or any slide of a folder"
        )
        if chosen:
            path = Path(chosen)
            is_list = path.suffix.lower() in (".csv", ".txt", ".tsv")
            self.slides.setText(str(path if is_list else path.parent))
            self.refresh()

    def _browse_folder(self) -> None:
        if chosen := QFileDialog.getExistingDirectory(self, "Folder of the slides"):
            self.folder.setText(chosen)


def add_gathered(
    project: Project, choices: Choices
) -> Generator[None, None, tuple[int, Edit]]:
    """Add what is gathered to a project."""
    records = yield from gather(choices)
    if choices.slides.is_file():
        # Else what is wrong would be told of the lines of the table they go into.
        check_rows(records, choices.slides, project.classes, project.positive)
    elif choices.by_folder:
        _check_folders(records, project)
    named = choices.slides.is_file() and "slide_id" in choices.columns
    return add_slides(project, records, named=named)


def _check_folders(records: Records, project: Project) -> None:
    """Refuse folders that are named by no class of a project."""
    known = {"", *project.classes, *map(str, range(len(project.classes)))}
    if unknown := sorted({record["label"] for record in records} - known):
        raise ProjectError(
            f"no class is named as the folder {', '.join(unknown)}; the project has "
            f"{', '.join(project.classes)}"
        )


class AddForm(QGroupBox):
    """Adds slides of a CSV or a folder to the open project."""

    #: How many slides were added, and the `Edit` that this was.
    added = Signal(int, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Add slides", parent)
        self._project: Project | None = None
        self.imports = ImportBox()
        self.problem = text_label(name="problem")
        self.add_button = QPushButton("Add")
        self.add_button.setToolTip(
            "Adds lines to slides.csv; of slides that are there already, only what is "
            "not known yet is filled in. Undo takes both back"
        )
        self._job = QuietJob(self)
        form = QFormLayout(self)
        for widget in (self.imports, self.problem, self.add_button):
            form.addRow(widget)
        say(self.problem, "")
        self.imports.entered.connect(self._add)
        self.add_button.clicked.connect(self._add)
        self._job.returned.connect(self._on_added)
        self._job.failed.connect(self._on_error)

    def show_project(self, project: Project | None) -> None:
        """Say which project is to grow."""
        self._job.cancel()
        self._project = project
        self.add_button.setEnabled(True)
        say(self.problem, "")

    def _add(self) -> None:
        if not self.add_button.isEnabled():
            return  # at work; Enter asks for it all the same
        try:
            choices = self.imports.choices()
        except WenoError as error:
            say(self.problem, str(error))
            return
        say(self.problem, "Looking for slides…")
        self.add_button.setEnabled(False)
        self._job.run(add_gathered, self._project, choices)

    def _on_added(self, result: tuple[int, Edit]) -> None:
        self.add_button.setEnabled(True)
        say(self.problem, "")
        self.hide()
        self.added.emit(*result)

    def _on_error(self, error: BaseException) -> None:
        self.add_button.setEnabled(True)
        say(self.problem, str(error))


def with_browse(line: QLineEdit, browse: Callable[[], None]) -> QHBoxLayout:
    """Put a button beside a line that chooses in a dialog what it says."""
    button = QToolButton()
    button.setText("…")
    button.setToolTip("Choose in a dialog")
    button.clicked.connect(browse)
    row = QHBoxLayout()
    row.addWidget(line)
    row.addWidget(button)
    return row


def line_for(placeholder: str, tooltip: str) -> QLineEdit:
    """Make a line for a path or a name."""
    line = QLineEdit()
    line.setPlaceholderText(placeholder)
    line.setToolTip(tooltip)
    return line
