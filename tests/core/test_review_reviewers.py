from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from weno.review import (
    Kind,
    ReviewLog,
    ReviewStore,
    ReviewTile,
    Verdict,
    agreement,
    read_verdicts,
    training_verdicts,
)

if TYPE_CHECKING:
    from pathlib import Path

LETTERS = {
    "p": Verdict.POSITIVE,
    "n": Verdict.NEGATIVE,
    "u": Verdict.UNSURE,
    "s": Verdict.SKIP,
}


def tile(number: int) -> ReviewTile:
    return ReviewTile("slide-1", "hash-1", (0, 256 * number), (256, 256))


def log(folder: Path, reviewer: str, answers: str, *, blind: bool = True) -> ReviewLog:
    """One letter per tile; a blank is no answer."""
    with ReviewStore(folder, reviewer) as store:
        for number, letter in enumerate(answers):
            if letter != " ":
                store.answer(tile(number), LETTERS[letter], blind=blind)
    return read_verdicts(folder)[reviewer]


def test_kappa_of_a_textbook_table(tmp_path: Path) -> None:
    # 20 both yes, 5 and 10 mixed, 15 both no: observed .7, by chance .5.
    first = log(tmp_path, "a", "p" * 20 + "p" * 5 + "n" * 10 + "n" * 15)
    second = log(tmp_path, "b", "p" * 20 + "n" * 5 + "p" * 10 + "n" * 15)
    result = agreement(first, second)
    assert result.kappa == pytest.approx(0.4)
    assert result.observed == pytest.approx(0.7)
    assert result.n_tiles == 50
    assert agreement(second, first) == result


def test_kappa_equals_that_of_scikit_learn(tmp_path: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    answers = "pnupnpuunpnpppnnu", "pnpunpuunnnppnnnp"
    result = agreement(*(log(tmp_path, f"r{k}", a) for k, a in enumerate(answers)))
    assert result.kappa == pytest.approx(metrics.cohen_kappa_score(*map(list, answers)))


def test_only_tiles_that_both_answered_count(tmp_path: Path) -> None:
    first, second = log(tmp_path, "a", "pnps  n"), log(tmp_path, "b", "pnsp n ")
    assert agreement(first, second).n_tiles == 2
    assert agreement(first, second).kappa == 1


def test_agreement_uses_blind_answers_only(tmp_path: Path) -> None:
    first = log(tmp_path, "a", "pnpn")
    second = log(tmp_path, "b", "pnnp")
    # Having seen the model, b gives in: that is not agreement.
    after = log(tmp_path, "b", "pnpn", blind=False)
    assert agreement(first, after) == agreement(first, second)
    assert agreement(first, after).kappa == 0
    seeing = log(tmp_path, "c", "pnpn", blind=False)
    assert agreement(first, seeing).n_tiles == 0


def test_an_undone_answer_does_not_count(tmp_path: Path) -> None:
    first = log(tmp_path, "a", "pn")
    with ReviewStore(tmp_path, "b") as store:
        store.answer(tile(0), Verdict.NEGATIVE, blind=True)
        store.undo()
        assert agreement(first, store).n_tiles == 0


@pytest.mark.parametrize("answers", ["", "pp"])
def test_no_kappa_where_there_is_nothing_to_tell_apart(
    tmp_path: Path, answers: str
) -> None:
    result = agreement(log(tmp_path, "a", answers), log(tmp_path, "b", answers))
    assert math.isnan(result.kappa)
    assert result.n_tiles == len(answers)


def test_reviewers_are_joined_for_training(tmp_path: Path) -> None:
    first = log(tmp_path, "a", "pnuspppsu ")
    second = log(tmp_path, "b", "  usnus pn")
    joined = training_verdicts([first, second])
    # skipped by both: left out; one sure: that one; contradiction: unsure
    expected = "pnu upp pn"
    assert joined == {tile(k): LETTERS[v] for k, v in enumerate(expected) if v != " "}


def test_an_audit_tile_never_trains(tmp_path: Path) -> None:
    with ReviewStore(tmp_path, "a") as a, ReviewStore(tmp_path, "b") as b:
        a.answer(tile(0), Verdict.POSITIVE, kind=Kind.AUDIT, blind=True)
        a.answer(tile(1), Verdict.POSITIVE, kind=Kind.CANDIDATE, blind=True)
        # Answered again from a gallery, or by somebody else, it still does not.
        a.answer(tile(0), Verdict.NEGATIVE, blind=False)
        b.answer(tile(0), Verdict.POSITIVE, blind=True)
        assert training_verdicts([a, b]) == {tile(1): Verdict.POSITIVE}
