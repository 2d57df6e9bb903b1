from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from weno.mil.froc import RATES, Marks, find_marks, froc
from weno.tiles import TileGrid


def grid_of(shape: tuple[int, int], tile: float = 100.0) -> TileGrid:
    cells = np.indices(shape).reshape(2, -1).T
    return TileGrid(cells * 100, (tile, tile), (100.0, 100.0), shape)


def marks_of(
    truth: Sequence[Sequence[float]],
    values: Sequence[Sequence[float]],
    tile: float = 100.0,
) -> Marks:
    known = np.array(truth, float)
    grid = grid_of((known.shape[0], known.shape[1]), tile)
    return find_marks(grid, known.ravel(), np.array(values, float).ravel())


def test_corners_join_tiles_to_a_lesion_and_its_best_detection_counts() -> None:
    found = marks_of(
        [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]],
        [[4, 3, 2, 1, 5], [1, 1, 1, 1, 1], [9, 1, 7, 1, 6]],
    )
    assert found.lesions.tolist() == [4, 6]
    assert sorted(found.false) == [5, 7, 9]


def test_neighbours_of_a_higher_tile_are_no_detections() -> None:
    found = marks_of([[1, 0, 0, 0]], [[3, 4, 2, 1]])
    assert found.lesions.tolist() == [-np.inf]
    assert found.false.tolist() == [4]


def test_a_plateau_is_one_detection_at_its_middle() -> None:
    found = marks_of([[0, 0, 0, 1, 0, 0, 0]], [[2] * 7])
    assert found.lesions.tolist() == [2]
    assert found.false.tolist() == []
    found = marks_of([[1, 0, 0, 0, 0, 0, 0]], [[2] * 7])
    assert found.lesions.tolist() == [-np.inf]
    assert found.false.tolist() == [2]


def test_tiles_that_overlap_touch_from_farther_away() -> None:
    truth, values = [[0, 0, 0, 0, 0]], [[5, 1, 4, 1, 1]]
    assert sorted(marks_of(truth, values).false) == [1, 4, 5]
    assert sorted(marks_of(truth, values, tile=200.0).false) == [5]


def test_tiles_without_truth_are_neither_lesion_nor_false() -> None:
    found = marks_of([[np.nan, np.nan, np.nan, 0, 1]], [[9, 1, 1, 1, 3]])
    assert found.lesions.tolist() == [3]
    assert found.false.tolist() == []


def test_places_without_a_tile_are_not_looked_at() -> None:
    cells = np.array([[0, 0], [0, 2], [2, 2]])
    grid = TileGrid(cells * 100, (100.0, 100.0), (100.0, 100.0), (3, 3))
    found = find_marks(grid, np.array([1.0, 0, 0]), np.array([1.0, -2, -3]))
    assert found.lesions.tolist() == [1]
    assert sorted(found.false) == [-3, -2]


def of(lesions: list[float], false: list[float]) -> Marks:
    return Marks(np.array(lesions, float), np.array(false, float))


def test_sensitivity_is_that_of_the_lowest_threshold_a_rate_allows() -> None:
    # Of four slides: at 1/4 a slide one false positive is allowed, at 1/2 two, ...
    slides = [of([0.9, 0.5], [0.8]), of([0.75], [0.7]), of([], [0.6, 0.55, 0.54, 0.5])]
    (found,) = froc([*slides, of([0.2], [])], np.ones((1, 4)))
    # Over the second false positive (0.7) lie two of four lesions; over the third
    # two, over the fifth (0.54) two: the lesion at 0.5 comes with the last one.
    assert found.tolist() == [0.5, 0.5, 0.5, 1, 1, 1]


def test_equal_values_do_not_favour_the_lesion() -> None:
    (found,) = froc([of([0.5], [0.5] * 9)], np.ones((1, 1)))
    assert found.tolist() == [0] * len(RATES)


def test_without_false_positives_all_that_is_detected_is_found() -> None:
    (found,) = froc([of([0.1, -np.inf], [])], np.ones((1, 1)))
    assert found.tolist() == [0.5] * len(RATES)


def test_counting_a_slide_twice_is_the_same_as_having_it_twice() -> None:
    rng = np.random.default_rng(0)
    slides = [
        of(list(rng.random(rng.integers(0, 4))), list(rng.random(20))) for _ in range(9)
    ]
    counts = rng.integers(0, 3, (20, 9)).astype(float)
    found = froc(slides, counts)
    for row, count in zip(found, counts, strict=True):
        copies = [s for s, n in zip(slides, count, strict=True) for _ in range(int(n))]
        (naive,) = froc(copies, np.ones((1, len(copies))))
        assert row == pytest.approx(naive)


def test_no_lesion_no_sensitivity() -> None:
    assert np.isnan(froc([of([], [0.5])], np.ones((1, 1)))).all()
    assert np.isnan(froc([of([1], [0.5]), of([], [])], np.array([[0.0, 1]]))).all()
