from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from slide_files import FINE, check_pixels

from weno.errors import SlideError
from weno.slides import is_slide, open_slide


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
