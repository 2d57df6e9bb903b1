"""The tissue outline as a file: found, edited, damaged; regions of interest."""

from __future__ import annotations

import importlib
import json
import tomllib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
from plugin_files import install

from weno.errors import FeatureError, ProjectError, WenoError
from weno.features import extract, read_features, read_header
from weno.geojson import Region, read_regions
from weno.mil.bags import read_slide_header
from weno.project import Project
from weno.slides import Slide, open_slide
from weno.tiles import (
    IGNORE,
    TISSUE,
    Outline,
    TileSpec,
    TissueMask,
    tile_grid,
    tissue_mask,
    tissue_names,
    trace,
)
from weno.tiles._outline import fill

PyramidWriter = Callable[[Path, list[np.ndarray], float | None], Path]

SPEC = TileSpec(64, 0.5)  # of 128 px
PINK, GLASS = (220, 150, 190), (243, 243, 244)


def paint(*boxes: tuple[int, int, int, int], hole: tuple[int, ...] = ()) -> np.ndarray:
    pixels = np.empty((2048, 2048, 3), np.uint8)
    pixels[:] = GLASS
    for y, x, height, width in boxes:
        pixels[y : y + height, x : x + width] = PINK
    if hole:
        y, x, height, width = hole
        pixels[y : y + height, x : x + width] = GLASS
    return pixels


@pytest.fixture
def slide_path(write_pyramid: PyramidWriter, tmp_path: Path) -> Path:
    """Two sections, one with a hole that is too large to be filled."""
    pixels = paint(
        (256, 256, 1024, 768), (512, 1280, 512, 512), hole=(512, 384, 512, 512)
    )
    return write_pyramid(tmp_path / "two.tiff", [pixels], 0.5)


@pytest.fixture
def slide(slide_path: Path) -> Any:
    with open_slide(slide_path) as slide:
        yield slide


@pytest.fixture
def outline(tmp_path: Path) -> Outline:
    return Outline(tmp_path / "tissue" / "two.geojson")


@pytest.fixture
def project(slide_path: Path, tmp_path: Path) -> Project:
    table = tmp_path / "in" / "slides.csv"
    table.parent.mkdir()
    table.write_text(f"slide_id,path,label\ntwo,{slide_path},1\n")
    return Project.create(tmp_path / "project", table, spec=SPEC)


def square(y: float, x: float, side: float, name: str | None) -> dict[str, Any]:
    """A square as QuPath writes it, `name` None without a class."""
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    properties = {"objectType": "annotation"}
    if name is not None:
        properties |= {"classification": {"name": name, "color": [1, 2, 3]}}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
    }


SQUARE = json.dumps(square(0, 0, 9, None))


def write(path: Path, *features: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"type": "FeatureCollection", "features": features})
    path.write_text(text, encoding="utf-8")


def origins(slide: Slide, outline: Outline) -> set[tuple[int, int]]:
    grid = tile_grid(slide, SPEC, outline.find(slide))
    return set(map(tuple, grid.origins.tolist()))


def test_file_is_what_was_found(slide: Slide, outline: Outline) -> None:
    assert outline.state == outline.hash == ""
    mask = outline.find(slide)
    np.testing.assert_array_equal(mask.mask, tissue_mask(slide).mask)
    assert (outline.state, outline.hash) == ("found", mask.outline)
    first, second = sorted(
        json.loads(outline.path.read_text("utf-8"))["features"],
        key=lambda feature: -len(feature["geometry"]["coordinates"]),
    )
    assert first["properties"]["classification"]["name"] == TISSUE
    assert first["geometry"]["type"] == "Polygon"
    outer, hole = (np.array(ring) for ring in first["geometry"]["coordinates"])
    # (x, y) in level-0 pixels, closed
    np.testing.assert_allclose(outer.min(0), (256, 256), atol=17)
    np.testing.assert_allclose(outer.max(0), (1024, 1280), atol=17)
    np.testing.assert_allclose(hole.min(0), (384, 512), atol=17)
    assert (outer[0] == outer[-1]).all()
    assert len(second["geometry"]["coordinates"]) == 1
    assert len(first["id"]) == 36


def test_file_that_is_there_is_read(slide: Slide, outline: Outline) -> None:
    write(outline.path, square(0, 0, 512, TISSUE), square(0, 0, 256, IGNORE))
    outline.path.write_text(outline.path.read_text(), encoding="utf-8-sig")
    rest = {(y, x) for y in range(0, 512, 128) for x in range(0, 512, 128)}
    rest -= {(y, x) for y in (0, 128) for x in (0, 128)}
    assert origins(slide, outline) == rest
    assert outline.state == "edited"
    write(outline.path, square(1024, 1024, 256, None))
    assert len(origins(slide, outline)) == 4
    assert outline.find(slide).outline == outline.hash


def test_other_model_finds_anew_but_keeps_edits(
    slide: Slide, outline: Outline, site: Path
) -> None:
    install(
        site,
        "left-half",
        "weno.tissue",
        {"left": "left_half:Left"},
        left_half=(
            "import numpy as np\n"
            "class Left:\n"
            "    mpp = 16.0\n"
            "    def __call__(self, rgb, mpp):\n"
            "        assert abs(mpp[0] - 16) < 0.1, mpp\n"
            "        mask = np.zeros(rgb.shape[:2], bool)\n"
            "        mask[:, : mask.shape[1] // 2] = True\n"
            "        return mask\n"
        ),
    )
    assert tissue_names() == ["classical", "left"]
    outline.find(slide)
    left = replace(outline, model="left")
    mask = left.find(slide).mask
    assert mask[:, : mask.shape[1] // 2].mean() > 0.999  # its pixels are larger
    assert not mask[:, mask.shape[1] // 2 :].any()
    write(outline.path, square(0, 0, 256, TISSUE))
    assert left.find(slide).mask.sum() == 16**2


def test_example_of_the_page_is_a_model(slide: Slide, site: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tissue.md").read_text("utf-8")
    section = page.split("## Your own model")[1]
    code, package = (
        section.split(f"```{language}\n")[1].split("```")[0]
        for language in ("python", "toml")
    )
    project = tomllib.loads(package)
    points = project["project"]["entry-points"]["weno.tissue"]
    (module,) = project["tool"]["setuptools"]["py-modules"]
    install(site, "green-tissue", "weno.tissue", points, **{module: code})
    found = tissue_mask(slide, model="green")
    assert found.mpp == pytest.approx((16, 16))
    assert found.area_mm2 == pytest.approx(0.1966, rel=0.02)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("rgb", "uint8 of shape"),
        ("rgb[:5, :5, 0] > 3", "must be bool, of that shape"),
    ],
)
def test_plugin_that_returns_no_mask_is_named(
    slide: Slide, site: Path, returned: str, message: str
) -> None:
    code = f"def find(rgb, mpp):\n    return {returned}\n"
    install(site, "wrong", "weno.tissue", {"wrong": "wrong_one:find"}, wrong_one=code)
    with pytest.raises(WenoError, match=f"'wrong'.*{message}"):
        tissue_mask(slide, model="wrong")


def test_unknown_and_broken_models(slide: Slide, site: Path) -> None:
    with pytest.raises(WenoError, match=r"unknown tissue model 'deep'.*classical"):
        tissue_mask(slide, model="deep")
    points = {"gone": "not_there:find", "number": "a_number:five"}
    install(site, "broken", "weno.tissue", points, a_number="five = 5\n")
    with pytest.raises(WenoError, match=r"'gone' of broken cannot be loaded"):
        tissue_mask(slide, model="gone")
    with pytest.raises(WenoError, match=r"'number' of broken is a int"):
        tissue_mask(slide, model="number")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged, or no GeoJSON"),
        ("[" * 100_000, "damaged, or no GeoJSON"),
        ("5", "feature 1 is broken"),
        ('{"type": "FeatureCollection"}', "feature 1 is broken"),
        ('{"type": "Polygon", "coordinates": []}', "feature 1 is broken"),
        (json.dumps([square(0, 0, 9, None), 3]), "feature 2 is broken"),
        (json.dumps(square(0, 0, float("nan"), None)), "not finite"),
        (json.dumps(square(0, 0, 9, "Tumor")), "'Tumor' means nothing"),
        (
            json.dumps(square(0, 0, 9, None)).replace("[9, 9], [0, 9], ", ""),
            "2 corners",
        ),
        (json.dumps(square(0, 0, 9, None)).replace("Polygon", "LineString"), None),
    ],
)
def test_damaged_outline_is_an_error_that_helps(
    slide: Slide, outline: Outline, text: str, message: str | None
) -> None:
    outline.path.parent.mkdir()
    outline.path.write_text(text, encoding="utf-8")
    if message is None:
        assert not outline.find(slide).mask.any()
        return
    with pytest.raises(WenoError, match=message) as caught:
        outline.find(slide)
    assert str(outline.path) in str(caught.value)
    assert outline.path.read_text("utf-8") == text, "what a person drew is kept"


def test_polygons_far_outside_are_cut(slide: Slide, outline: Outline) -> None:
    write(outline.path, square(-1e12, -1e12, 1e12 + 256, None))
    assert len(origins(slide, outline)) == 4
    write(outline.path, square(1e15, 1e15, 512, None))
    assert origins(slide, outline) == set()


def test_qupath_files_are_read(test_data: Path) -> None:
    folder = test_data / "annotations"
    found = {path.stem: read_regions(path) for path in folder.glob("qupath-*.json")}
    assert {name: len(regions) for name, regions in found.items()} == {
        **dict.fromkeys(("qupath-line", "qupath-polyline", "qupath-point"), 0),
        "qupath-multipoint": 0,
        **dict.fromkeys(("qupath-brush", "qupath-ellipse", "qupath-polygon"), 1),
        **dict.fromkeys(("qupath-rectangle", "qupath-wand"), 1),
    }
    (rectangle,) = found["qupath-rectangle"]
    np.testing.assert_array_equal(rectangle.rings[0].min(0), (15298, 26268))  # (y, x)


def test_any_mask_is_drawn_again_exactly() -> None:
    rng = np.random.default_rng(0)
    for sigma in (0.7, 2, 6):
        noise = ndi.gaussian_filter(rng.normal(size=(200, 300)), sigma)
        mask = TissueMask(noise > 0, (12.7, 13.1), (8.0, 8.0))
        again = fill(trace(mask), mask.mask.shape, mask.downsample)
        np.testing.assert_array_equal(again, mask.mask)


def test_painted_outline_is_saved(slide: Slide, outline: Outline) -> None:
    def box(y: float, x: float, side: float, name: str) -> Region:
        corners = [[y, x], [y, x + side], [y + side, x + side], [y + side, x]]
        return Region((np.array(corners, float),), name)

    outline.save(
        slide,
        [box(0, 0, 640, TISSUE), box(128, 128, 384, IGNORE), box(256, 256, 128, "")],
    )
    inner = {(y, x) for y in range(128, 512, 128) for x in range(128, 512, 128)}
    whole = {(y, x) for y in range(0, 640, 128) for x in range(0, 640, 128)}
    assert origins(slide, outline) == whole - inner | {(256, 256)}
    assert outline.state == "edited"


def test_outline_of_another_slide_is_refused(
    slide: Slide, outline: Outline, write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    other = write_pyramid(tmp_path / "other.tiff", [paint((0, 0, 512, 512))], 0.5)
    outline.find(slide)
    with open_slide(other) as another:
        found = outline.find(another)  # nobody had edited it
        np.testing.assert_array_equal(found.mask, tissue_mask(another).mask)
    outline.save(slide, [])
    with open_slide(other) as another, pytest.raises(WenoError, match="another slide"):
        outline.find(another)


def test_regions_inside_and_outside(slide: Slide, outline: Outline) -> None:
    whole = origins(slide, outline)
    regions = outline.path.parent / "regions.geojson"
    chosen = replace(outline, regions=regions, inside=("Tumor",), outside=("Pen",))
    assert origins(slide, chosen) == set(), "no such region, so no tile"
    write(
        regions,
        square(512, 1280, 512, "Tumor"),
        square(520, 1300, 40, "Pen"),
        square(0, 0, 2048, "of no interest"),
    )
    section = {(y, x) for y, x in whole if x >= 1280}
    assert len(section) == 16
    assert origins(slide, chosen) == section - {(512, 1280)}
    assert origins(slide, replace(chosen, inside=())) == whole - {(512, 1280)}
    assert chosen.hash != outline.hash


def test_extraction_follows_the_outline(project: Project) -> None:
    deque(extract(project), maxlen=0)
    outline, path = project.outline("two"), project.features_path("two")
    assert outline.path == project.root / "tissue" / "two.geojson"
    first = read_features(path)
    assert first.outline == outline.hash
    time = path.stat().st_mtime_ns
    deque(extract(project), maxlen=0)
    assert path.stat().st_mtime_ns == time, "same outline, nothing to do"
    write(outline.path, square(256, 256, 256, TISSUE))
    with pytest.raises(FeatureError, match=r"two: tiled by the outline .* run extract"):
        read_slide_header(project, "two")
    deque(extract(project), maxlen=0)
    assert read_slide_header(project, "two").outline == outline.hash
    again = read_features(path)
    assert len(again.origins) == 4 < len(first.origins)
    assert read_header(path).outline == outline.hash


def test_extraction_follows_the_regions(project: Project) -> None:
    settings = project.root / "project.toml"
    settings.write_text(settings.read_text("utf-8") + '\n[regions]\noutside = ["N"]\n')
    project = Project.open(project.root)
    path = project.features_path("two")
    deque(extract(project), maxlen=0)
    before = read_features(path)
    regions = project.outline("two").regions
    assert regions is not None
    y, x = (before.origins[0] + 10).tolist()
    write(regions, square(y, x, 20, "N"))
    with pytest.raises(FeatureError, match=r"two: tiled by the outline .* run extract"):
        read_slide_header(project, "two")
    deque(extract(project), maxlen=0)
    read_slide_header(project, "two")
    after = read_features(path)
    assert after.origins.tolist() == before.origins[1:].tolist()


def test_quality_and_level_are_kept(project: Project) -> None:
    deque(extract(project), maxlen=0)
    features = read_features(project.features_path("two"))
    assert features.precision == "fp32"
    assert features.quality is not None
    assert features.quality.shape == (len(features.origins), 3)
    share, blur, pen = features.quality.T
    assert (share >= SPEC.min_tissue).all()
    assert share.max() == 1
    assert share.min() < 1
    assert (blur > 0.3).all()  # painted: flat
    assert not pen.any()
    assert (features.level, features.level_mpp) == (0, pytest.approx((0.5, 0.5)))


def test_damaged_outline_fails_its_slide_and_no_other(
    project: Project, write_pyramid: PyramidWriter, tmp_path: Path
) -> None:
    path = write_pyramid(tmp_path / "more.tiff", [paint((0, 0, 512, 512))], 0.5)
    project.add_slide(path)
    damaged = project.outline("two").path
    damaged.parent.mkdir()
    damaged.write_text("{", encoding="utf-8")
    deque(extract(project), maxlen=0)
    assert "no GeoJSON" in project.failed_slides()["two"]
    assert project.features_path("more").exists()


def test_choices_in_the_project_file(project: Project) -> None:
    path = project.root / "project.toml"
    text = path.read_text(encoding="utf-8").replace('tissue = "classical"\n', "")
    more = 'tissue = "left"\n' + text + '[regions]\ninside = ["Tumor"]\n'
    path.write_text(more, encoding="utf-8")
    outline = Project.open(project.root).outline("two")
    assert (outline.model, outline.inside, outline.outside) == ("left", ("Tumor",), ())
    with pytest.raises(WenoError, match="unknown tissue model 'left'"):
        deque(extract(Project.open(project.root)), maxlen=0)
    path.write_text(more.replace("inside", "within"), encoding="utf-8")
    with pytest.raises(ProjectError, match=r"unknown key 'within' in \[regions\]"):
        Project.open(project.root)
    path.write_text(more.replace('["Tumor"]', '"Tumor"'), encoding="utf-8")
    with pytest.raises(ProjectError, match="must be a list of classes"):
        Project.open(project.root)
    path.write_text("tissue = 5\n" + text, encoding="utf-8")
    with pytest.raises(ProjectError, match="tissue must be the name"):
        Project.open(project.root)


@pytest.mark.parametrize("name", ["../out", "a/b", "..", ""])
def test_no_outline_leaves_the_project(project: Project, name: str) -> None:
    with pytest.raises(WenoError):
        project.outline(name)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages can be installed into."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    return folder
