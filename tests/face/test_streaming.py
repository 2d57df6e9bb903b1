from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari import Viewer
from napari.layers import Image
from PIL import ImageCms

from napari_weno.layers import slide_layer
from napari_weno.streaming import follow, set_icc, show
from weno.slides import Slide, open_slide, screen_cache


class Gate:
    """Holds back every read of a slide while it is shut."""

    def __init__(self, slide: Slide) -> None:
        self._backend = slide._backend
        self._open = threading.Event()
        slide._backend = self
        self.level_shapes = self._backend.level_shapes
        self.tile_shapes = self._backend.tile_shapes

    def read(self, *region: int) -> np.ndarray:
        assert self._open.wait(30)
        return self._backend.read(*region)

    def close(self) -> None:
        self._backend.close()

    def let_through(self) -> None:
        self._open.set()

    def shut(self) -> None:
        self._open.clear()


@pytest.fixture(autouse=True)
def cold_cache() -> Iterator[None]:
    screen_cache().clear()
    yield
    screen_cache().clear()


@pytest.fixture
def slide(tmp_path: Path) -> Iterator[Slide]:
    """Write a slide of three levels, each with noise of its own."""
    rng = np.random.default_rng(0)
    path = tmp_path / "noise.tif"
    with tifffile.TiffWriter(path) as tiff:
        for k, side in enumerate((4096, 2048, 1024)):
            level = rng.integers(0, 256, (side, side, 3), np.uint8)
            tiff.write(level, tile=(256, 256), photometric="rgb", subfiletype=k > 0)
    with open_slide(path) as slide:
        yield slide


def add(viewer: Viewer, slide: Slide) -> Image:
    follow(viewer)
    data, keywords, _ = slide_layer(slide)
    return viewer.add_image(data, **keywords)


def look(viewer: Viewer, layer: Image, y: float, x: float) -> None:
    """Show a place at full resolution."""
    viewer.scene.camera.center = (0, y, x)
    viewer.scene.camera.zoom = 1.0


def shown(layer: Image, y: int, x: int) -> np.ndarray:
    """Return the pixel that is drawn at a place of level 0."""
    level, value = layer.get_value((y, x), world=True)
    assert level == 0
    return np.asarray(value)


def test_whoever_computes_gets_exact_pixels(viewer: Viewer, slide: Slide) -> None:
    layer = add(viewer, slide)
    truth = slide.read(0, 1000, 2000, 300, 400)
    np.testing.assert_array_equal(layer.data[0][1000:1300, 2000:2400].compute(), truth)
    np.testing.assert_array_equal(layer.data[0][1000:1300, 2000:2400], truth)
    np.testing.assert_array_equal(
        np.asarray(layer.data[2]), slide.read(2, 0, 0, 1024, 1024)
    )


def test_a_view_is_drawn_from_a_coarser_level_and_sharpens(
    viewer: Viewer, slide: Slide, qtbot: object
) -> None:
    gate = Gate(slide)
    gate.let_through()
    layer = add(viewer, slide)
    qtbot.waitUntil(lambda: layer.data_level == 2)
    gate.shut()
    screen_cache().clear()
    look(viewer, layer, 2000, 2000)
    qtbot.waitUntil(lambda: layer.data_level == 0)
    coarse = slide._backend._backend.read(2, 500, 500, 1, 1)[0, 0]
    np.testing.assert_array_equal(shown(layer, 2001, 2001), coarse)
    gate.let_through()
    truth = slide.read(0, 2001, 2001, 1, 1)[0, 0]
    qtbot.waitUntil(lambda: bool((shown(layer, 2001, 2001) == truth).all()))


def test_two_viewers_show_one_slide(
    make_napari_viewer: Callable[..., Viewer], slide: Slide, qtbot: object
) -> None:
    viewers = [make_napari_viewer(show=True), make_napari_viewer(show=True)]
    with open_slide(slide.path) as again:
        layers = [
            add(one, file) for one, file in zip(viewers, (slide, again), strict=True)
        ]
        for viewer, layer, y in zip(viewers, layers, (700, 3000), strict=True):
            look(viewer, layer, y, y)
        for layer, y in zip(layers, (700, 3000), strict=True):
            truth = slide.read(0, y, y, 1, 1)[0, 0]
            qtbot.waitUntil(
                lambda layer=layer, y=y, truth=truth: (
                    layer.data_level == 0 and bool((shown(layer, y, y) == truth).all())
                )
            )


def test_another_slide_in_the_same_layer(
    viewer: Viewer, slide: Slide, test_data: Path, qtbot: object
) -> None:
    layer = add(viewer, slide)
    with open_slide(test_data / "slides" / "cmu-1-small-region.svs") as other:
        data, _, _ = slide_layer(other)
        show(layer, data)
        layer.scale = (1, 1)
        look(viewer, layer, 1500, 1000)
        truth = other.read(0, 1500, 1000, 1, 1)[0, 0]
        qtbot.waitUntil(
            lambda: (
                layer.data_level == 0
                and bool((shown(layer, 1500, 1000) == truth).all())
            )
        )
        viewer.layers.clear()


def test_damage_is_drawn_hatched_and_said_once(
    viewer: Viewer, slide: Slide, qtbot: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("napari_weno.streaming.show_warning", said.append)
    compressed = slide.path.with_name("cut.tif")
    pixels = slide.read(0, 0, 0, 4096, 4096)
    tifffile.imwrite(
        compressed, pixels, tile=(256, 256), photometric="rgb", compression="zlib"
    )
    with tifffile.TiffFile(compressed) as tiff:
        page = tiff.pages[0]
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    content = bytearray(compressed.read_bytes())
    for offset, count in (places[0], places[40]):
        content[offset : offset + count] = bytes(count)
    compressed.write_bytes(content)
    with open_slide(compressed) as damaged:
        layer = add(viewer, damaged)
        look(viewer, layer, 300, 300)
        good = pixels[700, 700]
        qtbot.waitUntil(
            lambda: (
                layer.data_level == 0 and bool((shown(layer, 700, 700) == good).all())
            )
        )
        qtbot.waitUntil(lambda: len(said) == 1)
        assert "cut.tif" in said[0]
        stripes = {tuple(shown(layer, 100, 100 + k)) for k in range(0, 32, 8)}
        assert stripes == {(200, 200, 200), (235, 235, 235)}
        viewer.layers.clear()
    assert len(said) == 1


@pytest.mark.parametrize("factors", [(2.0005, 4.0021), (4.0, 16.0)])
def test_a_place_stays_a_place_on_every_level(
    viewer: Viewer, tmp_path: Path, factors: tuple[float, float]
) -> None:
    path = tmp_path / "odd.tif"
    shapes = [(8003, 6001)]
    shapes += [(int(8003 / factor), int(6001 / factor)) for factor in factors]
    with tifffile.TiffWriter(path) as tiff:
        for k, shape in enumerate(shapes):
            tiff.write(
                np.full((*shape, 3), 200, np.uint8),
                tile=(256, 256),
                photometric="rgb",
                compression="zlib",
                subfiletype=k > 0,
            )
    with open_slide(path, mpp=0.25) as slide:
        layer = add(viewer, slide)
        corners = np.random.default_rng(0).integers(0, (8003, 6001), (50, 2))
        world = corners * 0.25
        data = np.array([layer.world_to_data(place) for place in world])
        np.testing.assert_allclose(data, corners, atol=1e-6)
        by_shape = {level.shape[:2]: k for k, level in enumerate(layer.data)}
        for level, shape in enumerate(slide.level_shapes):
            drawn = data / layer.downsample_factors[by_shape[shape]][:2]
            assert np.abs(drawn - corners / slide.downsamples[level]).max() <= 0.5
        viewer.layers.clear()


def test_layers_that_share_data_all_sharpen(
    viewer: Viewer, slide: Slide, qtbot: object
) -> None:
    gate = Gate(slide)
    gate.let_through()
    layer = add(viewer, slide)
    other = viewer.add_image(layer.data, rgb=True, multiscale=True, cache=False)
    qtbot.waitUntil(lambda: layer.data_level == other.data_level == 2)
    gate.shut()
    screen_cache().clear()
    look(viewer, layer, 2000, 2000)
    qtbot.waitUntil(lambda: layer.data_level == other.data_level == 0)
    gate.let_through()
    truth = slide.read(0, 2001, 2001, 1, 1)[0, 0]
    for one in (layer, other):
        qtbot.waitUntil(lambda one=one: bool((shown(one, 2001, 2001) == truth).all()))
    viewer.layers.remove(other)
    gate.shut()
    screen_cache().clear()
    look(viewer, layer, 600, 600)
    gate.let_through()
    truth = slide.read(0, 601, 601, 1, 1)[0, 0]
    qtbot.waitUntil(lambda: bool((shown(layer, 601, 601) == truth).all()))
    viewer.layers.clear()


def test_colours_are_shown_by_the_profile_on_demand(
    viewer: Viewer, tmp_path: Path, qtbot: object
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # Red and blue primaries in each other's place.
    names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    profile = re.sub(b"|".join(names), lambda found: names[found[0]], profile)
    pixels = np.random.default_rng(3).integers(0, 256, (3000, 3000, 3), np.uint8)
    path = tmp_path / "colours.tif"
    tifffile.imwrite(
        path, pixels, tile=(256, 256), photometric="rgb", iccprofile=profile
    )
    with open_slide(path) as slide:
        layer = add(viewer, slide)
        look(viewer, layer, 1500, 1500)
        stored = pixels[1500, 1500]
        meant = slide.to_srgb(pixels[1500:1501, 1500:1501])[0, 0]
        assert np.abs(stored.astype(int) - meant).max() > 20
        for on, colour in ((True, meant), (False, stored), (True, meant)):
            set_icc(layer, on)
            qtbot.waitUntil(
                lambda colour=colour: (
                    layer.data_level == 0
                    and bool((shown(layer, 1500, 1500) == colour).all())
                )
            )
        # What others compute stays as it is in the file.
        np.testing.assert_array_equal(layer.data[0][1500, 1500].compute(), stored)
        viewer.layers.clear()
