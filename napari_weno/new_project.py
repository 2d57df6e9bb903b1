"""The form in the Cohort dock that makes a new project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QPushButton,
)

from napari_weno.docks import form_layout, may_shrink, say, text_label
from napari_weno.import_box import ImportBox, gather, line_for, with_browse
from napari_weno.jobs import QuietJob
from weno.errors import ProjectError, WenoError
from weno.project import Project
from weno.tiles import TileSpec, find_coarser

if TYPE_CHECKING:
    from collections.abc import Generator

    from qtpy.QtGui import QShowEvent
    from qtpy.QtWidgets import QWidget

    from napari_weno.import_box import Choices, Records


def make_project(
    root: Path, choices: Choices, settings: dict[str, Any]
) -> Generator[None, None, Project]:
    """Make a project of the slides that `gather` finds."""
    Project.check_new(root, choices.slides)
    records = yield from gather(choices)
    yield from _check_pixels(records, settings["spec"])
    return Project.create(root, records, source=choices.slides, **settings)


def _check_pixels(records: Records, spec: TileSpec) -> Generator[None, None, None]:
    """Refuse pixels finer than the slides have, as far as a few slides tell.

    Nothing could be cut into tiles, and what a project asks for is not changed easily.
    """
    for found in find_coarser(records, spec):
        yield
        if found:
            raise ProjectError(
                f"The pixels of {found[0]} are {found[1]:g} µm: give {found[1]:g} or "
                "more at Pixels, since tiles cannot be finer than their slide."
            )


class NewProjectForm(QGroupBox):
    """Asks for a folder, the slides and how to cut them; then makes the project."""

    #: The `Project` that was made.
    created = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("New project", parent)
        self.folder = line_for("a new or empty folder", "Where the project is to be")
        self.imports = ImportBox()
        self.slides = self.imports.slides
        self.negative = line_for("", "What to call slides without the finding")
        self.positive = line_for(
            "",
            "What to call slides with the finding; several classes with commas between "
            "them, the one to tell from all others last",
        )
        self.negative.setText("negative")
        self.positive.setText("positive")
        self._own_classes = "negative", "positive"
        self.tile_um = _number(128.0, 16.0, 4096.0, 2, " µm")
        self.mpp = _number(0.5, 0.1, 16.0, 3, " µm/px")
        self.encoder = QComboBox()
        may_shrink(self.encoder)
        self.encoder.setEditable(True)
        self.encoder.addItem("texture")
        self.icc = QCheckBox("By the slides' ICC profiles")
        self.problem = text_label(name="problem")
        self.create_button = QPushButton("Create")
        self.cancel_button = QPushButton("Cancel")
        self._job = QuietJob(self)
        self._explain()
        self._lay_out()
        self._connect()

    def _explain(self) -> None:
        self.tile_um.setToolTip(
            "Side of a tile on the glass. 128 µm shows a group of glands, 64 µm some "
            "dozen cells. It must be enough to recognise the finding by"
        )
        self.mpp.setToolTip(
            "Pixel size that the encoder sees: 0.25 is about 40x, 0.5 about 20x. Not "
            "finer than the slides have"
        )
        self.encoder.setToolTip(
            "What turns a tile into numbers. texture is built in and quick; the others "
            "are published pathology models, whose weights must be got first (`weno "
            "encoders NAME` tells how); timm:NAME and hf:NAME take any network"
        )
        self.icc.setToolTip(
            "Turns the colours of slides that have a profile into sRGB before they "
            "are encoded, so that scanners differ less"
        )
        self.create_button.setToolTip("Writes two small files; no slide is copied")

    def showEvent(self, event: QShowEvent) -> None:
        """Offer the encoders, which take longer to load than a dock may to open.

        Line the slides up with the other lines, now that letters have their size.
        """
        if self.encoder.count() == 1:
            from weno.features import MODELS

            self.encoder.addItems(MODELS)
        super().showEvent(event)
        labels = map(self._form.labelForField, (self.tile_um, self.mpp, self.encoder))
        widths = [label.sizeHint().width() for label in labels if label is not None]
        self.imports.label.setMinimumWidth(max(widths))

    def create_project(self) -> None:
        """Make the project in the background, or say in the form what is wrong."""
        if not self.create_button.isEnabled():
            return  # at work; Enter asks for it all the same
        try:
            folder, choices = self.folder.text().strip(), self.imports.choices()
            if not folder:
                raise WenoError("Give a folder for the project.")
            settings = self._settings()
        except WenoError as error:
            say(self.problem, str(error))
            return
        say(self.problem, "Looking for slides…")
        self.create_button.setEnabled(False)
        self._job.run(make_project, Path(folder).expanduser(), choices, settings)

    def _cancel(self) -> None:
        self._job.cancel()
        self.create_button.setEnabled(True)
        say(self.problem, "")
        self.hide()

    def _on_made(self, project: Project) -> None:
        self._cancel()
        # The next project has another folder, and most likely other slides.
        self.folder.clear()
        self.imports.slides.clear()
        self.imports.refresh()
        self.created.emit(project)

    def _on_error(self, error: BaseException) -> None:
        self.create_button.setEnabled(True)
        say(self.problem, str(error))

    def _settings(self) -> dict[str, Any]:
        return {
            "spec": TileSpec(
                tile_um=self.tile_um.value(),
                mpp=self.mpp.value(),
                icc=self.icc.isChecked(),
            ),
            "encoder": self.encoder.currentText().strip(),
            "class_names": self._class_names(),
        }

    def _take_classes(self, names: list[str]) -> None:
        """Name the classes as a table does, unless a person has named them."""
        if (self.negative.text(), self.positive.text()) == self._own_classes:
            self.negative.setText(names[0])
            self.positive.setText(", ".join(names[1:]))
            self._own_classes = self.negative.text(), self.positive.text()

    def _class_names(self) -> list[str]:
        positive = [name.strip() for name in self.positive.text().split(",")]
        names = list(filter(None, positive)) or ["positive"]
        return [self.negative.text().strip() or "negative", *names]

    def _lay_out(self) -> None:
        classes = QHBoxLayout()
        classes.addWidget(self.negative)
        classes.addWidget(self.positive)
        buttons = QHBoxLayout()
        buttons.addStretch()
        buttons.addWidget(self.cancel_button)
        buttons.addWidget(self.create_button)
        form = self._form = form_layout(self)
        form.addRow("Folder", with_browse(self.folder, self._browse_folder))
        form.addRow(self.imports)
        form.addRow("Classes", classes)
        form.addRow("Tile", self.tile_um)
        form.addRow("Pixels", self.mpp)
        form.addRow("Colours", self.icc)
        form.addRow("Encoder", self.encoder)
        form.addRow(self.problem)
        form.addRow(buttons)
        say(self.problem, "")

    def _connect(self) -> None:
        self.create_button.clicked.connect(self.create_project)
        self.cancel_button.clicked.connect(self._cancel)
        self.imports.entered.connect(self.create_project)
        self.imports.classes_found.connect(self._take_classes)
        self._job.returned.connect(self._on_made)
        self._job.failed.connect(self._on_error)
        for line in (self.folder, self.negative, self.positive):
            line.returnPressed.connect(self.create_project)

    def _browse_folder(self) -> None:
        if chosen := QFileDialog.getExistingDirectory(self, "Folder of the project"):
            self.folder.setText(chosen)


def _number(
    value: float, low: float, high: float, decimals: int, suffix: str
) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(low, high)
    box.setValue(value)
    box.setSuffix(suffix)
    return box
