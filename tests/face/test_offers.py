from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.settings import get_plugin_settings, get_settings
from napari.utils.notifications import Notification, notification_manager
from pytestqt.qtbot import QtBot

from napari_weno.layers import slide_layer
from napari_weno.session import Session, session_of
from napari_weno.welcome import greet
from weno.project import Project
from weno.slides import SLIDE_SUFFIXES, Slide, open_slide, screen_cache

OFFER = "Always open slides with WENO?"
GUESS = "guessed: pixel size is a guess, 0.5 µm"


@pytest.fixture
def readers() -> Iterator[Callable[[], dict[str, str]]]:
    """The user's choices of which reader opens which files: none so far."""
    get_plugin_settings("napari-weno").slides.offer_reader = True
    settings = get_settings()
    before = dict(settings.plugins.extension2reader)
    # The settings are those of who runs the test: nothing is to be kept.
    settings._save_on_change = False
    settings.plugins.extension2reader = {}
    yield lambda: dict(settings.plugins.extension2reader)
    settings.plugins.extension2reader = before
    settings._save_on_change = True


class Said:
    """What the user is told from now on."""

    def __init__(self, qtbot: QtBot) -> None:
        self._start = len(notification_manager.records)
        self._qtbot = qtbot

    def __call__(self) -> list[str]:
        return [one.message for one in self.notifications()]

    def notifications(self) -> list[Notification]:
        return notification_manager.records[self._start :]

    def wait_for(self, message: str, times: int = 1) -> Notification:
        self._qtbot.waitUntil(lambda: self().count(message) == times)
        return self.notifications()[-1]


@pytest.fixture
def said(qtbot: QtBot) -> Said:
    return Said(qtbot)


def show(viewer: Viewer | ViewerModel, slide: Slide) -> Session:
    session = session_of(viewer)
    data, keywords, _ = slide_layer(slide)
    viewer.add_image(data, **keywords)
    return session


def answer(notification: Notification, text: str) -> None:
    dict(notification.actions)[text](None)


def test_the_first_slide_brings_an_offer(
    viewer: Viewer, odd_slide: Slide, guessed_slide: Path, readers, said: Said
) -> None:
    get_settings().plugins.extension2reader = {"*.ndpi": "another-reader"}
    show(viewer, odd_slide)
    offer = said.wait_for(OFFER)
    assert readers() == {"*.ndpi": "another-reader"}, "never silently"
    answer(offer, "Always")
    wanted = {f"*{suffix}": "napari-weno" for suffix in SLIDE_SUFFIXES}
    assert readers() == wanted | {"*.ndpi": "another-reader"}
    with open_slide(guessed_slide) as slide:
        show(viewer, slide)
        said.wait_for(GUESS)
    assert said().count(OFFER) == 1


def test_never_means_never(
    make_napari_viewer,
    viewer: Viewer,
    odd_slide: Slide,
    guessed_slide: Path,
    preferences_file: Path,
    readers,
    said: Said,
) -> None:
    show(viewer, odd_slide)
    answer(said.wait_for(OFFER), "Never ask again")
    assert readers() == {}
    assert "offer_reader: false" in preferences_file.read_text()
    with open_slide(guessed_slide) as slide:
        show(make_napari_viewer(), slide)
        said.wait_for(GUESS)
    assert said() == [OFFER, GUESS]


def test_an_offer_that_fades_is_made_again_in_the_next_window(
    make_napari_viewer, viewer: Viewer, odd_slide: Slide, readers, said: Said
) -> None:
    show(viewer, odd_slide)
    said.wait_for(OFFER)
    show(make_napari_viewer(), odd_slide)
    said.wait_for(OFFER, times=2)


def test_who_has_chosen_is_not_asked(
    viewer: Viewer, guessed_slide: Path, readers, said: Said
) -> None:
    chosen = {f"*{suffix}": "another-reader" for suffix in SLIDE_SUFFIXES}
    get_settings().plugins.extension2reader = chosen
    with open_slide(guessed_slide) as slide:
        show(viewer, slide)
        said.wait_for(GUESS)
    assert said() == [GUESS]


def test_nobody_is_asked_without_a_window(
    viewer: Viewer, odd_slide: Slide, guessed_slide: Path, readers, said: Said
) -> None:
    with open_slide(guessed_slide) as slide:
        assert show(ViewerModel(), slide).opened is not None
        show(viewer, odd_slide)
        said.wait_for(OFFER)
    assert said() == [OFFER], "and that in the window"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slide_without_mpp", "unsized does not say its pixel size"),
        ("guessed_slide", GUESS),
    ],
)
def test_the_pixel_size_is_asked_for_in_the_viewer(
    viewer: Viewer,
    request: pytest.FixtureRequest,
    name: str,
    message: str,
    said: Said,
    qtbot: QtBot,
) -> None:
    with open_slide(request.getfixturevalue(name)) as slide:
        session = show(viewer, slide)
        answer(said.wait_for(message), "Set pixel size")
        dock = session.viewer.window.dock_widgets["Slide (WENO)"]
        # No window has the focus on a screen without a window manager.
        qtbot.waitUntil(lambda: dock.window().focusWidget() is dock.details.mpp)


def test_a_slide_that_the_project_knows_brings_no_question(
    viewer: Viewer, new_project: Project, slide_without_mpp: Path, readers, said: Said
) -> None:
    row = new_project.add_slide(slide_without_mpp)
    new_project.set_mpp(row.slide_id, 0.4)
    session_of(viewer).open_project(new_project.root)
    with open_slide(slide_without_mpp) as slide:
        session = show(viewer, slide)
        assert session.opened.slide.mpp == (0.4, 0.4)
        said.wait_for(OFFER)
    assert said() == [OFFER]


def test_the_corner_says_the_magnification_without_any_dock(
    viewer: Viewer, odd_slide: Slide, qtbot: QtBot
) -> None:
    greet()
    viewer.canvas.overlays.text.text = "mine"
    viewer.open(odd_slide.path, plugin="napari-weno")
    qtbot.waitUntil(lambda: "weno_magnification" in viewer.canvas.overlays)
    corner = viewer.canvas.overlays["weno_magnification"]
    assert corner.visible
    viewer.scene.camera.zoom = 2.0
    qtbot.waitUntil(lambda: corner.text == "20x · 0.5 µm/px")
    viewer.layers.clear()
    assert not corner.visible
    assert viewer.canvas.overlays.text.text == "mine"


def test_greeting_nobody_is_harmless(said: Said) -> None:
    greet()
    assert said() == []


def test_the_cache_follows_the_preferences(
    viewer: Viewer, preferences_file: Path
) -> None:
    preferences = get_plugin_settings("napari-weno").slides
    preferences.cache_mb = 300
    session_of(viewer)
    assert screen_cache().limit == 300 * 2**20
    preferences.cache_mb = 260
    assert screen_cache().limit == 260 * 2**20
    assert "cache_mb: 260" in preferences_file.read_text()
    preferences.cache_mb = 512
