"""Feature files of TRIDENT and CLAM: what they say of the tiles, and its check.

::

    TRIDENT   JOB/20x_256px_0px_overlap/features_NAME/<slide>.h5: features (N, F) and
              coords (N, 2), (x, y) in level-0 pixels, with the attributes patch_size,
              patch_size_level0, overlap, level0_magnification, target_magnification
              and, of later versions, level0_width and level0_height
    CLAM      FEATURES/h5_files/<slide>.h5: features and coords without attributes;
              these are with the coords in patches/<slide>.h5: patch_size, downsample

A magnification is a size of pixels: TRIDENT counts 10 µm at 1x.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from weno.errors import FeatureError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

_ONE_MAGNIFICATION_UM: Final = 10.0
_ROWS: Final = 4096


@dataclass(frozen=True, slots=True, eq=False)
class ForeignFile:
    """What a features file of another program says.

    Parameters
    ----------
    path : Path
    name : str
        Of the slide: the file's name without its ending.
    shape : (int, int)
        Number of tiles, and of features of a tile.
    origins : ndarray of shape (N, 2), int64
        ``(y, x)`` of the tiles' top-left corners in level-0 pixels.
    encoder : str
        Empty where neither the file nor its folder says it.
    tile_px : int or None
        Side of a tile as the encoder saw it; as all that follow None if not known.
    overlap_px : int or None
    tile_l0 : float or None
        Side of a tile in level-0 pixels.
    mpp : float or None
        Size in µm of the pixels that the encoder saw, by the nominal magnification.
    slide_shape : (int, int) or None
        ``(height, width)`` of level 0.
    """

    path: Path
    name: str
    shape: tuple[int, int]
    origins: npt.NDArray[np.int64]
    encoder: str = ""
    tile_px: int | None = None
    overlap_px: int | None = None
    tile_l0: float | None = None
    mpp: float | None = None
    slide_shape: tuple[int, int] | None = None

    def rows(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the features in order, some rows at a time.

        Raises
        ------
        FeatureError
            If the file is damaged or a feature is not finite.
        """
        with _opened(self.path) as file:
            data = file["features"]
            for first in range(0, self.shape[0], _ROWS):
                rows = slice(first, first + _ROWS)
                part = data[rows] if data.ndim == 2 else data[0, rows]
                part = part.astype(np.float32, copy=False)  # (n, F)
                if not np.isfinite(part).all():
                    raise FeatureError(f"{self.path}: features hold NaN or infinity")
                yield part


def find_files(folder: Path) -> list[Path]:
    """Return the feature files in a folder of TRIDENT or CLAM.

    Raises
    ------
    FeatureError
        If there are none, or there are those of several encoders or tile sizes.
    """
    if not folder.is_dir():
        raise FeatureError(f"{folder}: there is no such folder")
    places = [
        folder,
        folder / "h5_files",
        *sorted(folder.glob("features_*")),
        *sorted(folder.glob("*/features_*")),
    ]
    found = {place: sorted(place.glob("*.h5")) for place in places}
    found = {place: files for place, files in found.items() if files}
    if not found:
        raise FeatureError(
            f"{folder}: no .h5 file there, nor in h5_files, features_* or */features_*"
        )
    if len(found) > 1:
        several = ", ".join(str(place) for place in found)
        raise FeatureError(
            f"{folder}: features in several folders, name one: {several}"
        )
    (files,) = found.values()
    return files


def read_foreign(path: Path) -> ForeignFile:
    """Read what a file says; the features stay where they are.

    Raises
    ------
    FeatureError
        If it is damaged, cut short, or lacks what is needed.
    """
    with _opened(path) as file:
        for name in ("features", "coords"):
            if not isinstance(file.get(name), h5py.Dataset):
                raise FeatureError(f"{path}: no dataset {name!r}")
        features, coords = file["features"], file["coords"]
        shape = features.shape[1:] if features.ndim == 3 else features.shape
        if len(shape) != 2 or np.dtype(features.dtype).kind != "f":
            raise FeatureError(
                f"{path}: features of shape {features.shape} and type "
                f"{features.dtype}; (N, F) in floating point is needed"
            )
        said = ForeignFile(
            path,
            path.stem,
            shape,
            _origins(path, coords[()], shape[0]),
            _encoder(path, {**features.attrs, **file.attrs}),
        )
        attributes = dict(coords.attrs)
    return _with_tiles(said, attributes or _clam_patches(path))


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:
        raise FeatureError(f"{path}: cut short or not HDF5 ({error})") from error


def _origins(path: Path, coords: Any, count: int) -> npt.NDArray[np.int64]:
    xy = np.asarray(coords)
    xy = xy[0] if xy.ndim == 3 and len(xy) == 1 else xy
    if xy.shape != (count, 2) or xy.dtype.kind not in "iuf":
        raise FeatureError(
            f"{path}: coords of shape {xy.shape} do not fit {count} tiles: (N, 2) is "
            "needed"
        )
    whole = np.nan_to_num(xy, nan=-1).astype(np.int64)
    if not np.array_equal(whole, xy) or (whole < 0).any():
        raise FeatureError(f"{path}: coords are not whole level-0 pixels from 0 on")
    return np.ascontiguousarray(whole[:, ::-1])


def _encoder(path: Path, attributes: Mapping[str, Any]) -> str:
    """Return what made the features: the file says it, or TRIDENT's folder."""
    named = attributes.get("encoder")
    if isinstance(named, str) and named:
        return named
    folder = path.parent.name
    return folder.removeprefix("features_") if folder.startswith("features_") else ""


def _clam_patches(path: Path) -> dict[str, Any]:
    """Return the attributes that CLAM has kept with the coordinates alone."""
    for parent in path.parents[1:3]:
        patches = parent / "patches" / path.name
        if patches.is_file():
            with _opened(patches) as file:
                return dict(file["coords"].attrs) if "coords" in file else {}
    return {}


def _with_tiles(file: ForeignFile, attributes: Mapping[str, Any]) -> ForeignFile:
    """Add what the attributes of the coordinates say of the tiles."""
    try:
        said = {
            name: float(np.ravel(attributes[name])[0])
            for name in (
                *("patch_size", "patch_size_level0", "overlap", "downsample"),
                *("level0_magnification", "target_magnification"),
                *("level0_height", "level0_width", "custom_downsample"),
            )
            if name in attributes
        }
    except (TypeError, ValueError, IndexError) as error:
        raise FeatureError(f"{file.path}: attributes of coords: {error}") from error
    if "patch_size" not in said or not all(
        v > 0 or k == "overlap" for k, v in said.items()
    ):
        return file
    tile_px = round(said["patch_size"])
    level0, target = (said.get(f"{k}_magnification") for k in ("level0", "target"))
    tile_l0 = said.get("patch_size_level0")
    if tile_l0 is None and level0 and target:
        tile_l0 = round(tile_px * level0 / target)
    if tile_l0 is None and "downsample" in said:
        tile_l0 = tile_px * said["downsample"] * said.get("custom_downsample", 1.0)
    height, width = said.get("level0_height"), said.get("level0_width")
    return replace(
        file,
        tile_px=tile_px,
        overlap_px=round(said.get("overlap", 0)),
        tile_l0=tile_l0,
        mpp=_ONE_MAGNIFICATION_UM / target if target else None,
        slide_shape=(round(height), round(width)) if height and width else None,
    )
