"""Labelled regions: covering tiles, files of others, and what a fit learns of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from weno.errors import ReviewError, WenoError
from weno.features import SlideFeatures, write_features
from weno.geojson import Region
from weno.mil.bags import load_bags
from weno.mil.instance_labels import UNKNOWN, UNSURE
from weno.project import Project
from weno.review import (
    Kind,
    ReviewStore,
    ReviewTile,
    Verdict,
    covered_tiles,
    import_regions,
    labelled_path,
    labelled_slides,
    read_labelled,
    region_verdicts,
    write_labelled,
)
from weno.tiles import TileSpec, tile_cover

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CLASSES = ("normal", "tumour")
SPEC = TileSpec(tile_um=64, mpp=0.5)  # 128 px of 0.5 µm
TILE = (128.0, 128.0)
ORIGINS = np.array([[0, 0], [0, 128], [128, 0], [128, 128]], np.int64)


def box(y: float, x: float, height: float, width: float, name: str = "") -> Region:
    ring = [(y, x), (y, x + width), (y + height, x + width), (y + height, x)]
    return Region((np.array(ring, float),), name)


@pytest.mark.parametrize(
    ("regions", "shares"),
    [
        pytest.param([box(0, 0, 128, 128)], [1, 0, 0, 0], id="one tile"),
        pytest.param([box(-9, -9, 500, 500)], [1, 1, 1, 1], id="all"),
        pytest.param([box(0, 64, 128, 128)], [0.5, 0.5, 0, 0], id="halves"),
        pytest.param([box(64, 32, 128, 64)], [0.25, 0, 0.25, 0], id="across rows"),
        pytest.param(
            [box(0, 0, 128, 80), box(0, 40, 128, 88)], [1, 0, 0, 0], id="overlap"
        ),
        pytest.param(
            [box(0, 0, 128, 32), box(0, 96, 128, 64)], [0.5, 0.25, 0, 0], id="apart"
        ),
        pytest.param([], [0, 0, 0, 0], id="none"),
        pytest.param([box(900, 900, 10, 10)], [0, 0, 0, 0], id="elsewhere"),
    ],
)
def test_the_share_of_a_tile_in_regions(
    regions: Sequence[Region], shares: list[float]
) -> None:
    np.testing.assert_allclose(tile_cover(regions, ORIGINS, TILE), shares)


def test_the_share_of_slanted_and_hollow_shapes() -> None:
    triangle = Region((np.array([(0, 0), (0, 128), (128, 0)], float),))
    ring = Region((box(0, 0, 128, 128).rings[0], box(32, 32, 64, 64).rings[0]))
    first = ORIGINS[:1]
    assert tile_cover([triangle], first, TILE)[0] == pytest.approx(0.5)
    assert tile_cover([ring], first, TILE)[0] == pytest.approx(0.75)
    # Where two lie over each other, each spot counts once.
    both = tile_cover([triangle, ring], first, TILE)[0]
    assert both == pytest.approx(0.75 + 0.125, abs=0.01)


def test_many_shapes_equal_the_pixels_they_cover() -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:256, :256] + 0.5
    shapes, mask = [], np.zeros((256, 256), bool)
    for _ in range(12):
        top, left = rng.uniform(-40, 220, 2)
        height, width = rng.uniform(20, 120, 2)
        shapes.append(box(top, left, height, width))
        mask |= (abs(y - top - height / 2) < height / 2) & (
            abs(x - left - width / 2) < width / 2
        )
    wanted = [mask[r : r + 128, c : c + 128].mean() for r, c in ORIGINS]
    np.testing.assert_allclose(tile_cover(shapes, ORIGINS, TILE), wanted, atol=0.03)


def test_half_of_a_tile_is_enough_and_less_is_not() -> None:
    assert covered_tiles([box(0, 0, 128, 64)], ORIGINS, TILE).tolist() == [0]
    assert covered_tiles([box(0, 0, 128, 63)], ORIGINS, TILE).tolist() == []


def test_regions_that_contradict_each_other_train_nothing() -> None:
    regions = [
        box(0, 0, 128, 256, "tumour"),
        box(0, 128, 256, 128, "normal"),
        box(128, 128, 128, 128, "ignore"),
    ]
    assert region_verdicts(regions, ORIGINS, TILE, "tumour") == {
        0: Verdict.POSITIVE,
        1: Verdict.UNSURE,
        3: Verdict.UNSURE,
    }


def test_another_class_is_a_negative_answer() -> None:
    said = region_verdicts([box(0, 0, 128, 128, "necrosis")], ORIGINS, TILE, "tumour")
    assert said == {0: Verdict.NEGATIVE}


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = labelled_path(tmp_path, "a")
    regions = [box(1, 2, 30, 40, "tumour"), box(0, 0, 9, 9, "ignore")]
    write_labelled(path, regions, "hash", "tumour")
    assert labelled_slides(tmp_path) == ["a"]
    again = read_labelled(path, "hash", CLASSES)
    assert [region.name for region in again] == ["tumour", "ignore"]
    np.testing.assert_array_equal(again[0].rings[0], regions[0].rings[0])
    with pytest.raises(ReviewError, match="another slide"):
        read_labelled(path, "other", CLASSES)
    with pytest.raises(ReviewError, match="'tumour' is none of benign, malignant"):
        read_labelled(path, "hash", ("benign", "malignant"))
    write_labelled(path, [], "hash", "tumour")
    assert read_labelled(path, "hash", CLASSES) == []
    assert not path.exists()


@pytest.mark.parametrize("slide_id", ["../evil", "a/b", ""])
def test_regions_stay_in_their_folder(tmp_path: Path, slide_id: str) -> None:
    with pytest.raises(ReviewError):
        labelled_path(tmp_path, slide_id)


ASAP = """<?xml version="1.0"?>
<ASAP_Annotations><Annotations>
<Annotation Name="A" Type="Polygon" PartOfGroup="TUMOUR"><Coordinates>
<Coordinate Order="1" X="10" Y="0"/><Coordinate Order="0" X="0" Y="0"/>
<Coordinate Order="2" X="10" Y="20"/></Coordinates></Annotation>
<Annotation Name="B" Type="Dot" PartOfGroup="tumour"><Coordinates>
<Coordinate Order="0" X="5" Y="5"/></Coordinates></Annotation>
<Annotation Name="C" Type="Rectangle" PartOfGroup="None"><Coordinates>
<Coordinate Order="0" X="0" Y="0"/><Coordinate Order="1" X="4" Y="0"/>
<Coordinate Order="2" X="4" Y="4"/><Coordinate Order="3" X="0" Y="4"/>
</Coordinates></Annotation>
</Annotations><AnnotationGroups/></ASAP_Annotations>"""


def test_asap_polygons_have_the_class_of_their_group(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(ASAP, "utf-8")
    first, second = import_regions(path, CLASSES)
    assert (first.name, second.name) == ("tumour", "")
    # (y, x), in the order that the file gives.
    assert first.rings[0].tolist() == [[0, 0], [0, 10], [20, 10]]


def test_files_of_asap_and_qupath_are_read(test_data: Path) -> None:
    folder = test_data / "annotations"
    found = {
        path.name: len(import_regions(path, CLASSES))
        for path in folder.iterdir()
        if path.suffix in (".xml", ".json")
    }
    assert found["asap-polygon.xml"] == found["qupath-polygon.json"] == 1
    assert found["asap-dot.xml"] == found["asap-pointset.xml"] == 0
    (polygon,) = import_regions(folder / "asap-polygon.xml", CLASSES)
    np.testing.assert_allclose(polygon.rings[0][0], (16551.1797, 22851.3281))


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(BOMB + "<ASAP_Annotations>&b;</ASAP_Annotations>", "DOCTYPE"),
        pytest.param(OUTSIDE + "<ASAP_Annotations>&a;</ASAP_Annotations>", "DOCTYPE"),
        pytest.param("<svg/>", "'svg'"),
        pytest.param(ASAP[:200], "no annotations"),
        pytest.param(ASAP.replace('X="5"', 'X="nan"').replace("Dot", "Polygon"), "fin"),
        pytest.param(ASAP.replace('Y="20"', 'Y="twenty"'), "twenty"),
    ],
    ids=["bomb", "outside", "another", "cut", "not finite", "no number"],
)
def test_xml_that_is_not_asaps_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text, "utf-8")
    with pytest.raises(WenoError, match=message):
        import_regions(path, CLASSES)


def test_qupath_classes_are_matched_whatever_their_case(tmp_path: Path) -> None:
    names = ("Tumor", "Ignore*", "Stroma")
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]],
            },
            "properties": {"classification": {"name": name}},
        }
        for name in names
    ]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = import_regions(path, CLASSES)
    assert [region.name for region in found] == ["tumour", "ignore", "Stroma"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with features of one slide of four tiles."""
    table = tmp_path / "slides.csv"
    table.write_text("slide_id,path,label\na,a.svs,1\n")
    project = Project.create(
        tmp_path / "project", table, spec=SPEC, class_names=CLASSES
    )
    project.features_path("a").parent.mkdir(parents=True)
    features = SlideFeatures(
        slide_id="a",
        features=np.ones((4, 3), np.float32),
        origins=ORIGINS,
        encoder="texture",
        spec=SPEC,
        mpp=(0.5, 0.5),
        slide_shape=(256, 256),
        content_hash="hash",
    )
    write_features(project.features_path("a"), features)
    return project


def draw(project: Project, *regions: Region) -> None:
    path = labelled_path(project.review_dir, "a")
    write_labelled(path, regions, "hash", project.positive)


def test_regions_become_instance_labels(project: Project) -> None:
    draw(
        project,
        box(0, 0, 128, 128, "tumour"),
        box(0, 128, 128, 128, "normal"),
        box(128, 0, 128, 128, "ignore"),
    )
    (bag,) = load_bags(project)
    assert bag.verdicts.tolist() == [1, 0, UNSURE, UNKNOWN]


def test_a_verdict_wins_over_a_region_and_an_audit_over_both(project: Project) -> None:
    draw(project, box(0, 0, 256, 256, "tumour"))
    with ReviewStore(project.review_dir, "ada") as store:
        tiles = [
            ReviewTile("a", "hash", (y, x), (128, 128)) for y, x in ORIGINS.tolist()
        ]
        store.answer(tiles[0], Verdict.NEGATIVE, blind=True)
        store.answer(tiles[1], Verdict.UNSURE, blind=True)
        store.answer(tiles[2], Verdict.SKIP, blind=True)
        store.answer(tiles[3], Verdict.POSITIVE, blind=True, kind=Kind.AUDIT)
    (bag,) = load_bags(project)
    assert bag.verdicts.tolist() == [0, UNSURE, 1, UNKNOWN]


def test_regions_of_another_slide_stop_a_fit(project: Project) -> None:
    path = labelled_path(project.review_dir, "a")
    write_labelled(path, [box(0, 0, 9, 9, "tumour")], "other", "tumour")
    with pytest.raises(ReviewError, match="another slide"):
        load_bags(project)


def test_regions_of_interest_are_no_labels(project: Project) -> None:
    folder = project.root / "regions"
    write_labelled(folder / "a.geojson", [box(0, 0, 256, 256, "tumour")], "hash", "x")
    (bag,) = load_bags(project)
    assert bag.instance_labels is None
