"""A project of three classes: one question at a time, and nothing mixed up."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from weno.classes import asked_class, class_problems, run_names
from weno.cli import app
from weno.errors import ProjectError, RunError
from weno.features import SlideFeatures, write_features
from weno.mil import evaluate_project, load_bags
from weno.mil.config import TrainConfig
from weno.mil.instance_labels import UNKNOWN
from weno.mil.network import Weno, relabel
from weno.mil.packed import PackedBags
from weno.mil.standardise import Moments
from weno.project import Project
from weno.review import Kind, ReviewStore, ReviewTile, Verdict, read_verdicts
from weno.tiles import TileSpec

CLASSES = ("normal", "LUAD", "LUSC")
TILES = 20


def weno(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def last_json(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(answer, dict)
    return answer


def cohort(root: Path, count: int = 18) -> Project:
    """Slides of three classes in turn, each class with a feature of its own."""
    root.mkdir(parents=True, exist_ok=True)
    names = ("0", "LUAD", "2")  # by number and by name
    lines = ["slide_id,path,label"]
    lines += [f"s{i:02},s{i}.svs,{names[i % 3]}" for i in range(count)]
    (root / "in.csv").write_text("\n".join([*lines, "none,none.svs,"]) + "\n")
    project = Project.create(
        root / "p", root / "in.csv", spec=TileSpec(64, 0.5), class_names=CLASSES
    )
    rng = np.random.default_rng(0)
    for i, row in enumerate(project.slides):
        features = rng.standard_normal((TILES, 8)).astype(np.float32)
        features[:6, i % 3] += 8
        write_features(
            project.features_path(row.slide_id), slide(row.slide_id, features)
        )
    return project


def slide(slide_id: str, features: np.ndarray) -> SlideFeatures:
    origins = np.stack([np.zeros(TILES, int), 128 * np.arange(TILES)], axis=1)
    return SlideFeatures(
        slide_id=slide_id,
        features=features,
        origins=origins.astype(np.int64),
        encoder="texture",
        spec=TileSpec(64, 0.5),
        mpp=(0.5, 0.5),
        slide_shape=(128, 128 * TILES),
        content_hash=slide_id,
    )


def labels(project: Project) -> list[int | None]:
    return [row.label for row in project.slides]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return cohort(tmp_path)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    """One run for each class, made and predicted by commands alone."""
    project = cohort(tmp_path_factory.mktemp("classes"))
    settings = ("--name", "cv", "--folds", 3, "--epochs", 3, "--json")
    result = last_json(weno("fit", project.root, "--all-classes", *settings))
    for run in project.run_names():
        last_json(weno("predict", project.root, "--run", run, "--json"))
    return project, result


def test_labels_by_number_and_by_name_answer_the_question(project: Project) -> None:
    assert project.classes == CLASSES
    assert [row.class_index for row in project.slides] == [0, 1, 2] * 6 + [None]
    assert (project.positive, project.class_names) == ("LUSC", ("not LUSC", "LUSC"))
    assert labels(project) == [0, 0, 1] * 6 + [None]


def test_the_question_is_switched_and_the_project_stays_as_it_was(
    project: Project,
) -> None:
    other = project.asking("LUAD")
    assert (other.positive, other.class_names) == ("LUAD", ("not LUAD", "LUAD"))
    assert labels(other) == [0, 1, 0] * 6 + [None]
    assert labels(project) == [0, 0, 1] * 6 + [None]
    assert labels(Project.open(project.root, "normal")) == [1, 0, 0] * 6 + [None]
    settings = project.root / "project.toml"
    text = settings.read_text("utf-8")
    settings.write_text(text.replace('positive = "LUSC"', 'positive = "LUAD"'))
    assert Project.open(project.root).positive == "LUAD"
    settings.write_text(text.replace('positive = "LUSC"\n', ""))
    assert Project.open(project.root).positive == "LUSC"


def test_bags_have_the_labels_of_the_question(project: Project) -> None:
    for positive in CLASSES:
        bags = load_bags(project.asking(positive), ["s00", "s01", "s02", "none"])
        found = [bag.label for bag in bags]
        assert found == [int(name == positive) for name in CLASSES] + [None]


@pytest.mark.parametrize("positive", CLASSES)
def test_tiles_of_all_other_classes_are_negative_if_the_rule_is_on(
    project: Project, positive: str
) -> None:
    ids = [row.slide_id for row in project.slides if row.label is not None]
    bags = load_bags(project.asking(positive), ids)
    of_others = torch.tensor([bag.label == 0 for bag in bags]).repeat_interleave(TILES)
    given = {}
    for rule in (True, False):
        config = TrainConfig(true_negatives=rule, label_tail=0.0)
        torch.manual_seed(0)
        model = Weno(8, config)
        model.standardise.adapt(Moments.of(bags))
        packed = PackedBags.pack(bags, torch.device("cpu"), model.standardise)
        given[rule] = relabel(model, packed, config)
    assert of_others.sum() == 12 * TILES
    assert (given[True][of_others] == 0).all()
    assert (given[False][of_others] > 0).float().mean() > 0.9
    assert torch.equal(given[True][~of_others], given[False][~of_others])


def finished_run(project: Project, name: str, asked: str) -> None:
    folder = project.run_dir(name)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    card = {"class_names": [f"not {asked}", asked]}
    (folder / "card.json").write_text(json.dumps(card))


def tile(number: int) -> ReviewTile:
    return ReviewTile("s01", "s01", (0, 128 * number), (128, 128))


def test_a_verdict_speaks_of_the_class_of_its_run_alone(project: Project) -> None:
    finished_run(project, "a", "LUAD")
    finished_run(project, "b", "LUSC")
    with ReviewStore(project.review_dir, "me") as store:
        store.answer(tile(0), Verdict.POSITIVE, run="a", blind=True)
        store.answer(tile(1), Verdict.NEGATIVE, run="b", blind=True)
        # Of one tile, both classes were asked; only one was an audit.
        store.answer(tile(2), Verdict.POSITIVE, run="a", blind=True)
        store.answer(tile(2), Verdict.NEGATIVE, run="b", blind=True)
        store.answer(tile(3), Verdict.POSITIVE, run="a", blind=True)
        store.answer(tile(3), Verdict.POSITIVE, run="b", kind=Kind.AUDIT, blind=True)
        # Which class these are about, nobody can tell.
        store.answer(tile(4), Verdict.POSITIVE, blind=True)
        store.answer(tile(5), Verdict.POSITIVE, run="lost", blind=True)
        # Taken back, for one of them.
        store.answer(tile(6), Verdict.POSITIVE, run="a", blind=True)
        store.answer(tile(6), Verdict.POSITIVE, run="b", blind=True)
        store.undo()
    told = {}
    for positive in CLASSES:
        (bag,) = load_bags(project.asking(positive), ["s01"])
        told[positive] = bag.verdicts[:7].tolist()
        assert (bag.verdicts[7:] == UNKNOWN).all()
    none = UNKNOWN
    assert told["normal"] == [none] * 7
    assert told["LUAD"] == [1, none, 1, 1, none, none, 1]
    assert told["LUSC"] == [none, 0, 0, none, none, none, none]


def test_a_reviewer_is_asked_about_a_tile_once_for_each_class(
    project: Project,
) -> None:
    finished_run(project, "a", "LUAD")
    finished_run(project, "b", "LUSC")
    with ReviewStore(project.review_dir, "me") as store:
        store.answer(tile(0), Verdict.POSITIVE, run="a", blind=True)
    runs = project.asked_by("b").runs_asking()
    with ReviewStore(project.review_dir, "me", runs) as store:
        assert store.verdict(tile(0)) is None
        assert store.to_undo is None
        store.answer(tile(0), Verdict.NEGATIVE, run="b", blind=True)
        assert store.verdict(tile(0)) is Verdict.NEGATIVE
    (log,) = read_verdicts(project.review_dir).values()
    assert [event.run for event in log.events] == ["a", "b"]


def test_two_classes_take_every_verdict_as_before(tmp_path: Path) -> None:
    project = two_classes(tmp_path)
    assert project.runs_asking() is None
    assert project.asked_by("no such run") is project
    row = project.slides[0]
    write_features(
        project.features_path(row.slide_id),
        slide(row.slide_id, np.ones((TILES, 8), np.float32)),
    )
    with ReviewStore(project.review_dir, "me") as store:
        where = ReviewTile("a", row.slide_id, (0, 0), (128, 128))
        store.answer(where, Verdict.POSITIVE, run="of another name", blind=True)
    (bag,) = load_bags(project, [row.slide_id])
    assert bag.verdicts[0] == 1


def two_classes(root: Path) -> Project:
    table = root / "in" / "s.csv"
    table.parent.mkdir(parents=True)
    table.write_text("slide_id,path,label\na,a.svs,1\nb,b.svs,normal\n")
    return Project.create(
        root / "p",
        table,
        spec=TileSpec(64, 0.5),
        name="mine",
        class_names=("normal", "tumour"),
    )


def test_files_of_two_classes_are_byte_for_byte_what_they_were(tmp_path: Path) -> None:
    project = two_classes(tmp_path)
    project.add_slide(tmp_path / "c.svs", label=0)
    project.set_mpp("c", 0.25)
    folder = tmp_path / "in"
    assert (project.root / "project.toml").read_text("utf-8") == (
        'name = "mine"\n'
        "# Shown on screen: negative class, positive class.\n"
        'class_names = ["normal", "tumour"]\n'
        "# What turns a tile into numbers.\n"
        'encoder = "texture"\n'
        "# What finds the tissue on a slide.\n"
        'tissue = "classical"\n'
        "\n"
        "[tiles] # changing any of these needs a new extract\n"
        "tile_um = 64.0 # side of a tile in µm\n"
        "mpp = 0.5 # µm per pixel that the encoder sees\n"
        "min_tissue = 0.5 # smallest share of tissue in a tile, 0 to 1\n"
        "# Tiles from regions of some classes only, or from none of them, as drawn in\n"
        "# regions/<slide_id>.geojson:\n"
        "# [regions]\n"
        '# inside = ["Tumor"]\n'
        '# outside = ["Necrosis"]\n'
    )
    assert (project.root / "slides.csv").read_bytes() == (
        "slide_id,path,label,mpp\r\n"
        f"a,{folder / 'a.svs'},1,\r\n"
        f"b,{folder / 'b.svs'},normal,\r\n"
        f"c,{tmp_path / 'c.svs'},0,0.25\r\n"
    ).encode()
    assert project.class_names == ("normal", "tumour")
    assert labels(project) == [1, 0, 0]


@pytest.mark.parametrize(
    ("names", "positive", "message"),
    [
        (["a", "b", "a"], None, "a name twice: a"),
        (["a", "", "b"], None, "none of them empty"),
        (["a", "1", "2.0"], None, "must not be numbers.*1, 2.0"),
        (["a", "b", 3], None, "must be names"),
        (["a", "b", "c"], "d", "no class 'd' to ask about; there are: a, b, c"),
        (["a", "b"], "a", "of two, the second"),
        (["a"], None, "a negative and a positive class"),
    ],
)
def test_names_that_do_not_do(
    tmp_path: Path, names: list[str], positive: str | None, message: str
) -> None:
    table = tmp_path / "s.csv"
    table.write_text("slide_id,path\na,a.svs\n")
    with pytest.raises(ProjectError, match=message):
        Project.create(tmp_path / "p", table, class_names=names, positive=positive)
    assert not (tmp_path / "p").exists()


def test_good_names_pass() -> None:
    assert class_problems(["3+3", "4+4", "grade 5"], "3+3") == []
    assert class_problems(["0", "1"]) == []  # as two classes always could be


def test_wrong_names_are_refused_with_all_that_there_are(project: Project) -> None:
    listed = "no class 'lusc' to ask about; there are: normal, LUAD, LUSC"
    with pytest.raises(ProjectError, match=listed):
        project.asking("lusc")
    with pytest.raises(ProjectError, match=listed):
        Project.open(project.root, "lusc")
    assert listed in weno("fit", project.root, "--positive", "lusc").stderr
    settings = project.root / "project.toml"
    settings.write_text(settings.read_text("utf-8").replace('"LUSC"\n', '"lusc"\n'))
    with pytest.raises(ProjectError, match=listed):
        Project.open(project.root)
    table = project.root / "slides.csv"
    table.write_text(table.read_text("utf-8").replace("LUAD", "luad"))
    with pytest.raises(ProjectError, match="'luad' is none of 0, 1, 2, normal, LUAD"):
        _ = project.slides


def test_a_label_is_never_made_vaguer(project: Project) -> None:
    with pytest.raises(ProjectError, match=r"not LUSC.*one of normal, LUAD, LUSC"):
        project.add_slide("x.svs", label=0)
    before = (project.root / "slides.csv").read_text("utf-8").splitlines()
    project.asking("LUAD").add_slide("y.svs", label=1)
    project.add_slide("z.svs", label="normal")
    project.set_mpp("s01", 0.25)
    rows = {row.slide_id: row for row in project.slides}
    assert "x" not in rows
    assert CLASSES[rows["y"].class_index or 0] == "LUAD"
    assert rows["z"].class_index == 0
    with (project.root / "slides.csv").open(newline="", encoding="utf-8") as file:
        after = {row["slide_id"]: row["label"] for row in csv.DictReader(file)}
    for line in before[1:]:
        slide_id, _, label = line.split(",")
        assert after[slide_id] == label


def test_init_counts_every_class_and_keeps_the_question(tmp_path: Path) -> None:
    table = tmp_path / "s.csv"
    table.write_text("slide_id,path,label\na,a.svs,0\nb,b.svs,LUSC\nc,c.svs,\n")
    choice = ("--classes", "normal, LUAD, LUSC", "--positive", "LUAD")
    made = last_json(weno("init", tmp_path / "p", "--slides", table, *choice, "--json"))
    assert {k: v for k, v in made.items() if k not in ("project", "advice")} == {
        "slides": 3,
        "normal": 1,
        "LUAD": 0,
        "LUSC": 1,
        "unlabelled": 1,
    }
    assert Project.open(tmp_path / "p").positive == "LUAD"


def test_fit_of_all_classes_makes_a_run_for_each(
    fitted: tuple[Project, dict[str, Any]],
) -> None:
    project, result = fitted
    assert [run["class"] for run in result["runs"]] == list(CLASSES)
    assert [run["run"] for run in result["runs"]] == [f"cv-{c}" for c in CLASSES]
    assert set(project.run_names()) == {f"cv-{name}" for name in CLASSES}
    for run in result["runs"]:
        name, folder = run["class"], Path(run["run_dir"])
        card = json.loads((folder / "card.json").read_text("utf-8"))
        assert card["class_names"] == [f"not {name}", name]
        assert asked_class(folder) == name
        assert project.asking(name).runs_asking() == {run["run"]}
        with (folder / "split.csv").open(newline="", encoding="utf-8") as file:
            found = {row["slide_id"]: int(row["label"]) for row in csv.DictReader(file)}
        rows = project.asking(name).slides
        assert found == {r.slide_id: r.label for r in rows if r.label is not None}


def test_predictions_and_evaluation_are_of_the_class_of_the_run(
    fitted: tuple[Project, dict[str, Any]],
) -> None:
    project, _ = fitted
    assert project.positive == "LUSC"
    for name in CLASSES:
        path = project.predictions_dir(f"cv-{name}") / "slides.csv"
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        asking = project.asking(name)
        known = {r.slide_id: r.label for r in asking.slides}
        assert len(rows) == 19
        for row in rows:
            label = known[row["slide_id"]]
            assert row["label"] == ("" if label is None else str(label))
        said = evaluate_project(project, f"cv-{name}", resamples=0)
        asked = evaluate_project(asking, f"cv-{name}", resamples=0)
        assert said["teacher"]["bag_auc"] == asked["teacher"]["bag_auc"]
        probability = {r["slide_id"]: float(r["teacher_probability"]) for r in rows}
        assert said["teacher"]["bag_auc"] == auc_by_hand(probability, known)


def auc_by_hand(said: dict[str, float], known: dict[str, int | None]) -> Any:
    of = {
        label: [said[s] for s, found in known.items() if found == label]
        for label in (0, 1)
    }
    wins = [(p > n) + (p == n) / 2 for p in of[1] for n in of[0]]
    return pytest.approx(sum(wins) / len(wins))


def test_what_is_in_the_way_is_said_before_any_run_begins(
    fitted: tuple[Project, dict[str, Any]], project: Project
) -> None:
    done, _ = fitted
    again = weno("fit", done.root, "--all-classes", "--name", "cv")
    assert again.exit_code == 2
    assert "there already: cv-normal, cv-LUAD, cv-LUSC" in again.stderr
    table = project.root / "slides.csv"
    table.write_text(table.read_text("utf-8").replace(",LUAD", ","))
    assert (
        "no slide is labelled LUAD" in weno("fit", project.root, "--all-classes").stderr
    )
    both = ("--all-classes", "--positive", "LUSC")
    assert "not both" in weno("fit", project.root, *both).stderr
    resume = ("--all-classes", "--resume")
    assert "needs the --name" in weno("fit", project.root, *resume).stderr
    assert project.run_names() == []


def test_a_fit_of_all_classes_goes_on_where_it_stopped(project: Project) -> None:
    settings = ("--epochs", 2, "--test", 0)
    one = ("--positive", "normal", "--name", "x-normal", *settings)
    assert weno("fit", project.root, *one).exit_code == 0
    best = project.run_dir("x-normal") / "best.safetensors"
    before = best.read_bytes()
    every = ("--all-classes", "--resume", "--name", "x", *settings, "--json")
    result = last_json(weno("fit", project.root, *every))
    assert [run["run"] for run in result["runs"]] == ["x-normal", "x-LUAD", "x-LUSC"]
    assert best.read_bytes() == before


def test_one_class_is_fitted_by_name(project: Project) -> None:
    settings = ("--epochs", 2, "--test", 0, "--name", "r", "--json")
    last_json(weno("fit", project.root, "--positive", "LUAD", *settings))
    assert asked_class(project.run_dir("r")) == "LUAD"


def test_names_of_runs_can_be_folders_and_differ() -> None:
    names = run_names("cv", ["A_B", "a/b", "a:b", "…"])
    assert list(names) == ["A_B", "a/b", "a:b", "…"]
    assert len({name.casefold() for name in names.values()}) == 4
    assert all(name.startswith("cv-") and "/" not in name for name in names.values())


def test_a_run_of_no_known_class_is_refused(project: Project) -> None:
    finished_run(project, "old", "SCLC")
    with pytest.raises(ProjectError, match=r"'old': no class 'SCLC'.*normal, LUAD"):
        project.asked_by("old")
    with pytest.raises(RunError, match="no card"):
        project.asked_by("nothing")
