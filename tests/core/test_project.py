from __future__ import annotations

from pathlib import Path

import pytest

from weno.errors import ProjectError
from weno.project import Project
from weno.tiles import TileSpec


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_create_then_open_keeps_every_choice(tmp_path: Path) -> None:
    table = write(
        tmp_path / "in" / "slides.csv",
        "slide_id,path,label,patient_id,split,mpp,stain\n"
        "a,a.svs,1,p1,train,0.25,H&E\n"
        "b,sub/b.svs,normal,p1,,,IHC\n"
        "ü c,c.svs,,,,,\n",
    )
    made = Project.create(
        tmp_path / "project",
        table,
        spec=TileSpec(64, 0.5),
        encoder="timm:resnet18",
        name='a "quoted" name',
        class_names=("normal", "tumour"),
    )
    opened = Project.open(tmp_path / "project")
    assert opened.name == made.name == 'a "quoted" name'
    assert opened.class_names == ("normal", "tumour")
    assert opened.spec == TileSpec(64, 0.5)
    assert opened.encoder == "timm:resnet18"
    a, b, c = opened.slides
    assert (a.label, b.label, c.label) == (1, 0, None)
    assert a.path == tmp_path / "in" / "a.svs"
    assert b.path == tmp_path / "in" / "sub" / "b.svs"
    assert (a.split, b.split, a.mpp, b.mpp) == ("train", None, 0.25, None)
    assert (b.patient_id, c.patient_id) == ("p1", "ü c")
    assert "IHC" in (tmp_path / "project" / "slides.csv").read_text("utf-8")


def test_a_moved_project_finds_the_slides_inside_it(tmp_path: Path) -> None:
    table = write(tmp_path / "p" / "cohort" / "slides.csv", "slide_id,path\na,a.svs\n")
    Project.create(tmp_path / "p", table)
    (tmp_path / "p").rename(tmp_path / "q")
    moved = Project.open(tmp_path / "q")
    assert moved.slide("a").path == tmp_path / "q" / "cohort" / "a.svs"


def test_all_problems_at_once(tmp_path: Path) -> None:
    table = write(
        tmp_path / "slides.csv",
        "slide_id,path,label,split,mpp\n"
        "a,a.svs,1,train,0.5\n"
        "a,b.svs,2,validation,-1\n"
        "../c,c.svs,0,test,\n",
    )
    with pytest.raises(ProjectError) as caught:
        Project.create(tmp_path / "p", table)
    text = str(caught.value)
    for part in ("'a' is there twice", "label '2'", "'validation'", "'-1'", "'../c'"):
        assert part in text
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    "slide_id", ["", ".hidden", "a/b", "a\\b", "a\x00b", "..", "a:b", "end.", "x" * 121]
)
def test_ids_that_cannot_be_file_names(tmp_path: Path, slide_id: str) -> None:
    table = write(tmp_path / "s.csv", f'slide_id,path\n"{slide_id}",a.svs\n')
    with pytest.raises(ProjectError, match="cannot be a file name"):
        Project.create(tmp_path / "p", table)


def test_folder_is_searched_by_content(test_data: Path, tmp_path: Path) -> None:
    write(tmp_path / "slides" / "notes.tif", "no slide")
    for name in ("cmu-1-small-region.svs", "boxes.tiff"):
        (tmp_path / "slides" / name).symlink_to(test_data / "slides" / name)
    project = Project.create(tmp_path / "p", tmp_path / "slides")
    assert [row.slide_id for row in project.slides] == ["boxes", "cmu-1-small-region"]
    assert {row.label for row in project.slides} == {None}


def test_adding_a_slide(tmp_path: Path) -> None:
    table = write(tmp_path / "s.csv", "slide_id,path,label\na,a.svs,1\n")
    project = Project.create(tmp_path / "p", table)
    added = project.add_slide(tmp_path / "elsewhere" / "a.svs")
    assert added.slide_id == "a_2"
    assert project.add_slide(tmp_path / "elsewhere" / "a.svs") == added
    rows = Project.open(tmp_path / "p").slides
    assert [(row.slide_id, row.label) for row in rows] == [("a", 1), ("a_2", None)]


def test_edits_of_the_table_are_seen(tmp_path: Path) -> None:
    table = write(tmp_path / "s.csv", "slide_id,path,label\na,a.svs,1\n")
    project = Project.create(tmp_path / "p", table)
    edited = tmp_path / "p" / "slides.csv"
    edited.write_text(edited.read_text().replace(",1", ",0"))
    assert project.slide("a").label == 0


def test_second_project_in_a_folder_is_refused(tmp_path: Path) -> None:
    table = write(tmp_path / "s.csv", "slide_id,path\na,a.svs\n")
    Project.create(tmp_path / "p", table)
    with pytest.raises(ProjectError, match="is a project already"):
        Project.create(tmp_path / "p", table)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tile_um", "tile_size", "unknown tile setting: tile_size"),
        ('encoder = "texture"', "encoder = 3", "encoder must be a str"),
        ("name =", "nmae =", "unknown key 'nmae'"),
        ('["negative", "positive"]', '["one"]', "a negative and a positive"),
        ("name =", "name", "project.toml"),
        ("mpp = 0.5", "mpp = 'half'", "project.toml"),
    ],
)
def test_typo_in_the_settings_is_an_error(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    table = write(tmp_path / "s.csv", "slide_id,path\na,a.svs\n")
    Project.create(tmp_path / "p", table)
    settings = tmp_path / "p" / "project.toml"
    text = settings.read_text()
    assert old in text
    settings.write_text(text.replace(old, new, 1))
    with pytest.raises(ProjectError, match=message):
        Project.open(tmp_path / "p")


def test_folder_without_a_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="weno init"):
        Project.open(tmp_path)


def test_features_of_other_tiles_or_encoders_lie_elsewhere(tmp_path: Path) -> None:
    table = write(tmp_path / "s.csv", "slide_id,path\na,a.svs\n")
    paths = set()
    for spec, encoder in [
        (TileSpec(), "texture"),
        (TileSpec(64), "texture"),
        (TileSpec(), "timm:vit/x"),
    ]:
        root = tmp_path / str(len(paths))
        project = Project.create(root, table, spec=spec, encoder=encoder)
        path = project.features_path("a")
        assert path.relative_to(root).parts[0] == "features"
        paths.add(path.relative_to(root))
    assert len(paths) == 3


def test_run_name_stays_inside_the_project(tmp_path: Path) -> None:
    table = write(tmp_path / "s.csv", "slide_id,path\na,a.svs\n")
    project = Project.create(tmp_path / "p", table)
    with pytest.raises(ProjectError, match="cannot be the name of a run"):
        project.run_dir("../../elsewhere")
    for name in ("first", "second"):
        write(project.run_dir(name) / "config.json", "{}")
    assert set(project.run_names()) == {"first", "second"}


def test_a_table_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    table = write(tmp_path / "s.csv", "slide_id,path\na,a.svs\n")
    mine = write(tmp_path / "p" / "slides.csv", "slide_id,path\nb,b.svs\n")
    with pytest.raises(ProjectError, match="is there already"):
        Project.create(tmp_path / "p", table)
    assert "b.svs" in mine.read_text()
    assert Project.create(tmp_path / "p", mine).slides[0].slide_id == "b"


def test_an_empty_table_leaves_nothing_behind(tmp_path: Path) -> None:
    table = write(tmp_path / "s.csv", "slide_id,path\n")
    with pytest.raises(ProjectError, match="lists no slide"):
        Project.create(tmp_path / "p", table)
    assert not (tmp_path / "p").exists()


def test_ids_that_differ_in_case_alone_are_one(tmp_path: Path) -> None:
    table = write(tmp_path / "s.csv", "slide_id,path\na1,a.svs\nA1,b.svs\n")
    with pytest.raises(ProjectError, match="'A1' is there twice"):
        Project.create(tmp_path / "p", table)
