"""Teachers by name: built-in, of other packages, of torchmil."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from weno.errors import RunError
from weno.plugins import announced, described, load

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from torch import nn

    from weno.mil.config import TrainConfig

#: Where a package announces teachers: a callable that takes ``(dim, config)``.
GROUP = "weno.teachers"

BUILT_IN = ("abmil", "gated_abmil", "dsmil", "clam_sb", "transmil")
PUBLISHED = ("published_clam", "published_dsmil")

#: Models of torchmil 1.0 that can teach; of other versions, see `torchmil_models`.
TORCHMIL = ("ABMIL", "DSMIL", "TransformerABMIL")


def make_teacher(dim: int, config: TrainConfig) -> nn.Module:
    """Build the teacher that a config names.

    Parameters
    ----------
    dim : int
        Dimensions of z.
    config : TrainConfig
        Its `teacher` is a built-in name, that of an entry point of the group
        ``weno.teachers``, or ``torchmil:NAME``. No entry point replaces a built-in.

    Returns
    -------
    nn.Module
        What fulfils `weno.mil.teachers.Teacher`.

    Raises
    ------
    RunError
        If nothing has that name, or what has it is no teacher.
    MissingExtra
        If it is a model of torchmil, and torchmil is not installed.
    """
    from weno.mil.from_torchmil import torchmil_teacher
    from weno.mil.published import PUBLISHED
    from weno.mil.teachers import TEACHERS

    name = config.teacher
    family, _, model = name.partition(":")
    if family == "torchmil" and model:
        return torchmil_teacher(model, dim, config)
    if factory := {**TEACHERS, **PUBLISHED}.get(name):
        return factory(dim, config)
    if point := announced(GROUP).get(name):
        return _of_package(point, dim, config)
    raise RunError(
        f"unknown teacher {name!r}; there are: {', '.join(teacher_names())}; other "
        "models of torchmil as torchmil:NAME"
    )


def teacher_names() -> list[str]:
    """Return all names that can be had here, for a form; torch is not imported."""
    names = [*BUILT_IN, *PUBLISHED]
    names += [name for name in sorted(announced(GROUP)) if name not in names]
    if find_spec("torchmil"):
        names += [f"torchmil:{model}" for model in TORCHMIL]
    return names


def _of_package(point: EntryPoint, dim: int, config: TrainConfig) -> nn.Module:
    from torch import nn

    teacher = load(point, "teacher", RunError)(dim, config)
    if not isinstance(teacher, nn.Module):
        raise RunError(
            f"{described(point, 'teacher')} is a {type(teacher).__name__}, not a "
            f"torch.nn.Module; {point.value} must return one when called with "
            "(dim, config)"
        )
    return teacher
