from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from weno.errors import ReviewError
from weno.review import (
    Kind,
    ReviewLog,
    ReviewStore,
    ReviewTile,
    Verdict,
    read_verdicts,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def tile(number: int, *, slide_id: str = "slide-1") -> ReviewTile:
    return ReviewTile(slide_id, "hash-1", (0, 256 * number), (256, 256))


def answer(store: ReviewStore, number: int, verdict: str = "positive") -> None:
    store.answer(tile(number), Verdict(verdict), run="run-1", blind=True)


def numbers(log: ReviewLog) -> dict[int, str]:
    return {t.origin[1] // 256: str(v) for t, v in log.verdicts().items()}


def test_an_answer_is_on_disk_when_the_call_returns(tmp_path: Path) -> None:
    with ReviewStore(tmp_path / "review", "alice") as store:
        event = store.answer(
            tile(3),
            Verdict.UNSURE,
            run="run-1",
            kind=Kind.AUDIT,
            blind=True,
            shown=["slide", "tissue"],
        )
        (line,) = (tmp_path / "review/alice.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert datetime.now(UTC) - datetime.fromisoformat(record.pop("time")) < timedelta(
        minutes=1
    )
    assert record == {
        "action": "answer",
        "slide_id": "slide-1",
        "content_hash": "hash-1",
        "origin": [0, 768],
        "size": [256, 256],
        "verdict": "unsure",
        "reviewer": "alice",
        "run": "run-1",
        "kind": "audit",
        "trains": False,
        "blind": True,
        "shown": ["slide", "tissue"],
    }
    assert read_verdicts(tmp_path / "review")["alice"].events == (event,)


def test_every_answer_is_flushed_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    sync = os.fsync

    def fsync(number: int) -> None:
        sync(number)
        synced.append(os.fstat(number).st_size)

    with ReviewStore(tmp_path, "alice") as store:
        monkeypatch.setattr(os, "fsync", fsync)
        for number in range(3):
            answer(store, number)
            assert synced[-1] == store.path.stat().st_size
    assert len(synced) == 3


def test_a_new_answer_replaces_the_old_and_undo_brings_it_back(tmp_path: Path) -> None:
    with ReviewStore(tmp_path, "alice") as store:
        assert store.to_undo is None
        assert store.undo() is None
        answer(store, 1, "positive")
        answer(store, 2, "negative")
        answer(store, 1, "negative")
        assert numbers(store) == {1: "negative", 2: "negative"}
        assert [e.verdict for e in store.history(tile(1))] == ["positive", "negative"]

        undone = store.undo()
        assert undone is not None
        assert (undone.action, undone.tile, undone.verdict) == (
            "undo",
            tile(1),
            "negative",
        )
        assert numbers(store) == {1: "positive", 2: "negative"}
        store.undo()
        assert store.verdict(tile(2)) is None
        store.undo()
        assert store.to_undo is None
        assert numbers(store) == {}
        assert len(store.events) == 6


def test_undo_and_redo_go_on_after_a_restart(tmp_path: Path) -> None:
    with ReviewStore(tmp_path, "alice") as store:
        for number in range(4):
            answer(store, number)
        store.undo()
        store.undo()
    with ReviewStore(tmp_path, "alice") as store:
        assert numbers(store) == {0: "positive", 1: "positive"}
        assert store.to_redo is not None
        redone = store.redo()
        assert redone is not None
        assert redone.tile == tile(2)
    with ReviewStore(tmp_path, "alice") as store:
        assert sorted(numbers(store)) == [0, 1, 2]
        answer(store, 9, "negative")
        assert store.to_redo is None
        assert store.redo() is None
    assert sorted(numbers(ReviewLog.read(tmp_path / "alice.jsonl"))) == [0, 1, 2, 9]


def test_same_answer_twice_takes_two_undos(tmp_path: Path) -> None:
    with ReviewStore(tmp_path, "alice") as store:
        for verdict in ("positive", "negative", "positive"):
            answer(store, 1, verdict)
        store.undo()
        assert store.verdict(tile(1)) == Verdict.NEGATIVE


def test_what_is_read_back_equals_what_was_written(tmp_path: Path) -> None:
    with ReviewStore(tmp_path, "Zoë O'Hara") as store:
        for number in range(5):
            answer(store, number, "skip")
        store.undo()
        written = store.events
    log = read_verdicts(tmp_path)["Zoë O'Hara"]
    assert log.events == written
    assert log.verdicts() == store.verdicts()


def test_a_tile_is_the_same_when_its_slide_is_renamed(tmp_path: Path) -> None:
    with ReviewStore(tmp_path, "alice") as store:
        answer(store, 1)
        assert store.verdict(tile(1, slide_id="other")) == Verdict.POSITIVE
        larger = ReviewTile("slide-1", "hash-1", tile(1).origin, (512, 512))
        assert store.verdict(larger) is None
        assert store.answers("hash-1").keys() == {tile(1)}
        assert store.answers("hash-2") == {}


CHILD = """
import sys
from pathlib import Path
from weno.review import ReviewStore, ReviewTile, Verdict

store = ReviewStore(Path(sys.argv[1]), "alice")
print("open", flush=True)
for k in range(100_000):
    tile = ReviewTile("slide-1", "hash-1", (0, 256 * k), (256, 256))
    store.answer(tile, Verdict.POSITIVE, blind=True)
    print(k, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_nothing_reported_is_lost_by_a_kill(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        reported = []
        for line in child.stdout:
            reported.append(line.strip())
            if line.strip() == "200":
                child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    saved = {str(number) for number in numbers(read_verdicts(tmp_path)["alice"])}
    assert saved >= set(reported) - {"open"}
    assert len(saved) - (len(reported) - 1) in (0, 1)  # on disk, not yet told

    # The dead writer's lock does not keep the next one out.
    with ReviewStore(tmp_path, "alice") as store:
        answer(store, 200_000)
    assert len(numbers(read_verdicts(tmp_path)["alice"])) == len(saved) + 1


def test_another_process_cannot_write_the_same_file(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        try:
            with pytest.raises(ReviewError, match="another window or person"):
                ReviewStore(tmp_path, "alice")
            with ReviewStore(tmp_path, "bob") as store:
                answer(store, 1)
        finally:
            child.kill()
            child.stdout.read()


def test_another_store_cannot_write_until_the_first_is_closed(tmp_path: Path) -> None:
    with ReviewStore(tmp_path, "alice") as first:
        answer(first, 1)
        with pytest.raises(ReviewError, match=r"alice\.jsonl.*another window"):
            ReviewStore(tmp_path, "alice")
        answer(first, 2)
    with ReviewStore(tmp_path, "alice") as second:
        assert sorted(numbers(second)) == [1, 2]
    with pytest.raises(ReviewError, match="closed"):
        answer(first, 3)
    assert first.verdict(tile(2)) == Verdict.POSITIVE


@pytest.mark.parametrize("cut", [1, 5, 40, -1])
def test_a_line_cut_short_is_dropped_and_mended(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "alice.jsonl"
    with ReviewStore(tmp_path, "alice") as store:
        answer(store, 1)
        whole = path.read_bytes()
        answer(store, 2)
    last = path.read_bytes()[len(whole) :].rstrip(b"\n")
    path.write_bytes(whole + last[:cut])

    assert numbers(read_verdicts(tmp_path)["alice"]) == {1: "positive"}
    with ReviewStore(tmp_path, "alice") as store:
        assert path.read_bytes() == whole + last[:cut]
        answer(store, 3)
        answer(store, 4)
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["origin"][1] // 256 for line in lines] == [1, 3, 4]


def test_a_last_line_without_its_line_break_counts(tmp_path: Path) -> None:
    path = tmp_path / "alice.jsonl"
    with ReviewStore(tmp_path, "alice") as store:
        answer(store, 1)
        answer(store, 2)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    with ReviewStore(tmp_path, "alice") as store:
        assert sorted(numbers(store)) == [1, 2]
        answer(store, 3)
    assert sorted(numbers(read_verdicts(tmp_path)["alice"])) == [1, 2, 3]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda line: line[: len(line) // 2], id="half a line"),
        pytest.param(lambda line: line.replace(b"positive", b"perhaps"), id="verdict"),
        pytest.param(lambda line: line.replace(b"answer", b"undo"), id="lone undo"),
        pytest.param(lambda line: line.replace(b"origin", b"centre"), id="no origin"),
        pytest.param(
            lambda line: line.replace(b'blind": true', b'blind": 1'), id="blind"
        ),
        pytest.param(lambda line: b"[1, 2]", id="no object"),
        pytest.param(lambda line: b"\xff\xfe\x00", id="no text"),
    ],
)
def test_damage_inside_a_file_is_an_error_with_its_place(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "alice.jsonl"
    with ReviewStore(tmp_path, "alice") as store:
        for number in range(4):
            answer(store, number)
    lines = path.read_bytes().splitlines()
    lines[2] = damage(lines[2])
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(ReviewError, match=r"alice\.jsonl, line 3"):
        read_verdicts(tmp_path)
    before = path.read_bytes()
    for _ in range(2):  # the refused file is not left locked
        with pytest.raises(ReviewError, match=r"alice\.jsonl, line 3"):
            ReviewStore(tmp_path, "alice")
    assert path.read_bytes() == before


def test_an_unknown_action_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "alice.jsonl"
    with ReviewStore(tmp_path, "alice") as store:
        answer(store, 1)
        store.undo()
        store.redo()
    path.write_text(path.read_text().replace('"redo"', '"vote"'))
    with pytest.raises(ReviewError, match=r"line 3.*'vote'"):
        read_verdicts(tmp_path)


def test_keys_of_later_versions_and_empty_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "alice.jsonl"
    with ReviewStore(tmp_path, "alice") as store:
        answer(store, 1)
    text = path.read_text().replace('"run"', '"note": "new", "run"')
    path.write_text(f"{text}\n{text}\r\n")
    assert len(read_verdicts(tmp_path)["alice"].events) == 2


def test_a_file_changed_by_others_is_not_written(tmp_path: Path) -> None:
    path, copy = tmp_path / "alice.jsonl", tmp_path / "copy"
    with ReviewStore(tmp_path, "alice") as store:
        answer(store, 1)
        with path.open("a") as file:
            file.write(path.read_text())
        with pytest.raises(ReviewError, match="changed or replaced"):
            answer(store, 2)
        assert numbers(store) == {1: "positive"}
    assert len(path.read_text().splitlines()) == 2

    if sys.platform != "win32":  # where an open file cannot be replaced
        with ReviewStore(tmp_path, "alice") as store:
            shutil.copy(path, copy)
            copy.replace(path)
            with pytest.raises(ReviewError, match="changed or replaced"):
                answer(store, 2)
            path.unlink()
            with pytest.raises(ReviewError, match="changed or replaced"):
                answer(store, 2)


def test_a_full_disk_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with ReviewStore(tmp_path, "alice") as store:
        answer(store, 1)
        before = store.path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(ReviewError, match=r"not saved.*No space"):
                answer(store, 2)
        assert store.path.read_bytes() == before
        assert numbers(store) == {1: "positive"}
        answer(store, 3)
    assert sorted(numbers(read_verdicts(tmp_path)["alice"])) == [1, 3]


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", ".alice", "a/b", "../alice", "a\\b", "/alice", "C:alice"),
        *("a\0b", "a\nb", "alice.", "alice ", "NUL", "con.txt", "*"),
        *("x" * 121, "é" * 61),
    ],
)
def test_a_name_that_could_leave_the_folder_is_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ReviewError, match="cannot be the name of a reviewer"):
        ReviewStore(tmp_path / "review", name)
    assert list(tmp_path.rglob("*")) == []


def test_names_that_differ_by_case_only_are_refused(tmp_path: Path) -> None:
    with ReviewStore(tmp_path, "Alice") as store:
        answer(store, 1)
    with pytest.raises(ReviewError, match="'Alice'"):
        ReviewStore(tmp_path, "alice")


def test_a_composed_and_a_decomposed_name_are_one(tmp_path: Path) -> None:
    with ReviewStore(tmp_path, "Zoe\u0308") as store:
        answer(store, 1)
    assert list(read_verdicts(tmp_path)) == ["Zo\u00eb"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "review").write_text("a file")
    with pytest.raises(ReviewError, match="cannot be written"):
        ReviewStore(tmp_path / "review", "alice")


def test_all_reviewers_are_read(tmp_path: Path) -> None:
    assert read_verdicts(tmp_path / "review") == {}
    for name in ("bob", "alice"):
        with ReviewStore(tmp_path, name) as store:
            answer(store, len(name))
    (tmp_path / "._alice.jsonl").write_bytes(b"left by another system")
    (tmp_path / "queues").mkdir()
    logs = read_verdicts(tmp_path)
    assert list(logs) == ["alice", "bob"]
    assert numbers(logs["bob"]) == {3: "positive"}
    assert logs["bob"].reviewer == "bob"


def test_files_merged_from_two_computers_are_read(tmp_path: Path) -> None:
    with ReviewStore(tmp_path, "alice") as store:
        answer(store, 1)
        common = store.path.read_bytes()
        store.undo()
        here = store.path.read_bytes()[len(common) :]
    with ReviewStore(tmp_path / "there", "alice") as store:
        store.path.write_bytes(b"")
        answer(store, 2, "negative")
        there = store.path.read_bytes()
    (tmp_path / "alice.jsonl").write_bytes(common + there + here)
    assert numbers(read_verdicts(tmp_path)["alice"]) == {2: "negative"}
