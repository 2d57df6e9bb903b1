"""The plugin's preferences: a page in napari's own dialog, kept by napari.

What there is, with titles and defaults, stands in the manifest. Main thread only.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.settings import get_plugin_settings, get_settings

from weno.slides import SLIDE_SUFFIXES, screen_cache

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PLUGIN = "napari-weno"
#: What its docks have in their titles: `display_name` in napari.yaml.
TITLE = "WENO"
_MB = 2**20


# What holds where napari has switched the plugin off but it is still called.


@dataclass(slots=True)
class _Slides:
    cache_mb: int = 512
    icc_profile: bool = False
    offer_reader: bool = True


@dataclass(slots=True)
class _Overlays:
    display: str = "log"
    opacity: int = 70


@dataclass(slots=True)
class _Training:
    device: str = "auto"


@dataclass(slots=True)
class _Review:
    reviewer: str = ""
    blind: bool = True
    tiles: int = 50
    audit_percent: int = 10


_USUAL = {
    "slides": _Slides,
    "overlays": _Overlays,
    "training": _Training,
    "review": _Review,
}


def preferences(section: str) -> Any:
    """Return the preferences of a section; what is set on them is kept for good.

    Parameters
    ----------
    section : {"slides", "overlays", "training", "review"}
    """
    try:
        return getattr(get_plugin_settings(PLUGIN), section)
    except KeyError:
        return _USUAL[section]()


def review_keys() -> dict[str, str]:
    """Return the keys of the review by action; empty for what is not chosen."""
    try:
        chosen = get_plugin_settings(PLUGIN).review_keys
    except KeyError:
        return {}
    return {name: str(value) for name, value in chosen.model_dump().items() if value}


def keep_review_keys(keys: Mapping[str, str]) -> None:
    """Keep the keys of the review, by action."""
    with suppress(KeyError):
        chosen = get_plugin_settings(PLUGIN).review_keys
        for name, value in keys.items():
            setattr(chosen, name, value)


def apply_preferences() -> None:
    """Bring the tile cache to its size, now and whenever the user changes it."""
    _resize_cache()
    events = getattr(preferences("slides"), "events", None)
    if events is not None:
        events.cache_mb.disconnect(_resize_cache)
        events.cache_mb.connect(_resize_cache)


def _resize_cache(_: object = None) -> None:
    screen_cache().limit = preferences("slides").cache_mb * _MB


def patterns_without_reader(
    suffixes: Iterable[str] = SLIDE_SUFFIXES,
) -> list[str]:
    """Return napari's patterns of slides for which the user has chosen no reader."""
    chosen = {pattern.casefold() for pattern in get_settings().plugins.extension2reader}
    return [f"*{suffix}" for suffix in suffixes if f"*{suffix}" not in chosen]


def read_slides_always() -> None:
    """Make napari open slides with this plugin without asking.

    An ending for which the user has chosen a reader keeps it.
    """
    plugins = get_settings().plugins
    added = dict.fromkeys(patterns_without_reader(), PLUGIN)
    plugins.extension2reader = plugins.extension2reader | added
