from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from weno.errors import ProjectError
from weno.project import Project
from weno.slide_import import (
    add_slides,
    classes_in,
    guess_columns,
    labels_by_folder,
    mapped_records,
    read_source,
)
from weno.slide_rows import search_records


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def scans(write_pyramid, tmp_path: Path) -> Path:
    """Two slides in folders that are named by their class."""
    for name in ("normal/S1.tif", "tumour/S2.tif"):
        (tmp_path / "scans" / name).parent.mkdir(parents=True)
        pixels = np.full((64, 64, 3), 200, np.uint8)
        write_pyramid(tmp_path / "scans" / name, [pixels], 0.5)
    return tmp_path / "scans"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["slide_id", "path"], {"slide_id": "slide_id", "path": "path"}),
        (
            ["Case ID", "Slide", "File Name", "Diagnosis"],
            {
                "patient_id": "Case ID",
                "slide_id": "Slide",
                "path": "File Name",
                "label": "Diagnosis",
            },
        ),
        (["stain", "age"], {}),
        (
            ["image", "Pixel size", "Set"],
            {"slide_id": "image"} | {"mpp": "Pixel size"} | {"split": "Set"},
        ),
    ],
)
def test_columns_are_guessed(columns: list[str], expected: dict[str, str]) -> None:
    assert guess_columns(columns) == expected


def test_a_table_of_a_spreadsheet_is_mapped(tmp_path: Path) -> None:
    table = write(
        tmp_path / "list.csv",
        "# Export, Labor 2, Stand 3,4,5\n"
        "Fall;Datei;Diagnose;Färbung\n"
        'M/1;"a;b.svs";bösartig;H,E,P\n'
        "M2;c.svs;gut;H,E,P,S,T\n",
        "cp1252",
    )
    source = read_source(table)
    assert source.columns == ["Fall", "Datei", "Diagnose", "Färbung"]
    assert not source.is_plain
    columns = {"path": "Datei", "label": "Diagnose", "patient_id": "Fall"}
    first, second = mapped_records(source, columns)
    assert first == {
        "slide_id": "a_b",
        "path": str(tmp_path / "a;b.svs"),
        "label": "bösartig",
        "patient_id": "M/1",
        "Färbung": "H,E,P",
    }
    assert second["slide_id"] == "c"


def test_slides_are_looked_for_by_name(scans: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "list.csv", "Slide,Dx\ns1,normal\nS2,tumour\nS3,tumour\n")
    source = read_source(table)
    with pytest.raises(ProjectError, match="which column has the file"):
        mapped_records(source, {"slide_id": "Slide"})
    found = mapped_records(source, {"slide_id": "Slide", "label": "Dx"}, scans)
    assert [record["path"] for record in found] == [
        str(scans / "normal" / "S1.tif"),
        str(scans / "tumour" / "S2.tif"),
        "",
    ]


def test_a_path_of_another_machine_leads_to_the_folder(
    scans: Path, tmp_path: Path
) -> None:
    table = write(tmp_path / "list.csv", "file\nD:\\\\scans\\\\S2.tif\n/mnt/S1.tif\n")
    table.write_text("file\nD:\\scans\\S2.tif\n/mnt/S1.tif\n")
    found = mapped_records(read_source(table), {"path": "file"}, scans)
    assert [(r["slide_id"], Path(r["path"]).name) for r in found] == [
        ("S2", "S2.tif"),
        ("S1", "S1.tif"),
    ]


def test_folders_are_classes(scans: Path) -> None:
    found = labels_by_folder(search_records(scans), scans)
    assert {r["slide_id"]: r["label"] for r in found} == {
        "S1": "normal",
        "S2": "tumour",
    }


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["tumour", "", "Normal", "tumour"], ["Normal", "tumour"]),
        (["1", "0"], []),
        (["a"], []),
        (["grade 2", "benign", "grade 1"], ["benign", "grade 1", "grade 2"]),
        ([str(number) + "x" for number in range(13)], []),
    ],
)
def test_labels_become_classes(labels: list[str], expected: list[str]) -> None:
    assert classes_in([{"label": label} for label in labels]) == expected


def test_a_project_is_made_of_records_and_grows(tmp_path: Path) -> None:
    records = [
        {"slide_id": "a", "path": str(tmp_path / "a.svs"), "label": "", "st": "H"}
    ]
    project = Project.create(tmp_path / "p", records, class_names=("normal", "tumour"))
    more = [
        {"slide_id": "other", "path": str(tmp_path / "a.svs"), "label": "tumour"},
        {"slide_id": "b", "path": str(tmp_path / "b.svs"), "label": "normal"},
    ]
    added, edit = add_slides(project, more)
    assert added == 1
    assert edit.after["a"] == {"label": "tumour"}
    assert edit.added == {"b"}
    assert {row.slide_id: row.label for row in project.slides} == {"a": 1, "b": 0}
    again = [more[0] | {"label": "normal"}, more[1]]
    assert add_slides(project, again)[0] == 0
    assert project.slide("a").label == 1
    with pytest.raises(ProjectError, match="label 'x'"):
        add_slides(project, [{"slide_id": "c", "path": "c.svs", "label": "x"}])
    assert len(project.slides) == 2


@pytest.mark.parametrize("text", ["", "slide_id,path\n"])
def test_an_empty_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProjectError, match="lists no slide"):
        read_source(write(tmp_path / "list.csv", text))


def test_a_slide_is_no_table(scans: Path) -> None:
    with pytest.raises(ProjectError, match="is no table of text"):
        read_source(scans / "normal" / "S1.tif")


def test_files_of_one_name_are_several_slides(scans: Path, tmp_path: Path) -> None:
    lines = "file\nnormal/HE.tif\ntumour/HE.tif\n"
    for name in ("normal/S1", "tumour/S2"):
        path = scans / f"{name}.tif"
        path.rename(path.with_name("HE.tif"))
    source = read_source(write(scans / "list.csv", lines))
    found = mapped_records(source, {"path": "file"})
    assert [record["slide_id"] for record in found] == ["HE", "HE_2"]
    project = Project.create(tmp_path / "p", search_records(scans / "normal"))
    records = search_records(scans / "tumour")
    # Who gives the id says that it is the same slide.
    assert add_slides(project, records)[0] == 0
    assert add_slides(project, records, named=False)[0] == 1
    assert add_slides(project, records, named=False)[0] == 0
    known = {row.slide_id: row.path for row in project.slides}
    assert known == {
        "HE": scans / "normal" / "HE.tif",
        "HE_2": scans / "tumour" / "HE.tif",
    }
    # One that is not where it was has moved, most likely.
    known["HE"].unlink()
    moved = [records[0] | {"path": str(tmp_path / "HE.tif")}]
    assert add_slides(project, moved, named=False)[0] == 0
