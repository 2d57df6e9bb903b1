from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
from napari import Viewer
from qtpy.QtGui import QPixmap

from napari_weno.session import session_of, show_dock
from napari_weno.slide_table import SlideTable
from napari_weno.survey import SlideState
from napari_weno.thumbnails import SIZE, Thumbnails, read_thumbnails
from weno.project import Project, SlideRow
from weno.slides import open_slide


def middle(picture: QPixmap) -> tuple[int, int, int, int]:
    color = picture.toImage().pixelColor(picture.rect().center())
    return color.red(), color.green(), color.blue(), color.alpha()


def plain(write_pyramid, path: Path, color: tuple[int, int, int]) -> Path:
    pixels = np.full((512, 256, 3), color, np.uint8)
    return write_pyramid(path, [pixels], 0.5)


def test_the_one_asked_for_last_is_read_first(write_pyramid, tmp_path: Path) -> None:
    red = plain(write_pyramid, tmp_path / "red.tif", (200, 0, 0))
    blue = plain(write_pyramid, tmp_path / "blue.tif", (0, 0, 200))
    (tmp_path / "none.tif").write_bytes(b"no slide")
    wanted = deque([red, tmp_path / "none.tif", blue])
    found = list(read_thumbnails(wanted, 44))
    assert [path for path, _ in found] == [blue, tmp_path / "none.tif", red]
    first, broken, last = (pixels for _, pixels in found)
    assert first.shape == last.shape == (44, 22, 3)
    assert abs(first.mean(axis=(0, 1)) - (0, 0, 200)).max() < 8
    assert broken is None


def test_pictures_come_when_asked_for_and_are_kept(
    write_pyramid, tmp_path: Path, qtbot
) -> None:
    red = plain(write_pyramid, tmp_path / "red.tif", (200, 0, 0))
    pictures = Thumbnails(2.0)
    with qtbot.waitSignal(pictures.arrived):
        assert middle(pictures.picture(red))[3] == 0
    shown = pictures.picture(red)
    assert shown.size() == SIZE * 2
    assert np.abs(np.subtract(middle(shown)[:3], (200, 0, 0))).max() < 8
    red.unlink()
    assert middle(pictures.picture(red))[3] == 255
    pictures.forget()
    with qtbot.waitSignal(pictures.arrived):
        pictures.picture(red)
    assert middle(pictures.picture(red))[3] == 0


def test_only_so_many_are_kept(
    write_pyramid, tmp_path: Path, qtbot, monkeypatch
) -> None:
    monkeypatch.setattr("napari_weno.thumbnails._MOST_KEPT", 1)
    pictures = Thumbnails()
    for name in ("a", "b"):
        path = plain(write_pyramid, tmp_path / f"{name}.tif", (200, 0, 0))
        with qtbot.waitSignal(pictures.arrived):
            pictures.picture(path)
    assert middle(pictures.picture(tmp_path / "b.tif"))[3] == 255
    with qtbot.waitSignal(pictures.arrived):
        assert middle(pictures.picture(tmp_path / "a.tif"))[3] == 0


def test_the_table_shows_the_slides_that_are_seen(
    viewer: Viewer, new_project: Project, qtbot
) -> None:
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.waitUntil(lambda: len(dock.table.slides.thumbnails) > 0)


def test_a_slide_without_small_levels_is_not_read_whole(
    write_pyramid, tmp_path: Path, monkeypatch
) -> None:
    path = plain(write_pyramid, tmp_path / "red.tif", (200, 0, 0))
    monkeypatch.setattr("napari_weno.thumbnails._MOST_PIXELS", 1000)
    assert [pixels for _, pixels in read_thumbnails(deque([path]), 44)] == [None]


def test_who_scrolls_past_many_slides_waits_for_the_last_only(
    write_pyramid, tmp_path: Path, qtbot, monkeypatch
) -> None:
    monkeypatch.setattr("napari_weno.thumbnails._MOST_WANTED", 2)
    path = plain(write_pyramid, tmp_path / "0.tif", (200, 0, 0))
    paths = [path, *(path.with_name(f"{number}.tif") for number in range(1, 40))]
    for other in paths[1:]:
        other.hardlink_to(path)
    scrolled = threading.Event()

    def open_later(path: Path):
        assert scrolled.wait(60)
        return open_slide(path)

    monkeypatch.setattr("napari_weno.thumbnails.open_slide", open_later)
    pictures = Thumbnails()
    for one in paths:
        pictures.picture(one)
    scrolled.set()
    qtbot.waitUntil(lambda: middle(pictures.picture(paths[-1]))[3] == 255)
    qtbot.waitUntil(lambda: not pictures._asked)
    assert len(pictures) <= 3, "the one that was being read, and the last two"
    with qtbot.waitSignal(pictures.arrived):
        pictures.picture(paths[20])


def test_the_picture_of_a_slide_that_comes_back_is_read_again(
    write_pyramid, tmp_path: Path, qtbot
) -> None:
    path = tmp_path / "red.tif"
    row = SlideRow("red", path, None, "red", None, None)
    away = SlideState(row, "", False, False, None, 0, missing="not mounted")
    table = SlideTable()
    qtbot.addWidget(table)
    pictures = table.slides.thumbnails
    table.show_states([away], "positive")
    with qtbot.waitSignal(pictures.arrived):
        pictures.picture(path)
    plain(write_pyramid, path, (200, 0, 0))
    table.show_states([replace(away, missing="")], "positive")
    with qtbot.waitSignal(pictures.arrived):
        pictures.picture(path)
    assert middle(pictures.picture(path))[3] == 255
