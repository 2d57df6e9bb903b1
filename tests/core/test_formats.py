from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from slide_files import FINE, LEVELS, MICRONS, check_pixels, write_tiff, write_zarr
from zarr.storage import LocalStore

from weno.errors import ProjectError, SlideError
from weno.project import Project
from weno.slides import is_slide, open_slide

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
