from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with real slides; tests that need it are skipped without it."""
    folder = os.environ.get("WENO_TEST_DATA")
    if not folder:
        pytest.skip("real test data not found: set WENO_TEST_DATA to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def write_pyramid() -> Callable[[Path, list[np.ndarray], float | None], Path]:
    """Write uncompressed tiled levels, so that pixels come back exactly."""
    return _write_pyramid


def _write_pyramid(path: Path, levels: list[np.ndarray], mpp: float | None) -> Path:
    resolution = {"resolutionunit": "CENTIMETER"} if mpp else {}
    if mpp:
        resolution["resolution"] = (1e4 / mpp, 1e4 / mpp)
    with tifffile.TiffWriter(path) as tiff:
        for index, level in enumerate(levels):
            tiff.write(
                level,
                tile=(128, 128),
                photometric="rgb",
                subfiletype=1 if index else 0,
                **resolution,
            )
    return path
