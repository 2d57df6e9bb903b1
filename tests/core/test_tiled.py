"""The fast path gives OpenSlide's pixels bit for bit, or leaves a file to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from weno.errors import SlideError
from weno.slides import open_slide

DICOM = "dicom/1.2.826.0.1.3680043.8.498.46702941076792458794464453066648511350.dcm"
APERIO = "Aperio Image Library v12.0.5\r\n1003x701 |AppMag = 20|MPP = 0.5"
FAST, SLOW = "tiled TIFF", "OpenSlide"

Window = tuple[int, int, int, int]  # y, x, height, width
Encoder = Callable[[np.ndarray], bytes]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours and some noise, so that neither a shift nor a swap hides."""
    rng = np.random.default_rng(seed)
    blobs = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    smooth = Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.integers(-9, 10, (height, width, 3))
    return np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8)


def jpeg(subsampling: str | None) -> Encoder:
    """Encode as YCbCr with the given subsampling, as RGB without."""
    space = "YCBCR" if subsampling else "RGB"
    return lambda tile: imagecodecs.jpeg8_encode(
        tile, 80, colorspace="RGB", outcolorspace=space, subsampling=subsampling
    )


def jpeg2000(*, lossless: bool) -> Encoder:
    return lambda tile: imagecodecs.jpeg2k_encode(
        tile, level=0 if lossless else 40, codecformat="j2k", reversible=lossless
    )


def without_tables(stream: bytes) -> tuple[bytes, bytes]:
    """Cut a JPEG in its tables and an abbreviated stream, as scanners store it."""
    tables, rest, at = b"", b"", 2
    while stream[at + 1] != 0xDA:  # start of scan
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in (0xDB, 0xC4):
            tables += stream[at:end]
        else:
            rest += stream[at:end]
        at = end
    return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + stream[at:]


def tiles_of(level: np.ndarray, tile: tuple[int, int]) -> Iterator[np.ndarray]:
    height, width = level.shape[:2]
    padding = ((0, -height % tile[0]), (0, -width % tile[1]), (0, 0))
    padded = np.pad(level, padding, "edge")
    for y in range(0, height, tile[0]):
        for x in range(0, width, tile[1]):
            yield np.ascontiguousarray(padded[y : y + tile[0], x : x + tile[1]])


def write(
    path: Path,
    levels: list[np.ndarray],
    tile: tuple[int, int] = (256, 256),
    *,
    encode: Encoder | None = None,
    share_tables: bool = False,
    bigtiff: bool = False,
    first: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """Write levels; `first` are options of the first page only."""
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as tiff:
        for number, level in enumerate(levels):
            given = {"photometric": "rgb", "metadata": None, "software": False}
            given |= {"subfiletype": min(number, 1), "tile": tile, **options}
            given |= (first or {}) if number == 0 else {}
            data: np.ndarray | Iterable[bytes] = level
            if encode is not None:
                encoded = [encode(one) for one in tiles_of(level, tile)]
                if share_tables:
                    tables, encoded[0] = without_tables(encoded[0])
                    encoded[1:] = [without_tables(one)[1] for one in encoded[1:]]
                    given["extratags"] = [(347, 7, len(tables), tables, True)]
                given |= {"shape": level.shape, "dtype": np.uint8}
                data = iter(encoded)
            tiff.write(data, **given)
    return path


def photometric(path: Path) -> str:
    with tifffile.TiffFile(path) as tiff:
        return tiff.pages.first.photometric.name.lower()


@dataclass(frozen=True)
class Case:
    name: str
    options: dict[str, Any]
    shapes: tuple[tuple[int, int], ...] = ((701, 1003), (350, 501))
    reader: str = FAST
    vendor: str = "generic-tiff"
    tile: tuple[int, int] = (256, 256)
    labels: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        levels = [picture(*shape, seed) for seed, shape in enumerate(self.shapes)]
        path = folder / f"{self.name}.tiff"
        return write(path, levels, self.tile, **self.options, **self.labels)


JPEG_420 = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2)}
JPEG_420["encode"] = jpeg("420")
JPEG_444 = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (1, 1)}
JPEG_444["encode"] = jpeg("444")
AS_RGB = {"photometric": "rgb", "compressionargs": {"outcolorspace": "rgb"}}
JPEG_RGB = {"compression": "jpeg", "encode": jpeg(None), **AS_RGB}
SHARED = {"share_tables": True}
LZW = {"compression": "lzw", "predictor": 2}
OF_APERIO: dict[str, Any] = {"vendor": "aperio", "labels": {"description": APERIO}}
EVEN = ((768, 1024), (384, 512), (192, 256))
BY_FOUR = ((1024, 1280), (256, 320))
SMALL = ((512, 640), (128, 160))
LOSSLESS = jpeg2000(lossless=True)
CASES = [
    Case("jpeg-420", JPEG_420),
    Case("jpeg-420-even", JPEG_420, EVEN),
    Case("jpeg-420-by-four-512", JPEG_420, BY_FOUR, tile=(512, 512)),
    Case("jpeg-444-240", JPEG_444, tile=(240, 240)),
    Case("jpeg-rgb-not-square", JPEG_RGB, EVEN, tile=(128, 336)),
    Case("jpeg-tables", {**JPEG_420, **SHARED}, BY_FOUR, tile=(240, 240)),
    Case("jpeg-rgb-tables", {**JPEG_RGB, **SHARED}),
    Case("says-rgb-is-ycbcr", {**JPEG_420, "subsampling": None, **AS_RGB}, EVEN),
    Case("says-ycbcr-is-rgb", {**JPEG_444, "encode": jpeg(None)}, EVEN),
    Case("lzw-2.001", LZW, ((1201, 2003), (600, 1001))),
    Case("deflate-big", {"compression": "zlib", "bigtiff": True}, EVEN),
    Case("deflate-adobe", {"compression": 8, "predictor": 2}, tile=(240, 320)),
    Case("none", {}, EVEN, tile=(112, 512)),
    Case("aperio", {**JPEG_420, **SHARED}, BY_FOUR, tile=(240, 240), **OF_APERIO),
    Case(
        "aperio-fraction",
        {**JPEG_RGB, **SHARED},
        ((1601, 2003), (400, 500)),
        tile=(128, 128),
        **OF_APERIO,
    ),
    Case("33005", {"compression": 33005, "encode": LOSSLESS}, **OF_APERIO),
    Case(
        "33005-lossy",
        {"compression": 33005, "encode": jpeg2000(lossless=False)},
        SMALL,
        **OF_APERIO,
    ),
    Case(
        "33003",
        {"compression": 33003, "encode": LOSSLESS},
        reader=SLOW,
        **OF_APERIO,
    ),
    Case("packbits", {"compression": "packbits"}, reader=SLOW),
]


def windows(shape: tuple[int, int], tile: tuple[int, int]) -> list[Window]:
    """Inside, on and across borders of tiles, across each edge, and outside."""
    rng = np.random.default_rng(7)
    (height, width), (rows, columns) = shape, tile
    last = (height - 1) // rows * rows, (width - 1) // columns * columns
    found = [
        (0, 0, height, width),
        (0, 0, rows, columns),
        (*last, rows, columns),
        (last[0], 0, rows, columns),
        (rows - 1, columns - 1, 2, 2),
        (height - 1, width - 1, 1, 1),
        (-7, -9, 30, 40),
        (-5, -6, height + 11, width + 13),
        (height - 3, -4, 9, 20),
        (-30, 5, 30, 40),
        (5, width, 40, 30),
        (height + 900, width + 900, 17, 19),
        (-900, -900, 17, 19),
    ]
    for _ in range(12):
        size = rng.integers(1, 1 + np.minimum(np.add(tile, tile), 400))
        y, x = rng.integers(-size, shape)
        found.append((int(y), int(x), int(size[0]), int(size[1])))
    return found


def by_openslide(slide: openslide.OpenSlide, level: int, window: Window) -> np.ndarray:
    """Read exactly: the window's corner falls on a pixel of the level."""
    y, x, height, width = window
    factor = slide.level_downsamples[level]
    corner = round(x * factor), round(y * factor)
    image = slide.read_region(corner, level, (width, height))
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return np.asarray(white)


def cut(level: np.ndarray, window: Window) -> np.ndarray:
    y, x, height, width = window
    out = np.full((height, width, 3), 255, np.uint8)
    top, left, bottom, right = max(0, y), max(0, x), y + height, x + width
    part = level[top : max(0, bottom), left : max(0, right)]
    out[top - y : top - y + part.shape[0], left - x : left - x + part.shape[1]] = part
    return out


def assert_same_as_openslide(path: Path) -> None:
    with open_slide(path) as slide, openslide.OpenSlide(path) as expected:
        assert slide.level_shapes == tuple(
            (height, width) for width, height in expected.level_dimensions
        )
        for level, shape in enumerate(slide.level_shapes):
            whole = by_openslide(expected, level, (0, 0, *shape))
            fraction = slide.downsamples[level] % 1 != 0
            if fraction and slide.reader == SLOW:
                np.testing.assert_array_equal(slide.read(level, 0, 0, *shape), whole)
                continue
            for window in windows(shape, slide.tile_shapes[level]):
                # Between its pixels OpenSlide interpolates, the fast path does not.
                exact = by_openslide(expected, level, window) if not fraction else None
                there = cut(whole, window) if exact is None else exact
                where = f"{path.name}, level {level}, {window}"
                np.testing.assert_array_equal(slide.read(level, *window), there, where)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_pixels_are_openslides(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path)
    with open_slide(path) as slide:
        assert photometric(path) == case.options.get("photometric", "rgb")
        assert slide.vendor == case.vendor
        assert slide.reader.startswith(case.reader)
        assert slide.level_shapes[0] == case.shapes[0]
        if case.reader == FAST:
            assert slide.level_shapes == case.shapes
            assert slide.tile_shapes == (case.tile,) * len(case.shapes)
    assert_same_as_openslide(path)


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("slides/cmu-1-small-region.svs", FAST),
        ("slides/small.svs", FAST),
        ("slides/boxes.tiff", FAST),
        ("gland_cohort/gland_11_00.tif", FAST),
        (f"slides/{DICOM}", SLOW),
        ("slides/boxes_0.dcm", SLOW),
    ],
)
def test_real_pixels_are_openslides(test_data: Path, name: str, reader: str) -> None:
    with open_slide(test_data / name) as slide:
        assert slide.reader.startswith(reader)
    assert_same_as_openslide(test_data / name)


def philips_description(factors: Iterable[int]) -> str:
    levels = "".join(
        '<DataObject ObjectType="PixelDataRepresentation"><Attribute '
        f'Name="DICOM_PIXEL_SPACING">"{0.00025 * k}" "{0.00025 * k}"'
        "</Attribute></DataObject>"
        for k in factors
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array>'
        '<DataObject ObjectType="DPScannedImage">'
        '<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>'
        '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>'
        f"{levels}</Array></Attribute></DataObject></Array></Attribute></DataObject>"
    )


def test_philips_pages_are_larger_than_their_levels(tmp_path: Path) -> None:
    factors = (1, 2, 4, 8)
    fine = picture(1024, 1536)
    levels = []
    for k in factors:
        level = fine[::k, ::k]
        padding = ((0, -level.shape[0] % 256), (0, -level.shape[1] % 256), (0, 0))
        levels.append(np.pad(level, padding, "constant", constant_values=90))
    label = {"software": "Philips DP v1.0", "description": philips_description(factors)}
    path = write(tmp_path / "philips.tiff", levels, **JPEG_420, first=label)
    with open_slide(path) as slide:
        assert slide.vendor == "philips"
        assert slide.reader.startswith(FAST)
        assert slide.level_shapes[3] == (128, 192) != levels[3].shape[:2]
        assert (slide.read(3, 128, 0, 9, 9) == 255).all()
    assert_same_as_openslide(path)


@pytest.mark.parametrize("kind", ["grey", "palette", "16-bit", "planes", "alpha"])
def test_other_than_rgb_bytes_is_left_to_openslide(kind: str, tmp_path: Path) -> None:
    rgb = picture(512, 768)
    colours = np.random.default_rng(1).integers(0, 65536, (3, 256), np.uint16)
    pixels, options = {
        "grey": (rgb[..., 0], {"photometric": "minisblack"}),
        "palette": (rgb[..., 0], {"photometric": "palette", "colormap": colours}),
        "16-bit": (rgb.astype(np.uint16) * 257, {}),
        "planes": (rgb.transpose(2, 0, 1).copy(), {"planarconfig": "separate"}),
        "alpha": (np.dstack([rgb, rgb[..., :1]]), {"extrasamples": ["unassalpha"]}),
    }[kind]
    path = write(tmp_path / f"{kind}.tiff", [pixels], **options)
    with open_slide(path) as slide:
        assert slide.reader == SLOW
        assert slide.level_shapes == ((512, 768),)
        assert np.ptp(slide.read(0, 0, 0, 512, 768)) > 100
        if kind != "alpha":  # blending may round either way
            assert_same_as_openslide(path)


def test_pages_of_one_size_are_left_to_openslide(tmp_path: Path) -> None:
    fine, coarse = picture(512, 512), picture(256, 256, 1)
    other = coarse.copy()
    other[100:, 100:] = 0  # not at a glance another
    path = write(tmp_path / "two.tiff", [fine, coarse, other], compression="zlib")
    with open_slide(path) as slide:
        assert slide.reader == SLOW
    assert_same_as_openslide(path)


def test_a_page_that_points_outside_the_file_is_left_to_openslide(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path / "far.tiff", [picture(512, 512), picture(256, 256)], **JPEG_420
    )
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages.first.tags["TileOffsets"].valueoffset
    data = bytearray(path.read_bytes())
    data[at + 4 : at + 8] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    with open_slide(path) as slide, openslide.OpenSlide(path) as expected:
        assert slide.reader == SLOW
        first = by_openslide(expected, 0, (0, 0, 256, 256))
        np.testing.assert_array_equal(slide.read(0, 0, 0, 256, 256), first)
        with pytest.raises(SlideError, match=r"far\.tiff"):
            slide.read(0, 0, 256, 256, 256)
        np.testing.assert_array_equal(slide.read(0, 0, 0, 256, 256), first)
