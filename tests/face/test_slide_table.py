from __future__ import annotations

from pathlib import Path

import pytest
from qtpy.QtCore import Qt

from napari_weno.slide_table import SlideTable
from napari_weno.survey import SlideState
from weno.project import SlideRow

STATUS = 3


def state(
    slide_id: str,
    split: str | None = "train",
    probability: float | None = None,
    **more: object,
) -> SlideState:
    row = SlideRow(slide_id, Path(slide_id), 1, slide_id, split, None, 1)
    return SlideState(row, "tumour", False, False, probability, 0, **more)


@pytest.fixture
def table(qtbot) -> SlideTable:
    table = SlideTable()
    qtbot.addWidget(table)
    table.show_states([state("a"), state("b")], "tumour")
    return table


def texts(table: SlideTable, column: int) -> list[str]:
    model = table.model()
    return [model.index(row, column).data() for row in range(model.rowCount())]


def test_the_status_says_how_far_a_job_is(table: SlideTable, qtbot) -> None:
    with qtbot.waitSignal(table.slides.dataChanged):
        table.slides.show_progress("b", 0.456)
    assert texts(table, STATUS) == ["new", "46%"]
    table.slides.show_progress("a", 0.1)
    assert texts(table, STATUS) == ["10%", "new"]
    table.slides.show_progress(None)
    assert texts(table, STATUS) == ["new", "new"]


def test_a_narrow_table_puts_the_split_below_the_label(
    table: SlideTable, qtbot
) -> None:
    table.resize(700, 300)
    table.show()
    assert texts(table, 1) == ["tumour", "tumour"]
    assert not table.isColumnHidden(2)
    table.resize(300, 300)
    assert texts(table, 1) == ["tumour\ntrain", "tumour\ntrain"]
    assert table.isColumnHidden(2)
    table.show_states([state("a", None)], "tumour")
    assert texts(table, 1) == ["tumour"]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, "new"),
        ({"has_tissue": True}, "tissue"),
        ({"error": "broken"}, "failed"),
        ({"has_tissue": True, "is_tiled": True}, "tiled"),
        ({"is_tiled": True, "error": "cannot be read"}, "failed"),
        ({"missing": "moved", "has_tissue": True}, "not found"),
    ],
)
def test_the_status_says_the_last_step_or_what_is_in_the_way(
    table: SlideTable, more: dict[str, object], status: str
) -> None:
    table.show_states([state("a", **more)], "tumour")
    assert texts(table, STATUS) == [status]


def test_the_filter_wants_all_words_wherever_they_are(table: SlideTable) -> None:
    states = [state("x1"), state("x2", "test"), state("y1", "test")]
    table.show_states(states, "tumour")
    for text, found in (("x", ["x1", "x2"]), ("TEST x", ["x2"]), ("y1 train", [])):
        table.filter_by(text)
        assert table.order() == found


def test_neither_order_nor_filter_tells_a_blind_reviewer_the_answer(
    table: SlideTable,
) -> None:
    likely = {"a": 0.2, "b": 0.9, "c": 0.5}
    states = [state(name, probability=value) for name, value in likely.items()]
    table.show_states(states, "tumour")
    table.sortByColumn(4, Qt.SortOrder.DescendingOrder)
    assert table.order() == ["b", "c", "a"]
    table.hide_probability(True)
    assert table.isColumnHidden(4)
    assert table.order() == ["a", "b", "c"]
    table.show_states(states[::-1], "tumour")
    assert table.order() == ["c", "b", "a"]
    table.filter_by("0.90")
    assert table.order() == []
    table.hide_probability(False)
    assert table.order() == ["b"]
    table.filter_by("")
    assert table.order() == ["b", "c", "a"]
