"""The Review dock: tile by tile through the queue, a key an answer."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_weno.answers_box import AnswersBox
from napari_weno.curtain import Curtain
from napari_weno.docks import Dock, listen, say, single_shot
from napari_weno.key_editor import chosen_keys
from napari_weno.regions_box import RegionsBox
from napari_weno.review_keys import ReviewKeys, canvas_beside
from napari_weno.review_page import LISTED_ANSWERS, ReviewPage
from napari_weno.review_round import (
    ReviewRound,
    others_text,
    values_text,
    verdict_name,
)
from napari_weno.review_setup import ReviewSetup
from napari_weno.session import session_of
from weno.errors import ReviewError, WenoError
from weno.prediction import read_prediction
from weno.review import (
    ReviewStore,
    Verdict,
    queue_path,
    read_verdicts,
    write_queue,
)

if TYPE_CHECKING:
    import napari.viewer

    from napari_weno.review_keys import Key
    from napari_weno.session import Session
    from weno.prediction import Prediction
    from weno.review import Queue, QueueItem, ReviewTile

_BLIND, _HELD = "blind", "held"
_VALUES = "values"
_AHEAD = 2  # tiles that are read before they are asked for
_CANVAS_MS = 60

# As long as what comes with an answer, so that the list below stays in its place.
_BEFORE_THE_FIRST = (
    "Your last answer stands here, and with it\n"
    "what the model thinks of the tile: probability, attention, disagreement, rank"
)


class ReviewWidget(Dock):
    """Asks about one tile after the other and saves each answer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._session: Session = session_of(viewer)
        self._round: ReviewRound | None = None
        self._names = ("negative", "positive")
        self._held = ExitStack()
        self._curtain = Curtain(self._session)
        self._keys = ReviewKeys(parent=self)
        self.setup = ReviewSetup(self._session)
        self.answers = AnswersBox(self._session, self.setup.run.currentText, self)
        self.regions = RegionsBox(self._session, self)
        self.page = ReviewPage()
        self._canvas = single_shot(self, _CANVAS_MS)
        self._lay_out()
        self._connect()
        self._on_project()

    @property
    def round(self) -> ReviewRound | None:
        """The queue being answered, None between reviews."""
        return self._round

    @property
    def settled(self) -> bool:
        """Whether dock and canvas have come to the tile asked about."""
        if self._round is None or self._canvas.isActive():
            return False
        tile = self._round.item.tile
        return self.page.crop.shown == tile and self._is_open(tile)

    def _lay_out(self) -> None:
        self.start = QWidget()
        start = QVBoxLayout(self.start)
        start.setContentsMargins(0, 0, 0, 0)
        start.addWidget(self.setup)
        start.addWidget(self.answers)
        start.addWidget(self.regions)
        start.addStretch()
        contents = QWidget()
        layout = QVBoxLayout(contents)
        layout.addWidget(self.start)
        layout.addWidget(self.page)
        self.page.hide()
        self.show_contents(contents)

    def _connect(self) -> None:
        session, page = self._session, self.page
        listen(self, session.project_changed, self._on_project)
        listen(self, session.tile_changed, self._on_tile)
        listen(self, session.viewer.layers.events.inserted, self._on_layer)
        self.setup.ready.connect(self._begin)
        self.setup.run.currentTextChanged.connect(self.answers.refresh)
        self._keys.put_on(page)
        self._keys.pressed.connect(self._act)
        self._keys.released.connect(self._on_released)
        page.acted.connect(self._act)
        page.recalled.connect(self._recall)
        page.left.connect(self.end)
        page.blind.toggled.connect(self._show_on_canvas)
        page.on_canvas.toggled.connect(self._take_canvas_keys)
        page.help.changed.connect(self._use_keys)
        page.crop.settled.connect(self._canvas.start)
        self._canvas.timeout.connect(self._show_on_canvas)
        # With the dock go its hold on the verdict file and what it has hidden.
        self.destroyed.connect(self._held.close)

    def begin_open_slide(self, *, blind: bool) -> None:
        """Start to review the candidates of the slide shown, without an audit.

        Parameters
        ----------
        blind : bool
            Whether what the model says is hidden until the answer.
        """
        self.page.blind.setChecked(blind)
        self.setup.slides.setCurrentIndex(self.setup.slides.findData("open"))
        self.setup.audit.setValue(0)
        self.setup.job.button.click()

    def _begin(self, queue: Queue) -> None:
        """Open the verdict file and show the first tile without an answer."""
        project = self._session.project
        if project is None:
            return
        folder = project.review_dir
        try:
            # What was answered about another class is not answered here.
            asking = project.asked_by(queue.run)
            runs = asking.runs_asking()
            store = self._held.enter_context(
                ReviewStore(folder, self.setup.reviewer.text().strip(), runs)
            )
            others = read_verdicts(folder, runs)
            write_queue(queue_path(folder, queue.run), queue)
        except (WenoError, OSError) as error:
            self._held.close()
            self.setup.job.say(str(error))
            show_error(str(error))
            return
        self._held.callback(_uncover, self._session, self._curtain)
        others.pop(store.reviewer, None)
        self._round = ReviewRound(queue, store, others)
        self._names = asking.class_names
        self._use_keys(chosen_keys())
        self.page.set_classes(self._names)
        self.page.crop.forget()
        say(self.page.last, _BEFORE_THE_FIRST)
        self.start.hide()
        self.page.show()
        self.page.setFocus()
        self._show_tile()

    def end(self) -> None:
        """End the review: everything is saved, overlays and keys are given back."""
        self._round = None
        self._canvas.stop()
        self._held.close()
        self.page.on_canvas.setChecked(False)
        self.page.crop.forget()
        self.page.hide()
        self.start.show()
        self._session.files_changed.emit()

    def _show_tile(self, _: object = None) -> None:
        """Show the tile asked about: here now, on the canvas as soon as there is time.

        Another slide takes napari a few tenths of a second, in which no key is heard;
        who goes on at once need not wait for it.
        """
        current, project = self._round, self._session.project
        if current is None or project is None:
            return
        item, blind = current.item, self.page.blind.isChecked()
        if covered := current.hides_overlays(blind=blind):
            # Before anything of its slide can be seen.
            self._cover(covered)
        self._describe()
        self._canvas.stop()
        self.page.crop.ask(project, item.tile)
        self.page.crop.read_ahead(project, current.upcoming(_AHEAD))

    def _show_on_canvas(self, _: object = None) -> None:
        """Bring the canvas and the other docks to the tile asked about."""
        self._canvas.stop()
        current = self._round
        if current is None:
            return
        item, blind = current.item, self.page.blind.isChecked()
        covered = current.hides_overlays(blind=blind)
        if self._open_slide(item.tile):
            self._session.show_verdicts(current.verdicts_on(item.tile.content_hash))
            self._session.show_outline(item.tile)
            self._session.centre_on(item.index)
        else:
            self._session.show_outline(None)
        self._cover(covered)
        self._curtain.take_seen()
        self._session.choose_tile(None if covered else item.index)
        self._describe()

    def _cover(self, covered: bool) -> None:
        """Hide what the model says of tiles, in every dock, or show it again."""
        self._session.set_blind(covered)
        if covered:
            self._curtain.draw(_BLIND)
        else:
            self._curtain.lift(_BLIND)

    def _open_slide(self, tile: ReviewTile) -> bool:
        """Show the tile's slide and the run's prediction; False if it cannot be."""
        session, current = self._session, self._round
        try:
            if not self._is_open(tile):
                session.open_slide(tile.slide_id, whole=False)
            if current and (p := session.prediction) and p.run != current.queue.run:
                session.choose_run(current.queue.run)
        except WenoError as error:
            self.page.crop.clear(f"{error}\n\nGo on with → or skip this tile.")
            show_error(str(error))
            return False
        if session.opened is not None and self._is_open(tile):
            return True
        self.page.crop.clear(f"Slide {tile.slide_id} is not the one it was any more.")
        return False

    def _is_open(self, tile: ReviewTile) -> bool:
        opened = self._session.opened
        return opened is not None and opened.slide.content_hash == tile.content_hash

    def _describe(self) -> None:
        """Say in words where the review stands."""
        current, page, names = self._round, self.page, self._names
        if current is None:
            return
        hidden = current.hides(blind=page.blind.isChecked())
        told = current.progress(names)
        page.show_progress(current.answered, len(current.queue), told)
        text = f"Slide {current.item.tile.slide_id}"
        if answers := [verdict_name(e.verdict, names) for e in current.earlier()]:
            text += f" · your answer: {answers[-1]}"
            if answers[:-1]:
                text += f" (before: {', '.join(answers[:-1])})"
        page.show_tile(text, "" if hidden else self._what_is_known(current.item))
        page.show_history(current.recent(LISTED_ANSWERS), names)
        say(page.finished, current.end_text)

    def _what_is_known(self, item: QueueItem) -> str:
        """Say what the model and other reviewers think of a tile."""
        current, prediction = self._round, self._session.prediction
        known = []
        if prediction and prediction.content_hash != item.tile.content_hash:
            # Who answers at once is told the values even so.
            prediction = self._predicted(item) if self._canvas.isActive() else None
        if prediction:
            known.append(values_text(prediction, item.index))
        if current and (said := current.others_on(item.tile)):
            known.append(others_text(said, self._names))
        return "\n".join(known)

    def _predicted(self, item: QueueItem) -> Prediction | None:
        project, current = self._session.project, self._round
        if project is None or current is None:
            return None
        path = project.prediction_path(current.queue.run, item.tile.slide_id)
        try:
            found = read_prediction(path)
        except (WenoError, OSError):
            return None  # said when the canvas comes to it
        return found if found.content_hash == item.tile.content_hash else None

    def _act(self, action: str) -> None:
        """Do what a key or a button stands for."""
        if self._round is None:
            return
        if action in tuple(Verdict):
            self._answer(Verdict(action))
        elif action == "hide":
            self._curtain.draw(_HELD)
            self._session.show_outline(None)
        elif action == "zoom":
            self.page.crop.swap()
        elif action in ("back", "forward"):
            self._round.move(-1 if action == "back" else 1)
            self._show_tile()
        else:
            self._step_back(action)

    def _answer(self, verdict: Verdict) -> None:
        """Save an answer, say what the model thought, show the next tile."""
        current = self._round
        if current is None:
            return
        item, names = current.item, self._names
        if verdict is not Verdict.SKIP and not self._sees(item.tile):
            return
        known = self._what_is_known(item)
        try:
            current.answer(verdict, self._on_screen())
        except ReviewError as error:
            show_error(str(error))
            return
        told = f"The one before, saved: {verdict_name(verdict, names)}"
        if verdict is not Verdict.SKIP and known:
            told = f"{told}\n{known}"
        say(self.page.last, told)
        self._show_tile()

    def _sees(self, tile: ReviewTile) -> bool:
        """Tell whether a tile is on screen: nobody answers what is not seen."""
        if self.page.crop.shown != tile:
            return False
        if self._canvas.isActive() or self._is_open(tile):
            return True
        # Another slide was opened meanwhile.
        self._show_tile()
        return False

    def _on_screen(self) -> list[str]:
        """Return what of the model or of others was on screen for this tile."""
        shown = sorted(self._curtain.take_seen())
        if self.page.values.text():
            shown.append(_VALUES)
        return shown

    def _step_back(self, action: str) -> None:
        """Undo or redo, and go to the tile that it is about."""
        current = self._round
        if current is None:
            return
        try:
            event = current.undo() if action == "undo" else current.redo()
        except ReviewError as error:
            show_error(str(error))
            return
        if event is None:
            say(self.page.last, f"There is nothing to {action}.")
            return
        done = "Taken back" if action == "undo" else "Given again"
        name = verdict_name(event.verdict, self._names)
        say(self.page.last, f"{done}: {name} · {event.tile.slide_id}")
        self._show_tile()

    def _recall(self, tile: ReviewTile) -> None:
        if self._round is not None and self._round.go_to(tile):
            self._show_tile()
            self.page.setFocus()

    def _on_released(self, _: str) -> None:
        """Show the overlays again: H is let go."""
        self._curtain.lift(_HELD)
        if self._round is not None and self._is_open(self._round.item.tile):
            self._session.show_outline(self._round.item.tile)

    def _on_tile(self, tile: int | None) -> None:
        """Keep a click on the canvas from showing values in another dock."""
        if tile is not None and self._session.blind:
            self._session.choose_tile(None)

    def _on_layer(self, _: object = None) -> None:
        self._curtain.cover()

    def _on_project(self, _: object = None) -> None:
        if self._round is not None:
            self.end()

    def _use_keys(self, keys: tuple[Key, ...]) -> None:
        self._keys.set_keys(keys)
        self.page.set_keys(keys)

    def _take_canvas_keys(self, wanted: bool) -> None:
        """Take the keys from the canvas, or give napari its own back."""
        canvas = canvas_beside(self)
        if canvas is None:
            return
        if wanted:
            self._keys.put_on(canvas)
        else:
            self._keys.take_off(canvas)


def _uncover(session: Session, curtain: Curtain) -> None:
    """Show all that a review has hidden."""
    session.drop_outline()
    session.set_blind(False)
    for reason in (_HELD, _BLIND):
        curtain.lift(reason)
