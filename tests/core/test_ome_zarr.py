from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from slide_files import FINE, LEVELS, check_pixels, write_zarr
from zarr.storage import FsspecStore, LocalStore

from weno.errors import SlideError
from weno.slides import is_slide, open_slide


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
