"""The Cohort dock: a project, its slides, and preparing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_weno.docks import Dock, listen, notifying, shortened, text_label
from napari_weno.import_box import AddForm
from napari_weno.jobs import QuietJob
from napari_weno.new_project import NewProjectForm
from napari_weno.next_slide import open_step, show_in_order
from napari_weno.prepare import PrepareBox
from napari_weno.recent import RecentButton, recent_projects
from napari_weno.relink_box import RelinkBox
from napari_weno.session import session_of
from napari_weno.slide_edits import EditBox
from napari_weno.slide_table import SlideTable
from napari_weno.survey import Memory, question_text, summary, survey
from napari_weno.tissue_box import TissueBox
from napari_weno.watch import ProjectWatch

if TYPE_CHECKING:
    import napari.viewer
    from qtpy.QtGui import QKeyEvent

    from napari_weno.opened import OpenedSlide
    from napari_weno.survey import Survey
    from weno.features import ExtractReport
    from weno.project import Project
    from weno.table_text import Edit

_NO_PROJECT = (
    "No project is open. Give the folder of a project above, make a new one, or try "
    "File > Open Sample > WENO. A slide can also be dropped on the canvas and looked "
    "at without any project."
)
# Files may change many times a second while a job runs.
_SURVEY_MS = 150


class CohortWidget(Dock):
    """The slides of a project: how far each is, opening it, preparing it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._session = session_of(viewer)
        self._known = Memory()
        self.path = QLineEdit()
        self.open_button = QPushButton("Open…")
        self.new_button = QPushButton("New…")
        self.recent = RecentButton()
        self.last_button = QPushButton()
        self.new_form = NewProjectForm()
        self.summary = text_label(name="summary")
        self.filter = QLineEdit()
        self.add_button = QPushButton("Add…")
        self.add_form = AddForm()
        self.table = SlideTable()
        self.edits = EditBox(self._session, self)
        self.relink = RelinkBox(self._session, self)
        self.tissue = TissueBox(self._session, self)
        self.prepare = PrepareBox(self._session, self)
        self.tissue.saved.connect(self.prepare.refresh)
        self._survey = QuietJob(self)
        self._watch = ProjectWatch(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SURVEY_MS)
        self._explain()
        self._lay_out()
        self._connect()
        self.table.hide_probability(self._session.blind)
        self._on_project(self._session.project)
        self._on_slide(self._session.opened)

    def open_project(self, folder: str) -> None:
        """Open a project; what is wrong with it becomes a notification."""
        with notifying():
            self._session.open_project(folder)

    def open_slide(self, slide_id: str) -> None:
        """Show a slide; what is wrong with it becomes a notification."""
        with notifying():
            self._session.open_slide(slide_id)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Take a change back; elsewhere in the window the key is of napari's layers."""
        if event.matches(QKeySequence.StandardKey.Undo):
            self.edits.undo()
        else:
            super().keyPressEvent(event)

    def _explain(self) -> None:
        self.path.setPlaceholderText("project folder")
        self.path.setToolTip("Folder of a project; Enter opens it")
        self.open_button.setToolTip("Choose the folder of a project in a dialog")
        self.new_button.setToolTip("Make a project of a CSV or a folder of slides")
        self.filter.setPlaceholderText("Filter slides")
        self.filter.setToolTip(
            "Show only slides that have all these words in their name, patient, label, "
            "split or status"
        )
        self.filter.setClearButtonEnabled(True)
        self.add_button.setToolTip("Add the slides of a CSV or a folder to the project")
        for form in (self.new_form, self.add_form):
            form.hide()

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        line.addWidget(self.path, stretch=1)
        line.addWidget(self.open_button)
        line.addWidget(self.new_button)
        line.addWidget(self.recent)
        search = QHBoxLayout()
        search.addWidget(self.filter, stretch=1)
        search.addWidget(self.add_button)
        contents = QWidget()
        layout = QVBoxLayout(contents)
        layout.addLayout(line)
        layout.addWidget(self.new_form)
        layout.addWidget(self.summary)
        layout.addWidget(self.last_button)
        layout.addLayout(search)
        layout.addWidget(self.add_form)
        layout.addWidget(self.table, stretch=1)
        layout.addWidget(self.edits)
        layout.addWidget(self.relink)
        layout.addWidget(self.tissue)
        layout.addWidget(self.prepare)
        self._bottom = QWidget()
        policy = QSizePolicy.Policy
        self._bottom.setSizePolicy(policy.Preferred, policy.Expanding)
        layout.addWidget(self._bottom)
        layout.setAlignment(line, Qt.AlignmentFlag.AlignTop)
        self.show_contents(contents)

    def _connect(self) -> None:
        session = self._session
        listen(self, session.project_changed, self._on_project)
        listen(self, session.slide_changed, self._on_slide)
        listen(self, session.blind_changed, self.table.hide_probability)
        listen(self, session.files_changed, self._look_soon)
        listen(self, session.prediction_changed, self._look_soon)
        self.path.returnPressed.connect(self._open_path)
        self.open_button.clicked.connect(self._browse)
        self.new_button.clicked.connect(self._toggle_new)
        self.add_button.clicked.connect(self._toggle_add)
        self.add_form.added.connect(self._on_added)
        self.recent.chosen.connect(self.open_project)
        self.last_button.clicked.connect(self._open_last)
        self.new_form.created.connect(lambda new: self.open_project(new.root))
        self.filter.textChanged.connect(self.table.filter_by)
        self.table.open_requested.connect(self.open_slide)
        self.table.step_requested.connect(lambda step: open_step(session, step))
        show_in_order(session, self.table.order)
        self.table.selected_changed.connect(session.select_slides)
        self.prepare.added.connect(self._on_open_slide_added)
        self.prepare.reported.connect(self._show_progress)
        self.prepare.job.ended.connect(lambda: self.table.slides.show_progress(None))
        self.relink.found.connect(self.edits.change)
        self._watch.changed.connect(self._look_soon)
        self._timer.timeout.connect(self._look)
        self._survey.reported.connect(self._show_survey)
        self._survey.returned.connect(self._show_survey)
        self._survey.failed.connect(lambda error: show_error(str(error)))

    def _open_path(self) -> None:
        self.open_project(self.path.text().strip())

    def _browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Open a project")
        if chosen:
            self.open_project(chosen)

    def _open_last(self) -> None:
        for last in recent_projects()[:1]:
            self.open_project(last.folder)

    def _show_last(self) -> None:
        """Offer the project opened last, as long as none is open."""
        projects = recent_projects() if self._session.project is None else []
        for last in projects[:1]:
            self.last_button.setText(f"Go on with {shortened(last.name)}")
            self.last_button.setToolTip(last.folder)
        self.last_button.setVisible(bool(projects))

    def _toggle_new(self) -> None:
        self.new_form.setVisible(self.new_form.isHidden())
        if not self.new_form.isHidden():
            self.new_form.folder.setFocus()

    def _toggle_add(self) -> None:
        self.add_form.setVisible(self.add_form.isHidden())
        if not self.add_form.isHidden():
            self.add_form.imports.slides.setFocus()

    def _on_added(self, added: int, edit: Edit) -> None:
        known = f", {len(edit.before):,} completed" if edit.before else ""
        self.edits.note(edit, f"{added:,} slides added{known}")

    def _on_open_slide_added(self, edit: Edit) -> None:
        self.edits.note(edit, f"{', '.join(edit.added)} added" if edit.added else "")

    def _on_project(self, project: Project | None) -> None:
        self.add_form.hide()
        self.add_form.show_project(project)
        for widget in (self.filter, self.add_button, self.table):
            widget.setVisible(project is not None)
        self._bottom.setVisible(project is None)
        self.table.slides.show_progress(None)
        self._known = Memory()
        self._watch.watch(project)
        self._tiles: int | None = None
        self._followed: str | None = None
        self._survey.cancel()
        self.table.show_states([], "positive")
        self.recent.refresh()
        self._show_last()
        if project is None:
            self.summary.setText(_NO_PROJECT)
            return
        self.path.setText(str(project.root))
        self.summary.setText(f"{len(project.slides):,} slides")
        self._look()

    def _on_slide(self, opened: OpenedSlide | None) -> None:
        """Mark the slide that is open, and select it once, in place of another.

        Else label and split would be given to the one that was open before.
        """
        slide_id = opened.slide_id if opened else None
        self.table.slides.show_opened(slide_id)
        if slide_id == self._followed or not self.table.slides.states:
            return
        self._followed = slide_id
        if len(self.table.selected()) < 2:
            self.table.select_slide(slide_id)

    def _look_soon(self, _: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _look(self) -> None:
        """Find out in the background how far each slide is."""
        session = self._session
        if session.project is not None:
            self._survey.run(survey, session.project, session.run, self._known)

    def _show_progress(self, report: ExtractReport) -> None:
        if report.total and not report.finished:
            part = report.done / report.total
            self.table.slides.show_progress(report.slide_id, part)

    def _show_survey(self, found: Survey) -> None:
        project = self._session.project
        if project is None:
            return
        self.table.show_states(found.states, found.positive)
        self.edits.refresh()
        self.relink.show_missing(
            {s.row.slide_id: s.missing for s in found.states if s.missing}
        )
        self.prepare.show_unprepared(
            [state.row.slide_id for state in found.states if not state.has_features]
        )
        if found.tiles is not None or self._tiles is None:
            self._tiles = found.tiles
        told = [question_text(project), summary(found.states, self._tiles)]
        self.summary.setText(" · ".join(filter(None, told)))
        self._on_slide(self._session.opened)
