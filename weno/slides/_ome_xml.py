"""What OME-XML says of an image: files, pixel size, objective.

The parser opens no other file, and expat, since 2.4.1, stops where entities blow up;
every Python that this package supports comes with a newer one.
"""

from __future__ import annotations

from xml.etree import ElementTree

_UNIT_UM = {
    "pm": 1e-6,
    "Å": 1e-4,
    "nm": 1e-3,
    "µm": 1.0,
    "\u03bcm": 1.0,  # the Greek letter, where the standard has the micro sign
    "um": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
    "in": 25_400.0,
}


def parse(text: str | None) -> ElementTree.Element:
    """Return the root element.

    Raises
    ------
    ValueError
        If the text is no XML.
    """
    try:
        return ElementTree.fromstring(text or "")
    except ElementTree.ParseError as error:
        raise ValueError(f"its OME-XML is damaged: {error}") from error


def other_file(root: ElementTree.Element, name: str) -> str | None:
    """Return what other file holds pixels, None if the file `name` holds them all."""
    own = root.get("UUID")
    for element in root.iterfind(".//{*}TiffData/{*}UUID"):
        named = element.get("FileName", "")
        # A file that has been renamed is still known by its number.
        same = element.text == own if own else named.lower() == name.lower()
        if not same:
            return named
    binary = root.find(".//{*}BinaryOnly")
    return None if binary is None else binary.get("MetadataFile", "another file")


def properties(
    root: ElementTree.Element, index: int, shape: tuple[int, int]
) -> dict[str, str]:
    """Return pixel size and objective by OpenSlide's names, as far as they are told.

    Parameters
    ----------
    root : Element
    index : int
        Of the image in the file.
    shape : (height, width)
        In pixels; an image of another size is not the one that is meant.
    """
    found: dict[str, str] = {}
    image = _image(root, index, shape)
    pixels = None if image is None else image.find("{*}Pixels")
    if image is None or pixels is None:
        return found
    for axis in "XY":
        unit_um = _UNIT_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = pixels.get(f"PhysicalSize{axis}")
        if unit_um is not None and size is not None:
            found[f"openslide.mpp-{axis.lower()}"] = f"{float(size) * unit_um:.9g}"
    settings = image.find("{*}ObjectiveSettings")
    wanted = None if settings is None else settings.get("ID")
    for objective in root.iterfind("{*}Instrument/{*}Objective"):
        power = objective.get("NominalMagnification")
        if power is not None and objective.get("ID") == wanted:
            found["openslide.objective-power"] = f"{float(power):g}"
    return found


def _image(
    root: ElementTree.Element, index: int, shape: tuple[int, int]
) -> ElementTree.Element | None:
    images = [*enumerate(root.iterfind("{*}Image"))]
    # Readers leave out images without data, so the number is a hint only.
    images.sort(key=lambda one: one[0] != index)
    for _, image in images:
        pixels = image.find("{*}Pixels")
        if pixels is not None and shape == (
            int(pixels.get("SizeY", 0)),
            int(pixels.get("SizeX", 0)),
        ):
            return image
    return None
