"""Bag files of other programs: TRIDENT, CLAM, DSMIL and NumPy.

::

    .h5 .hdf5   TRIDENT, CLAM and our own: the datasets features, (N, F) or (1, N, F),
                and, if there, coords, (N, 2), (x, y) of the tiles in level-0 pixels
    .pt .pth    CLAM, TRIDENT: one tensor, (N, F) or (1, N, F)
    .npy        one array, (N, F) or (1, N, F)
    .npz        the array features and, if there, coords as above and labels, (N,)
    .csv        DSMIL: a row a tile under a header 0, 1 … F - 1; of the other columns,
                label is the tile's label, the rest is passed over

Features are floating point and stay on disk, CSV apart: a file is opened when rows are
asked for, so that a cohort takes neither memory nor open files. Nothing is ever
unpickled: a ``.pt`` may hold a tensor and nothing else.
"""

from __future__ import annotations

import csv
import json
import pickle
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from weno.errors import FeatureError
from weno.mil.instance_labels import UNKNOWN, UNSURE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from weno.mil.bags import Rows

FirstColumn = Literal["feature", "label"]

#: How bag files end, in the order in which one is looked for.
SUFFIXES = (".h5", ".hdf5", ".npy", ".npz", ".pt", ".pth", ".csv")

#: What the libraries raise for files that are damaged or not of their kind.
_DAMAGED = (
    OSError, EOFError, ValueError, TypeError, LookupError, RuntimeError, csv.Error,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_NO_TENSOR = (*_DAMAGED, AttributeError, pickle.UnpicklingError)


@dataclass(frozen=True, slots=True, eq=False)
class BagFile:
    """What a bag file holds.

    Parameters
    ----------
    instances : array of shape (N, F), float
        Features of the tiles; `FileRows` where the format allows.
    origins : ndarray of shape (N, 2), int64, optional
        ``(y, x)`` of the tiles' top-left corners in level-0 pixels.
    instance_labels : ndarray of shape (N,), int8, optional
        1, 0, `UNKNOWN` or `UNSURE`.
    encoder : str
        What made the features; empty where the file does not say it.
    spec : mapping
        The tile spec, as `TileSpec.to_dict` gives it; empty but for our own files.
    """

    instances: Rows
    origins: npt.NDArray[np.int64] | None = None
    instance_labels: npt.NDArray[np.int8] | None = None
    encoder: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.instances)


@dataclass(frozen=True, slots=True)
class FileRows:
    """Features that stay in their file, which is opened whenever they are sliced.

    Parameters
    ----------
    path : Path
    shape : (int, int)
        Number of tiles, and of features of a tile.
    dtype : dtype
        On disk.
    first : int
        The first column of the file that is a feature.
    """

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    first: int = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> npt.NDArray[Any]:
        with _opened(self.path) as content:
            part = _rows(content.features, rows)  # (n, F)
            part = part[:, self.first :] if self.first else part
            # A view of a mapped file would keep the file open, and is read-only.
            return part if part.flags.owndata else np.array(part)


def read_bag(path: str | Path, *, first_column: FirstColumn = "feature") -> BagFile:
    """Read a bag file; features stay on disk where the format allows.

    Parameters
    ----------
    path : str or Path
        One of the files above; which, its ending says.
    first_column : {"feature", "label"}
        What the first column of the features is. The files of WENO's authors have the
        tile's label there; no file says so itself.

    Raises
    ------
    FeatureError
        If the file is missing, damaged, a pickle, or of another layout.
    """
    path = Path(path)
    with _opened(path) as content:
        count, width = _shape(path, content.features)
        first = 1 if first_column == "label" else 0
        if width <= first and count:
            raise FeatureError(f"{path}: its tiles have no features")
        labels = content.labels
        if first:
            labels = _rows(content.features, slice(None))[:, 0]  # (N,)
        dtype = np.dtype(content.features.dtype)
        rows: Rows = FileRows(path, (count, max(0, width - first)), dtype, first)
        if path.suffix.lower() == ".csv":  # text cannot be read in parts
            rows = content.features[:, first:]
        return BagFile(
            rows,
            _origins(path, content.coords, count),
            _labels(path, labels, count),
            content.encoder,
            content.spec,
        )


class _Content(NamedTuple):
    """An open bag file; whatever has a shape is read only when it is sliced."""

    features: Any  # (N, F) or (1, N, F)
    coords: Any = None  # (N, 2) or (1, N, 2), (x, y)
    labels: Any = None  # (N,)
    encoder: str = ""
    spec: Mapping[str, Any] = {}


@contextmanager
def _opened(path: Path) -> Iterator[_Content]:
    """Open a bag file and turn what the libraries say of damage into `FeatureError`."""
    suffix = path.suffix.lower()
    if not path.is_file():
        hint = "" if suffix in _OPENERS else f", nor {path.name}{'|'.join(SUFFIXES)}"
        raise FeatureError(f"{path}: there is no such file{hint}")
    if suffix not in _OPENERS:
        raise FeatureError(
            f"{path}: not a bag file: they end in {', '.join(SUFFIXES)}; pickles are "
            "never read, because reading one runs what is in it"
        )
    try:
        with _OPENERS[suffix](path) as content:
            yield content
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0]
        raise FeatureError(f"{path}: damaged, or not a {suffix} file: {reason}") from (
            error
        )


@contextmanager
def _hdf5(path: Path) -> Iterator[_Content]:
    with h5py.File(path, "r") as file:
        features = file.get("features")
        if not isinstance(features, h5py.Dataset):
            raise _missing(path, list(file))
        named = [file.attrs.get("encoder"), features.attrs.get("encoder")]
        encoder = next((name for name in named if isinstance(name, str)), "")
        spec = json.loads(file.attrs.get("spec", "{}"))
        yield _Content(features, file.get("coords"), None, encoder, spec)


@contextmanager
def _torch(path: Path) -> Iterator[_Content]:
    try:
        try:
            value = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # of files older than torch 1.6, which cannot be mapped
            value = torch.load(path, map_location="cpu", weights_only=True)
    except _NO_TENSOR as error:
        # What torch says here is how to load it without protection.
        raise FeatureError(
            f"{path}: damaged, or more than a tensor: pickled objects are never read"
        ) from error
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        raise FeatureError(f"{path}: holds a {type(value).__name__}, not one tensor")
    value = value.detach()
    # NumPy does not know bfloat16.
    yield _Content((value.float() if value.dtype == torch.bfloat16 else value).numpy())


@contextmanager
def _npy(path: Path) -> Iterator[_Content]:
    # Refuses arrays of Python objects, which are pickles.
    yield _Content(np.lib.format.open_memmap(path, mode="r"))


@contextmanager
def _npz(path: Path) -> Iterator[_Content]:
    with zipfile.ZipFile(path):
        pass  # `np.load` would read other kinds of files too
    with np.load(path, allow_pickle=False) as file:
        if "features" not in file:
            raise _missing(path, list(file))
        yield _Content(file["features"], file.get("coords"), file.get("labels"))


@contextmanager
def _csv(path: Path) -> Iterator[_Content]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = [name.strip().lower() for name in next(csv.reader(file), [])]
        columns = [i for i, name in enumerate(header) if name.isdecimal()]
        if [int(header[i]) for i in columns] != list(range(len(columns) or 1)):
            raise FeatureError(
                f"{path}: no header with the numbers 0, 1, 2 … over the features"
            )
        label = [i for i, name in enumerate(header) if name == "label"][:1]
        first = next((line for line in file if line.strip()), None)
        values = np.empty((0, len(columns + label)), np.float32)
        if first is not None:
            values = np.loadtxt(
                chain([first], file),
                np.float32,
                delimiter=",",
                quotechar='"',
                comments=None,
                usecols=columns + label,
                ndmin=2,
            )
    features = values[:, : len(columns)]
    yield _Content(features, labels=values[:, -1] if label else None)


_OPENERS: dict[str, Callable[[Path], AbstractContextManager[_Content]]] = {
    **dict.fromkeys((".h5", ".hdf5"), _hdf5),
    **dict.fromkeys((".pt", ".pth"), _torch),
    ".npy": _npy,
    ".npz": _npz,
    ".csv": _csv,
}


def _missing(path: Path, names: list[str]) -> FeatureError:
    found = ", ".join(map(str, names[:10])) or "nothing"
    return FeatureError(f"{path}: has no array features; it has {found}")


def _rows(values: Any, rows: slice) -> npt.NDArray[Any]:
    """Return rows of (N, F) or (1, N, F) as (n, F)."""
    part: npt.NDArray[Any] = values[rows] if len(values.shape) == 2 else values[0, rows]
    return part


def _shape(path: Path, features: Any) -> tuple[int, int]:
    """Return (N, F), or say why these cannot be the features of tiles."""
    shape = tuple(features.shape)
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2:
        what = " (of a whole slide?)" if len(shape) == 1 else ""
        raise FeatureError(
            f"{path}: features of shape {shape}{what}; (N, F), a row a tile, is needed"
        )
    if np.dtype(features.dtype).kind != "f":
        raise FeatureError(
            f"{path}: features are {features.dtype}; floating point is needed"
        )
    return shape


def _origins(path: Path, coords: Any, count: int) -> npt.NDArray[np.int64] | None:
    """Return `(y, x)` of the tiles, of shape (N, 2)."""
    if coords is None:
        return None
    xy = np.asarray(coords)
    xy = xy[0] if xy.ndim == 3 and len(xy) == 1 else xy
    if xy.shape != (count, 2):
        raise FeatureError(
            f"{path}: coords of shape {xy.shape} do not fit {count} tiles: (N, 2) is "
            "needed"
        )
    with np.errstate(invalid="ignore"):  # NaN does not survive the comparison
        whole = xy.astype(np.int64)
    if not np.array_equal(whole, xy):
        raise FeatureError(f"{path}: coords are not whole level-0 pixels")
    return np.ascontiguousarray(whole[:, ::-1])


def _labels(path: Path, labels: Any, count: int) -> npt.NDArray[np.int8] | None:
    if labels is None:
        return None
    values = np.asarray(labels)
    if values.shape != (count,):
        raise FeatureError(
            f"{path}: labels of shape {values.shape} do not fit {count} tiles"
        )
    odd = values[~np.isin(values, (0, 1, UNKNOWN, UNSURE))]
    if len(odd):
        raise FeatureError(
            f"{path}: the label of a tile is {odd[0]}; it can be 1, 0, {UNKNOWN} (not "
            f"known) or {UNSURE} (unsure)"
        )
    return values.astype(np.int8)
