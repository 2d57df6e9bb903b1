"""What is measured of slides, tiles and lesions: each number with its resamples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from weno.mil.bootstrap import Bootstrap
from weno.mil.froc import RATES, find_marks, froc
from weno.mil.metrics import as_trained, auc, average_precision, calibration, decision

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from weno.prediction import Prediction

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.intp]
    TileValues = Sequence[npt.NDArray[np.float32]]  # of each slide, (N,)
    #: The number, and what it is in each resample, of shape (R,).
    Measure = tuple[float | None, Floats]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Slides that are predicted and labelled, and what is known of their tiles.

    Parameters
    ----------
    predictions : sequence of Prediction
        Of S slides.
    bags : ndarray of shape (S,), int
        Their labels, 0 or 1.
    known : sequence of ndarray of shape (N,)
        Of each slide, its tiles' truth: 1, 0, or NaN where not known.
    bootstrap : Bootstrap
        Over their patients.
    """

    predictions: Sequence[Prediction]
    bags: npt.NDArray[np.int_]
    known: Sequence[Floats]
    bootstrap: Bootstrap

    @classmethod
    def of(
        cls,
        predictions: Sequence[Prediction],
        labels: Mapping[str, int],
        known: Sequence[Floats],
        patients: Mapping[str, str],
        *,
        resamples: int,
        seed: int,
    ) -> Self:
        """Look up labels and patients; a slide without a patient is its own."""
        ids = [p.slide_id for p in predictions]
        bags = np.array([labels[slide_id] for slide_id in ids])
        names = [patients.get(slide_id, slide_id) for slide_id in ids]
        bootstrap = Bootstrap.over(names, bags, resamples=resamples, seed=seed)
        return cls(predictions, bags, known, bootstrap)

    @cached_property
    def _has(self) -> npt.NDArray[np.bool_]:
        """Which tiles, of all slides one after the other, have truth."""
        return np.isfinite(np.concatenate(self.known))

    @cached_property
    def _truth(self) -> npt.NDArray[np.int_]:
        """0 or 1 of the tiles with truth, of shape (n,)."""
        return np.concatenate(self.known)[self._has].astype(int)

    @cached_property
    def _slide(self) -> Ints:
        """Which slide each tile with truth is of, of shape (n,)."""
        sizes = [len(values) for values in self.known]
        return np.repeat(np.arange(len(sizes)), sizes)[self._has]

    @cached_property
    def _mixed(self) -> list[int]:
        """The positive slides that have tiles of both classes."""
        return [
            k
            for k, values in enumerate(self.known)
            if self.bags[k] == 1 and (values == 0).any() and (values == 1).any()
        ]

    def _pooled(self, values: TileValues) -> Floats:
        """Return the values of the tiles with truth, of shape (n,)."""
        return np.concatenate(values)[self._has].astype(np.float64)

    def counts(self) -> dict[str, Any]:
        """Return how many there are of everything, and the prevalence of tiles."""
        shares = [np.nanmean(self.known[k]) for k in self._mixed]
        return {
            "slides": len(self.bags),
            "positive_slides": int(self.bags.sum()),
            "patients": self.bootstrap.draws.shape[1],
            "resamples": len(self.bootstrap.draws),
            "tiles": len(self._truth),
            "tiles_without_truth": int((~self._has).sum()),
            "tile_prevalence": float(self._truth.mean()) if len(self._truth) else None,
            "tile_prevalence_in_positive": float(np.mean(shares)) if shares else None,
        }

    def discrimination(self) -> tuple[dict[str, dict[str, Measure]], dict[str, Any]]:
        """Return what teacher and student tell apart, and what a FROC is made of.

        The names are those of `weno.mil.evaluate`.
        """
        tile_values: dict[str, TileValues] = {
            "teacher": [p.pseudo_label for p in self.predictions],
            "student": [p.probability for p in self.predictions],
        }
        seen = [k for k, known in enumerate(self.known) if np.isfinite(known).any()]
        lesions: dict[str, Any] = {"slides": len(seen), "lesions": 0}
        measured = {"teacher": self._teacher(), "student": self._student()}
        for who, values in tile_values.items():
            found, lesions["lesions"], lesions[who] = self._froc(seen, values)
            measured[who] |= {**self._tiles(values), "froc": found}
        return measured, lesions

    def _teacher(self) -> dict[str, Measure]:
        """Return how well the teacher ranks slides, and decides on them."""
        values = np.array([p.teacher_probability for p in self.predictions])
        called = np.array([p.is_positive for p in self.predictions])
        drawn = {}
        for name, label in (("sensitivity", 1), ("specificity", 0)):
            side = np.flatnonzero(self.bags == label)
            drawn[name] = self.bootstrap.mean(side, called[side] == label)
        drawn["balanced_accuracy"] = (drawn["sensitivity"] + drawn["specificity"]) / 2
        decided = decision(self.bags, called)
        return {
            **self._bags(values),
            **{f"bag_{name}": (decided[name], drawn[name]) for name in decided},
            "patient_auc": self._patient_auc(values),
        }

    def _student(self) -> dict[str, Measure]:
        """Return how well the student ranks slides."""
        highest = np.array([p.student_probability for p in self.predictions])
        top = np.array([p.student_top_mean for p in self.predictions])
        of_top = self._bags(top)
        return {
            **self._bags(highest),
            **{f"{name}_top_mean": found for name, found in of_top.items()},
        }

    def _bags(self, values: Floats) -> dict[str, Measure]:
        slides = np.arange(len(values))
        areas, precisions = self.bootstrap.ranked(slides, self.bags, values)
        return {
            "bag_auc": (auc(self.bags, values), areas),
            "bag_ap": (average_precision(self.bags, values), precisions),
        }

    def _patient_auc(self, values: Floats) -> Measure:
        """Return the AUC of patients by their highest value, if any has two slides."""
        patient = self.bootstrap.patient
        _, one_of_each = np.unique(patient, return_index=True)  # (P,)
        if len(one_of_each) == len(patient):
            return None, np.empty(0)
        label = np.zeros(len(one_of_each), int)
        value = np.full(len(one_of_each), -np.inf)
        np.maximum.at(label, patient, self.bags)
        np.maximum.at(value, patient, values)
        areas, _ = self.bootstrap.ranked(one_of_each, label, value)
        return auc(label, value), areas

    def _tiles(self, values: TileValues) -> dict[str, Measure]:
        """Return how well values rank tiles, pooled and inside positive slides."""
        pooled = self._pooled(values)
        areas, precisions = self.bootstrap.ranked(self._slide, self._truth, pooled)
        measured: dict[str, Measure] = {
            "tile_auc": (auc(self._truth, pooled), areas),
            "tile_ap": (average_precision(self._truth, pooled), precisions),
        }
        slides = np.array(self._mixed, int)
        for name, metric in (("tile_auc", auc), ("tile_ap", average_precision)):
            within = []
            for k in self._mixed:
                has = np.isfinite(self.known[k])
                within.append(metric(self.known[k][has], values[k][has]))
            found = np.array(within, np.float64)
            mean = float(found.mean()) if len(found) else None
            drawn = self.bootstrap.mean(slides, found)
            measured[f"{name}_in_positive"] = (mean, drawn)
        return measured

    def _froc(
        self, seen: list[int], values: TileValues
    ) -> tuple[Measure, int, dict[str, float] | None]:
        """Return mean sensitivity, number of lesions, and sensitivity at each rate."""
        marks = [
            find_marks(self.predictions[k].grid, self.known[k], values[k]) for k in seen
        ]
        count = sum(len(one.lesions) for one in marks)
        if not count:
            return (None, np.empty(0)), 0, None
        (rates,) = froc(marks, np.ones((1, len(seen))))
        draws = self.bootstrap.draws[:, self.bootstrap.patient[seen]]
        by_rate = {f"{k:g}": float(rate) for k, rate in zip(RATES, rates, strict=True)}
        return (float(rates.mean()), froc(marks, draws).mean(1)), count, by_rate

    def calibrations(
        self, negative_weight: float | None
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Measure]]:
        """Return calibrations by name, and the Brier score of each.

        Parameters
        ----------
        negative_weight : float or None
            Of the student's loss, to tell also how it would be with its bias.
        """
        slides = np.arange(len(self.bags))
        of_slides = np.array([p.teacher_probability for p in self.predictions])
        of_tiles = self._pooled([p.probability for p in self.predictions])
        cases: dict[str, tuple[Ints, Ints, Floats]] = {}
        cases["teacher_slides"] = (slides, self.bags, of_slides)
        if negative_weight is not None:
            raw = as_trained(of_tiles, negative_weight)
            cases["student_tiles_as_trained"] = (self._slide, self._truth, raw)
        cases["student_tiles_calibrated"] = (self._slide, self._truth, of_tiles)
        compared, briers = {}, {}
        for name, (slide, truth, p) in cases.items():
            compared[name] = calibration(truth, p)
            drawn = self.bootstrap.mean(slide, (p - truth) ** 2)
            briers[name] = (compared[name]["brier"], drawn)
        return compared, briers
