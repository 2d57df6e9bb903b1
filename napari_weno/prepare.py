"""The Prepare box of the Cohort dock: from tissue to features, with an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGroupBox, QLineEdit, QPushButton

from napari_weno.docks import (
    SlideChoice,
    form_layout,
    listen,
    notifying,
    say,
    shortened,
    text_label,
)
from napari_weno.jobs import JobBar, QuietJob
from napari_weno.tissue_box import edited_slides, not_saved_text

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from qtpy.QtWidgets import QWidget

    from napari_weno.session import Session
    from weno.features import Estimate, ExtractReport, ExtractResult
    from weno.project import Project

_SHOWN_FAILURES = 5


def extract_at(
    address: str, project: Project, slide_ids: Sequence[str]
) -> Generator[ExtractReport, None, ExtractResult]:
    """Extract on the cluster of a scheduler; the first note is its dashboard."""
    from weno.cluster import connected
    from weno.features import ExtractReport, extract_on

    with connected(address) as client:
        total, link = len(slide_ids), client.dashboard_link
        yield ExtractReport("", 0, 0, 0, total, finished=False, error=None, note=link)
        return (yield from extract_on(client, project, slide_ids))


def cost_of(
    project: Project, slide_ids: Sequence[str]
) -> Generator[Estimate, None, Estimate]:
    """Estimate what extracting takes; what that needs is loaded in the background."""
    from weno.features import estimate

    return (yield from estimate(project, slide_ids))


class PrepareBox(QGroupBox):
    """Chooses slides, says what they will take, and extracts their features.

    Parameters
    ----------
    session : Session
    """

    #: A report of the job, if it is at work on the open project.
    reported = Signal(object)
    #: The `Edit` by which the open slide was added to the project.
    added = Signal(object)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Prepare", parent)
        self._session = session
        self._unprepared: list[str] = []
        self._failed: dict[str, str] = {}
        self._working: Project | None = None
        self.how = text_label(name="how")
        self.add_button = QPushButton()
        self.add_button.setToolTip("Write the open slide into the project's slides.csv")
        self.choice = SlideChoice("All without features")
        self.preview = text_label(name="preview")
        self.job = JobBar(
            "Prepare",
            "Find the tissue, cut it into tiles and encode each tile. Goes on where it "
            "was stopped",
        )
        self.scheduler = QLineEdit()
        self.scheduler.setPlaceholderText("this machine")
        self.scheduler.setToolTip(
            "Address of a dask.distributed scheduler, as tcp://10.0.0.1:8786, whose "
            "workers know the project by the same path. Empty: this machine"
        )
        self.note = text_label(name="note")
        self.note.setTextFormat(Qt.TextFormat.AutoText)
        self.note.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.note.setOpenExternalLinks(True)
        self.failures = text_label(name="failures")
        self._estimate = QuietJob(self)
        self._lay_out()
        self._connect()
        self._on_slide()

    def show_unprepared(self, slide_ids: list[str]) -> None:
        """Say which slides of the project have no features yet."""
        if slide_ids != self._unprepared:
            self._unprepared = slide_ids
            self.refresh()

    def _on_project(self, _: Project | None) -> None:
        """Forget the slides of the project before; its job goes on."""
        self._failed, self._unprepared = {}, []
        self._show_failures()
        self._on_slide()

    def _lay_out(self) -> None:
        form = form_layout(self)
        form.addRow(self.how)
        form.addRow(self.add_button)
        form.addRow("For", self.choice)
        form.addRow(self.preview)
        form.addRow("On", self.scheduler)
        form.addRow(self.job)
        form.addRow(self.note)
        form.addRow(self.failures)
        say(self.failures, "")
        say(self.note, "")

    def _connect(self) -> None:
        listen(self, self._session.slide_changed, self._on_slide)
        listen(self, self._session.project_changed, self._on_project)
        listen(self, self._session.selected_changed, self.refresh)
        self.add_button.clicked.connect(self._add_open_slide)
        self.choice.currentIndexChanged.connect(self.refresh)
        self._estimate.reported.connect(self._show_estimate)
        self._estimate.returned.connect(self._show_estimate)
        self._estimate.failed.connect(lambda error: say(self.preview, str(error)))
        self.job.start_requested.connect(self._start)
        self.job.reported.connect(self._on_report)
        self.job.returned.connect(self._on_result)
        self.job.ended.connect(self._on_end)

    def _chosen(self) -> list[str]:
        """Return the chosen slides that have no features yet."""
        opened = self._session.opened
        chosen = self.choice.pick(
            opened.slide_id if opened else None,
            self._session.selected,
            self._unprepared,
        )
        todo = set(self._unprepared)
        return [slide_id for slide_id in chosen if slide_id in todo]

    def _on_slide(self, _: object = None) -> None:
        project, opened = self._session.project, self._session.opened
        stranger = bool(project and opened and opened.slide_id is None)
        self.add_button.setVisible(stranger)
        if opened is not None and stranger:
            self.add_button.setText(f"Add {shortened(opened.name)} to the project")
        self.refresh()

    def refresh(self, _: object = None) -> None:
        """Show the choices, and ask for a new estimate."""
        project = self._session.project
        self.setVisible(project is not None)
        if project is None:
            return
        spec = project.spec
        overlap = f", every {spec.stride_um:g} µm" if spec.stride_um else ""
        self.how.setText(
            f"Tiles of {spec.tile_um:g} µm at {spec.mpp:g} µm/px{overlap} · "
            f"encoder {project.encoder}"
        )
        self.choice.show_counts(len(self._session.selected), len(self._unprepared))
        chosen = self._chosen()
        self.job.button.setEnabled(bool(chosen) or self.job.running)
        if self.job.running:
            return
        self._estimate.cancel()
        if chosen:
            say(self.preview, "Counting tiles…")
            self._estimate.run(cost_of, project, chosen)
        else:
            say(self.preview, self._why_nothing())

    def _why_nothing(self) -> str:
        if self.choice.which == "rest":
            return "All slides are prepared."
        if self.choice.which == "selected":
            if self._session.selected:
                return "The selected slides are prepared."
            return "Select slides in the table."
        opened = self._session.opened
        if opened is None:
            return "Open a slide: double-click it in the table."
        if opened.slide_id is None:
            return "The open slide is not in the project yet."
        return "This slide is prepared."

    def _show_estimate(self, result: Estimate) -> None:
        if result.sampled:
            say(self.preview, str(result))
        else:
            count = _count(result.slides, "slide")
            say(self.preview, f"{count}; none can be cut into tiles: Prepare says why.")

    def _add_open_slide(self) -> None:
        with notifying():
            edit = self._session.add_open_slide()
            self._unprepared = [*self._unprepared, *edit.added]
            self.choice.setCurrentIndex(0)
            self.added.emit(edit)
        self._on_slide()

    def _start(self) -> None:
        from weno.features import extract

        edited = edited_slides(self._session, self._chosen())
        chosen = [one for one in self._chosen() if one not in edited]
        if edited and not chosen:
            self.job.say(not_saved_text(edited))
        if chosen and not self.job.running:
            self._estimate.cancel()
            for slide_id in chosen:
                self._failed.pop(slide_id, None)
            self._show_failures()
            self.job.say("")
            say(self.note, not_saved_text(edited))
            address = self.scheduler.text().strip()
            where = (extract_at, address) if address else (extract,)
            self._working = self._session.project
            self.job.run(*where, self._working, chosen)

    def _on_report(self, report: Any) -> None:
        self.job.show_report(report)
        if report.note.startswith("http"):
            say(self.note, f'<a href="{report.note}">Dashboard of the cluster</a>')
        elif report.note:
            say(self.note, report.note)
        if not self._is_here():
            return
        self.reported.emit(report)
        if report.error:
            self._failed[report.slide_id] = report.error
            self._show_failures()
        if report.finished:
            self._session.files_changed.emit()

    def _is_here(self) -> bool:
        """Tell whether the job is at work on the open project."""
        here, there = self._session.project, self._working
        return here is not None and there is not None and here.root == there.root

    def _on_result(self, result: Any) -> None:
        if self._is_here():
            self._failed.update(result.failed)
            self._show_failures()
        self.job.say(f"{_count(len(result.extracted), 'slide')} prepared.")

    def _on_end(self) -> None:
        self._session.files_changed.emit()
        self.refresh()

    def _show_failures(self) -> None:
        told = [f"{name}: {why}" for name, why in self._failed.items()]
        if len(told) > _SHOWN_FAILURES:
            rest = len(told) - _SHOWN_FAILURES
            told = [*told[:_SHOWN_FAILURES], f"and {rest} more: see the table"]
        say(self.failures, "\n".join([f"{len(self._failed)} failed", *told]))
        self.failures.setVisible(bool(self._failed))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
