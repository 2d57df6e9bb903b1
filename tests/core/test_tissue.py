"""The built-in tissue model, on real tissue with what goes wrong drawn onto it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from weno.slides import open_slide
from weno.tiles import TileSpec, tile_grid, tile_quality, tissue_mask

PyramidWriter = Callable[[Path, list[np.ndarray], float | None], Path]

MPP = 2.0  # of the slides that the tests make
GLASS = (243, 243, 243)
PENS = {
    "blue": (40, 80, 180),
    "navy": (20, 30, 150),
    "light blue": (120, 170, 230),
    "green": (30, 130, 60),
    "teal": (0, 120, 130),
    "red": (200, 40, 60),
    "black": (25, 25, 30),
}


@pytest.fixture
def found(write_pyramid: PyramidWriter, tmp_path: Path) -> Callable[..., np.ndarray]:
    """Find tissue on pixels of `MPP`; the mask comes back with a pixel for each."""

    def find(pixels: np.ndarray) -> np.ndarray:
        path = write_pyramid(tmp_path / "slide.tiff", [pixels], MPP)
        with open_slide(path) as slide:
            mask = Image.fromarray(tissue_mask(slide).mask)
        return np.asarray(mask.resize(pixels.shape[1::-1], Image.Resampling.NEAREST))

    return find


@pytest.fixture(scope="module")
def tissue(test_data: Path) -> np.ndarray:
    """A real section in the middle of glass."""
    with open_slide(test_data / "gland_cohort" / "gland_11_01.tif") as slide:
        level = slide.read(0, 0, 0, *slide.shape)
    image = Image.fromarray(level)
    side = [round(length * 0.62 / MPP) for length in image.size]
    return np.asarray(image.resize(side, Image.Resampling.BOX))


def stroke(
    pixels: np.ndarray, ink: tuple[int, int, int], points: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a stroke of a pen, 180 µm wide with soft edges; return where it is dense."""
    layer = Image.new("L", pixels.shape[1::-1], 0)
    ImageDraw.Draw(layer).line(points, fill=235, width=90)
    cover = np.asarray(layer.filter(ImageFilter.GaussianBlur(4)))[..., None] / 255
    through = pixels / 245 * ink  # ink lets light through
    marked = pixels * (1 - cover) + through * cover
    return marked.astype(np.uint8), cover[..., 0] > 0.8


@pytest.mark.parametrize("ink", PENS.values(), ids=PENS)
def test_pen_on_glass_is_no_tissue(
    found: Callable[..., np.ndarray], tissue: np.ndarray, ink: tuple[int, int, int]
) -> None:
    clean = found(tissue)
    marked, dense = stroke(tissue, ink, [(100, 40), (700, 70), (760, 300)])
    mask = found(marked)
    assert not (mask & dense).any()
    # What is far from the pen stays as it was.
    away = np.ones_like(clean)
    away[:400] = False
    assert (mask & away).sum() == pytest.approx((clean & away).sum(), rel=0.02)


@pytest.mark.parametrize("name", ["blue", "green", "black"])
def test_tissue_under_a_pen_is_left_out(
    found: Callable[..., np.ndarray], tissue: np.ndarray, name: str
) -> None:
    marked, dense = stroke(tissue, PENS[name], [(40, 300), (800, 420)])
    share = (found(marked) & dense).sum() / (found(tissue) & dense).sum()
    assert share < 0.25


def test_border_and_cover_slip_are_no_tissue(
    found: Callable[..., np.ndarray], tissue: np.ndarray
) -> None:
    clean = found(tissue)
    image = Image.fromarray(tissue)
    draw = ImageDraw.Draw(image)
    height, width = tissue.shape[:2]
    draw.rectangle((0, 0, 60, height), fill=(2, 2, 3))
    draw.rectangle((0, height - 60, width, height), fill=(6, 5, 5))
    draw.line([(width - 60, 0), (width - 30, height)], fill=(150, 150, 155), width=12)
    draw.line([(0, 90), (width, 70)], fill=(110, 112, 115), width=4)
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(1)))
    assert (found(soft) & ~clean).sum() < 0.001 * clean.sum()
    assert found(soft).sum() == pytest.approx(clean.sum(), rel=0.01)


def test_blurred_tissue_is_tissue(
    found: Callable[..., np.ndarray], tissue: np.ndarray
) -> None:
    blurred = Image.fromarray(tissue).filter(ImageFilter.GaussianBlur(8))
    assert found(np.asarray(blurred)).sum() == pytest.approx(
        found(tissue).sum(), rel=0.1
    )


def section(base: tuple[int, int, int]) -> np.ndarray:
    """A square of 1.6 mm on glass, with the noise of a scanner."""
    pixels = np.empty((1200, 1200, 3), np.int16)
    pixels[:] = GLASS
    pixels[200:1000, 200:1000] = base
    return pixels


def fat() -> np.ndarray:
    image = Image.fromarray(section((243, 243, 243)).astype(np.uint8))
    draw, rng = ImageDraw.Draw(image), np.random.default_rng(0)
    for y in range(220, 990, 38):
        for x in range(220, 990, 38):
            top, left = y + rng.integers(-6, 7), x + rng.integers(-6, 7)
            cell = (left - 19, top - 19, left + 19, top + 19)
            draw.ellipse(cell, outline=(225, 180, 210), width=2)
    draw.rectangle((500, 500, 700, 900), fill=(150, 70, 150))
    return np.asarray(image)


def ihc() -> np.ndarray:
    pixels = section((226, 229, 235))
    rng = np.random.default_rng(0)
    inside = np.s_[200:1000, 200:1000]
    nuclei = np.kron(rng.random((200, 200)) < 0.2, np.ones((4, 4), bool))
    stained = np.kron(rng.random((40, 40)) < 0.1, np.ones((20, 20), bool))
    pixels[inside][nuclei] = (120, 132, 180)
    pixels[inside][stained] = (130, 85, 50)
    return pixels


def folded() -> np.ndarray:
    pixels = section((215, 140, 190))
    pixels[400:460, 200:1000] = (95, 35, 105)
    pixels[700:760, 200:1000] = (60, 20, 70)
    return pixels


HARD = {
    "pale fat": fat,
    "IHC": ihc,
    "dark haematoxylin": lambda: section((62, 38, 105)),
    "folds": folded,
}


@pytest.mark.parametrize("make", HARD.values(), ids=HARD)
def test_hard_tissue_is_found_whole(
    found: Callable[..., np.ndarray], make: Callable[[], np.ndarray]
) -> None:
    noise = np.random.default_rng(1).integers(-5, 6, (1200, 1200, 3))
    mask = found(np.clip(make() + noise, 0, 255).astype(np.uint8))
    inside = np.zeros_like(mask)
    inside[200:1000, 200:1000] = True
    assert mask[220:980, 220:980].mean() > 0.95
    assert (mask & ~inside).sum() < 0.06 * inside.sum()


def test_tinted_glass_is_glass(found: Callable[..., np.ndarray]) -> None:
    noise = np.random.default_rng(1).integers(-5, 6, (600, 600, 3))
    glass = np.clip(np.array([240, 236, 222]) + noise, 0, 255).astype(np.uint8)
    assert not found(glass).any()


def test_glass_at_the_border_is_glass(found: Callable[..., np.ndarray]) -> None:
    for gap in (12, 20, 24, 28, 40):
        pixels = section((150, 70, 150))
        pixels[200:1000, 200 : 1200 - gap] = (150, 70, 150)
        mask = found(pixels.astype(np.uint8))
        assert not mask[:, 1204 - gap :].any(), gap


def test_sections_are_all_found(found: Callable[..., np.ndarray]) -> None:
    pixels = np.empty((900, 1600, 3), np.uint8)
    pixels[:] = GLASS
    shades = ((215, 140, 190), (150, 90, 160), (228, 205, 222))  # the last is pale
    for number, shade in enumerate(shades):
        pixels[200:700, 100 + 500 * number :][:, :400] = shade
    mask = found(pixels)
    for number in range(3):
        assert mask[200:700, 100 + 500 * number :][:, :400].mean() > 0.95


def test_gland_cohort_is_tiled_and_its_glass_is_not(test_data: Path) -> None:
    folder = test_data / "gland_cohort"
    cells: dict[str, set[tuple[int, int]]] = {}
    with (folder / "tiles.csv").open() as file:
        for row in csv.DictReader(file):
            cells.setdefault(row["slide_id"], set()).add((int(row["y"]), int(row["x"])))
    dark = found = 0
    for slide_id in sorted(cells):
        with open_slide(folder / f"{slide_id}.tif") as slide:
            grid = tile_grid(slide, TileSpec(79.36, 0.62))
            tiled = set(map(tuple, grid.origins.tolist()))
            assert tiled <= cells[slide_id], "background is tiled"
            for y, x in cells[slide_id]:
                if slide.read(0, y, x, 128, 128).mean() <= 225:
                    dark += 1
                    found += (y, x) in tiled
    assert len(cells) == 24
    assert dark > 2900
    assert found / dark >= 0.98


def test_quality_tells_blur_and_pen(tissue: np.ndarray) -> None:
    sharp = tissue[300:556, 300:556]
    image = Image.fromarray(sharp)
    soft = [np.asarray(image.filter(ImageFilter.GaussianBlur(r))) for r in (1, 2, 4)]
    half = sharp.copy()
    half[:, :128] = (40, 80, 180)
    quality = tile_quality(np.stack([sharp, *soft, half]))
    assert quality.shape == (5, 2)
    assert (np.diff(quality[:4, 0]) > 0.05).all()
    assert quality[2, 0] > 0.5 > quality[0, 0]
    assert (quality[:4, 1] < 0.02).all()
    assert quality[4, 1] == pytest.approx(0.5, abs=0.03)
    assert tile_quality(np.empty((0, 64, 64, 3), np.uint8)).shape == (0, 2)
