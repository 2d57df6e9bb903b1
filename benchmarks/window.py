"""How long a napari window stops answering while a slide is looked at.

    python benchmarks/window.py [--folder DIR] [--rounds 3] [--raw]

Needs a screen; without one: xvfb-run -a -s "-screen 0 1600x1000x24" python ... The
slides (0.9 GB, and 3.4 GB unless --no-memory) are made in DIR, a temporary folder if
not given. Every case is a process of its own (`window_case.py`) with napari's default
settings, and the cases take turns; a figure is the median of the rounds, and the best
of them in brackets.

- gap: time between two beats of a timer of 5 ms in the window's thread.
- steps: 5 steps of zoom, then 20 pans at full resolution. hand: 40 small steps of a
  drag, then the wheel from the whole slide to full resolution and back, in 70 steps.
- open: from asking until a frame is on the screen, for the first layer of a fresh
  napari (it imports much by then, whoever reads), and for another slide later.
- sharp: views of full resolution, jumped to, of which the middle shows the slide's own
  pixels 250 ms later.
- scroll: the table of the Cohort dock over 1,000 slides with pictures; a step is the
  time in which the table is moved and painted.
- first dock: from the menu of a napari that has nothing to do until it is painted.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from big_slide import SIDE, write_big_slide

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGE = 131_072
_CASE = Path(__file__).with_name("window_case.py")
_LIMIT_S = 240
_GAPS = ("p50", "p95", "p99", "longest", "over 50")
_ALLOWANCE_MB = 150
_TRIES = 4


@dataclass
class Case:
    """A window to watch.

    Parameters
    ----------
    name : str
    options : tuple of str
        Of `window_case.py`.
    package : str
        Whose version is named; what must be installed.
    suffix : str
        Of the slide's name, for readers that go by it.
    napari_async : bool
        Slice in napari's own thread.
    """

    name: str
    options: tuple[str, ...]
    package: str = "napari"
    suffix: str = ".tif"
    napari_async: bool = False
    found: list[dict[str, Any]] = field(default_factory=list)

    @property
    def missing(self) -> bool:
        """Whether what it needs is not installed."""
        try:
            importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return True
        return False

    def run(self, folder: Path, side: int, *options: str) -> dict[str, Any]:
        """Run the window in another process and return what it has measured."""
        slide = folder / f"big-{side}{self.suffix}"
        again = folder / f"again-{side}{self.suffix}"
        command = [sys.executable, str(_CASE), str(slide), str(again)]
        environment = {
            **os.environ,
            "NAPARI_ASYNC": str(int(self.napari_async)),
            "NAPARI_CONFIG": str(folder / "napari-settings.yaml"),
        }
        # Without compiled modules, what is measured is Python's compiler.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        try:
            done = subprocess.run(
                [*command, *self.options, *options],
                env=environment,
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
                check=False,
            )
            found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        except subprocess.TimeoutExpired:
            return {"failed": f"took more than {_LIMIT_S} s"}
        except (IndexError, ValueError):
            return {"failed": (done.stderr.strip().splitlines() or ["it crashed"])[-1]}
        return found


OURS = ("--reader", "napari-weno")
WSI = ("--reader", "napari-wsi")
FLOOR = Case("floor: array in memory", ("--reader", "floor"))
CASES = (
    FLOOR,
    Case("the same, with napari's scale bar", (*FLOOR.options, "--scale-bar")),
    Case("napari-wsi", WSI, "napari-wsi", ".svs"),
    Case("napari-wsi, napari's async on", WSI, "napari-wsi", ".svs", napari_async=True),
    Case("napari-weno", OURS, "napari-weno"),
    Case("napari-weno, every read + 50 ms", (*OURS, "--delay", "50"), "napari-weno"),
    Case("napari-weno, a fit in a thread", (*OURS, "--fit", "thread"), "torch"),
    Case("napari-weno, a fit in a child process", (*OURS, "--fit", "child"), "torch"),
    Case(
        "napari-weno, fit and prediction in threads",
        (*OURS, "--fit", "thread", "--predict", "thread"),
        "torch",
    ),
    Case(
        "napari-weno, fit in a child, prediction in a thread",
        (*OURS, "--fit", "child", "--predict", "thread"),
        "torch",
    ),
    Case(
        "napari-weno, fit and prediction in child processes",
        (*OURS, "--fit", "child", "--predict", "child"),
        "torch",
    ),
)
BUILTIN = Case(
    "napari's own reader", ("--reader", "napari", "--only-open", "--bounded")
)


def make_slides(folder: Path, side: int) -> None:
    """Write a slide under the names that the readers want, twice."""
    path = write_big_slide(folder / f"big-{side}.tif", side)
    for name in (f"big-{side}.svs", f"again-{side}.tif", f"again-{side}.svs"):
        if not (folder / name).exists():
            os.link(path, folder / name)
    with path.open("rb") as file:  # so that no case is the one that waits for the disk
        while file.read(2**24):
            pass


def measure(cases: Sequence[Case], folder: Path, rounds: int, others: float) -> None:
    """Let the cases take turns."""
    # As for whoever uses it daily: the question that comes with the first slide is
    # answered.
    answers = folder / "napari-weno.yaml"
    answers.write_text("slides:\n  offer_reader: false\n", encoding="utf-8")
    for case in cases:
        case.run(folder, SIDE, "--only-open")  # compiles modules, fills caches
    for k in range(rounds):
        for case in cases:
            found = _undisturbed(case, folder, others)
            case.found.append(found)
            told = found.get("failed") or (
                f"p99 {found['steps']['p99']:.0f} ms, "
                f"others had {found['others']:.2f} cores"
            )
            print(f"round {k + 1}, {case.name}: {told}", file=sys.stderr, flush=True)


def _undisturbed(case: Case, folder: Path, others: float) -> dict[str, Any]:
    """Run a case, again if others were busy; return the least disturbed run."""
    tries = []
    for _ in range(_TRIES):
        tries.append(case.run(folder, SIDE))
        if tries[-1].get("others", 0.0) <= others:
            break
    return min(tries, key=lambda found: found.get("others", np.inf))


def values(case: Case, *keys: str) -> list[float]:
    """Return a figure of all rounds that have it."""
    out = []
    for found in case.found:
        value: Any = found
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            out.append(float(value))
    return out


def figure(case: Case, *keys: str, best: Any = min, form: str = ".0f") -> str:
    """Return the median of the rounds and the best of them."""
    some = values(case, *keys)
    if not some:
        return "-"
    middle = format(float(np.median(some)), form)
    return f"{middle} ({format(best(some), form)})" if len(some) > 1 else middle


def gap_table(cases: Sequence[Case], script: str) -> Iterator[str]:
    """Yield a table of the gaps; the last columns are against the floor."""
    yield (
        f"| {script}, ms | p50 | p95 | p99 | longest | sum of gaps > 50 | p99 : floor "
        "| longest - floor |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    floor = {key: np.median(values(FLOOR, script, key) or np.nan) for key in _GAPS}
    for case in cases:
        cells = [figure(case, script, key) for key in _GAPS]
        ratio = np.median(values(case, script, "p99") or np.nan) / floor["p99"]
        more = np.median(values(case, script, "longest") or np.nan) - floor["longest"]
        yield f"| {case.name} | {' | '.join(cells)} | {ratio:.2f} | {more:+.0f} |"


def open_table(cases: Sequence[Case]) -> Iterator[str]:
    """Yield a table of what it takes to open a slide, and of what is sharp in time."""
    yield "| | first layer, ms | later, ms | sharp in 250 ms |"
    yield "|---|---|---|---|"
    for case in cases:
        yield (
            f"| {case.name} | {figure(case, 'cold', 'ms')} "
            f"| {figure(case, 'warm', 'ms')} "
            f"| {figure(case, 'sharp', best=max, form='.0%')} |"
        )


def memory_table(folder: Path) -> Iterator[str]:
    """Yield what panning over a very large slide takes, beside what it may take."""
    from weno.slides import screen_cache

    make_slides(folder, LARGE)
    found = Case("memory", (*OURS, "--memory")).run(folder, LARGE)
    yield ""
    if "memory" not in found:
        yield f"Memory: {found['failed']}"
        return
    limit = screen_cache().limit / 2**20 + _ALLOWANCE_MB
    yield f"| {LARGE:,} px | {' | '.join(found['memory'])} | allowed |"
    yield f"|---|{'---|' * (len(found['memory']) + 1)}"
    taken = " | ".join(f"{value:,.0f}" for value in found["memory"].values())
    yield f"| MB since before the slide was opened | {taken} | {limit:,.0f} |"


def cohort_table(folder: Path) -> Iterator[str]:
    """Yield what scrolling the Cohort dock over 1,000 slides with pictures takes."""
    command = [sys.executable, str(_CASE.with_name("window_cohort.py")), str(folder)]
    environment = {
        **os.environ,
        "NAPARI_CONFIG": str(folder / "napari-settings.yaml"),
        "XDG_CONFIG_HOME": str(folder),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    yield ""
    try:
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        yield f"Cohort: {(done.stderr.strip().splitlines() or ['it crashed'])[-1]}"
        return
    yield f"| scroll {found['rows']:,} slides, ms | p50 | p95 | p99 | longest |"
    yield "|---|---|---|---|---|"
    for name, told in (("down", "down, row by row"), ("up", "up, page by page")):
        cells = [f"{found[name][key]:.0f}" for key in ("p50", "p95", "p99", "longest")]
        yield f"| gaps: {told} | {' | '.join(cells)} |"
    for name, told in (("step", "a step"), ("own", "a step, time of the processor")):
        cells = [f"{found[name][key]:.1f}" for key in ("p50", "p95", "p99", "longest")]
        yield f"| {told} | {' | '.join(cells)} |"
    yield ""
    yield f"{found['pictures']:,} pictures read; others had {found['others']:.2f} cores"


def dock_table(folder: Path, rounds: int) -> Iterator[str]:
    """Yield what opening a dock as the first one of a fresh napari takes."""
    environment = {
        **os.environ,
        "NAPARI_CONFIG": str(folder / "napari-settings.yaml"),
        "XDG_CONFIG_HOME": str(folder),
    }
    # Without compiled modules, what is measured is Python's compiler.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    script = str(_CASE.with_name("window_dock.py"))
    yield "| first dock, ms | until painted | time of the processor | others, cores |"
    yield "|---|---|---|---|"
    for name in ("Slide", "Cohort", "Train", "Explain", "Review"):
        found = []
        for _ in range(rounds + 1):  # the first one compiles
            done = subprocess.run(
                [sys.executable, script, name],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            found.append(json.loads(done.stdout.strip().splitlines()[-1]))
        cells = [np.median([f[key] for f in found[1:]]) for key in ("ms", "own")]
        busy = np.median([f["others"] for f in found[1:]])
        yield f"| {name} | {cells[0]:.0f} | {cells[1]:.0f} | {busy:.1f} |"


def versions() -> str:
    """Name what is measured."""
    named = []
    for package in ("napari", "vispy", "PyQt6", "napari-wsi", "openslide-bin", "torch"):
        try:
            named.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            named.append(f"{package} not installed: pip install {package}")
    python = platform.python_version()
    return f"Python {python}, {os.cpu_count()} cores; {', '.join(named)}"


def report(cases: Sequence[Case], folder: Path, arguments: argparse.Namespace) -> None:
    """Measure and print."""
    make_slides(folder, SIDE)
    measure(cases, folder, arguments.rounds, arguments.others)
    busy = np.mean([value for case in cases for value in values(case, "others")])
    lines = [f"{versions()}; others had {busy:.2f} cores", ""]
    for script in ("steps", "hand"):
        lines += [*gap_table(cases, script), ""]
    lines += open_table(cases)
    if not arguments.no_memory:
        lines += memory_table(folder)
    lines += [*cohort_table(folder), "", *dock_table(folder, arguments.rounds)]
    builtin = BUILTIN.run(folder, SIDE)
    told = builtin.get("failed") or f"opens in {builtin['cold']['ms']:.0f} ms"
    print("\n".join([*lines, "", f"napari's own reader: {told}"]))
    if arguments.raw:
        for case in cases:
            print(case.name, json.dumps(case.found))


def main() -> None:
    """Make the slides and print the tables."""
    parser = argparse.ArgumentParser(description="Gaps of a window that shows a slide.")
    parser.add_argument("--folder", type=Path, help="where the slides are kept")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--others",
        type=float,
        default=0.3,
        help="cores that other programs may use; a run with more is made again",
    )
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--cohort", action="store_true", help="only the Cohort dock")
    parser.add_argument("--docks", action="store_true", help="only opening docks")
    parser.add_argument("--raw", action="store_true", help="print every round")
    arguments = parser.parse_args()
    cases = [
        case
        for case in CASES
        if not case.missing and (case is FLOOR or arguments.only in case.name)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.docks:
            print("\n".join([versions(), *dock_table(folder, arguments.rounds)]))
        elif arguments.cohort:
            print("\n".join([versions(), *cohort_table(folder)]))
        else:
            report(cases, folder, arguments)


if __name__ == "__main__":
    main()
