from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from weno.errors import ReviewError
from weno.prediction import Prediction
from weno.review import (
    AuditResult,
    Kind,
    Queue,
    ReviewStore,
    ReviewTile,
    Verdict,
    audit,
    audit_verdicts,
    build_queue,
    queue_names,
    queue_path,
    read_queue,
    write_queue,
)
from weno.tiles import TileSpec

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 20  # tiles per row and column


def prediction(
    name: str, *, ranks: dict[int, int] | None = None, seed: int = 0, run: str = "run-1"
) -> Prediction:
    """A slide of 400 tiles of 256 px; `ranks` gives the candidates, index to rank."""
    rng = np.random.default_rng(seed)
    count = SIDE * SIDE
    cells = np.indices((SIDE, SIDE)).reshape(2, -1).T
    values = {
        column: rng.uniform(size=count).astype(np.float32)
        for column in (
            *("score", "attention", "attention_percentile", "pseudo_label"),
            *("probability", "re_attention", "familiarity"),
        )
    }
    candidate_rank = np.zeros(count, np.int32)
    for index, rank in (ranks or {}).items():
        candidate_rank[index] = rank
    return Prediction(
        slide_id=name,
        run=run,
        class_name="tumour",
        teacher_probability=0.9,
        student_probability=0.8,
        student_top_mean=0.7,
        threshold=0.5,
        encoder="texture",
        spec=TileSpec(128, 0.5),
        mpp=(0.5, 0.5),
        slide_shape=(256 * SIDE, 256 * SIDE),
        content_hash=f"hash-{name}",
        origins=(cells * 256).astype(np.int64),
        disagreement=rng.uniform(-1, 1, count).astype(np.float32),
        easy_positive=np.zeros(count, bool),
        candidate_rank=candidate_rank,
        **values,
    )


def kinds(queue: Queue) -> Counter[str]:
    return Counter(str(item.kind) for item in queue)


def test_candidates_come_by_rank_across_slides() -> None:
    a = prediction("a", ranks={30: 1, 10: 2, 20: 3})
    b = prediction("b", ranks={7: 2, 5: 1})
    queue = build_queue([a, b], audit_share=0, kinds=["candidate"])
    assert [(i.tile.slide_id, i.index, i.rank) for i in queue] == [
        ("a", 30, 1),
        ("b", 5, 1),
        ("a", 10, 2),
        ("b", 7, 2),
        ("a", 20, 3),
    ]
    assert queue.run == "run-1"
    assert queue[0].tile == ReviewTile("a", "hash-a", (256, 2560), (256, 256))
    assert queue[0].tile == ReviewTile.of(a, 30)


def test_disagreement_and_uncertainty_follow_the_strongest_first() -> None:
    slides = [prediction("a", ranks={3: 1}), prediction("b", seed=1)]
    queue = build_queue(slides, audit_share=0, per_slide=4)
    assert [i.kind for i in queue] == (
        [Kind.CANDIDATE] + [Kind.DISAGREEMENT] * 8 + [Kind.UNCERTAINTY] * 8
    )
    by_id = {slide.slide_id: slide for slide in slides}
    gaps = [abs(by_id[i.tile.slide_id].disagreement[i.index]) for i in queue[1:9]]
    assert gaps == sorted(gaps, reverse=True)
    top = np.sort(np.abs(slides[1].disagreement))[-4:]
    assert sorted(
        g for g, i in zip(gaps, queue[1:9], strict=True) if i.tile.slide_id == "b"
    ) == (pytest.approx(top))
    doubt = [abs(by_id[i.tile.slide_id].probability[i.index] - 0.5) for i in queue[9:]]
    assert doubt == sorted(doubt)
    assert max(doubt) < 0.02


def test_a_tile_is_asked_about_once_for_its_first_reason() -> None:
    slide = prediction("a", ranks={11: 1})
    slide.disagreement[11] = -1
    slide.probability[11] = 0.5
    renamed = replace(prediction("a-copy", ranks={1: 1}), content_hash="hash-a")
    for share in (0, 0.3):
        queue = build_queue([slide, renamed], audit_share=share, per_slide=300)
        tiles = [item.tile for item in queue]
        assert len(set(tiles)) == len(tiles)
        assert {item.tile.slide_id for item in queue} == {"a"}
        if not share:
            assert queue[0].index == 11
            assert queue[0].kind == Kind.CANDIDATE


def test_tiles_without_a_value_are_not_asked_about() -> None:
    slide = prediction("a")
    slide.disagreement[:] = 0
    slide.probability[:] = np.nan
    slide.probability[5] = 0.4
    queue = build_queue([slide], audit_share=0)
    assert [(i.index, i.kind) for i in queue] == [(5, Kind.UNCERTAINTY)]


def test_the_audit_share_is_kept_and_mixed_in() -> None:
    slides = [prediction(name, seed=k) for k, name in enumerate("abcde")]
    queue = build_queue(slides, audit_share=0.2, per_slide=40)
    assert kinds(queue)["audit"] / len(queue) == pytest.approx(0.2, abs=0.02)
    at = np.flatnonzero([item.kind == Kind.AUDIT for item in queue]) / len(queue)
    assert 0.4 < at.mean() < 0.6
    assert at.min() < 0.1
    assert at.max() > 0.9
    for item in queue:
        assert item.always_blind == (item.kind == Kind.AUDIT)
        assert item.kind.trains == (item.kind != Kind.AUDIT)


def test_every_tile_is_as_likely_to_be_audited() -> None:
    slide = prediction("a", ranks={index: index + 1 for index in range(100)})
    drawn: Counter[bool] = Counter()
    for seed in range(200):
        queue = build_queue(
            [slide], audit_share=0.5, seed=seed, kinds=["candidate"], per_slide=100
        )
        drawn.update(i.index < 100 for i in queue if i.kind == Kind.AUDIT)
    # A quarter of the tiles are candidates, and so is a quarter of the audit.
    assert drawn[True] / drawn.total() == pytest.approx(0.25, abs=0.015)


def test_limit_counts_audits_and_keeps_their_share() -> None:
    slides = [prediction(name, ranks={1: 1, 2: 2}) for name in "abc"]
    queue = build_queue(slides, audit_share=0.1, limit=50)
    assert len(queue) == 50
    assert kinds(queue)["audit"] == 5
    assert kinds(queue)["candidate"] + kinds(queue)["audit"] >= 6


def test_the_seed_decides() -> None:
    slides = [prediction(name, seed=k) for k, name in enumerate("ab")]
    queue = build_queue(slides, seed=3)
    assert build_queue(iter(slides), seed=3) == queue
    assert build_queue(slides, seed=4) != queue


def test_no_tiles_make_an_empty_queue() -> None:
    empty = prediction("a")
    columns = {
        name: getattr(empty, name)[:0]
        for name in ("origins", "probability", "disagreement", "candidate_rank")
    }
    assert len(build_queue([])) == 0
    assert len(build_queue([replace(empty, **columns)])) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"audit_share": 1.0}, "audit_share"),
        ({"audit_share": -0.1}, "audit_share"),
        ({"limit": 0}, "limit"),
        ({"per_slide": 0}, "per_slide"),
        ({"kinds": ["candidates"]}, "'candidates'"),
        ({"kinds": ["audit"]}, "'audit'"),
    ],
)
def test_settings_out_of_range_are_refused(
    settings: dict[str, float], message: str
) -> None:
    with pytest.raises(ReviewError, match=message):
        build_queue([prediction("a")], **settings)  # type: ignore[arg-type]


def test_predictions_of_two_runs_are_refused() -> None:
    with pytest.raises(ReviewError, match="run-1, run-2"):
        build_queue([prediction("a"), prediction("b", run="run-2")])


def test_a_queue_is_read_as_it_was_written(tmp_path: Path) -> None:
    queue = build_queue([prediction("ä", ranks={5: 1})], audit_share=0.25, seed=7)
    path = queue_path(tmp_path, "first look")
    assert path == tmp_path / "queues" / "first look.json"
    write_queue(path, queue)
    assert read_queue(path) == queue
    assert [p.name for p in path.parent.iterdir()] == ["first look.json"]
    write_queue(queue_path(tmp_path, "empty"), build_queue([]))
    assert len(read_queue(queue_path(tmp_path, "empty"))) == 0
    assert sorted(queue_names(tmp_path)) == ["empty", "first look"]


def test_a_file_that_is_no_queue_is_refused(tmp_path: Path) -> None:
    path = queue_path(tmp_path, "q")
    with pytest.raises(ReviewError, match=r"q\.json"):
        read_queue(path)
    write_queue(path, build_queue([prediction("a")]))
    for old, new in (('"kind": "dis', '"kind": "mis'), ('"items"', '"rows"')):
        path.with_name("bad.json").write_text(path.read_text().replace(old, new))
        with pytest.raises(ReviewError, match=r"bad\.json is not a review queue"):
            read_queue(path.with_name("bad.json"))
    path.write_text(path.read_text()[:-9])
    with pytest.raises(ReviewError, match="not a review queue"):
        read_queue(path)
    for name in ("../q", "", "a/b"):
        with pytest.raises(ReviewError, match="name of a queue"):
            queue_path(tmp_path, name)


def test_the_audit_measures_the_student_by_what_was_answered_blind(
    tmp_path: Path,
) -> None:
    shown = prediction("a")
    tiles = [ReviewTile.of(shown, k) for k in range(8)]
    sides = (Verdict.NEGATIVE, Verdict.POSITIVE)
    with ReviewStore(tmp_path, "a") as one, ReviewStore(tmp_path, "b") as other:
        for k in range(7):
            one.answer(tiles[k], sides[k % 2], kind=Kind.AUDIT, blind=True)
        other.answer(tiles[0], Verdict.POSITIVE, blind=True)  # a contradiction
        one.answer(tiles[1], Verdict.NEGATIVE, kind=Kind.AUDIT, blind=False)  # too late
        one.answer(tiles[7], Verdict.POSITIVE, kind=Kind.CANDIDATE, blind=True)
        said = audit_verdicts([one, other])
    assert audit(said, prediction("b")) == AuditResult()
    result = audit(said, shown) + AuditResult()
    called = shown.probability >= 0.5
    assert (result.positive, result.negative) == (3, 3)
    assert result.found == called[[1, 3, 5]].sum()
    assert result.false_alarms == called[[2, 4, 6]].sum()
    assert 0 < result.found + result.false_alarms < 6, "the test tells nothing apart"
