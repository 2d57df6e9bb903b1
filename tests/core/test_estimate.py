"""How long encoding is guessed to take, by a clock that the test moves."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from weno.features import TextureEncoder, seconds_to_encode
from weno.slides import open_slide
from weno.tiles import TileSpec, tile_grid

READING_S, ENCODING_S, CORES = 8.0, 6.0, 4


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Network:
    """Takes its time to encode."""

    def __init__(self, clock: Clock, device: str) -> None:
        self.device = device
        self._clock = clock

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        self._clock.now += ENCODING_S
        return np.zeros((len(tiles), 2), np.float32)


class Texture(Network, TextureEncoder):
    pass


@pytest.mark.parametrize(
    ("kind", "device", "seconds"),
    [
        (Network, "cuda:0", 6.0),  # reads meanwhile
        (Network, "cpu", 8.0 / CORES + 6.0),
        (Texture, "cpu", (8.0 + 6.0) / CORES),
    ],
)
def test_what_encodes_on_the_processor_reads_there_too(
    test_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Network],
    device: str,
    seconds: float,
) -> None:
    clock = Clock()

    def read(_slide: object, _grid: object, _spec: object, some: range) -> np.ndarray:
        clock.now += READING_S
        return np.zeros((len(some), 4, 4, 3), np.uint8)

    # The package has a function of the same name.
    module = sys.modules[seconds_to_encode.__module__]
    monkeypatch.setattr(
        module, "time", SimpleNamespace(perf_counter=clock.perf_counter)
    )
    monkeypatch.setattr(module, "read_tiles", read)
    monkeypatch.setattr(module, "CPU_COUNT", CORES)
    spec = TileSpec(tile_um=39.68, mpp=0.62, min_tissue=0.1)
    with open_slide(test_data / "gland_cohort" / "gland_11_01.tif") as slide:
        grid = tile_grid(slide, spec)
        assert len(grid) > 64
        found = seconds_to_encode(slide, grid, spec, kind(clock, device))
    assert found == pytest.approx(seconds / 32 * len(grid))
