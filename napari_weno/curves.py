"""Live curves of a fit: losses, validation AUC, mined share, pseudo-labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_weno.train_jobs import History


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of the curves, chosen for a background.

    Parameters
    ----------
    background, text, teacher, student, validation, mined : str
        As ``#rrggbb``.
    """

    background: str
    text: str
    teacher: str
    student: str
    validation: str
    mined: str


# Told apart by colour-blind eyes, and at least 4.5 : 1 against their background.
DARK = Palette("#262930", "#f0f1f2", "#e69f00", "#56b4e9", "#d9a3c7", "#5cc8a0")
LIGHT = Palette("#efebe9", "#3b3a39", "#9a4a00", "#005f99", "#8a3d6b", "#00604a")

_PLOTS = (
    (
        "Loss",
        "Falls while the model learns; validation is the teacher's on slides that it "
        "did not learn from. The student begins after its warm-up",
        (
            ("teacher", "teacher_loss"),
            ("student", "student_loss"),
            ("validation", "val_loss"),
        ),
    ),
    (
        "Validation AUC",
        "Of slides the model did not learn from; 1 is perfect, 0.5 is chance",
        (("teacher", "val_teacher_auc"), ("student", "val_student_auc")),
    ),
    (
        "Mined share",
        "Share of the tiles of positive slides that is hidden from the teacher",
        (("mined", "mined"),),
    ),
)
_LABELS = (
    "Pseudo-labels",
    "What the teacher tells the student of the tiles of positive slides, in the last "
    "epoch: how many tiles (the axis is logarithmic) have which "
    "pseudo-label, from 0, normal, to 1, positive. Two heaps are what one hopes for; "
    "one heap in the middle tells the student nothing",
)
_HEIGHT = 96


class Curves(QWidget):
    """Plots the epochs of a fit as they come."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._palette = DARK
        self._titles: list[QLabel] = []
        self._plots: list[Any] = []
        self._lines: dict[str, Any] = {}
        self.labels: Labels | None = None
        self._drawn: set[str] = set()
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2)
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Fixed)
        self.hide()

    def set_theme(self, *, dark: bool) -> None:
        """Use colours that can be read on a theme's background."""
        self._palette = DARK if dark else LIGHT
        self._paint()

    def show_history(self, history: History) -> None:
        """Draw what is known."""
        if not self._plots:
            self._build()
        drawn = set()
        for name, line in self._lines.items():
            epochs, values = history.series(name)
            line.setData(epochs, values)
            if any(values):
                drawn.add(name)
        self._drawn = drawn
        if self.labels is not None and history.reports:
            self.labels.show_counts(history.reports[-1].label_histogram)
        self._paint()
        self.show()

    def drawn(self, name: str) -> tuple[Sequence[float], Sequence[float]]:
        """Return the epochs and values of a number that are drawn."""
        epochs, values = self._lines[name].getData()
        return epochs, values

    def _build(self) -> None:
        # Half a second that only who trains has to wait.
        import pyqtgraph

        for title, tooltip, series in _PLOTS:
            label, plot = QLabel(title), pyqtgraph.PlotWidget()
            _settle(plot, tooltip)
            label.setToolTip(tooltip)
            for _, name in series:
                self._lines[name] = plot.plot([], [])
            self._titles.append(label)
            self._plots.append(plot)
            self._layout.addWidget(label)
            self._layout.addWidget(plot)
        for plot in self._plots:
            plot.setLimits(yMin=0)
        self._plots[1].setYRange(0, 1, padding=0.1)
        self.labels = Labels()
        self._layout.addWidget(self.labels)
        self._paint()

    def _paint(self) -> None:
        palette = self._palette
        if self.labels is not None:
            self.labels.paint(palette)
        for (title, _, series), label, plot in zip(
            _PLOTS, self._titles, self._plots, strict=False
        ):
            drawn = [(who, name) for who, name in series if name in self._drawn]
            _colour(plot, palette)
            for who, name in drawn:
                self._lines[name].setPen(getattr(palette, who), width=2)
            label.setText(_title(title, [who for who, _ in drawn], palette))
            # Nothing is mined, or no validation AUC: an empty plot tells nothing.
            label.setVisible(bool(drawn))
            plot.setVisible(bool(drawn))


class Labels(QWidget):
    """The histogram of the pseudo-labels of the last epoch."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        import pyqtgraph

        title, tooltip = _LABELS
        self._title = QLabel(title)
        self._title.setToolTip(tooltip)
        self._plot = pyqtgraph.PlotWidget()
        _settle(self._plot, tooltip)
        self._plot.setXRange(0, 1, padding=0.02)
        self._bars = pyqtgraph.BarGraphItem(x0=[], width=[], height=[])
        self._plot.addItem(self._bars)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self._title)
        layout.addWidget(self._plot)

    @property
    def heights(self) -> list[float]:
        """Of the bars: the logarithm of one more than the tiles in each."""
        return list(self._bars.opts["height"])

    def show_counts(self, counts: Sequence[int]) -> None:
        """Show how many tiles have which pseudo-label."""
        width = 1 / max(1, len(counts))
        heights = [math.log10(1 + count) for count in counts]
        starts = [k * width for k in range(len(counts))]
        self._bars.setOpts(x0=starts, width=0.92 * width, height=heights)
        top = math.ceil(max(heights, default=0)) or 1
        # Ticks tell tiles, not their logarithms.
        ticks = [(math.log10(1 + 10**k), f"{10**k:,}") for k in range(1, top + 1)]
        self._plot.getAxis("left").setTicks([[(0, "0"), *ticks]])
        self._plot.setYRange(0, max(heights, default=0) or 1, padding=0.05)
        self.setVisible(sum(counts) > 0)

    def paint(self, palette: Palette) -> None:
        """Use a palette."""
        _colour(self._plot, palette)
        self._bars.setOpts(brush=palette.teacher, pen=palette.background)


def _settle(plot: Any, tooltip: str) -> None:
    """Make a plot one that is looked at, not moved."""
    plot.setFixedHeight(_HEIGHT)
    plot.setMouseEnabled(x=False, y=False)
    plot.hideButtons()
    plot.setMenuEnabled(False)
    plot.getAxis("left").setWidth(38)
    plot.getPlotItem().setContentsMargins(0, 8, 8, 0)
    plot.setToolTip(tooltip)


def _colour(plot: Any, palette: Palette) -> None:
    plot.setBackground(palette.background)
    for side in ("left", "bottom"):
        plot.getAxis(side).setPen(palette.text)
        plot.getAxis(side).setTextPen(palette.text)


def _title(title: str, names: Sequence[str], palette: Palette) -> str:
    """Return a title that is a legend, too, of the curves that there are."""
    marks = (f"<span style='color:{getattr(palette, n)}'>● {n}</span>" for n in names)
    return " &nbsp;".join([title, *marks])
