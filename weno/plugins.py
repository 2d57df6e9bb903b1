"""What other packages bring, by the entry points that they announce."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from weno.errors import WenoError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


def announced(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name; nothing of them is imported."""
    return {point.name: point for point in entry_points(group=group)}


def described(point: EntryPoint, noun: str) -> str:
    """Say what an entry point is, and whose."""
    origin = point.dist.name if point.dist else "an unknown package"
    return f"{noun} {point.name!r} of {origin}"


def load(point: EntryPoint, noun: str, error: type[WenoError] = WenoError) -> Any:
    """Import what an entry point names.

    Parameters
    ----------
    point : EntryPoint
    noun : str
        What it is, for the message.
    error : type of WenoError
        What to raise if it cannot be imported.
    """
    try:
        return point.load()
    except (ImportError, AttributeError) as reason:
        raise error(f"{described(point, noun)} cannot be loaded: {reason}") from reason
