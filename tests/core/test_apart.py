"""A process of its own: what it says, how it fails, that it never outlives its use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from weno.apart import BEAT_S, KILL_S, Apart
from weno.errors import RunError, WenoError

WAIT_S = 60
ENDED_S = 2  # what a window may have to wait for a job of its own

# A job that is stuck, in a driver or on a share that is gone: it hears nothing. No
# test waits for it; the child is ended in the middle.
STUCK = "time.sleep(600)"

CHILD = """
import itertools, os, time
from pathlib import Path
from weno.apart import serve
from weno.errors import RunError, SlideError

def task(request, newest):
    print("not a message")
    try:
{body}
    finally:
        if "left" in request:
            Path(request["left"]).touch()

serve(task)
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Apart]:
    """Start a child whose task has the body given."""

    def started(body: str, **request: Any) -> Apart:
        lines = "".join(f"        {line}\n" for line in body.splitlines())
        (tmp_path / "a_child.py").write_text(CHILD.format(body=lines))
        path = os.pathsep.join([str(tmp_path), *sys.path])
        monkeypatch.setenv("PYTHONPATH", path)
        return Apart("a_child", request)

    return started


def said(child: Apart) -> list[dict[str, Any]]:
    return [message for message in child.messages() if message is not None]


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_what_the_child_yields_arrives_in_order(start) -> None:
    with start("yield request\nyield {'n': 2}", number=1) as child:
        assert said(child) == [{"number": 1}, {"n": 2}]
    assert is_gone(child.pid)


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        pytest.param("raise RunError('diverged')", RunError, "diverged", id="ours"),
        pytest.param(
            "raise SlideError('a.svs', 'cut')", WenoError, "a.svs: cut", id="of parts"
        ),
        pytest.param("raise OSError('no room')", OSError, "no room", id="system"),
        pytest.param("1 / 0", RuntimeError, "ZeroDivisionError", id="unforeseen"),
        pytest.param(
            "import sys; print('bad driver', file=sys.stderr); os._exit(3)",
            RunError,
            r"(?s)exit code 3.*bad driver",
            id="died",
        ),
    ],
)
def test_what_goes_wrong_in_the_child_is_raised_here(
    start, body: str, kind: type[Exception], text: str
) -> None:
    with (
        start(f"yield {{}}\n{body}") as child,
        pytest.raises(kind, match=text),
    ):
        said(child)
    assert is_gone(child.pid)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_child_is_told_of_with_what_is_safe(start) -> None:
    with start(f"yield {{}}\n{STUCK}") as child:
        messages = child.messages()
        assert next(m for m in messages if m is not None) == {}
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(RunError, match=r"signal 9.*is on disk"):
            list(messages)


def test_a_child_that_is_silent_lets_its_parent_leave(start, tmp_path: Path) -> None:
    left = tmp_path / "left"
    # It reports now and then; without a pause it would only fill the pipe.
    body = "for k in itertools.count():\n    time.sleep(0.05)\n    yield {}"
    with start(body, left=str(left)) as child:
        assert next(m for m in child.messages() if m is not None) == {}
    assert is_gone(child.pid)
    # It was closed where it stood, not shot.
    assert left.exists()
    with start(f"{STUCK}\nyield {{}}", left=str(left)) as child:
        assert next(child.messages()) is None
    assert is_gone(child.pid)


@pytest.mark.parametrize(
    "stopped",
    [
        pytest.param(False, id="stuck in its job"),
        pytest.param(
            True,
            id="stuck as a whole",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP"),
        ),
    ],
)
def test_a_child_that_is_stuck_is_not_waited_for(start, *, stopped: bool) -> None:
    child = start(f"yield {{}}\n{STUCK}")
    assert next(m for m in child.messages() if m is not None) == {}
    if stopped:  # then it cannot even end itself
        psutil.Process(child.pid).suspend()
    child.close()
    assert is_gone(child.pid)


def test_all_that_a_window_may_have_to_wait_adds_up_to_less_than_it_may() -> None:
    assert BEAT_S + KILL_S < ENDED_S


def test_the_child_hears_what_its_parent_says_later(start) -> None:
    # The task can only look: what its parent says comes in another thread.
    body = "while not newest(): time.sleep(0.01)\nyield newest()"
    with start(body) as child:
        child.send({"show": "slide"})
        assert said(child) == [{"show": "slide"}]


def test_the_child_dies_with_its_parent(start, tmp_path: Path) -> None:
    with start("yield {}"):
        pass  # only writes the module
    program = (
        "import os\nfrom weno.apart import Apart\n"
        "child = Apart('a_child', {})\n"
        "next(m for m in child.messages() if m is not None)\n"
        "print(child.pid, flush=True)\nos._exit(1)\n"
    )
    (tmp_path / "a_child.py").write_text(
        CHILD.format(body=f"        yield {{}}\n        {STUCK}\n")
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    child = int(done.stdout)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(WAIT_S)
    assert is_gone(child)
