from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from review_files import SLIDES, ask_of_three

from napari_weno.key_editor import KeyHelp
from napari_weno.review_jobs import collect_queue, export_csv, export_geojson
from napari_weno.review_keys import KEYS, help_lines
from napari_weno.review_round import ReviewRound, values_text
from weno.errors import ProjectError, ReviewError
from weno.prediction import Prediction
from weno.project import Project
from weno.review import (
    Kind,
    Queue,
    ReviewStore,
    ReviewTile,
    Verdict,
    queue_path,
    write_queue,
)


def build(project: Project, limit: int = 6, audit_share: float = 0.0) -> Queue:
    job = collect_queue(project, "demo", SLIDES, limit=limit, audit_share=audit_share)
    try:
        while True:
            next(job)
    except StopIteration as end:
        return end.value


@pytest.fixture
def a_round(predicted: Project) -> Iterator[ReviewRound]:
    with ReviewStore(predicted.review_dir, "ada") as store:
        yield ReviewRound(build(predicted), store, {})


def test_a_round_goes_from_tile_to_tile(a_round: ReviewRound) -> None:
    first = a_round.item
    a_round.answer(Verdict.POSITIVE, ())
    assert a_round.position == 1
    assert a_round.item != first
    assert a_round.progress(("normal", "tumour")) == "1 of 6 · 1 tumour"
    assert a_round.verdicts_on(first.tile.content_hash) == {first.index: "positive"}


def test_a_new_round_goes_on_where_the_last_one_stood(
    predicted: Project, a_round: ReviewRound
) -> None:
    a_round.answer(Verdict.POSITIVE, ())
    a_round.answer(Verdict.SKIP, ())
    again = ReviewRound(a_round.queue, a_round.store, {})
    assert again.position == 2
    assert [event.verdict for event in again.recent(5)] == ["skip", "positive"]


def test_tiles_that_were_skipped_come_again_when_no_other_is_left(
    a_round: ReviewRound,
) -> None:
    for skipped in (True, False, False, True, False, False):
        a_round.answer(Verdict.SKIP if skipped else Verdict.NEGATIVE, ())
    first, second = a_round.queue[0], a_round.queue[3]
    assert a_round.item == first
    assert a_round.hides(blind=True)
    assert a_round.finished
    assert a_round.end_text.startswith("4 of 6 tiles are answered; those skip")
    a_round.answer(Verdict.SKIP, ())
    assert a_round.item == second
    a_round.answer(Verdict.POSITIVE, ())
    assert a_round.item == first
    assert ReviewRound(a_round.queue, a_round.store, {}).item == first
    a_round.answer(Verdict.POSITIVE, ())
    assert a_round.end_text.startswith("All 6 tiles are answered")


def test_undo_goes_back_to_the_tile_and_redo_restores(a_round: ReviewRound) -> None:
    first = a_round.item.tile
    a_round.answer(Verdict.POSITIVE, ())
    a_round.move(3)
    a_round.undo()
    assert a_round.item.tile == first
    assert a_round.verdict is None
    assert a_round.recent(5) == []
    a_round.redo()
    assert a_round.verdict == Verdict.POSITIVE
    assert [event.tile for event in a_round.recent(5)] == [first]


def test_undo_leaves_the_answers_of_another_queue_alone(
    predicted: Project, a_round: ReviewRound
) -> None:
    a_round.answer(Verdict.POSITIVE, ())
    queue = build(predicted, limit=12)
    taken = {item.tile for item in a_round.queue}
    items = tuple(item for item in queue if item.tile not in taken)
    other = ReviewRound(replace(queue, items=items), a_round.store, {})
    last = other.item.tile
    other.answer(Verdict.NEGATIVE, ())
    with pytest.raises(ReviewError, match="another queue"):
        a_round.undo()
    assert a_round.store.verdict(last) == Verdict.NEGATIVE
    other.undo()
    with pytest.raises(ReviewError, match="another queue"):
        a_round.redo()
    assert a_round.undo().verdict == Verdict.POSITIVE
    assert a_round.undo() is None


def test_the_queue_of_a_run_is_saved_under_any_name_a_run_may_have(
    predicted: Project,
) -> None:
    run = predicted.run_dir("base (2)").name
    path = queue_path(predicted.review_dir, run)
    write_queue(path, build(predicted))
    assert path.name == "base (2).json"


def test_moving_stops_at_the_ends(a_round: ReviewRound) -> None:
    a_round.move(-1)
    assert a_round.position == 0
    a_round.move(100)
    assert a_round.position == 5


@pytest.mark.parametrize(
    ("first", "shown", "blind_again"),
    [
        pytest.param(Verdict.SKIP, (), True, id="skipped-unseen"),
        pytest.param(Verdict.POSITIVE, (), False, id="values-shown-after-answer"),
        pytest.param(Verdict.SKIP, ("values",), False, id="values-on-screen"),
    ],
)
def test_an_answer_is_blind_only_if_nothing_was_seen(
    a_round: ReviewRound, first: Verdict, shown: tuple[str, ...], blind_again: bool
) -> None:
    event = a_round.answer(first, shown)
    assert event.blind == (not shown)
    assert event.shown == shown
    a_round.undo()
    assert a_round.answer(Verdict.NEGATIVE, ()).blind == blind_again


def test_what_was_seen_is_known_in_the_next_round(a_round: ReviewRound) -> None:
    a_round.answer(Verdict.POSITIVE, ())
    again = ReviewRound(a_round.queue, a_round.store, {})
    again.move(-10)
    assert not again.answer(Verdict.NEGATIVE, ()).blind


def test_audit_tiles_hide_values_in_open_work_too(predicted: Project) -> None:
    queue = build(predicted, limit=10, audit_share=0.5)
    with ReviewStore(predicted.review_dir, "ada") as store:
        current = ReviewRound(queue, store, {})
        hidden = []
        for position in range(len(queue)):
            current.position = position
            hidden.append(current.hides(blind=False))
        kinds = [item.kind is Kind.AUDIT for item in queue]
        assert hidden == kinds
        assert True in hidden
        assert False in hidden


def test_overlays_wait_until_the_slide_is_done(a_round: ReviewRound) -> None:
    for _ in range(len(a_round.queue) - 1):
        a_round.answer(Verdict.NEGATIVE, ())
    other = next(
        k
        for k, item in enumerate(a_round.queue)
        if item.tile.content_hash == a_round.item.tile.content_hash
    )
    last, a_round.position = a_round.position, other
    assert not a_round.hides(blind=True)
    assert a_round.hides_overlays(blind=True)
    assert not a_round.hides_overlays(blind=False)
    a_round.position = last
    a_round.answer(Verdict.NEGATIVE, ())
    assert a_round.finished
    assert not a_round.hides_overlays(blind=True)


def test_others_answers_are_told_but_not_their_skips(
    predicted: Project, a_round: ReviewRound
) -> None:
    tile = a_round.item.tile
    with ReviewStore(predicted.review_dir, "bob") as bob:
        bob.answer(tile, Verdict.NEGATIVE, blind=True)
    with ReviewStore(predicted.review_dir, "eve") as eve:
        eve.answer(tile, Verdict.SKIP, blind=True)
    current = ReviewRound(a_round.queue, a_round.store, {"bob": bob, "eve": eve})
    assert current.others_on(tile) == {"bob": Verdict.NEGATIVE}


def test_values_are_said_in_words(
    predicted: Project, predict_by_hand: Callable[..., Prediction]
) -> None:
    with predicted.open_slide(SLIDES[0]) as slide:
        prediction = predict_by_hand(slide, predicted.spec)
    last = len(prediction) - 1
    assert values_text(prediction, last) == (
        "P(tumour) 0.00 · attention above all other tiles · "
        "disagreement +1.00 · candidate 1"
    )
    assert "attention above 0 % of tiles" in values_text(prediction, 0)
    assert "candidate" not in values_text(prediction, 0)


def test_exports_hold_all_answers(predicted: Project, a_round: ReviewRound) -> None:
    for verdict in (Verdict.POSITIVE, Verdict.NEGATIVE):
        a_round.answer(verdict, ())
    for job in (export_csv, export_geojson):
        for _ in job(predicted, "demo"):
            pass
    folder = predicted.review_dir / "exports"
    rows = (folder / "verdicts.csv").read_text().splitlines()
    assert len(rows) == 3
    exported = [json.loads(p.read_text()) for p in folder.glob("*.geojson")]
    names = {
        feature["properties"]["classification"]["name"]
        for collection in exported
        for feature in collection["features"]
    }
    assert names == {"tumour", "normal"}


def test_exports_of_several_classes_name_the_class_of_the_run(
    predicted: Project,
) -> None:
    project = ask_of_three(predicted)
    tile = build(project)[0].tile
    with ReviewStore(project.review_dir, "eve") as store:
        store.answer(tile, Verdict.POSITIVE, run="demo", blind=True)
        store.answer(tile, Verdict.NEGATIVE, run="other", blind=True)
    for job in (export_csv, export_geojson):
        for _ in job(project, "demo"):
            pass
    folder = project.review_dir / "exports"
    assert len((folder / "verdicts.csv").read_text().splitlines()) == 3
    (path,) = folder.glob("*.geojson")
    (feature,) = json.loads(path.read_text())["features"]
    assert feature["properties"]["classification"]["name"] == "tumour"


def exported_names(project: Project, *tiles: ReviewTile) -> list[str]:
    """Export verdicts that somebody has given on tiles; return the files' names."""
    with ReviewStore(project.review_dir, "eve") as store:
        for tile in tiles:
            store.answer(
                tile,
                Verdict.POSITIVE,
                run="demo",
                kind=Kind.CANDIDATE,
                blind=False,
                shown=(),
            )
    for _ in export_geojson(project, ""):
        pass
    return sorted(path.name for path in project.root.parent.rglob("*.geojson"))


def test_slides_of_one_id_are_exported_apart(predicted: Project) -> None:
    tile = build(predicted)[0].tile
    twin = replace(tile, content_hash="0123456789abcdef")
    assert exported_names(predicted, tile, twin) == sorted(
        f"{tile.slide_id}-{one.content_hash[:8]}.geojson" for one in (tile, twin)
    )


def test_an_export_stays_in_its_folder(predicted: Project) -> None:
    tile = replace(build(predicted)[0].tile, slide_id="../../evil")
    with pytest.raises(ProjectError, match="evil"):
        exported_names(predicted, tile)
    assert not list(predicted.root.parent.rglob("*.geojson"))


def test_the_help_has_every_key_and_the_classes_own_names() -> None:
    lines = help_lines(("normal", "tumour"))
    assert len(lines) == len(KEYS)
    assert ("P", "tumour") in lines
    assert ("N", "normal") in lines
    assert len({key.keys for key in KEYS}) == len(KEYS)


def test_the_help_shows_a_class_name_as_it_is_written(qtbot) -> None:
    shown = KeyHelp()
    qtbot.addWidget(shown)
    shown.show_keys(KEYS, ("G<3", "G>=3"))
    assert "<td>G&lt;3</td>" in shown.help.text().replace("&nbsp;", "")
