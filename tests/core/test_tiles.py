from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weno.errors import SlideError, WenoError
from weno.slides import open_slide
from weno.tiles import (
    TileGrid,
    TileSpec,
    level_for,
    read_tiles,
    tile_grid,
    tissue_mask,
)

PyramidWriter = Callable[[Path, list[np.ndarray], float | None], Path]
PINK, GLASS = (220, 150, 190), (243, 243, 244)


def paint(height: int, width: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Glass with pink boxes (y, x, height, width)."""
    rng = np.random.default_rng(0)
    pixels = np.empty((height, width, 3), np.int16)
    pixels[:] = GLASS
    for y, x, h, w in boxes:
        pixels[y : y + h, x : x + w] = PINK
    noise = rng.integers(-4, 5, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def two_sections(write_pyramid: PyramidWriter, tmp_path: Path) -> Path:
    pixels = paint(2048, 3072, (256, 256, 1024, 1024), (512, 1792, 1024, 1024))
    return write_pyramid(tmp_path / "two.tiff", [pixels], mpp=0.5)


def test_tissue_is_found_and_measured(two_sections: Path) -> None:
    with open_slide(two_sections) as slide:
        tissue = tissue_mask(slide)
    assert tissue.mpp == pytest.approx((8, 8))
    assert tissue.area_mm2 == pytest.approx(2 * 0.512**2, rel=0.03)
    assert not tissue.mask[:14].any()


def test_specks_go_and_holes_are_filled(
    write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    pixels = paint(2048, 2048, (256, 256, 1024, 1024), (1700, 1700, 96, 96))
    pixels[700:800, 700:800] = GLASS
    path = write_pyramid(tmp_path / "specks.tiff", [pixels], mpp=0.5)
    with open_slide(path) as slide:
        mask = tissue_mask(slide).mask
    assert not mask[100:].any()
    assert mask[20:76, 20:76].all()


@pytest.mark.parametrize(("shade", "share"), [(GLASS, 0.0), (PINK, 1.0)])
def test_all_glass_and_all_tissue(
    write_pyramid: PyramidWriter,
    tmp_path: Path,
    shade: tuple[int, int, int],
    share: float,
) -> None:
    pixels = paint(1024, 1024, *([(0, 0, 1024, 1024)] if share else []))
    path = write_pyramid(tmp_path / "one.tiff", [pixels], mpp=0.5)
    with open_slide(path) as slide:
        assert tissue_mask(slide).mask.mean() == share
        grid = tile_grid(slide, TileSpec(64, 0.5))
        assert len(grid) == share * 64


def test_share_is_the_exact_area(two_sections: Path) -> None:
    with open_slide(two_sections) as slide:
        tissue = tissue_mask(slide)
    origins = np.array([[256, 256], [192, 256], [-64, -64], [2000, 0]])
    shares = tissue.share(origins, (128.0, 128.0))
    np.testing.assert_allclose(shares, [1.0, 0.5, 0.0, 0.0], atol=0.08)


def test_grid_is_anchored_at_the_slide_and_ordered(two_sections: Path) -> None:
    spec = TileSpec(tile_um=51.3, mpp=0.57)  # 102.6 level-0 px: never whole
    with open_slide(two_sections) as slide:
        grid = tile_grid(slide, spec)
    assert grid.tile_l0 == pytest.approx((102.6, 102.6))
    assert grid.shape == (20, 30)
    np.testing.assert_array_equal(grid.origins, np.rint(grid.cells * 102.6))
    assert grid.origins.dtype == np.int64
    order = grid.cells[:, 0] * grid.shape[1] + grid.cells[:, 1]
    assert (np.diff(order) > 0).all()
    again = TileGrid.from_origins(grid.origins, spec, (0.5, 0.5), (2048, 3072))
    assert again.shape == grid.shape
    np.testing.assert_array_equal(again.cells, grid.cells)


@pytest.mark.parametrize("stride_um", [None, 20.0, 80.0, 33.3])
def test_tile_under_a_point(two_sections: Path, stride_um: float | None) -> None:
    spec = TileSpec(tile_um=51.3, mpp=0.57, stride_um=stride_um, min_tissue=0.2)
    with open_slide(two_sections) as slide:
        grid = tile_grid(slide, spec)
    tile = grid.tile_l0[0]
    for index, (y, x) in enumerate(grid.origins):
        assert grid.index_at(y + tile / 2, x + tile / 2) == index
    gap = stride_um is not None and stride_um > spec.tile_um
    y, x = grid.origins[0]
    beside = grid.index_at(y + tile / 2, x + tile + 5)
    assert beside is None if gap else beside is not None
    if stride_um is None:
        for index, (y, x) in enumerate(grid.origins):
            assert grid.index_at(y, x) == index
    assert grid.index_at(-1, -1) is None
    assert grid.index_at(1e7, 1e7) is None
    assert grid.index_at(1, 1) is None


@pytest.mark.parametrize(
    ("step", "start", "stride_um"),
    [
        (380, (0, 0), 96.0),  # TRIDENT with overlap: the exact stride is 380.25
        (507, (211, 37), None),  # CLAM: an outline's lattice begins at its own corner
        (507, (500, 300), None),
    ],
)
def test_tiles_of_others_get_the_lattice_they_lie_on(
    step: int, start: tuple[int, int], stride_um: float | None
) -> None:
    spec, side = TileSpec(128.0, 0.5, stride_um), 128 / 507  # µm per level-0 pixel
    cells = np.indices((90, 160)).reshape(2, -1).T
    origins = (cells * step + start)[np.random.default_rng(0).random(len(cells)) > 0.3]
    shape = (90 * step + 700, 160 * step + 700)
    grid = TileGrid.from_origins(origins, spec, (side, side), shape)
    for index in (0, 7, len(origins) // 2, len(origins) - 1):
        y, x = grid.origins[index]
        assert grid.index_at(y + 507 / 2, x + 507 / 2) == index
        corner = np.multiply(grid.cells[index], grid.stride_l0) + grid.start
        np.testing.assert_array_equal(corner, (y, x))
    assert len(np.unique(grid.cells, axis=0)) == len(origins)
    assert (grid.cells >= 0).all() and (grid.cells < grid.shape).all()


def test_a_second_outline_of_others_lies_as_near_as_the_lattice_allows() -> None:
    spec, side = TileSpec(128.0, 0.5), 128 / 512
    first = np.indices((9, 9)).reshape(2, -1).T * 512 + (300, 400)
    second = np.indices((3, 3)).reshape(2, -1).T * 512 + (20, 6000)
    origins = np.concatenate([first, second])
    grid = TileGrid.from_origins(origins, spec, (side, side), (8000, 9000))
    places = grid.cells * grid.stride_l0 + grid.start
    assert np.abs(places - origins).max() <= 256
    np.testing.assert_array_equal(places[: len(first)], first)
    assert len(np.unique(grid.cells, axis=0)) == len(origins)
    assert grid.cells.min() >= 0


def test_values_land_in_their_cell(two_sections: Path) -> None:
    with open_slide(two_sections) as slide:
        grid = tile_grid(slide, TileSpec(64, 0.5))
    image = grid.to_image(np.arange(len(grid)), fill=-1)
    assert image.shape == grid.shape
    for index in (0, 17, len(grid) - 1):
        assert image[tuple(grid.cells[index])] == index
    assert (image >= 0).sum() == len(grid)


def test_tiles_are_the_slide_pixels(two_sections: Path) -> None:
    spec = TileSpec(64, 0.5)
    with open_slide(two_sections) as slide:
        grid = tile_grid(slide, spec)
        wanted = [5, 3, 4, len(grid) - 1]
        tiles = read_tiles(slide, grid, spec, wanted)
        for tile, index in zip(tiles, wanted, strict=True):
            y, x = map(int, grid.origins[index])
            np.testing.assert_array_equal(tile, slide.read(0, y, x, 128, 128))
        assert read_tiles(slide, grid, spec, []).shape == (0, 128, 128, 3)


def test_tile_pixels_do_not_depend_on_their_company(
    write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 200, (1500, 1500, 3), np.uint8)
    half = np.asarray(Image.fromarray(pixels).resize((750, 750), Image.Resampling.BOX))
    path = write_pyramid(tmp_path / "noise.tiff", [pixels, half], mpp=0.25)
    spec = TileSpec(tile_um=37.0, mpp=0.6)  # from level 1, shrunk
    with open_slide(path) as slide:
        grid = tile_grid(slide, spec)
        together = read_tiles(slide, grid, spec, range(len(grid)))
        assert together.shape == (len(grid), 62, 62, 3)
        for index in (0, 7, len(grid) - 1):
            alone = read_tiles(slide, grid, spec, [index])[0]
            np.testing.assert_array_equal(together[index], alone)


def test_coarser_slide_is_refused_with_both_values(two_sections: Path) -> None:
    with (
        open_slide(two_sections, mpp=0.62) as slide,
        pytest.raises(SlideError, match=r"0\.62 µm.*0\.5 µm"),
    ):
        tile_grid(slide, TileSpec(64, 0.5))


def test_unknown_pixel_size_is_refused(
    write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    path = write_pyramid(tmp_path / "no.tiff", [paint(256, 256)], None)
    with open_slide(path) as slide, pytest.raises(SlideError, match="--mpp"):
        tissue_mask(slide)


@pytest.mark.parametrize(
    "values",
    [
        {"tile_um": 0},
        {"mpp": -1},
        {"stride_um": 0.0},
        {"min_tissue": 1.5},
        {"tile_um": 4},
        {"tile_size": 3},
    ],
)
def test_wrong_spec_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(WenoError):
        TileSpec.from_dict(values)


def test_hash_tells_specs_apart_and_ignores_int_or_float() -> None:
    assert TileSpec(128, 1).hash == TileSpec(128.0, 1.0).hash
    variants = [TileSpec(), TileSpec(64), TileSpec(mpp=1), TileSpec(min_tissue=0.1)]
    assert len({spec.hash for spec in variants}) == 4
    assert TileSpec.from_dict(TileSpec(64, 1, 32).to_dict()) == TileSpec(64, 1, 32)


def test_coarser_slide_is_enlarged_where_asked(two_sections: Path) -> None:
    spec = TileSpec(64, 0.25, upsample=True)
    assert spec.hash != TileSpec(64, 0.25).hash
    assert TileSpec.from_dict(spec.to_dict()) == spec
    assert "upsample" not in TileSpec(64, 0.25).to_dict()
    with open_slide(two_sections) as slide:
        with pytest.raises(SlideError, match="upsample = true"):
            tile_grid(slide, TileSpec(64, 0.25))
        grid = tile_grid(slide, spec)
        tile = read_tiles(slide, grid, spec, [0])[0]
        y, x = map(int, grid.origins[0])
        small = Image.fromarray(slide.read(0, y, x, 128, 128))
        assert level_for(slide, spec) == 0
    assert tile.shape == (256, 256, 3)
    back = Image.fromarray(tile).resize((128, 128), Image.Resampling.BOX)
    difference = np.asarray(back, int) - np.asarray(small, int)
    assert np.abs(difference).mean() < 3


def test_tiles_come_from_the_next_finer_level(
    write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    pixels = paint(1024, 1024, (0, 0, 1024, 1024))
    levels = [pixels, pixels[::2, ::2], pixels[::4, ::4]]
    path = write_pyramid(tmp_path / "levels.tiff", levels, mpp=0.25)
    with open_slide(path) as slide:
        for mpp, level in ((0.25, 0), (0.4, 0), (0.5, 1), (0.9, 1), (1.0, 2), (3.0, 2)):
            assert level_for(slide, TileSpec(128, mpp)) == level


def test_slide_smaller_than_a_tile(
    write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    path = write_pyramid(
        tmp_path / "small.tiff", [paint(400, 400, (0, 0, 400, 400))], 0.5
    )
    with open_slide(path) as slide:
        # 200 µm: a quarter of a tile of 400 µm, and all but a bit of one of 210 µm.
        assert len(tile_grid(slide, TileSpec(400, 0.5))) == 0
        spec = TileSpec(210, 0.5)
        grid = tile_grid(slide, spec)
        assert grid.origins.tolist() == [[0, 0]]
        tile = read_tiles(slide, grid, spec, [0])[0]
    assert tile.shape == (420, 420, 3)
    assert (tile[400:] == 255).all(), "beyond the slide is white"
