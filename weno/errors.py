"""What can go wrong, as a tree.

::

    WenoError
    ├── ProjectError    project.toml or slides.csv is missing, wrong or contradictory
    ├── SlideError      a slide cannot be opened or read
    ├── FeatureError    a features file or an encoder does not fit
    │   └── OutOfMemory a batch of tiles is too large for the device
    ├── RunError        a run folder or a prediction is missing, wrong or does not fit
    ├── NoRoom          the disk is full, or would be
    ├── ClusterError    other machines do not answer or do not fit
    ├── ReviewError     a verdict file is damaged or an answer is impossible
    └── MissingExtra    an optional dependency is not installed

Every message says what was wrong, with the value, and what to do about it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


class WenoError(Exception):
    """Base of all errors that a user can do something about."""


class ProjectError(WenoError):
    """A project folder is missing, wrong or contradictory."""


class SlideError(WenoError):
    """A slide cannot be opened or read.

    Parameters
    ----------
    path : Path or str
        The file.
    reason : str
        What is wrong with it.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")

    def __reduce__(self) -> tuple[type[SlideError], tuple[Path | str, str]]:
        return SlideError, (self.path, self.reason)


class FeatureError(WenoError):
    """A features file or an encoder is missing, wrong or does not fit."""


class OutOfMemory(FeatureError):
    """A batch of tiles is too large for the device's memory; a smaller one may fit."""


class RunError(WenoError):
    """A run folder or a prediction is missing, wrong or does not fit."""


class NoRoom(WenoError):
    """The disk is full, or would be."""


class ClusterError(WenoError):
    """A cluster does not answer, or its workers do not fit."""


class ReviewError(WenoError):
    """A verdict file is damaged or an answer is impossible."""


class MissingExtra(WenoError):
    """An optional dependency is not installed."""


def import_extra(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra of this package brings it.

    Parameters
    ----------
    module : str
        Dotted name of an optional dependency.
    extra : str
        Extra of ``napari-weno`` that installs it.

    Raises
    ------
    MissingExtra
        If the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtra(
            f"{package} is not installed; "
            f'get it with: pip install "napari-weno[{extra}]"'
        ) from error
