from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from weno.errors import ProjectError
from weno.project import Project
from weno.table_text import changed, extended, parse

TABLE = (
    '\ufeff# scanned in May, by "us"\r\n'
    'slide_id,path,"label",stain,note\r\n'
    'a,a.svs,1,"H&E","two\r\nlines"\r\n'
    "\r\n"
    "# b was scanned again\r\n"
    "b, b.svs ,0,IHC\r\n"
    "c,c.svs,,H&E,last"
)


def test_a_table_is_read_without_its_comments() -> None:
    columns, records = parse(TABLE)
    assert columns == ["slide_id", "path", "label", "stain", "note"]
    assert [record["slide_id"] for record in records] == ["a", "b", "c"]
    assert records[0]["note"] == "two\r\nlines"
    assert records[1] == {
        "slide_id": "b",
        "path": "b.svs",
        "label": "0",
        "stain": "IHC",
        "note": "",
    }


def test_only_the_changed_cell_changes() -> None:
    text, edit = changed(TABLE, "slide_id", {"b": {"label": "1"}})
    assert text == TABLE.replace("b, b.svs ,0,IHC", "b, b.svs ,1,IHC,")
    assert edit.before == {"b": {"label": "0"}}
    assert edit.after == {"b": {"label": "1"}}


def test_a_missing_column_is_added_to_the_header_and_the_changed_line() -> None:
    text, _ = changed(TABLE, "slide_id", {"c": {"split": "test"}})
    expected = TABLE.replace('path,"label",stain,note', "path,label,stain,note,split")
    for line, more in (('lines"', ","), ("IHC", ",,"), ("last", ",test")):
        expected = expected.replace(line, line + more)
    assert text == expected
    assert [record.get("split") for record in parse(text)[1]] == ["", "", "test"]


def test_the_mark_of_a_spreadsheet_stays() -> None:
    text, _ = changed("\ufeffslide_id\na\n", "slide_id", {"a": {"label": "1"}})
    assert text == "\ufeffslide_id,label\na,1\n"


def test_what_is_so_already_is_no_edit() -> None:
    text, edit = changed(TABLE, "slide_id", {"a": {"label": "1"}})
    assert text == TABLE
    assert not edit


def test_lines_are_added_at_the_end() -> None:
    text = extended(TABLE, [{"slide_id": "d", "path": "d.svs", "split": "val"}])
    assert text.endswith("c,c.svs,,H&E,last,\r\nd,d.svs,,,,val\r\n")
    assert parse(text)[0][-1] == "split"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    table = tmp_path / "p" / "slides.csv"
    table.parent.mkdir()
    table.write_text("slide_id,path,label,stain\na,a.svs,1,H\nb,b.svs,0,I\n")
    return Project.create(tmp_path / "p", table)


def rows(project: Project) -> dict[str, int | None]:
    return {row.slide_id: row.label for row in project.slides}


def test_labels_are_edited_and_taken_back(project: Project) -> None:
    table = project.root / "slides.csv"
    table.write_text(table.read_text() + "# mine\n")
    before = table.read_text()
    edit = project.table.edit({"a": {"label": "negative"}, "b": {"label": ""}})
    assert rows(project) == {"a": 0, "b": None}
    assert "# mine\n" in table.read_text()
    again = project.table.undo(edit)
    assert table.read_text() == before
    project.table.undo(again)
    assert rows(project) == {"a": 0, "b": None}


def test_undo_never_takes_back_what_somebody_else_wrote(project: Project) -> None:
    edit = project.table.edit({"a": {"label": "0"}})
    project.table.edit({"a": {"label": "1"}})
    with pytest.raises(ProjectError, match="changed since"):
        project.table.undo(edit)
    assert rows(project) == {"a": 1, "b": 0}


@pytest.mark.parametrize("changes", [{"a": {"label": "7"}}, {"z": {"label": "1"}}])
def test_a_wrong_edit_leaves_the_table_as_it_is(
    project: Project, changes: dict[str, dict[str, str]]
) -> None:
    before = (project.root / "slides.csv").read_bytes()
    with pytest.raises(ProjectError):
        project.table.edit(changes)
    assert (project.root / "slides.csv").read_bytes() == before


def test_paths_inside_the_project_stay_relative(project: Project) -> None:
    project.table.edit({"a": {"path": str(project.root / "new" / "a.svs")}})
    assert "a,new/a.svs,1" in (project.root / "slides.csv").read_text()
    assert project.slide("a").path == project.root / "new" / "a.svs"


def test_added_slides_leave_comments_alone(project: Project) -> None:
    table = project.root / "slides.csv"
    table.write_text(table.read_text() + "# mine\n")
    project.add_slide(project.root / "c.svs", label=1)
    assert table.read_text().endswith(
        "# mine\nc,c.svs,positive,\n"
    ) or table.read_text().endswith("# mine\nc,c.svs,1,\n")
    project.set_mpp("c", 0.25)
    assert "# mine\n" in table.read_text()
    assert project.slide("c").mpp == 0.25


def test_added_slides_are_taken_back_with_what_was_filled_in(project: Project) -> None:
    table = project.root / "slides.csv"
    before = table.read_bytes()
    slide = {"slide_id": "c", "path": str(project.root / "c.svs"), "label": "1"}
    edit = project.table.add([slide], {"a": {"label": "0"}})
    with table.open("a") as file:
        file.write("# mine\n")
    project.table.undo(edit)
    assert table.read_bytes() == before + b"# mine\n"

    # Not once somebody has worked on it.
    edit = project.table.add([slide])
    project.table.edit({"c": {"label": "0"}})
    with pytest.raises(ProjectError, match="changed since"):
        project.table.undo(edit)
    assert project.slide("c").label == 0


def test_edits_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(12)]
    records = [{"slide_id": name, "path": f"/{name}.svs"} for name in names]
    project = Project.create(tmp_path / "p", records)
    with ThreadPoolExecutor(len(names)) as pool:
        edits = [{name: {"label": "1"}} for name in names]
        list(pool.map(project.table.edit, edits))
    assert [row.label for row in project.slides] == [1] * len(names)
