"""Feature files: HDF5 in TRIDENT's layout, with what is needed to trust them.

::

    features  (N, F) float32    attributes encoder, name
    coords    (N, 2) int64      (x, y) of the tiles in level-0 pixels; attributes
                                patch_size, patch_size_level0, overlap, name,
                                level0_width, level0_height, level0_magnification,
                                target_magnification
    tissue, blur, pen   (N,) float32   quality of the tiles, in [0, 1]; not in all files
    attributes of the file      weno_format, slide_id, encoder, spec (JSON),
                                spec_hash, content_hash, mpp (y, x),
                                slide_shape (height, width), colour, outline,
                                level, level_mpp (y, x)
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from weno.atomic import replacing
from weno.errors import FeatureError, WenoError
from weno.tiles import QUALITY, TileGrid, TileSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

FORMAT: Final = 1

#: What the encoder has seen: pixels as they are in the file, or turned into sRGB.
AS_STORED: Final = "as stored"
BY_PROFILE: Final = "sRGB by ICC profile"

#: Of each tile: its share of tissue, and what `tile_quality` measures.
QUALITY_COLUMNS: Final = ("tissue", *QUALITY)

_ONE_MAGNIFICATION_UM = 10.0  # a pixel at 1x, as scanners count it


@dataclass(frozen=True, slots=True)
class FeatureHeader:
    """What a features file says of itself, without the features.

    Parameters
    ----------
    slide_id : str
    encoder : str
    spec : TileSpec
    mpp : (float, float)
        ``(y, x)`` size of a level-0 pixel in µm.
    slide_shape : (int, int)
        ``(height, width)`` of level 0.
    content_hash : str
        Of the slide.
    shape : (int, int)
        Number of tiles, and of features of a tile.
    colour : str
        ``"as stored"`` or ``"sRGB by ICC profile"``.
    outline : str
        Hash of the tissue outline that the tiles lie in, empty if not known.
    level : int or None
        Level of the slide that the tiles were read from, None if not known.
    level_mpp : (float, float) or None
        ``(y, x)`` size in µm of that level's pixels.
    precision : str
        What the encoder multiplied in, such as ``"fp32"``; empty if not known.
    """

    slide_id: str
    encoder: str
    spec: TileSpec
    mpp: tuple[float, float]
    slide_shape: tuple[int, int]
    content_hash: str
    shape: tuple[int, int]
    colour: str
    outline: str = ""
    level: int | None = None
    level_mpp: tuple[float, float] | None = None
    precision: str = ""


@dataclass(frozen=True, slots=True)
class SlideFeatures:
    """The features of all tiles of a slide.

    Parameters
    ----------
    slide_id : str
    features : ndarray of shape (N, F), float32
    origins : ndarray of shape (N, 2), int64
        ``(y, x)`` of the tiles' top-left corners in level-0 pixels.
    encoder : str
    spec : TileSpec
    mpp : (float, float)
        ``(y, x)`` size of a level-0 pixel in µm.
    slide_shape : (int, int)
        ``(height, width)`` of level 0.
    content_hash : str
        Of the slide.
    colour : str
        ``"as stored"``, or ``"sRGB by ICC profile"`` if the spec asks for it and the
        slide has a profile.
    outline : str
        Hash of the tissue outline that the tiles lie in, empty if not known.
    level : int or None
        Level of the slide that the tiles were read from, None if not known.
    level_mpp : (float, float) or None
        ``(y, x)`` size in µm of that level's pixels.
    precision : str
        What the encoder multiplied in, such as ``"fp32"``; empty if not known.
    quality : ndarray of shape (N, 3), float32, optional
        Columns `QUALITY_COLUMNS`, each in [0, 1].
    """

    slide_id: str
    features: npt.NDArray[np.float32]
    origins: npt.NDArray[np.int64]
    encoder: str
    spec: TileSpec
    mpp: tuple[float, float]
    slide_shape: tuple[int, int]
    content_hash: str
    colour: str = AS_STORED
    outline: str = ""
    level: int | None = None
    level_mpp: tuple[float, float] | None = None
    precision: str = ""
    quality: npt.NDArray[np.float32] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of tiles, and of features of a tile."""
        return self.features.shape

    @property
    def grid(self) -> TileGrid:
        """The grid that the tiles lie on."""
        return TileGrid.from_origins(
            self.origins, self.spec, self.mpp, self.slide_shape
        )


def write_features(path: str | Path, features: SlideFeatures) -> None:
    """Write a features file; the path holds the old file or the whole new one.

    Raises
    ------
    FeatureError
        If the shapes do not fit or a feature is not finite.
    """
    problem = _problem(features.features, features.origins)
    if problem:
        raise FeatureError(f"{path}: not written: {problem}")
    names = (item.name for item in fields(FeatureHeader))
    header = FeatureHeader(**{name: getattr(features, name) for name in names})
    write_rows(path, header, features.origins, [features.features], features.quality)


def write_rows(
    path: str | Path,
    header: FeatureHeader,
    origins: npt.NDArray[np.int64],
    rows: Iterable[npt.NDArray[np.floating[Any]]],
    quality: npt.NDArray[np.float32] | None = None,
) -> None:
    """Write a features file of which only a part is in memory at a time.

    Parameters
    ----------
    path : str or Path
    header : FeatureHeader
    origins : ndarray of shape (N, 2), int64
        ``(y, x)`` of the tiles' top-left corners in level-0 pixels.
    rows : iterable of ndarray of shape (n, F)
        Features of the first tiles, the next, and so on; finite.
    quality : ndarray of shape (N, 3), float32, optional
        Columns `QUALITY_COLUMNS`.
    """
    with replacing(Path(path)) as temporary, h5py.File(temporary, "w") as file:
        data = file.create_dataset("features", header.shape, np.float32)
        first = 0
        for some in rows:
            data[first : first + len(some)] = some
            first += len(some)
        data.attrs.update({"encoder": header.encoder, "name": header.slide_id})
        xy = origins[:, ::-1].astype(np.int64)
        file.create_dataset("coords", data=xy).attrs.update(_trident(header))
        if quality is not None:
            for name, column in zip(QUALITY_COLUMNS, quality.T, strict=True):
                file.create_dataset(name, data=column.astype(np.float32))
        file.attrs.update(
            {
                "weno_format": FORMAT,
                "slide_id": header.slide_id,
                "encoder": header.encoder,
                "spec": json.dumps(header.spec.to_dict()),
                "spec_hash": header.spec.hash,
                "content_hash": header.content_hash,
                "mpp": header.mpp,
                "slide_shape": header.slide_shape,
                "colour": header.colour,
                "outline": header.outline,
                "precision": header.precision,
            }
        )
        if header.level is not None and header.level_mpp is not None:
            file.attrs.update({"level": header.level, "level_mpp": header.level_mpp})


def _trident(features: FeatureHeader) -> dict[str, Any]:
    spec, (height, width) = features.spec, features.slide_shape
    stride_px = round((spec.stride_um or spec.tile_um) / spec.mpp)
    return {
        "patch_size": spec.tile_px,
        "patch_size_level0": round(spec.tile_um / features.mpp[1]),
        "overlap": spec.tile_px - stride_px,
        "name": features.slide_id,
        "level0_width": width,
        "level0_height": height,
        "level0_magnification": _ONE_MAGNIFICATION_UM / features.mpp[1],
        "target_magnification": _ONE_MAGNIFICATION_UM / spec.mpp,
    }


def read_features(path: str | Path) -> SlideFeatures:
    """Read a features file.

    Raises
    ------
    FeatureError
        If the file is missing, damaged, not ours, or holds what cannot be used.
    """
    path = Path(path)
    with _opened(path) as file:
        header = _header(path, file)
        features = file["features"][:].astype(np.float32, copy=False)  # (N, F)
        coords = file["coords"][:]  # (N, 2), (x, y)
        quality = _quality(path, file)
    problem = _problem(features, coords)
    if problem:
        raise FeatureError(f"{path}: {problem}; extract the slide again")
    return SlideFeatures(
        features=features,
        origins=np.ascontiguousarray(coords[:, ::-1], dtype=np.int64),
        quality=quality,
        **{
            item.name: getattr(header, item.name)
            for item in fields(header)
            if item.name != "shape"
        },
    )


def read_header(path: str | Path) -> FeatureHeader:
    """Read what a features file says of itself; the features stay on disk.

    Raises
    ------
    FeatureError
        If the file is missing, damaged or not ours.
    """
    path = Path(path)
    with _opened(path) as file:
        return _header(path, file)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a file and turn all that HDF5 may say of it into `FeatureError`."""
    if not path.is_file():
        raise FeatureError(f"{path}: there is no such features file; extract the slide")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        reason = f"truncated or not HDF5 ({error})"
        raise FeatureError(f"{path}: {reason}; extract the slide again") from error


def _header(path: Path, file: h5py.File) -> FeatureHeader:
    for name in ("features", "coords"):
        if name not in file:
            raise FeatureError(f"{path}: no dataset {name!r}; extract the slide again")
    attributes = file.attrs
    if attributes.get("weno_format") != FORMAT:
        found = attributes.get("weno_format")
        raise FeatureError(
            f"{path}: weno_format is {found}, this version reads {FORMAT}; "
            "extract the slide again"
        )
    try:
        height, width = (int(side) for side in attributes["slide_shape"])
        return FeatureHeader(
            slide_id=attributes["slide_id"],
            encoder=attributes["encoder"],
            spec=TileSpec.from_dict(json.loads(attributes["spec"])),
            mpp=_pair(attributes["mpp"]),
            slide_shape=(height, width),
            content_hash=attributes["content_hash"],
            shape=file["features"].shape,
            colour=attributes.get("colour", AS_STORED),
            outline=attributes.get("outline", ""),
            precision=attributes.get("precision", ""),
            level=int(attributes["level"]) if "level" in attributes else None,
            level_mpp=_pair(attributes["level_mpp"]) if "level" in attributes else None,
        )
    except (KeyError, ValueError, TypeError, WenoError) as error:
        raise FeatureError(
            f"{path}: its attributes are wrong ({error}); extract the slide again"
        ) from error


def _pair(values: npt.ArrayLike) -> tuple[float, float]:
    y, x = np.asarray(values, float).tolist()
    return y, x


def _quality(path: Path, file: h5py.File) -> npt.NDArray[np.float32] | None:
    if any(name not in file for name in QUALITY_COLUMNS):
        return None
    columns = [file[name][:] for name in QUALITY_COLUMNS]
    if any(column.shape != file["features"].shape[:1] for column in columns):
        raise FeatureError(
            f"{path}: its {', '.join(QUALITY_COLUMNS)} are not one number a tile; "
            "extract the slide again"
        )
    return np.stack(columns, axis=1).astype(np.float32)


def _problem(
    features: npt.NDArray[np.generic], coords: npt.NDArray[np.generic]
) -> str | None:
    """Say why features and coordinates cannot be used, None if they can."""
    if features.ndim != 2 or coords.shape != (len(features), 2):
        return (
            f"features of shape {features.shape} do not fit coords of shape "
            f"{coords.shape}: (N, F) and (N, 2) are needed"
        )
    wrong = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if wrong.size:
        return f"{wrong.size} tiles have NaN or infinite features, first {wrong[0]}"
    return None
