"""The truth in the Explain dock: what is known of the tiles, and what was missed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_weno.canvas import of_kind, put
from napari_weno.docks import listen, say, text_label
from napari_weno.jobs import QuietJob
from napari_weno.truth_layers import (
    OUTCOME_COLOURS,
    TRUTH_COLOURS,
    misses_layer,
    truth_layer,
)
from weno.explain import Outcome, outcomes_of, tally
from weno.explain.ranking import first
from weno.review import Verdict, labelled_path, read_labelled, region_verdicts

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import numpy.typing as npt
    from napari.layers import Layer

    from napari_weno.layers import LayerData
    from napari_weno.session import Session
    from weno.prediction import Prediction
    from weno.project import Project

    Truth = npt.NDArray[np.float64]
    Tiles = npt.NDArray[np.int64]

_NONE = (
    "No truth is known of this slide. Draw regions of each class in the Review dock "
    "and save them; or choose a table of squares of known class, as for weno evaluate "
    "--tiles: slide_id, y, x, size, positive in level-0 pixels."
)
_DRAWN = (
    "Regions drawn in the Review dock. A run that has learnt from them has seen the "
    "answers."
)
_MANY = 60


def truth_file(project: Project | None) -> Path | None:
    """Return the truth.csv that lies in a project's folder, or one folder down."""
    if project is None:
        return None
    found = [project.root / "truth.csv", *sorted(project.root.glob("*/truth.csv"))]
    return next((path for path in found if path.is_file()), None)


def read_tile_truth(
    path: Path | None, project: Project | None, prediction: Prediction
) -> Generator[None, None, tuple[Truth | None, str]]:
    """Return what is known of the tiles of a prediction, and who says so.

    What a person has drawn counts where no table knows the slide.
    """
    from weno.mil.truth import read_truth, tile_truth

    yield
    if path is not None and (known := read_truth(path).get(prediction.slide_id)):
        yield
        truth = tile_truth(prediction.grid, known)
        if np.isfinite(truth).any():
            return truth, path.name
    yield
    if project is not None:
        truth = drawn_truth(project, prediction)
        if np.isfinite(truth).any():
            return truth, _DRAWN
    return None, _NONE


def drawn_truth(project: Project, prediction: Prediction) -> Truth:
    """Return what the regions saved for a slide say of its tiles."""
    path = labelled_path(project.review_dir, prediction.slide_id)
    regions = read_labelled(path, prediction.content_hash, project.classes)
    grid = prediction.grid
    said = region_verdicts(regions, grid.origins, grid.tile_l0, project.positive)
    truth = np.full(len(grid), np.nan)
    for tile, verdict in said.items():
        if verdict is not Verdict.UNSURE:
            truth[tile] = verdict is Verdict.POSITIVE
    return truth


def most_wrong(
    prediction: Prediction, outcomes: npt.NDArray[np.int8]
) -> Mapping[Outcome, Tiles]:
    """Return the tiles missed and called in vain, the most wrong ones first."""
    found = {}
    for outcome, sign in ((Outcome.MISSED, -1), (Outcome.FALSE_ALARM, 1)):
        tiles = np.flatnonzero(outcomes == outcome)
        found[outcome] = tiles[first(sign * prediction.probability[tiles], _MANY)]
    return found


class TruthBox(QWidget):
    """Compares the student's calls with tiles of known class.

    A tile counts as called from the lower limit of its probability's overlay: the
    threshold that is seen is the threshold that is counted by.

    Parameters
    ----------
    session : Session
    """

    #: What became of each tile, or None: there is no truth, or no prediction.
    outcomes_changed = Signal(object)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._chosen: Path | None = None
        self._truth: Truth | None = None
        self._outcomes: npt.NDArray[np.int8] | None = None
        self._followed: Layer | None = None
        self._read: dict[Path, int] = {}
        self._job = QuietJob(self)
        self.file = text_label(name="truth_file")
        self.choose = QPushButton("Choose truth…")
        self.result = text_label(name="truth_result")
        #: What the classes are called that the truth knows.
        self.names = QLabel(), QLabel()
        self.boxes = {"misses": QCheckBox(), "truth": QCheckBox()}
        self._lay_out()
        self._connect()
        self.refresh()

    def load(self, path: Path) -> None:
        """Take the truth from a file."""
        self._chosen = path
        self.refresh()

    def refresh(self, _: object = None) -> None:
        """Read the truth of the tiles shown."""
        self._read = self._sources()
        prediction = self._session.prediction
        path = self._chosen or truth_file(self._session.project)
        self._job.cancel()
        self._show(None)
        if prediction is None:
            say(self.file, _NONE)
        else:
            say(self.file, f"Reading {path.name}…" if path else "Reading…")
            self._job.run(read_tile_truth, path, self._session.project, prediction)

    def _sources(self) -> dict[Path, int]:
        """Return when what the truth is read from was written."""
        project, prediction = self._session.project, self._session.prediction
        paths = [self._chosen or truth_file(project)]
        if project is not None and prediction is not None:
            paths.append(labelled_path(project.review_dir, prediction.slide_id))
        return {
            path: path.stat().st_mtime_ns for path in paths if path and path.exists()
        }

    def _on_files(self) -> None:
        if self._sources() != self._read:
            self.refresh()

    def _lay_out(self) -> None:
        self.choose.setToolTip(
            "A CSV of squares of known class; truth.csv in the project folder is found "
            "by itself"
        )
        self.boxes["misses"].setText("Show found and missed")
        self.boxes["truth"].setText("Show the truth")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.file)
        layout.addWidget(self.result)
        layout.addWidget(self.boxes["misses"])
        layout.addWidget(_key(list(OUTCOME_COLOURS.values())))
        layout.addWidget(self.boxes["truth"])
        layout.addWidget(_key(list(TRUTH_COLOURS.values()), self.names))
        layout.addStretch()
        layout.addWidget(self.choose)

    def _connect(self) -> None:
        session = self._session
        listen(self, session.prediction_changed, self.refresh)
        listen(self, session.project_changed, self._on_project)
        listen(self, session.files_changed, self._on_files)
        listen(self, session.blind_changed, self._draw)
        self.choose.clicked.connect(self._browse)
        for box in self.boxes.values():
            box.toggled.connect(self._draw)
        self._job.returned.connect(self._on_truth)
        self._job.failed.connect(lambda error: say(self.file, str(error)))

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Truth of tiles", "", "Tables (*.csv)"
        )
        if path:
            self.load(Path(path))

    def _on_project(self, _: object) -> None:
        self._chosen = None
        self.refresh()

    def _on_truth(self, found: tuple[Truth | None, str]) -> None:
        truth, source = found
        say(self.file, source)
        self._show(truth)

    def _show(self, truth: Truth | None) -> None:
        self._truth, self._outcomes = truth, None
        self._name_classes()
        for box in self.boxes.values():
            box.setEnabled(truth is not None)
        self._follow_threshold()
        if truth is None:
            say(self.result, "")
            self._draw()
            self.outcomes_changed.emit(None)
            return
        self._count()

    def _name_classes(self) -> None:
        prediction, project = self._session.prediction, self._session.project
        if prediction is not None:
            asked = prediction.class_name
            names = f"not {asked}", asked
            if project is not None and project.positive == asked:
                names = project.class_names
            for label, name in zip(self.names, names, strict=True):
                label.setText(name)

    def _follow_threshold(self) -> None:
        """Count anew when the lower limit of the probability's overlay moves."""
        layer = self._probability_layer()
        if layer is not self._followed:
            if self._followed is not None:
                self._followed.events.contrast_limits.disconnect(self._count)
            self._followed = layer
            if layer is not None:
                listen(self, layer.events.contrast_limits, self._count)

    def _probability_layer(self) -> Layer | None:
        prediction = self._session.prediction
        if prediction is None:
            return None
        name = f"P({prediction.class_name})"
        heatmaps = of_kind(self._session.viewer, "heatmap")
        return next((layer for layer in heatmaps if layer.name == name), None)

    def _count(self, _: object = None) -> None:
        prediction, truth = self._session.prediction, self._truth
        if prediction is None or truth is None or len(truth) != len(prediction):
            return
        layer = self._followed
        threshold = 0.5 if layer is None else float(layer.contrast_limits[0])
        outcomes = outcomes_of(truth, prediction.probability, threshold)
        counts = tally(outcomes)
        positive = counts.found + counts.missed
        say(
            self.result,
            f"From P({prediction.class_name}) {threshold:.2f}: {counts.found:,} of "
            f"{positive:,} positive tiles found, {counts.missed:,} missed, "
            f"{counts.false_alarms:,} false alarms among "
            f"{counts.false_alarms + counts.clear:,} negative ones; "
            f"{counts.unknown:,} not known",
        )
        self._outcomes = outcomes
        self._draw()
        self.outcomes_changed.emit(outcomes)

    def _draw(self, _: object = None) -> None:
        """Show the layers that are asked for, unless somebody works blind."""
        session, viewer = self._session, self._session.viewer
        prediction, truth, outcomes = session.prediction, self._truth, self._outcomes
        layers: dict[str, LayerData] = {}
        if prediction is not None and truth is not None and not session.blind:
            if self.boxes["truth"].isChecked():
                layers["truth"] = truth_layer(prediction, truth)
            if self.boxes["misses"].isChecked() and outcomes is not None:
                layers["misses"] = misses_layer(prediction, outcomes)
        for layer in of_kind(viewer, "truth"):
            if layer.name not in layers:
                viewer.layers.remove(layer)
        active = viewer.layers.selection.active
        for layer_data in layers.values():
            put(viewer, layer_data)
        viewer.layers.selection.active = active


def _key(entries: list[tuple[str, str]], labels: Sequence[QLabel] = ()) -> QWidget:
    """Make a table that says which colour is what, in labels that may change or not."""
    table = QWidget()
    layout = QGridLayout(table)
    layout.setContentsMargins(20, 0, 0, 4)
    for k, (text, hue) in enumerate(entries):
        label = labels[k] if labels else QLabel()
        label.setText(text)
        patch = QLabel()
        patch.setFixedSize(12, 12)
        patch.setStyleSheet(f"background: {hue}; border: 1px solid gray")
        row, column = divmod(k, 2)
        layout.addWidget(patch, row, 2 * column)
        layout.addWidget(label, row, 2 * column + 1)
    layout.setColumnStretch(4, 1)
    return table
