"""The form in the Cohort dock that makes a new project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QToolButton,
)

from napari_weno.docks import may_shrink, say, text_label
from weno.errors import WenoError
from weno.project import Project
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget


class NewProjectForm(QGroupBox):
    """Asks for a folder, the slides and how to cut them; then makes the project."""

    #: The `Project` that was made.
    created = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        from weno.features import MODELS

        super().__init__("New project", parent)
        self.folder = _line("a new or empty folder", "Where the project is to be")
        self.slides = _line(
            "CSV or folder of slides",
            "A CSV with the columns slide_id, path and, if known, label (0, 1 or a "
            "class name), patient_id, split, mpp; or a folder that is searched for "
            "slides",
        )
        self.negative = _line("", "What to call slides without the finding")
        self.positive = _line(
            "",
            "What to call slides with the finding; several classes with commas between "
            "them, the one to tell from all others last",
        )
        self.negative.setText("negative")
        self.positive.setText("positive")
        self.tile_um = _number(128.0, 16.0, 4096.0, 1, " µm")
        self.tile_um.setToolTip(
            "Side of a tile. 128 µm shows a group of glands; 64 µm some dozen cells"
        )
        self.mpp = _number(0.5, 0.1, 16.0, 3, " µm/px")
        self.mpp.setToolTip(
            "Pixel size that the encoder sees: 0.25 is about 40x, 0.5 about 20x"
        )
        self.encoder = QComboBox()
        may_shrink(self.encoder)
        self.encoder.setEditable(True)
        self.encoder.addItems(["texture", *MODELS])
        self.encoder.setToolTip(
            "What turns a tile into numbers. texture is built in and quick; the others "
            "are published pathology models, whose weights must be got first (`weno "
            "encoders NAME` tells how); timm:NAME and hf:NAME take any network"
        )
        self.icc = QCheckBox("By the slides' ICC profiles")
        self.icc.setToolTip(
            "Turns the colours of slides that have a profile into sRGB before they "
            "are encoded, so that scanners differ less"
        )
        self.problem = text_label(name="problem")
        self.create_button = QPushButton("Create")
        self.create_button.setToolTip("Writes two small files; no slide is copied")
        self.cancel_button = QPushButton("Cancel")
        self._lay_out()
        self._connect()

    def create_project(self) -> None:
        """Make the project, or say in the form what is wrong."""
        try:
            project = self._create()
        except (WenoError, OSError) as error:
            say(self.problem, str(error))
            return
        say(self.problem, "")
        self.hide()
        self.created.emit(project)

    def _create(self) -> Project:
        folder, slides = self.folder.text().strip(), self.slides.text().strip()
        if not folder or not slides:
            raise WenoError("Give a folder for the project, and the slides.")
        return Project.create(
            Path(folder).expanduser(),
            Path(slides).expanduser(),
            spec=TileSpec(
                tile_um=self.tile_um.value(),
                mpp=self.mpp.value(),
                icc=self.icc.isChecked(),
            ),
            encoder=self.encoder.currentText().strip(),
            class_names=self._class_names(),
        )

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
        form = QFormLayout(self)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Folder", _with_browse(self.folder, self._browse_folder))
        form.addRow("Slides", _with_browse(self.slides, self._browse_slides))
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
        self.cancel_button.clicked.connect(self.hide)
        for line in (self.folder, self.slides, self.negative, self.positive):
            line.returnPressed.connect(self.create_project)

    def _browse_folder(self) -> None:
        if chosen := QFileDialog.getExistingDirectory(self, "Folder of the project"):
            self.folder.setText(chosen)

    def _browse_slides(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, "CSV of slides, or any slide of a folder"
        )
        if chosen:
            path = Path(chosen)
            is_list = path.suffix.lower() == ".csv"
            self.slides.setText(str(path if is_list else path.parent))


def _with_browse(line: QLineEdit, browse: Callable[[], None]) -> QHBoxLayout:
    button = QToolButton()
    button.setText("…")
    button.setToolTip("Choose in a dialog")
    button.clicked.connect(browse)
    row = QHBoxLayout()
    row.addWidget(line)
    row.addWidget(button)
    return row


def _line(placeholder: str, tooltip: str) -> QLineEdit:
    line = QLineEdit()
    line.setPlaceholderText(placeholder)
    line.setToolTip(tooltip)
    return line


def _number(
    value: float, low: float, high: float, decimals: int, suffix: str
) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setDecimals(decimals)
    box.setRange(low, high)
    box.setValue(value)
    box.setSuffix(suffix)
    return box
