from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from napari_weno.run_cards import RunCards, card_rows
from napari_weno.train_runs import name_to_offer, read_run
from weno.mil.config import TrainConfig
from weno.project import Project


def write_run(folder: Path, auc: float, loss: float = 0.2, **settings: Any) -> Path:
    folder.mkdir(parents=True)
    TrainConfig(**settings).write(folder / "config.json")
    scores = {"slides": 5, "teacher_loss": loss, "teacher_bag_auc": auc}
    scores |= {"student_bag_auc": auc, "student_bag_auc_top_mean": auc}
    fold = {"fold": 0, "epochs": 30, "best_epoch": 21, "threshold": 0.5}
    fold["answered_tiles"] = {"positive": 7, "negative": 2, "unsure": 1}
    card = {
        "metrics": {"val": scores, "test": {**scores, "mixed_bag_auc": None}},
        "folds": [fold],
        "encoder": "texture",
        "data_hash": f"{auc:.0f}234567890",
    }
    (folder / "card.json").write_text(json.dumps(card))
    return folder


def found(rows: Any, title: str) -> list[tuple[str, ...]]:
    return [row.values for row in rows if row.title == title]


def test_one_card_tells_figures_and_what_was_chosen(tmp_path: Path) -> None:
    rows = card_rows([write_run(tmp_path / "one", 0.8125, epochs=99)])
    assert found(rows, "AUC, teacher") == [("0.812",), ("0.812",)]
    assert found(rows, "Slides") == [("5",), ("5",)]
    assert found(rows, "Best epoch") == [("21",)]
    assert found(rows, "Epochs") == [("30",), ("99",)]
    assert found(rows, "Answers learnt from") == [("7 + 2",)]
    assert not found(rows, "AUC, mixed")
    assert not found(rows, "Seed")


def test_cards_side_by_side_tell_what_differs(tmp_path: Path) -> None:
    folders = [
        write_run(tmp_path / "one", 0.5, seed=1, mining="threshold", epochs=99),
        write_run(tmp_path / "two", 1.0, seed=2, epochs=99),
    ]
    rows = card_rows(folders)
    assert found(rows, "AUC, teacher")[0] == ("0.500", "1.000")
    assert found(rows, "Seed") == [("1", "2")]
    assert found(rows, "Mining") == [("threshold", "off")]
    # Only how long they trained: the setting is the same.
    assert found(rows, "Epochs") == [("30", "30")]


def test_a_damaged_card_is_a_dash(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / name, 1.0) for name in ("one", "two")]
    (folders[1] / "card.json").write_text("{")
    rows = card_rows(folders)
    assert found(rows, "AUC, teacher")[0] == ("1.000", "-")
    assert found(rows, "Threshold") == [("0.500", "-")]


def test_runs_of_other_data_are_not_compared_silently(qtbot, tmp_path: Path) -> None:
    cards = RunCards()
    qtbot.addWidget(cards)
    one = write_run(tmp_path / "one", 1.0)
    two = write_run(tmp_path / "two", 2.0)
    cards.show_runs([one])
    assert cards.warning.text() == ""
    cards.show_runs([one, two])
    assert "different slides" in cards.warning.text()
    headers = [cards.table.horizontalHeaderItem(k).text() for k in (1, 2)]
    assert headers == ["one", "two"]
    cards.show_runs([])
    assert not cards.isVisible()


@pytest.mark.parametrize(
    ("auc", "loss", "said"),
    [
        pytest.param(0.9, 0.3, "", id="good"),
        pytest.param(0.2, 0.3, "the wrong way round", id="wrong way"),
        pytest.param(0.9, 0.68, "about a coin's", id="coin"),
    ],
)
def test_a_run_that_is_hardly_better_than_a_coin_says_so(
    tmp_path: Path, auc: float, loss: float, said: str
) -> None:
    warning = read_run(write_run(tmp_path / "one", auc, loss)).warning
    assert (said in warning) if said else not warning


def test_a_run_that_was_stopped_last_is_offered_first(demo_project: Project) -> None:
    assert name_to_offer(demo_project) == "run-1"
    folder = write_run(demo_project.run_dir("mine"), 1.0)
    assert name_to_offer(demo_project) == "run-1"
    (folder / "card.json").unlink()
    assert name_to_offer(demo_project) == "mine"
