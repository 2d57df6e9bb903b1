from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image, PngImagePlugin
from zarr.storage import FsspecStore, LocalStore

from weno.errors import ProjectError, SlideError
from weno.project import Project
from weno.slides import Slide, is_slide, open_slide

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


TIFF_KINDS = {
    "tiles": {"tile": (128, 256)},
    "tiles of deflate": {"tile": (256, 256), "compression": "zlib", "predictor": True},
    "tiles of zstd": {"tile": (128, 128), "compression": "zstd"},
    "strips": {"rowsperstrip": 7},
    "strips of LZW": {"rowsperstrip": 33, "compression": "lzw"},
}


@pytest.mark.parametrize("kind", TIFF_KINDS)
def test_ome_tiff_pyramid_in_subifds(tmp_path: Path, kind: str) -> None:
    path = write_tiff(
        tmp_path / "a.ome.tif", LEVELS, ome=True, metadata=MICRONS, **TIFF_KINDS[kind]
    )
    assert is_slide(path)
    with open_slide(path) as slide:
        check_pixels(slide, LEVELS)
        assert slide.reader == "OME-TIFF"
        assert slide.mpp == pytest.approx((0.5, 0.25))
        assert slide.mpp_source == "slide"
        assert slide.downsamples == pytest.approx((1, 2.00183, 4.007), abs=1e-5)
        if "tiles" in kind:
            assert slide.tile_shapes[0] == TIFF_KINDS[kind]["tile"]


def test_ome_tiff_with_separate_planes(tmp_path: Path) -> None:
    planes = [np.moveaxis(level, -1, 0) for level in LEVELS]
    for name, options in (("tiled", {"tile": (128, 128)}), ("striped", {})):
        path = write_tiff(
            tmp_path / f"{name}.ome.tif",
            planes,
            ome=True,
            metadata=MICRONS | {"axes": "SYX"},
            planarconfig="separate",
            **options,
        )
        with open_slide(path) as slide:
            check_pixels(slide, LEVELS)


def test_ome_tiff_of_jpeg_tiles_is_what_tifffile_decodes(tmp_path: Path) -> None:
    smooth = np.asarray(Image.fromarray(FINE[:40, :50]).resize((1203, 1001)))
    path = write_tiff(
        tmp_path / "jpeg.ome.tif",
        [smooth, smooth[::2, ::2]],
        ome=True,
        metadata=MICRONS,
        tile=(256, 256),
        compression="jpeg",
    )
    with tifffile.TiffFile(path) as tiff:
        decoded = [level.asarray() for level in tiff.series[0].levels]
    with open_slide(path) as slide:
        check_pixels(slide, decoded)
        assert np.abs(decoded[0].astype(int) - smooth).mean() < 5


def test_ome_tiff_with_transparency_is_white_there(tmp_path: Path) -> None:
    alpha = np.full((1001, 1203, 1), 255, np.uint8)
    alpha[100:300, 50:800] = 0
    path = tmp_path / "rgba.tif"
    tifffile.imwrite(
        path,
        np.concatenate([FINE, alpha], axis=-1),
        photometric="rgb",
        extrasamples=["unassalpha"],
        compression="zlib",
    )
    expected = FINE.copy()
    expected[100:300, 50:800] = 255
    with open_slide(path) as slide:
        check_pixels(slide, [expected])


def test_ome_tiff_takes_the_largest_rgb_image(tmp_path: Path) -> None:
    path = tmp_path / "several.ome.tif"
    stains = np.zeros((4, 2000, 2000), np.uint16)
    macro = np.full((60, 80, 3), 9, np.uint8)
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(macro, photometric="rgb", metadata={"Name": "Macro"})
        tiff.write(stains, photometric="minisblack", metadata={"axes": "CYX"})
        tiff.write(FINE, photometric="rgb", tile=(128, 128), metadata=MICRONS)
    with open_slide(path) as slide:
        check_pixels(slide, [FINE])
        assert slide.mpp == pytest.approx((0.5, 0.25))
        assert slide.associated_names == ("macro",)
        np.testing.assert_array_equal(slide.associated("macro"), macro)


def test_ome_tiff_tells_its_objective(tmp_path: Path) -> None:
    path = write_tiff(
        tmp_path / "x.ome.tif", LEVELS, ome=True, metadata={}, tile=(128, 128)
    )
    xml = tifffile.tiffcomment(path).replace(
        "<Image ",
        '<Instrument ID="Instrument:0"><Objective ID="Objective:1" '
        'NominalMagnification="40.0"/></Instrument><Image ',
    )
    at = xml.index(">", xml.index("<Image ")) + 1
    xml = xml[:at] + '<ObjectiveSettings ID="Objective:1"/>' + xml[at:]
    tifffile.tiffcomment(path, xml.encode())
    with open_slide(path) as slide:
        assert slide.objective_power == 40
        assert slide.mpp == (0.25, 0.25)
        assert slide.mpp_source == "objective"


REFUSED = {
    "4 channels of uint16": (np.zeros((4, 300, 300), np.uint16), "CYX", "minisblack"),
    "3 channels of uint8": (np.zeros((3, 300, 300), np.uint8), "CYX", "minisblack"),
    "5 focal planes of uint8": (np.zeros((5, 300, 300, 3), np.uint8), "ZYXS", "rgb"),
    "6 time points of uint8": (np.zeros((6, 300, 300, 3), np.uint8), "TYXS", "rgb"),
    "one grey channel of uint8": (np.zeros((300, 300), np.uint8), "YX", "minisblack"),
    "3 samples per pixel of uint16": (
        np.zeros((300, 300, 3), np.uint16),
        "YXS",
        "rgb",
    ),
}


@pytest.mark.parametrize("held", REFUSED)
@pytest.mark.parametrize("tiled", [True, False])
def test_other_ome_tiffs_are_refused(tmp_path: Path, held: str, tiled: bool) -> None:
    pixels, axes, photometric = REFUSED[held]
    path = tmp_path / "other.ome.tif"
    tifffile.imwrite(
        path,
        pixels,
        photometric=photometric,
        metadata={"axes": axes},
        **({"tile": (128, 128)} if tiled else {}),
    )
    assert not is_slide(path)
    with pytest.raises(SlideError, match=rf"holds {held}: .*8-bit RGB") as caught:
        open_slide(path)
    assert caught.value.path == path


def test_ome_tiff_opens_no_other_file(tmp_path: Path) -> None:
    other = write_tiff(tmp_path / "other.ome.tif", LEVELS, ome=True)
    path = write_tiff(tmp_path / "main.ome.tif", LEVELS, ome=True)
    xml = tifffile.tiffcomment(path)
    at = xml.index("<TiffData")
    end = xml.index("/>", at)
    named = f'><UUID FileName="{other.name}">urn:uuid:other</UUID></TiffData>'
    tifffile.tiffcomment(path, (xml[:end] + named + xml[end + 2 :]).encode())
    with pytest.raises(SlideError, match=r"several files \(other\.ome\.tif\)"):
        open_slide(path)
    assert not is_slide(path)


def test_entities_in_ome_xml_do_not_blow_up(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "bomb.ome.tif", LEVELS, ome=True, tile=(128, 128))
    lines = ['<!ENTITY a0 "' + "x" * 1000 + '">']
    lines += [f'<!ENTITY a{k} "{f"&a{k - 1};" * 30}">' for k in range(1, 9)]
    doctype = f"<!DOCTYPE OME [{''.join(lines)}]>"
    xml = tifffile.tiffcomment(path).replace("<OME ", doctype + "<OME ")
    xml = xml.replace("<Image ", "<Name>&a8;</Name><Image ")
    tifffile.tiffcomment(path, xml.encode())
    with pytest.raises(SlideError, match="OME-XML is damaged"):
        open_slide(path)


def test_plain_tiff_opens_when_asked_for_but_is_not_claimed(tmp_path: Path) -> None:
    for name, options in (
        ("plain", {}),
        ("packed", {"compression": "zlib"}),
        ("planar", {"planarconfig": "separate"}),
    ):
        path = tmp_path / f"{name}.tif"
        pixels = np.moveaxis(FINE, -1, 0) if name == "planar" else FINE
        tifffile.imwrite(path, pixels, photometric="rgb", **options)
        assert not is_slide(path)
        with open_slide(path) as slide:
            check_pixels(slide, [FINE])
            assert slide.reader == "TIFF"
            assert slide.mpp is None


def test_pages_of_strips_are_a_pyramid(tmp_path: Path) -> None:
    third = FINE[::3, ::3]
    path = write_tiff(
        tmp_path / "pages.tif",
        [FINE, third],
        subifds=False,
        rowsperstrip=20,
        compression="lzw",
        resolution=(40_000, 20_000),
        resolutionunit="CENTIMETER",
    )
    with open_slide(path) as slide:
        check_pixels(slide, [FINE, third])
        assert slide.mpp == pytest.approx((0.5, 0.25))
        assert slide.mpp_source == "tiff"


def test_tiff_pyramid_in_subifds_without_ome(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "vips.tif", LEVELS, tile=(128, 128))
    with open_slide(path) as slide:
        check_pixels(slide, LEVELS)


def test_a_print_resolution_is_no_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "print.tif"
    tifffile.imwrite(
        path, FINE, photometric="rgb", resolution=(300, 300), resolutionunit="INCH"
    )
    with open_slide(path) as slide:
        assert slide.mpp is None


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated_tiffs_are_refused(
    tmp_path: Path, kept: float, compression: str | None
) -> None:
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, FINE, photometric="rgb", compression=compression)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(SlideError, match=r"cut\.tif: .*(truncated|damaged)"):
        open_slide(path)


def test_a_damaged_strip_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "scratched.tif"
    tifffile.imwrite(
        path, FINE, photometric="rgb", compression="zlib", rowsperstrip=100
    )
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        offset, count = page.dataoffsets[3], page.databytecounts[3]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 0, 300, 90), FINE[:300, :90])
        with pytest.raises(SlideError, match=r"cannot read level 0, tile \(3, 0\)"):
            slide.read(0, 290, 0, 30, 30)


# Plain images


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_plain_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    Image.fromarray(FINE).save(path, quality=95)
    expected = np.asarray(Image.open(path).convert("RGB"))
    assert not is_slide(path)
    with open_slide(path) as slide:
        assert slide.reader == "plain image"
        assert slide.mpp is None
        check_pixels(slide, [expected])
        again = pickle.loads(pickle.dumps(slide))
        np.testing.assert_array_equal(again.read(0, 9, 9, 9, 9), expected[9:18, 9:18])


def test_plain_image_is_not_decoded_on_opening(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(FINE).save(path)
    path.write_bytes(path.read_bytes()[:50_000])
    with open_slide(path) as slide:
        assert slide.shape == (1001, 1203)
        for _ in range(2):
            with pytest.raises(SlideError, match="damaged image"):
                slide.read(0, 0, 0, 10, 10)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1"])
def test_plain_image_of_any_kind_is_rgb_on_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"{mode}.png"
    rgba = np.dstack([FINE[:200, :300], FINE[200:400, :300, :1]])
    rgba[50:60, 70:90, 3] = 0
    image = Image.fromarray(rgba)
    options = {"transparency": 5} if mode == "P" else {}
    (image.convert("RGB").quantize() if mode == "P" else image.convert(mode)).save(
        path, **options
    )
    stored = np.asarray(Image.open(path).convert("RGBA")).astype(float)
    alpha = stored[..., 3:] / 255
    blended = stored[..., :3] * alpha + 255 * (1 - alpha)
    with open_slide(path) as slide:
        pixels = slide.read(0, 0, 0, 200, 300)
        assert np.abs(pixels - blended).max() <= 1
        if mode in ("RGBA", "LA"):
            assert (pixels[50:60, 70:90] == 255).all()
        if mode == "P":
            assert (stored[..., 3] == 0).any()


def test_plain_image_keeps_the_order_of_stored_pixels(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(FINE).save(path, exif=exif)
    with open_slide(path) as slide:
        assert slide.shape == (1001, 1203)


@pytest.mark.parametrize(
    ("dpi", "mpp"), [(72, None), (300, None), (101_600, 0.25), (0, None)]
)
def test_plain_image_has_a_pixel_size_if_it_is_credible(
    tmp_path: Path, dpi: int, mpp: float | None
) -> None:
    path = tmp_path / "dpi.png"
    Image.fromarray(FINE).save(path, dpi=(dpi, dpi))
    with open_slide(path) as slide:
        if mpp is None:
            assert slide.mpp is None
        else:
            assert slide.mpp == pytest.approx((mpp, mpp), rel=1e-3)


def test_plain_image_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.fromarray(FINE[:8, :8]).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = PngImagePlugin._crc32(bytes(data[12:29])).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(SlideError, match=r"60000 x 60000 pixels.*vips tiffsave"):
        open_slide(path)


def test_plain_image_of_16_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(path)
    with pytest.raises(SlideError, match="I;16: slides are read in 8-bit RGB"):
        open_slide(path)


def test_the_preview_of_an_incomplete_slide_is_no_slide(tmp_path: Path) -> None:
    path = tmp_path / "lost.mrxs"
    Image.fromarray(FINE[:200, :200]).save(path, format="JPEG")
    with pytest.raises(SlideError, match="not a slide that OpenSlide reads"):
        open_slide(path)


# OME-Zarr


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


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("axes", "chunk"), [("tczyx", 300), ("cyx", 64), ("yxc", 128), ("zcyx", 2000)]
)
def test_ome_zarr(tmp_path: Path, version: str, axes: str, chunk: int) -> None:
    path = tmp_path / "a.ome.zarr"
    write_zarr(LocalStore(path), version=version, axes=axes, chunk=chunk)
    assert is_slide(path)
    with open_slide(path) as slide:
        check_pixels(slide, LEVELS)
        assert slide.reader == "OME-Zarr"
        assert slide.mpp == (0.5, 0.25)
        assert slide.mpp_source == "slide"
        assert slide.downsamples == (1, 2, 4)
        assert slide.tile_shapes[0] == {64: (256, 256), 128: (256, 256)}.get(
            chunk, (chunk, chunk)
        )
        again = pickle.loads(pickle.dumps(slide))
        np.testing.assert_array_equal(again.read(0, 9, 9, 9, 9), FINE[9:18, 9:18])


def test_ome_zarr_in_shards(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_zarr(LocalStore(path), chunk=128, shards=(3, 512, 512))
    with open_slide(path) as slide:
        check_pixels(slide, LEVELS)
        assert slide.tile_shapes[0] == (256, 256)


def test_ome_zarr_as_bioformats2raw_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "raw.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    colours = [{"label": c, "color": c} for c in ("FF0000", "00FF00", "0000FF")]
    write_zarr(
        LocalStore(path / "0"),
        version="0.4",
        axes="tczyx",
        omero={"channels": colours},
    )
    write_zarr(LocalStore(path / "1"), [FINE[:50, :60]], version="0.4", axes="tczyx")
    assert is_slide(path)
    with open_slide(path) as slide:
        check_pixels(slide, LEVELS)


def test_ome_zarr_without_unit_has_no_pixel_size(tmp_path: Path) -> None:
    write_zarr(LocalStore(tmp_path / "a.zarr"), unit=None)
    with open_slide(tmp_path / "a.zarr") as slide:
        assert slide.mpp is None
    write_zarr(LocalStore(tmp_path / "b.zarr"), unit="millimeter")
    with open_slide(tmp_path / "b.zarr") as slide:
        assert slide.mpp == (500, 250)


def test_ome_zarr_scales_that_cannot_be_are_not_believed(tmp_path: Path) -> None:
    write_zarr(LocalStore(tmp_path / "a.zarr"), [FINE, FINE[::3, ::3]])
    with open_slide(tmp_path / "a.zarr") as slide:
        assert slide.downsamples == pytest.approx((1, 2.9985), abs=1e-4)


def test_chunks_that_are_not_stored_have_the_fill_value(tmp_path: Path) -> None:
    path = tmp_path / "sparse.zarr"
    write_zarr(LocalStore(path), [FINE], chunk=256, fill_value=242)
    shutil.rmtree(path / "level 0" / "c" / "0" / "1")
    with open_slide(path) as slide:
        pixels = slide.read(0, 0, 0, 512, 1203)
        assert (pixels[256:, :] == 242).all()
        np.testing.assert_array_equal(pixels[:256], FINE[:256])


def test_a_damaged_chunk_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_zarr(LocalStore(path), [FINE], chunk=256)
    (path / "level 0" / "c" / "0" / "1" / "2").write_bytes(b"nonsense")
    with open_slide(path) as slide:
        with pytest.raises(SlideError, match=r"cannot read level 0, tile \(1, 2\)"):
            slide.read(0, 300, 600, 10, 10)
        np.testing.assert_array_equal(slide.read(0, 0, 0, 20, 20), FINE[:20, :20])


def test_ome_zarr_hash_is_of_the_content(tmp_path: Path) -> None:
    write_zarr(LocalStore(tmp_path / "a.zarr"))
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "moved.zarr")
    changed = [*LEVELS[:2], LEVELS[2].copy()]
    changed[2][100, 100] ^= 1
    write_zarr(LocalStore(tmp_path / "b.zarr"), changed)
    names = ("a.zarr", "moved.zarr", "b.zarr")
    a, moved, b = (open_slide(tmp_path / name).content_hash for name in names)
    assert a == moved != b


STAINS = [{"label": "DAPI", "color": "0000FF"}, {"label": "CD3", "color": "00FF00"}]
STAINS += [{"label": "CD8", "color": "FF0000"}]


@pytest.mark.parametrize(
    ("pixels", "options", "reason"),
    [
        (FINE.astype(np.uint16), {}, "holds uint16 of 3 in c, 1001 in y"),
        (FINE[..., :1], {}, "holds uint8 of 1 in c"),
        (FINE, {"omero": {"channels": STAINS}}, "DAPI, CD3, CD8, not red, green"),
    ],
)
def test_other_ome_zarrs_are_refused(
    tmp_path: Path, pixels: np.ndarray, options: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "other.zarr"
    write_zarr(LocalStore(path), [pixels], **options)
    assert not is_slide(path)
    with pytest.raises(SlideError, match=reason):
        open_slide(path)


def test_ome_zarr_with_a_stack_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", data=np.zeros((3, 5, 64, 64), np.uint8))
    axes = [{"name": axis, "type": "space"} for axis in "czyx"]
    multiscale = {"axes": axes, "datasets": [{"path": "0"}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    with pytest.raises(SlideError, match=r"5 in z.*one plane"):
        open_slide(path)


@pytest.mark.parametrize("named", ["../outside", "missing", "https://127.0.0.1/x"])
def test_ome_zarr_cannot_name_what_is_not_in_it(tmp_path: Path, named: str) -> None:
    zarr.create_array(tmp_path / "outside", data=FINE)
    path = tmp_path / "a.zarr"
    write_zarr(LocalStore(path))
    file = path / "zarr.json"
    said = json.loads(file.read_text())
    said["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = named
    file.write_text(json.dumps(said))
    with pytest.raises(SlideError, match="cannot be read as OME-Zarr"):
        open_slide(path)


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        (
            "level 1/zarr.json",
            '"shape": [\n    3,\n    500',
            '"shape": [3, 0',
            "no pixels",
        ),
        ("level 1/zarr.json", "3,\n        200,", "3, 0,", "cannot be read"),
        ("zarr.json", "0.25", "0.0", "no pixels"),
        ("zarr.json", '"datasets"', '"datasets": [], "others"', "no levels"),
        ("zarr.json", '"multiscales"', '"plate"', "plate of many images"),
        ("zarr.json", "{", "[", "not OME-Zarr"),
    ],
)
def test_damaged_metadata_are_an_error(
    tmp_path: Path, file: str, old: str, new: str, reason: str
) -> None:
    path = tmp_path / "a.zarr"
    write_zarr(LocalStore(path))
    text = (path / file).read_text()
    assert old in text
    (path / file).write_text(text.replace(old, new))
    with pytest.raises(SlideError, match=reason):
        open_slide(path)


def test_a_folder_that_is_no_slide(tmp_path: Path) -> None:
    assert not is_slide(tmp_path)
    with pytest.raises(SlideError, match="not OME-Zarr"):
        open_slide(tmp_path)
    zarr.create_array(tmp_path / "array.zarr", data=FINE)
    assert not is_slide(tmp_path / "array.zarr")


def test_ome_zarr_at_an_address_in_memory() -> None:
    address = "memory://weno-test/a.zarr"
    write_zarr(FsspecStore.from_url(address))
    try:
        with open_slide(address) as slide:
            check_pixels(slide, LEVELS)
            assert slide.path.name == "a.zarr"
            assert slide.mpp == (0.5, 0.25)
            again = pickle.loads(pickle.dumps(slide))
            assert again.content_hash == slide.content_hash
            level = slide.pyramid()[1]
            np.testing.assert_array_equal(level.compute(), LEVELS[1])
    finally:
        fsspec.filesystem("memory").rm("/weno-test", recursive=True)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Serve a folder on this machine; note what is asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            asked.append(self.path)

        def log_error(self, *_: object) -> None: ...

    handler: Callable[..., Any] = partial(Handler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", tmp_path, asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_on_a_server(
    served: tuple[str, Path, list[str]], version: str
) -> None:
    address, folder, asked = served
    write_zarr(LocalStore(folder / "a.zarr"), version=version, chunk=256)
    with open_slide(f"{address}/a.zarr") as slide:
        opening = len(asked)
        np.testing.assert_array_equal(
            slide.read(0, 300, 300, 100, 100), FINE[300:400, 300:400]
        )
        assert len(asked) == opening + 1
        check_pixels(slide, LEVELS)
    with pytest.raises(SlideError, match="cannot be read as OME-Zarr"):
        open_slide(f"{address}/none.zarr")


def test_addresses_are_judged_by_name_without_the_network() -> None:
    assert is_slide("https://nowhere.invalid/slides/a.ome.zarr/")
    assert not is_slide("https://nowhere.invalid/slides/a.svs")


def test_a_missing_file_system_is_named() -> None:
    if importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    with pytest.raises(SlideError, match=r"install gcsfs.*napari-weno\[remote\]"):
        open_slide("gs://bucket/slide.zarr")
    with pytest.raises(SlideError, match="Protocol not known: nothing"):
        open_slide("nothing://bucket/slide.zarr")


# Projects


def test_a_folder_of_slides_of_all_formats_becomes_a_project(tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    (folder / "deep").mkdir(parents=True)
    write_tiff(folder / "a.ome.tif", LEVELS, ome=True)
    write_zarr(LocalStore(folder / "deep" / "b.zarr"))
    stains = [LEVELS[0].astype(np.uint16)]
    write_zarr(LocalStore(folder / "stains.zarr"), stains)
    write_zarr(LocalStore(folder / "stains.zarr" / "inner.zarr"))
    Image.fromarray(FINE).save(folder / "photo.png")
    tifffile.imwrite(folder / "plain.tif", FINE, photometric="rgb")
    tifffile.imwrite(folder / "mask.tif", FINE[..., 0], tile=(128, 128))
    project = Project.create(tmp_path / "project", folder)
    assert [row.path.name for row in project.slides] == ["a.ome.tif", "b.zarr"]
    with project.open_slide(project.slides[1].slide_id) as slide:
        check_pixels(slide, LEVELS)


def test_a_dicom_series_is_one_slide_of_a_project(
    tmp_path: Path, test_data: Path
) -> None:
    folder = test_data / "slides" / "dicom"
    assert len(list(folder.glob("*.dcm"))) > 1
    project = Project.create(tmp_path / "project", folder)
    assert len(project.slides) == 1


def test_a_project_lists_files_not_addresses(tmp_path: Path) -> None:
    table = tmp_path / "slides.csv"
    table.write_text("slide_id,path\na,https://127.0.0.1:9/a.zarr\nb,s3://x/b.zarr\n")
    with pytest.raises(ProjectError, match=r"line 2: .*https.*\n.*line 3: .*s3") as e:
        Project.create(tmp_path / "project", table)
    assert "download the slide" in str(e.value)
    assert not (tmp_path / "project" / "project.toml").exists()
    table.write_text("slide_id,path\na,a.svs\n")
    project = Project.create(tmp_path / "project", table)
    for address in ("https://127.0.0.1:9/b.zarr", Path("https://127.0.0.1:9/b.zarr")):
        with pytest.raises(ProjectError, match=r"is an address.*download"):
            project.add_slide(address)
    assert len(project.slides) == 1


def test_a_scanners_slide_loads_no_other_format(test_data: Path) -> None:
    code = """
import sys
import weno.slides
at_import = set(sys.modules)
weno.slides.open_slide(sys.argv[1]).read(0, 0, 0, 9, 9)
print(*at_import & {"tifffile", "imagecodecs", "zarr", "fsspec", "dask"})
print(*set(sys.modules) & {"zarr", "fsspec", "dask"})
"""
    slide = test_data / "slides" / "cmu-1-small-region.svs"
    done = subprocess.run(
        [sys.executable, "-c", code, str(slide)],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.split() == []
