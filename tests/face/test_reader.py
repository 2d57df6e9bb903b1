from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from napari import Viewer
from PIL import Image
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_weno.reader import get_reader, read_slides
from napari_weno.session import session_of
from weno.errors import SlideError
from weno.slides import open_slide

SVS = "slides/cmu-1-small-region.svs"
DICOM = (
    "slides/dicom/1.2.826.0.1.3680043.8.498.46702941076792458794464453066648511350.dcm"
)


@pytest.fixture(params=[SVS, DICOM], ids=["svs", "dicom"])
def real_slide(request: pytest.FixtureRequest, test_data: Path) -> Path:
    return test_data / request.param


def check_layer(viewer: Viewer, path: Path) -> None:
    (layer,) = viewer.layers
    assert layer.rgb
    assert layer.multiscale
    assert layer.scale == pytest.approx((0.499, 0.499), abs=1e-3)
    assert {str(unit) for unit in layer.units} == {"micrometer"}
    assert layer.data[0].shape == (2967, 2220, 3)
    assert viewer.canvas.overlays.scale_bar.visible == (
        session_of(viewer).opened is not None
    )
    assert layer.metadata["mpp"] == pytest.approx((0.499, 0.499))
    assert layer.metadata["vendor"] == ("aperio" if path.suffix == ".svs" else "dicom")
    assert layer.metadata["level_shapes"] == ((2967, 2220),)
    with open_slide(path) as slide:
        pixels = np.asarray(layer.data[0][1500:1540, 1100:1160])
        np.testing.assert_array_equal(pixels, slide.read(0, 1500, 1100, 40, 60))
        assert pixels.std() > 5


def test_viewer_open_shows_a_slide(viewer: Viewer, real_slide: Path) -> None:
    session_of(viewer)
    viewer.open(real_slide, plugin="napari-weno")
    check_layer(viewer, real_slide)


def test_a_drop_on_the_window_shows_a_slide(
    viewer: Viewer, real_slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.settings import get_settings

    # What the user's answer "always use this reader" leaves behind; without it
    # napari would ask, because its own reader claims these endings, too.
    settings = get_settings().plugins
    pattern = f"*{real_slide.suffix}"
    monkeypatch.setitem(settings.extension2reader, pattern, "napari-weno")
    session = session_of(viewer)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(real_slide))])
    drop = QDropEvent(
        QPointF(400, 300),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    viewer.window._qt_viewer.dropEvent(drop)
    check_layer(viewer, real_slide)
    assert session.opened.slide.path == real_slide


def test_file_endings_of_slides_are_claimed_unseen(tmp_path: Path) -> None:
    assert get_reader(str(tmp_path / "not_there.svs")) is read_slides
    assert get_reader([str(tmp_path / "a.NDPI"), str(tmp_path / "b.mrxs")])


def test_a_plain_tiff_is_left_to_others(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint16))
    assert get_reader(str(path)) is None
    assert get_reader([str(tmp_path / "slide.svs"), str(path)]) is None


def test_a_tiled_tiff_is_a_slide(cohort: Path) -> None:
    path = next((cohort / "slides").glob("*.tif"))
    reader = get_reader(str(path))
    assert reader is not None
    ((levels, keywords, kind),) = reader(str(path))
    assert kind == "image"
    assert levels[0].shape == (1024, 1024, 3)
    assert keywords["scale"] == pytest.approx((0.5, 0.5))


def write_zarr(path: Path, pixels: np.ndarray) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", data=pixels, chunks=(len(pixels), 256, 256))
    kinds = {"c": "channel", "y": "space", "x": "space"}
    unit = {"unit": "micrometer"}
    axes = [
        {"name": n, "type": k} | (unit if n in "yx" else {}) for n, k in kinds.items()
    ]
    scale = {"type": "scale", "scale": [1.0, 0.5, 0.5]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    multiscales = [{"axes": axes, "datasets": datasets}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}


def test_ome_tiff_and_ome_zarr_are_slides_if_they_are_rgb(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    tiff = {"photometric": "rgb", "tile": (128, 128)}
    microns = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "rgb.ome.tif", rgb, metadata=microns, **tiff)
    write_zarr(tmp_path / "rgb.ome.zarr", np.moveaxis(rgb, -1, 0))
    for name in ("rgb.ome.tif", "rgb.ome.zarr"):
        reader = get_reader(str(tmp_path / name))
        assert reader is read_slides
        ((levels, keywords, _),) = reader(str(tmp_path / name))
        np.testing.assert_array_equal(levels[0].compute(), rgb)
        assert keywords["scale"] == pytest.approx((0.5, 0.5))
    stains = np.zeros((4, 300, 400), np.uint16)
    stained = {"photometric": "minisblack", "metadata": {"axes": "CYX"}}
    tifffile.imwrite(tmp_path / "stains.ome.tif", stains, tile=(128, 128), **stained)
    write_zarr(tmp_path / "stains.zarr", stains)
    tifffile.imwrite(tmp_path / "mask.tif", rgb[..., 0], tile=(128, 128))
    tifffile.imwrite(tmp_path / "photo.tif", rgb, photometric="rgb")
    Image.fromarray(rgb).save(tmp_path / "photo.png")
    left = ("stains.ome.tif", "stains.zarr", "mask.tif", "photo.tif", "photo.png")
    for name in (*left, "."):
        assert get_reader(str(tmp_path / name)) is None, name


def test_viewer_open_shows_an_ome_zarr(viewer: Viewer, tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.zarr"
    rgb = np.random.default_rng(0).integers(0, 256, (3, 300, 400), np.uint8)
    write_zarr(path, rgb)
    viewer.open(path, plugin="napari-weno")
    (layer,) = viewer.layers
    assert layer.rgb
    assert layer.scale == pytest.approx((0.5, 0.5))
    np.testing.assert_array_equal(layer.data[0].compute(), np.moveaxis(rgb, 0, -1))


@pytest.mark.parametrize("name", ["broken.svs", "unopenable.tiff"])
def test_a_corrupt_slide_is_an_error_with_its_path(test_data: Path, name: str) -> None:
    path = test_data / "slides" / name
    with pytest.raises(SlideError, match=name) as caught:
        read_slides(str(path))
    assert caught.value.reason
