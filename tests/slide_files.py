"""Slides in many formats, and what they must be read as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from weno.slides import Slide

FINE = np.random.default_rng(0).integers(0, 256, (1001, 1203, 3), np.uint8)
LEVELS = [FINE, FINE[::2, ::2][:500, :601], FINE[1::4, 1::4][:250, :300]]
MICRONS = {
    "PhysicalSizeX": 0.25,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 500.0,
    "PhysicalSizeYUnit": "nm",
}


def check_pixels(slide: Slide, levels: list[np.ndarray]) -> None:
    """Compare every level whole, in windows across tiles, and past the edges."""
    assert slide.level_shapes == tuple(level.shape[:2] for level in levels)
    rng = np.random.default_rng(1)
    for k, level in enumerate(levels):
        height, width = level.shape[:2]
        np.testing.assert_array_equal(slide.read(k, 0, 0, height, width), level)
        padded = np.pad(level, ((70, 70), (70, 70), (0, 0)), constant_values=255)
        corners = rng.integers((-70, -70), (height - 20, width - 30), (40, 2))
        corners[:4] = (-70, -70), (height - 40, 5), (7, width - 50), (height - 1, -60)
        windows = slide.read_many(k, corners, 90, 100)
        for (y, x), window in zip(corners, windows, strict=True):
            there = padded[y + 70 :, x + 70 :][:90, :100]
            np.testing.assert_array_equal(window[: len(there), : there.shape[1]], there)
        assert (slide.read(k, height + 5, -500, 20, 20) == 255).all()


def write_tiff(
    path: Path,
    levels: list[np.ndarray],
    *,
    subifds: bool = True,
    ome: bool | None = None,
    metadata: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    with tifffile.TiffWriter(path, ome=ome) as tiff:
        for k, level in enumerate(levels):
            first = {"subifds": len(levels) - 1} if subifds else {}
            tiff.write(
                level,
                photometric="rgb",
                subfiletype=1 if k else 0,
                metadata=metadata if k == 0 else None,
                **(first if k == 0 else {}),
                **options,
            )
    return path


def write_zarr(
    store: Any,
    levels: list[np.ndarray] = LEVELS,
    *,
    version: str = "0.5",
    axes: str = "cyx",
    chunk: int = 200,
    unit: str | None = "micrometer",
    omero: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    v2 = version == "0.4"
    group = zarr.open_group(store, mode="w", zarr_format=2 if v2 else 3)
    datasets = []
    for k, level in enumerate(levels):
        order = [axis for axis in axes if axis in "cyx"]
        pixels = level.transpose(["yxc".index(axis) for axis in order])
        index = tuple(slice(None) if axis in "cyx" else None for axis in axes)
        pixels = pixels[index]
        chunks = [
            chunk if axis in "yx" else n
            for axis, n in zip(axes, pixels.shape, strict=True)
        ]
        separator = {"name": "v2" if v2 else "default", "separator": "/"}
        array = group.create_array(
            f"level {k}",
            shape=pixels.shape,
            chunks=tuple(chunks),
            dtype=pixels.dtype,
            chunk_key_encoding=separator,
            **options,
        )
        array[...] = pixels
        size = {"y": 0.5 * 2**k, "x": 0.25 * 2**k}
        scale = [size.get(axis, 1.0) for axis in axes]
        datasets.append(
            {
                "path": f"level {k}",
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    kinds = {"t": "time", "c": "channel"}
    named: list[dict[str, str]] = []
    for axis in axes:
        named.append({"name": axis, "type": kinds.get(axis, "space")})
        if unit and axis in "zyx":
            named[-1]["unit"] = unit
    said: dict[str, Any] = {"multiscales": [{"axes": named, "datasets": datasets}]}
    if omero:
        said["omero"] = omero
    if v2:
        said["multiscales"][0]["version"] = "0.4"
        group.attrs.update(said)
    else:
        group.attrs["ome"] = {"version": "0.5"} | said
