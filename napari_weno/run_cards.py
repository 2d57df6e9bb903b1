"""The card of a run, or of several side by side: figures, settings, data."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_weno.docks import say, text_label
from napari_weno.train_runs import read_json
from weno.mil.config import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_METRICS = {
    "teacher_bag_auc": ("AUC, teacher", "Of slides; 1 is perfect, 0.5 is chance"),
    "student_bag_auc": ("AUC, student", "By its highest probability in a slide"),
    "student_bag_auc_top_mean": ("AUC, top tiles", "By the student's mean over them"),
    "mixed_bag_auc": ("AUC, mixed", "Of the teacher, with the student's scores"),
    "teacher_loss": ("Loss, teacher", "A coin's is 0.69"),
    "slides": ("Slides", "Few of them make an AUC jump"),
}
_PARTS = {"val": "Validation", "test": "Test"}
_HEIGHT = 320
_FIT = 3  # runs, into the width of a dock


@dataclass(frozen=True, slots=True)
class CardRow:
    """One line of the cards.

    Parameters
    ----------
    title : str
    values : tuple of str
        One a run; empty for a heading.
    tooltip : str
    """

    title: str
    values: tuple[str, ...] = ()
    tooltip: str = ""


def card_rows(folders: Sequence[Path]) -> list[CardRow]:
    """Return what the cards of runs say, side by side.

    Of several runs only the settings in which they differ; of one, all that are not
    the default. What is missing or damaged is a dash.

    Parameters
    ----------
    folders : sequence of Path
    """
    cards = [read_json(folder / "card.json") for folder in folders]
    rows = []
    for part, title in _PARTS.items():
        found = [card.get("metrics", {}).get(part) or {} for card in cards]
        lines = [
            CardRow(label, tuple(_figure(values.get(name)) for values in found), tip)
            for name, (label, tip) in _METRICS.items()
            if any(values.get(name) is not None for values in found)
        ]
        rows += [CardRow(title), *lines] if lines else []
    rows += _training(cards)
    return rows + _settings([read_json(folder / "config.json") for folder in folders])


def _training(cards: Sequence[Mapping[str, Any]]) -> list[CardRow]:
    """Say what came of the training, and of what data it was."""

    def of_folds(name: str, card: Mapping[str, Any]) -> str:
        return ", ".join(_figure(fold.get(name)) for fold in card.get("folds", []))

    def answered(fold: Mapping[str, Any]) -> str:
        said = fold.get("answered_tiles")
        if said is None:  # a run of before this was counted
            return "-"
        return f"{said['positive']:,} + {said['negative']:,}"

    def line(title: str, texts: Sequence[str], tooltip: str) -> CardRow:
        return CardRow(title, tuple(text or "-" for text in texts), tooltip)

    return [
        CardRow("Training"),
        line(
            "Best epoch",
            [of_folds("best_epoch", card) for card in cards],
            "Whose weights predict; one number a fold",
        ),
        line(
            "Epochs", [of_folds("epochs", card) for card in cards], "Until it stopped"
        ),
        line(
            "Threshold",
            [of_folds("threshold", card) for card in cards],
            "On the teacher's probability, chosen on validation slides",
        ),
        line(
            "Answers learnt from",
            [", ".join(map(answered, card.get("folds", []))) for card in cards],
            "Tiles of training slides that people have labelled, by answers and "
            "regions: positive + negative; one pair a fold",
        ),
        line("Encoder", [str(c.get("encoder", "")) for c in cards], "Of the tiles"),
        line(
            "Data",
            [str(card.get("data_hash", ""))[:8] for card in cards],
            "Runs of the same slides, labels and features have the same",
        ),
    ]


def _settings(configs: Sequence[Mapping[str, Any]]) -> list[CardRow]:
    lines = []
    for item in fields(TrainConfig):
        values = [config.get(item.name, item.default) for config in configs]
        compared = values if len(values) > 1 else [*values, item.default]
        if len({json.dumps(value) for value in compared}) > 1:
            texts = tuple(_text(value) for value in values)
            lines.append(CardRow(item.metadata["label"], texts, item.metadata["help"]))
    title = (
        "Settings that differ"
        if len(configs) > 1
        else "Settings other than the default"
    )
    return [CardRow(title), *lines] if lines else []


def _figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class RunCards(QWidget):
    """Shows the cards of the runs that are selected."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.warning = text_label(name="warning")
        self.table = QTableWidget()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ContiguousSelection)
        self.table.setTabKeyNavigation(False)
        self.table.verticalHeader().hide()
        self.table.setMinimumHeight(_HEIGHT)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.warning)
        layout.addWidget(self.table)
        self.hide()

    def show_runs(self, folders: Sequence[Path]) -> None:
        """Show the cards of these runs; none hides all."""
        self.setVisible(bool(folders))
        rows = card_rows(folders) if folders else []
        table = self.table
        table.clear()
        table.clearSpans()
        table.setColumnCount(1 + len(folders))
        table.setHorizontalHeaderLabels(["", *(folder.name for folder in folders)])
        table.setRowCount(len(rows))
        for k, row in enumerate(rows):
            if not row.values:
                table.setSpan(k, 0, 1, 1 + len(folders))
            for column, text in enumerate((row.title, *row.values)):
                item = QTableWidgetItem(text)
                item.setToolTip(row.tooltip)
                if not row.values:
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                elif column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                table.setItem(k, column, item)
        # Titles are not cut; of many runs one sees the first and scrolls.
        header, mode = table.horizontalHeader(), QHeaderView.ResizeMode
        few = len(folders) <= _FIT
        header.setSectionResizeMode(mode.Stretch if few else mode.ResizeToContents)
        header.setSectionResizeMode(0, mode.ResizeToContents)
        say(self.warning, _data_warning(folders))


def _data_warning(folders: Sequence[Path]) -> str:
    """Say so if the figures of runs are not of the same slides."""
    hashes = {read_json(folder / "card.json").get("data_hash") for folder in folders}
    if len(hashes - {None}) < 2:
        return ""
    return (
        "These runs learnt from different slides, labels or features: their figures "
        "cannot be compared like for like."
    )
