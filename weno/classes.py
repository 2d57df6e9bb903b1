"""Several classes, one question at a time: one class against all others."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from weno.slide_rows import free_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?")


def class_problems(names: Sequence[object], positive: object = None) -> list[str]:
    """Return what is wrong with the names of a project's classes.

    Parameters
    ----------
    names : sequence of str
        The negative and the positive class, or more than two.
    positive : str, optional
        The class asked about.
    """
    if len(names) < 2:
        return ["class_names needs a negative and a positive class"]
    problems = []
    if not all(isinstance(name, str) and name.strip() for name in names):
        problems.append(f"class_names must be names, none of them empty: {names!r}")
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        problems.append(f"class_names has a name twice: {', '.join(twice)}")
    if len(names) == 2:
        if positive is not None and positive != names[1]:
            problems.append("positive is for more than two classes; of two, the second")
        return problems
    # Of two classes 0 and 1 have always been the numbers; of more, a grade is easily
    # taken for one.
    if numbers := [name for name in names if _NUMBER.fullmatch(str(name).strip())]:
        problems.append(
            f"class_names must not be numbers, as labels in slides.csv may be: "
            f"{', '.join(map(str, numbers))}"
        )
    if positive is not None and positive not in names:
        problems.append(no_class(positive, names))
    return problems


def no_class(name: object, names: Sequence[object]) -> str:
    """Say that a class cannot be asked about, and which can."""
    return f"no class {name!r} to ask about; there are: {', '.join(map(str, names))}"


def question(classes: Sequence[str], positive: str) -> tuple[str, str]:
    """Return what both answers are called: negative, positive."""
    if len(classes) == 2:
        return classes[0], classes[1]
    return f"not {positive}", positive


def run_names(base: str, classes: Sequence[str]) -> dict[str, str]:
    """Return a name for the run of each class that can be a folder's."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for name in classes:
        ending = free_id(name, taken)
        taken.add(ending.casefold())
        names[name] = f"{base}-{ending}"
    return names


def asked_class(run_dir: Path) -> str | None:
    """Return the class that a finished run asks about, None if its card is missing.

    Reads the card alone, without any deep-learning library.
    """
    try:
        card = json.loads((run_dir / "card.json").read_text(encoding="utf-8"))
        _, positive = card["class_names"]
    except (OSError, KeyError, TypeError, ValueError):
        return None
    return str(positive)
