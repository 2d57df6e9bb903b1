"""Plain images, PNG and JPEG: decoded whole when first needed, then kept in memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from weno.errors import SlideError
from weno.slides._colour import on_white

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

_FORMATS = {
    b"\xff\xd8\xff": ("jpeg", JpegImagePlugin.JpegImageFile),
    b"\x89PNG": ("png", PngImagePlugin.PngImageFile),
}
_MOST_PIXELS = 2**28  # 800 MB once decoded; above it only tiles make sense
_BLOCK = 512
_INCH_UM = 25_400.0
# What microscopes and film scanners deliver. Cameras and paint programs write 72, 96
# or 300 dpi, which is how large to print: 350, 260 or 85 µm.
_PLAUSIBLE_UM = (0.02, 10.0)
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def plausible_mpp(um: float) -> bool:
    """Tell whether a resolution can be that of a slide, not that of a print."""
    return _PLAUSIBLE_UM[0] <= um <= _PLAUSIBLE_UM[1]


class PlainBackend:
    """Reads a PNG or a JPEG; see `weno.slides._backend.Backend`.

    Pixels come in the order in which they are stored, as in most viewers of
    microscopy: an orientation in EXIF is not applied.
    """

    reader = "plain image"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._pixels: Pixels | None = None
        with self._opened() as image:
            width, height = image.size
            self._refuse_unfit(image)
            self._icc_profile: bytes | None = image.info.get("icc_profile")
            dpi = image.info.get("dpi")
        self.level_shapes: tuple[tuple[int, int], ...] = ((height, width),)
        self.downsamples: tuple[float, ...] = (1.0,)
        self.tile_shapes: tuple[tuple[int, int], ...] = ((_BLOCK, _BLOCK),)
        self.properties = {"openslide.vendor": self._format} | _mpp(dpi)
        self.associated_names: tuple[str, ...] = ()

    def _opened(self) -> Image.Image:
        try:
            with self.path.open("rb") as file:
                head = file.read(4)
            for magic, (name, opener) in _FORMATS.items():
                if head.startswith(magic):
                    self._format = name
                    # Not Image.open: its bound on the size is a setting of the whole
                    # process.
                    return opener(self.path)
        except (OSError, SyntaxError, ValueError) as error:
            raise SlideError(self.path, f"damaged image: {error}") from error
        raise SlideError(self.path, "neither PNG nor JPEG")

    def _refuse_unfit(self, image: Image.Image) -> None:
        width, height = image.size
        if width * height > _MOST_PIXELS:
            raise SlideError(
                self.path,
                f"{width} x {height} pixels are too many to hold in memory: convert it "
                "to a tiled pyramid, as with: vips tiffsave IMAGE OUT.tif --tile "
                "--pyramid --compression jpeg",
            )
        if image.mode not in _EIGHT_BITS:
            raise SlideError(
                self.path,
                f"its pixels are of kind {image.mode}: slides are read in 8-bit RGB",
            )

    @property
    def icc_profile(self) -> bytes | None:
        """The ICC profile of the pixels."""
        return self._icc_profile

    def read(self, level: int, y: int, x: int, height: int, width: int) -> Pixels:
        """Return a region (height, width, 3) of a level, white outside the slide."""
        pixels = self._decoded()
        out = np.full((height, width, 3), 255, np.uint8)
        top, left = max(0, y), max(0, x)
        piece = pixels[top : max(top, y + height), left : max(left, x + width)]
        into = out[top - y :, left - x :]
        into[: piece.shape[0], : piece.shape[1]] = piece
        return out

    def _decoded(self) -> Pixels:
        with self._lock:
            if self._pixels is None:
                with self._opened() as image:
                    try:
                        self._pixels = _rgb(image)
                    except (OSError, SyntaxError, ValueError) as error:
                        reason = f"damaged image: {error}"
                        raise SlideError(self.path, reason) from error
            return self._pixels

    def associated(self, name: str) -> Pixels:
        """Raise an error: there are no other images."""
        raise SlideError(self.path, f"no associated image {name!r}")

    def close(self) -> None:
        """Give the memory back."""
        self._pixels = None


def _rgb(image: Image.Image) -> Pixels:
    """Decode an image to (H, W, 3), transparent parts on white."""
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        return on_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _mpp(dpi: tuple[float, float] | None) -> dict[str, str]:
    if dpi is None or min(dpi) <= 0:
        return {}
    x, y = (_INCH_UM / float(value) for value in dpi)
    if not (plausible_mpp(x) and plausible_mpp(y)):
        return {}
    return {"openslide.mpp-x": f"{x:.9g}", "openslide.mpp-y": f"{y:.9g}"}
