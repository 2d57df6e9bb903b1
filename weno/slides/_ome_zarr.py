"""OME-Zarr 0.4 and 0.5, in a local folder or at an address that fsspec reads.

The network is used only if the caller gives an address: nothing in a file or folder
can point there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weno.errors import SlideError
from weno.slides._backend import TiledBackend

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import zarr

    Pixels = npt.NDArray[np.uint8]

_VERSIONS = ("0.4", "0.5")
_BLOCK = 256  # smaller chunks are read several at a time
_CHUNK_BYTES = 2**28  # decoded; damaged metadata may say anything
_LENGTH_UM = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
    "inch": 25_400.0,
}
_PURE = ("FF0000", "00FF00", "0000FF")  # how channels of a colour image are marked
_KINDS = {"multiscales", "plate", "bioformats2raw.layout"}
_METADATA = ("zarr.json", ".zattrs")
_METADATA_BYTES = 2**24
_ADVICE = "slides are read in 8-bit RGB, with one plane and one time point"


def is_ome_zarr(folder: Path) -> bool:
    """Tell whether a folder is OME-Zarr, by its metadata alone."""
    for name in _METADATA:
        try:
            file = folder / name
            if file.stat().st_size > _METADATA_BYTES:
                continue
            found = json.loads(file.read_text(encoding="utf-8"))
            attributes = found["attributes"] if name == "zarr.json" else found
            said = attributes.get("ome", attributes)
            if _KINDS & said.keys():
                return True
        except (OSError, ValueError, LookupError, AttributeError, TypeError):
            continue
    return False


def is_rgb_slide(folder: Path) -> bool:
    """Tell whether a folder is OME-Zarr in RGB."""
    if not is_ome_zarr(folder):
        return False
    try:
        OmeZarrBackend(str(folder)).close()
    except SlideError:
        return False
    return True


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """One array of the pyramid.

    Parameters
    ----------
    array : zarr.Array
    axes : tuple of str
        Names of its axes, in order.
    scale : (float, float)
        ``(y, x)`` size of a pixel in the file's unit.
    """

    array: zarr.Array[Any]
    axes: tuple[str, ...]
    scale: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""
        return self._along(self.array.shape)

    @property
    def tile_shape(self) -> tuple[int, int]:
        """``(height, width)`` of a block of whole chunks."""
        height, width = self._along(self.array.chunks)
        return height * -(-_BLOCK // height), width * -(-_BLOCK // width)

    def _along(self, sizes: tuple[int, ...]) -> tuple[int, int]:
        return sizes[self.axes.index("y")], sizes[self.axes.index("x")]

    def problem(self) -> str | None:
        """Say why this is not a level of a slide, None if it is."""
        sizes = dict(zip(self.axes, self.array.shape, strict=False))
        if len(sizes) != len(self.array.shape) or not {"y", "x"} <= sizes.keys():
            return f"axes {self.axes} do not fit an array of {self.array.shape}"
        wanted = dict.fromkeys(sizes, 1) | {"c": 3, "y": sizes["y"], "x": sizes["x"]}
        if sizes != wanted or self.array.dtype != np.uint8:
            held = ", ".join(f"{size} in {name}" for name, size in sizes.items())
            return f"holds {self.array.dtype} of {held}: {_ADVICE}"
        if not 0 < np.prod(self.array.chunks, dtype=float) <= _CHUNK_BYTES:
            return f"its chunks of {self.array.chunks} cannot be read"
        if 0 in self.array.shape or 0 in self.scale:
            return f"has no pixels: shape {self.array.shape}, scale {self.scale}"
        return None

    def read(self, y: int, x: int, height: int, width: int) -> Pixels:
        """Return a region inside the level, cut at its end, as (h, w, 3)."""
        spans = {"y": slice(y, y + height), "x": slice(x, x + width), "c": slice(None)}
        index = tuple(spans.get(axis, 0) for axis in self.axes)
        pixels = np.asarray(self.array[index])
        kept = [axis for axis in self.axes if axis in spans]
        return pixels.transpose([kept.index(axis) for axis in "yxc"])


class OmeZarrBackend(TiledBackend):
    """Reads RGB images in OME-Zarr; see `weno.slides._backend.Backend`.

    A chunk that is not stored has the value that its array says: its fill value.
    """

    reader = "OME-Zarr"
    associated_names: tuple[str, ...] = ()

    def __init__(self, source: str) -> None:
        self.path = Path(source)
        try:
            self._describe(_opened(source))
        except ImportError as error:
            reason = f'{error} (for https: pip install "napari-weno[remote]")'
            raise SlideError(source, reason) from error
        except (SlideError, MemoryError):
            raise
        except Exception as error:
            # Stores, file systems and codecs all raise errors of their own.
            raise SlideError(source, f"cannot be read as OME-Zarr: {error}") from error

    def _describe(self, group: zarr.Group) -> None:
        self._levels, unit_um, name = _levels(group)
        finest = self._levels[0]
        self.level_shapes = tuple(level.shape for level in self._levels)
        self.tile_shapes = tuple(level.tile_shape for level in self._levels)
        self.downsamples = tuple(_downsample(finest, level) for level in self._levels)
        self.properties = {"openslide.vendor": "ome-zarr"}
        if unit_um is not None:
            for axis, size, um in zip("yx", finest.scale, unit_um, strict=True):
                self.properties[f"openslide.mpp-{axis}"] = f"{size * um:.9g}"
        if name:
            self.properties["ome.name"] = name

    @property
    def icc_profile(self) -> bytes | None:
        """None: OME-Zarr has no place for one."""
        return None

    def read_tile(
        self, level: int, row: int, column: int, out: Pixels | None = None
    ) -> Pixels:
        """Return a block of whole chunks, (h, w, 3), cut at the end of the level."""
        height, width = self.tile_shapes[level]
        try:
            return self._levels[level].read(row * height, column * width, height, width)
        except Exception as error:
            # As above; an OSError becomes a SlideError that names the block.
            raise OSError(str(error) or type(error).__name__) from error

    def associated(self, name: str) -> Pixels:
        """Raise an error: there are no other images."""
        raise SlideError(self.path, f"no associated image {name!r}")

    def close(self) -> None:
        """Give the memory back."""
        self.forget()


def _opened(source: str) -> zarr.Group:
    import zarr
    from zarr.storage import FsspecStore, LocalStore

    if "://" in source:
        return zarr.open_group(FsspecStore.from_url(source, read_only=True), mode="r")
    if not is_ome_zarr(Path(source)):
        raise SlideError(source, "a folder, but not OME-Zarr")
    return zarr.open_group(LocalStore(source, read_only=True), mode="r")


def _levels(
    group: zarr.Group,
) -> tuple[list[_Level], tuple[float, float] | None, str]:
    """Return the levels, finest first, µm per unit in y and x if told, and a name."""
    import zarr

    image, said = _image(group)
    multiscale = said["multiscales"][0]
    axes = multiscale.get("axes", ())
    if not axes or not all(isinstance(axis, dict) for axis in axes):
        found = multiscale.get("version", "unknown")
        raise ValueError(f"version {found}; read are {' and '.join(_VERSIONS)}")
    names = tuple(str(axis["name"]).lower() for axis in axes)
    whole = _scale(multiscale, names)
    levels = []
    for dataset in multiscale["datasets"]:
        own = _scale(dataset, names)
        scale = own[0] * whole[0], own[1] * whole[1]
        array = image[dataset["path"]]
        if not isinstance(array, zarr.Array):
            raise ValueError(f"{dataset['path']!r} is no array")
        level = _Level(array, names, scale)
        problem = level.problem()
        if problem is not None:
            raise ValueError(problem)
        levels.append(level)
    if not levels:
        raise ValueError("its pyramid has no levels")
    levels.sort(key=lambda level: -level.shape[0])
    _refuse_stains(said)
    units = {name: axis.get("unit") for name, axis in zip(names, axes, strict=True)}
    y_um, x_um = (_LENGTH_UM.get(units[axis]) for axis in "yx")
    unit_um = None if y_um is None or x_um is None else (y_um, x_um)
    return levels, unit_um, str(multiscale.get("name", ""))


def _image(group: zarr.Group) -> tuple[zarr.Group, Mapping[str, Any]]:
    """Return the group that holds the image, and what its metadata say."""
    said = _said(group)
    if "bioformats2raw.layout" in said and "multiscales" not in said:
        first = group["0"]  # the slide; label and macro come after it
        if isinstance(first, type(group)):
            group, said = first, _said(first)
    if "multiscales" not in said:
        held = "a plate of many images" if "plate" in said else "no image"
        raise ValueError(f"holds {held}: open the folder of one image")
    return group, said


def _said(group: zarr.Group) -> Mapping[str, Any]:
    attributes: dict[str, Any] = group.attrs.asdict()
    said: Mapping[str, Any] = attributes.get("ome", attributes)
    return said


def _scale(said: Mapping[str, Any], names: tuple[str, ...]) -> tuple[float, float]:
    """Return the ``(y, x)`` scale of an image or a level; 1 where none is told."""
    for transform in said.get("coordinateTransformations", ()):
        if transform["type"] == "scale":
            scale = dict(zip(names, map(float, transform["scale"]), strict=True))
            return scale["y"], scale["x"]
    return 1.0, 1.0


def _refuse_stains(said: Mapping[str, Any]) -> None:
    """Refuse three channels that are said to be shown in other colours than RGB."""
    channels = said.get("omero", {}).get("channels", ())
    colours = [str(one.get("color", "")).lstrip("#").upper()[:6] for one in channels]
    if all(colours) and colours and tuple(colours) != _PURE:
        labels = ", ".join(str(one.get("label", "?")) for one in channels)
        raise ValueError(f"its channels are {labels}, not red, green, blue: {_ADVICE}")


def _downsample(finest: _Level, level: _Level) -> float:
    """Return level-0 pixels per pixel of a level, by its scale if that is credible."""
    by_shape = [a / b for a, b in zip(finest.shape, level.shape, strict=True)]
    by_scale = [b / a for a, b in zip(finest.scale, level.scale, strict=True)]
    rounding = 2 / min(level.shape)
    credible = all(
        abs(scale / shape - 1) <= rounding
        for scale, shape in zip(by_scale, by_shape, strict=True)
    )
    return sum(by_scale if credible else by_shape) / 2
