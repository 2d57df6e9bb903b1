"""The Model box of the Explain dock: which model, what it is, predicting with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QToolButton,
    QWidget,
)

from napari_weno.docks import (
    SlideChoice,
    form_layout,
    listen,
    may_shrink,
    notifying,
    say,
    text_label,
)
from napari_weno.jobs import JobBar, loading
from napari_weno.matching import slides_of
from napari_weno.readout import run_text
from napari_weno.tissue_box import edited_slides, not_saved_text
from weno.errors import WenoError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_weno.session import Session
    from weno.prediction import Prediction
    from weno.project import Project

_NO_MODEL = "Fit a model in the Train dock, or load one that was trained elsewhere."
# A process takes seconds to begin, in which so many slides are predicted.
_FEW = 4
_UNFINISHED = "This run is not finished: go on with it in the Train dock."


def predict_in_project(
    project: Project, run: str, slide_ids: Sequence[str]
) -> Generator[Any, None, Any]:
    """Predict slides of a project; those without features are prepared first.

    Parameters
    ----------
    project : Project
    run : str
    slide_ids : sequence of str
        Of more than a few, another process takes the turn: the window keeps moving.

    Returns
    -------
    PredictResult
    """
    from weno.features import extract

    unprepared = [one for one in slide_ids if not project.features_path(one).is_file()]
    if unprepared:
        yield from extract(project, unprepared)
    if len(slide_ids) > _FEW:
        from weno.mil.predict_apart import predict_apart

        return (yield from predict_apart(project, run, slide_ids))
    yield from loading("weno.mil.predict")
    from weno.mil import predict_project

    return (yield from predict_project(project, run, slide_ids))


@dataclass(frozen=True, slots=True)
class ModelPrediction:
    """What a model from a folder says of a slide."""

    folder: Path
    prediction: Prediction


def predict_with_model(
    folder: Path, slide: Path, mpp: tuple[float, float] | None
) -> Generator[Any, None, ModelPrediction]:
    """Predict a slide file by a model from a folder, without any project."""
    yield from loading("weno.mil.predict")
    from weno.mil import predict_slide

    return ModelPrediction(folder, (yield from predict_slide(folder, slide, mpp=mpp)))


def result_text(result: Any) -> str:
    """Say what predicting slides of a project has come to."""
    number = len(result.predicted)
    told = [f"{number:,} slide{'' if number == 1 else 's'} predicted."]
    told += [f"{slide_id}: {reason}" for slide_id, reason in result.failed.items()]
    return "\n".join(told)


class ModelBox(QGroupBox):
    """Chooses a run of the project or a model from a folder, and predicts.

    A model from a folder predicts the open slide, which need not belong to a
    project; its predictions stay in memory.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Model", parent)
        self._session = session
        self._ready = False
        self._folders: list[Path] = []
        self.run = QComboBox()
        self.load_button = QPushButton("Load model…")
        self.load_row = QWidget()
        self.path = QLineEdit()
        self.browse_button = QToolButton()
        self.load = QPushButton("Load")
        self.card = text_label(name="card")
        self.hint = text_label(name="hint")
        self.choice = SlideChoice("All slides")
        self.job = JobBar(
            "Predict",
            "Let teacher and student look at every tile; slides without features are "
            "prepared first",
        )
        self._explain()
        self._lay_out()
        self._connect()
        self.refresh()

    @property
    def folder(self) -> Path | None:
        """Folder of the chosen model, None if it is a run of the project."""
        chosen = self.run.currentData()
        return chosen if isinstance(chosen, Path) else None

    def load_model(self, folder: Path) -> None:
        """Offer the model in a run folder and choose it.

        Raises
        ------
        RunError
            If the folder is no run.
        """
        folder = folder.expanduser().resolve()
        run_text(folder)
        if folder not in self._folders:
            self._folders.append(folder)
        self._session.choose_run(None)
        self.refresh(choose=folder)

    def refresh(self, _: object = None, *, choose: Path | None = None) -> None:
        """Show the models that there are."""
        session = self._session
        chosen = choose or session.run or self.folder
        with QSignalBlocker(self.run):
            self.run.clear()
            names = session.project.run_names() if session.project else []
            for name in reversed(names):
                self.run.addItem(name, name)
            for folder in self._folders:
                self.run.addItem(f"{folder.name} (loaded)", folder)
            models = [self.run.itemData(row) for row in range(self.run.count())]
            self.run.setCurrentIndex(models.index(chosen) if chosen in models else -1)
        self._show_model()

    def _explain(self) -> None:
        may_shrink(self.run)
        self.run.setPlaceholderText("no model yet")
        self.run.setToolTip("A run of the project, the newest first, or a loaded model")
        self.load_button.setCheckable(True)
        self.load_button.setToolTip("Take a model that was trained elsewhere")
        self.path.setPlaceholderText("run folder")
        self.path.setToolTip(
            "The folder of a run, as in my_project/runs/NAME; it holds all that is "
            "needed to predict any slide"
        )
        self.browse_button.setText("…")
        self.browse_button.setToolTip("Choose the folder in a dialog")

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.run, stretch=1)
        row.addWidget(self.load_button)
        load = QHBoxLayout(self.load_row)
        load.setContentsMargins(0, 0, 0, 0)
        load.addWidget(self.path, stretch=1)
        load.addWidget(self.browse_button)
        load.addWidget(self.load)
        self.load_row.hide()
        form = form_layout(self)
        form.addRow(row)
        form.addRow(self.load_row)
        form.addRow(self.card)
        form.addRow("For", self.choice)
        form.addRow(self.hint)
        form.addRow(self.job)

    def _connect(self) -> None:
        session = self._session
        listen(self, session.project_changed, self.refresh)
        listen(self, session.files_changed, self.refresh)
        listen(self, session.prediction_changed, self._on_prediction)
        listen(self, session.slide_changed, self._show_choices)
        listen(self, session.selected_changed, self._show_choices)
        self.run.currentIndexChanged.connect(self._on_run)
        self.load_button.toggled.connect(self._on_load_toggled)
        self.path.returnPressed.connect(self._load_path)
        self.load.clicked.connect(self._load_path)
        self.browse_button.clicked.connect(self._browse)
        self.choice.currentIndexChanged.connect(self._show_choices)
        self.job.start_requested.connect(self._start)
        self.job.reported.connect(self.job.show_report)
        self.job.returned.connect(self._on_result)
        self.job.ended.connect(self._show_choices)

    def _on_load_toggled(self, shown: bool) -> None:
        self.load_row.setVisible(shown)
        if shown:
            self.path.setFocus()

    def _browse(self) -> None:
        if chosen := QFileDialog.getExistingDirectory(self, "Folder of a run"):
            self.path.setText(chosen)
            self._load_path()

    def _load_path(self) -> None:
        try:
            self.load_model(Path(self.path.text().strip()))
        except WenoError as error:
            say(self.card, str(error))
        else:
            self.load_button.setChecked(False)

    def _on_run(self) -> None:
        with notifying():
            self._session.choose_run(None if self.folder else self.run.currentData())
        self._show_model()

    def _on_prediction(self, prediction: Prediction | None) -> None:
        run, opened = self._session.run, self._session.opened
        if run is not None and run != self.run.currentData():
            self.refresh()
        if prediction is None and self.folder is not None and opened is not None:
            known = self._session.loaded.get((self.folder, opened.slide.content_hash))
            if known is not None:
                with notifying():
                    self._session.show_prediction(known)

    def _show_model(self) -> None:
        """Show the card of the chosen model."""
        session, folder = self._session, self.folder
        if folder is None and session.project is not None and session.run is not None:
            folder = session.project.run_dir(session.run)
        self._ready = False
        if folder is None:
            say(self.card, _NO_MODEL)
        elif self.folder is None and not (folder / "card.json").is_file():
            say(self.card, _UNFINISHED)
        else:
            try:
                say(self.card, run_text(folder))
                self._ready = True
            except WenoError as error:
                say(self.card, str(error))
        self._show_choices()

    def _show_choices(self, _: object = None) -> None:
        session = self._session
        rows = slides_of(session.project)
        self.choice.show_counts(len(session.selected), len(rows))
        self.choice.setEnabled(self.folder is None)
        if self.folder is not None:
            with QSignalBlocker(self.choice):
                self.choice.setCurrentIndex(0)
        problem = self._why_nothing()
        say(self.hint, problem)
        possible = self._ready and not problem
        self.job.button.setEnabled(possible or self.job.running)

    def _why_nothing(self) -> str:
        """Say what is missing before one can predict, empty if nothing is."""
        session = self._session
        if not self._ready:
            return ""
        if self.choice.which == "selected" and not session.selected:
            return "Select slides in the Cohort dock."
        if self.choice.which != "open":
            return ""
        if session.opened is None:
            return "Open a slide: in the Cohort dock, or drop a file on the canvas."
        if self.folder is None and session.opened.slide_id is None:
            return "The open slide is not in the project: add it in the Cohort dock."
        return ""

    def _chosen(self) -> list[str]:
        session = self._session
        if session.project is None or session.run is None:
            return []
        rest = [row.slide_id for row in slides_of(session.project)]
        opened = session.opened.slide_id if session.opened else None
        return self.choice.pick(opened, session.selected, rest)

    def _start(self) -> None:
        session = self._session
        self.job.say("")
        if self.folder is not None and session.opened is not None:
            slide = session.opened.slide
            mpp = slide.mpp if slide.mpp_source == "given" else None
            self.job.run(predict_with_model, self.folder, slide.path, mpp)
        elif edited := self._not_saved():
            self.job.say(not_saved_text(edited))
        elif chosen := self._chosen():
            self.job.run(predict_in_project, session.project, session.run, chosen)

    def _not_saved(self) -> list[str]:
        """Return the slides that would be prepared by an outline that is edited."""
        project = self._session.project
        if project is None:
            return []
        edited = edited_slides(self._session, self._chosen())
        return [one for one in edited if not project.features_path(one).is_file()]

    def _on_result(self, result: Any) -> None:
        if isinstance(result, ModelPrediction):
            self._keep(result)
            return
        self._session.files_changed.emit()
        with notifying():
            self._session.load_prediction()
        self.job.say(result_text(result))

    def _keep(self, result: ModelPrediction) -> None:
        prediction, opened = result.prediction, self._session.opened
        self._session.loaded[result.folder, prediction.content_hash] = prediction
        self.job.say(f"{prediction.slide_id} predicted.")
        same = opened and opened.slide.content_hash == prediction.content_hash
        if same and self.folder == result.folder:
            with notifying():
                self._session.show_prediction(prediction)
