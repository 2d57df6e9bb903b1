from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from napari import Viewer
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QWidget
from review_files import ask_of_three

from napari_weno.docks import SlideChoice
from napari_weno.jobs import JobBar
from napari_weno.layers import slide_layer
from napari_weno.session import session_of, show_dock
from napari_weno.survey import (
    Memory,
    SlideState,
    Survey,
    question_text,
    summary,
    survey,
)
from weno.errors import ProjectError
from weno.features import Estimate, estimate
from weno.geojson import Region, feature_of, write_collection
from weno.prediction import Prediction, write_prediction
from weno.project import Project, SlideRow
from weno.slides import Slide

Predict = Callable[..., Prediction]

LEFT = Qt.MouseButton.LeftButton


def finish(job: object) -> object:
    try:
        while True:
            next(job)
    except StopIteration as end:
        return end.value


def look(project: Project, run: str | None = None) -> dict[str, SlideState]:
    found = finish(survey(project, run, Memory()))
    assert isinstance(found, Survey)
    return {state.row.slide_id: state for state in found.states}


def answer(project: Project, prediction: Prediction, tiles: list[int]) -> None:
    from weno.review import ReviewStore, ReviewTile, Verdict

    with ReviewStore(project.review_dir, "ada") as store:
        for tile in tiles:
            place = ReviewTile.of(prediction, tile)
            store.answer(place, Verdict.POSITIVE, blind=True)


def test_a_new_project_has_new_slides(new_project: Project) -> None:
    states = look(new_project)
    assert [state.status for state in states.values()] == ["new"] * 6
    assert states["synthetic_001"].label == "tumour"
    assert states["synthetic_001"].probability is None


def test_a_slide_goes_from_new_to_reviewed(
    new_project: Project, predict_by_hand: Predict
) -> None:
    from weno.features import extract

    assert finish(extract(new_project, ["synthetic_001"])).failed == {}
    assert look(new_project, "demo")["synthetic_001"].status == "features"
    with new_project.open_slide("synthetic_001") as slide:
        prediction = predict_by_hand(slide, new_project.spec)
    write_prediction(new_project.prediction_path("demo", "synthetic_001"), prediction)
    assert look(new_project, "demo")["synthetic_001"].status == "predicted"
    assert look(new_project, None)["synthetic_001"].status == "features"
    answer(new_project, prediction, [3, 5])
    state = look(new_project, "demo")["synthetic_001"]
    assert (state.status, state.reviewed) == ("reviewed 2", 2)
    assert look(new_project, "demo")["synthetic_000"].status == "new"


def test_a_slide_that_was_stopped_on_its_way_is_tiled(new_project: Project) -> None:
    from weno.features import extract

    with closing(extract(new_project, ["synthetic_001"])) as job:
        while not next(job).done:
            pass
    assert look(new_project)["synthetic_001"].status == "tiled"
    assert look(new_project)["synthetic_000"].status == "new"
    finish(extract(new_project, ["synthetic_001"]))
    assert look(new_project)["synthetic_001"].status == "features"


def test_a_slide_that_is_outlined_has_tissue(new_project: Project) -> None:
    with new_project.open_slide("synthetic_002") as slide:
        new_project.outline("synthetic_002").find(slide)
    assert look(new_project)["synthetic_002"].status == "tissue"


def test_a_slide_that_could_not_be_prepared_says_why(new_project: Project) -> None:
    from weno.features import extract

    new_project.slide("synthetic_002").path.write_bytes(b"no slide")
    finish(extract(new_project, ["synthetic_002", "synthetic_003"]))
    states = look(new_project)
    assert states["synthetic_002"].status == "failed"
    assert "synthetic_002" in states["synthetic_002"].error
    assert states["synthetic_003"].status == "features"


def test_regions_alone_make_features_stale(new_project: Project) -> None:
    from weno.features import extract

    finish(extract(new_project, ["synthetic_001"]))
    assert look(new_project)["synthetic_001"].status == "features"
    outline = new_project.outline("synthetic_001")
    with new_project.open_slide("synthetic_001") as slide:
        height, width = slide.shape
    corners = [(0, 0), (0, width // 2), (height // 2, width // 2), (height // 2, 0)]
    ring = np.array(corners, np.float64)
    lesion = feature_of(Region((ring,), "Lesion"), (255, 0, 0), key="0" * 32)
    write_collection(outline.regions, [lesion])
    assert look(new_project)["synthetic_001"].status == "features", "none are chosen"
    settings = new_project.root / "project.toml"
    text = settings.read_text("utf-8")
    settings.write_text(f'{text}\n[regions]\ninside = ["Lesion"]\n', "utf-8")
    state = look(new_project)["synthetic_001"]
    assert (state.has_features, state.status) == (False, "tissue")
    settings.write_text(text, "utf-8")
    assert look(new_project)["synthetic_001"].status == "features"


def test_a_slide_says_what_share_of_its_queue_is_reviewed(
    new_project: Project, predict_by_hand: Predict
) -> None:
    from weno.review import build_queue, queue_path, write_queue

    with new_project.open_slide("synthetic_001") as slide:
        prediction = predict_by_hand(slide, new_project.spec)
    write_prediction(new_project.prediction_path("demo", "synthetic_001"), prediction)
    queue = build_queue([prediction], audit_share=0, kinds=["candidate"], per_slide=3)
    assert len(queue) == 3
    write_queue(queue_path(new_project.review_dir, "mine"), queue)
    answer(new_project, prediction, [queue[0].index, 0])
    assert look(new_project, "demo")["synthetic_001"].status == "reviewed 33%"
    assert look(new_project, "other")["synthetic_001"].status == "reviewed 2"


def test_a_slide_that_is_not_there_says_so(new_project: Project) -> None:
    known = Memory()
    new_project.slide("synthetic_002").path.unlink()
    first, last = survey(new_project, None, known), None
    before = {state.row.slide_id: state for state in next(first).states}
    assert before["synthetic_002"].status == "new", "looked at last"
    last = {state.row.slide_id: state for state in finish(first).states}
    assert last["synthetic_002"].status == "not found"
    assert "moved or renamed?" in last["synthetic_002"].missing
    again = next(survey(new_project, None, known))
    assert again.states[2].status == "not found", "known from before"
    assert "1 not found" in summary(list(last.values()), None)


def test_tiles_are_counted_once(new_project: Project) -> None:
    from weno.features import extract, read_header

    finish(extract(new_project, ["synthetic_001"]))
    path = new_project.features_path("synthetic_001")
    known = Memory()
    first, *_ = survey(new_project, None, known)
    assert first.tiles is None
    assert finish(survey(new_project, None, known)).tiles == read_header(path).shape[0]
    known.counted[path] = (known.counted[path][0], 12_345)
    assert finish(survey(new_project, None, known)).tiles == 12_345


def test_what_is_being_written_is_passed_over(new_project: Project) -> None:
    folder = new_project.features_dir
    folder.mkdir(parents=True)
    # As `replacing` names a file that is not whole yet, and a stranger's.
    for name in (".synthetic_000.12345678.h5", "of nobody .h5"):
        (folder / name).write_bytes(b"")
    assert {state.status for state in look(new_project).values()} == {"new"}


def test_the_summary_counts_classes() -> None:
    def state(label: str, *, predicted: bool) -> SlideState:
        row = SlideRow("a", Path("a"), None, "a", None, None)
        return SlideState(row, label, True, predicted, None, 0)

    states = [state("normal", predicted=True), state("", predicted=False)]
    told = summary(states, 1200)
    assert told == (
        "2 slides · 1 patient · 1 normal · 1 without label · 1,200 tiles · 1 predicted"
    )
    assert "tiles" not in summary(states, None)


def test_the_estimate_counts_what_extract_makes(new_project: Project) -> None:
    from weno.features import extract, read_header

    ids = ["synthetic_000", "synthetic_001"]
    expected = finish(estimate(new_project, ids))
    finish(extract(new_project, ids))
    tiles = sum(read_header(new_project.features_path(one)).shape[0] for one in ids)
    assert (expected.slides, expected.sampled, expected.tiles) == (2, 2, tiles)
    assert 0 < expected.seconds < 60
    written = sum(new_project.features_path(one).stat().st_size for one in ids)
    assert expected.size == pytest.approx(written, rel=0.9)


def test_the_estimate_goes_by_a_sample_and_passes_over_what_is_broken(
    new_project: Project,
) -> None:
    ids = [row.slide_id for row in new_project.slides]
    new_project.slide(ids[0]).path.write_bytes(b"no slide")
    found = finish(estimate(new_project, ids))
    assert found.slides == 6
    assert 0 < found.sampled < 6
    assert "about" in str(found)


def test_an_encoder_that_must_be_downloaded_is_not_tried(cohort: Path, tmp_path: Path):
    project = Project.create(tmp_path, cohort / "slides.csv", encoder="timm:big")
    found = finish(estimate(project, ["synthetic_000"]))
    assert found.seconds is None
    assert str(found) == f"{found.tiles:,} tiles in 1 slide"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (61, "61 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_the_estimate_speaks_in_fitting_units(seconds: float, text: str) -> None:
    assert f"about {text}" in str(Estimate(3, 3, 10, seconds, 10**6))


def test_the_choice_of_slides(qtbot) -> None:
    choice = SlideChoice("All new")
    qtbot.addWidget(choice)
    choice.show_counts(2, 3)
    picked = {}
    for row in range(choice.count()):
        choice.setCurrentIndex(row)
        picked[choice.currentText()] = choice.pick("a", ["b", "c"], ["d", "e", "f"])
    assert picked == {
        "This slide": ["a"],
        "Selected slides (2)": ["b", "c"],
        "All new (3)": ["d", "e", "f"],
    }
    choice.setCurrentIndex(0)
    assert choice.pick(None, ["b"], ["c"]) == []


def cell(table: QWidget, slide_id: str, column: int = 0):
    model = table.model()
    for row in range(model.rowCount()):
        if model.index(row, 0).data() == slide_id:
            return model.index(row, column)
    raise LookupError(slide_id)


def double_click(qtbot, table: QWidget, slide_id: str) -> None:
    table.scrollTo(cell(table, slide_id))
    place = table.visualRect(cell(table, slide_id)).center()
    qtbot.mouseClick(table.viewport(), LEFT, pos=place)
    qtbot.mouseDClick(table.viewport(), LEFT, pos=place)


def test_open_a_project_and_a_slide_then_prepare_one_more(
    viewer: Viewer, new_project: Project, write_pyramid, cohort: Path, tmp_path, qtbot
) -> None:
    dock = show_dock(viewer, "Cohort")
    assert "No project is open" in dock.summary.text()
    qtbot.keyClicks(dock.path, str(new_project.root))
    qtbot.keyClick(dock.path, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)
    double_click(qtbot, dock.table, "synthetic_003")
    assert [layer.name for layer in viewer.layers] == ["synthetic_003"]
    assert dock.prepare.add_button.isHidden()

    extra = shutil.copy(cohort / "slides" / "synthetic_001.tif", tmp_path / "extra.tif")
    viewer.open(extra, plugin="napari-weno")
    assert dock.prepare.add_button.isVisible()
    qtbot.mouseClick(dock.prepare.add_button, LEFT)
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 7)
    assert cell(dock.table, "extra", 3).data() == "new"
    qtbot.waitUntil(
        lambda: "tiles in 1 slide" in dock.prepare.preview.text(), timeout=20_000
    )
    with qtbot.waitSignal(dock.prepare.job.ended, timeout=60_000):
        qtbot.mouseClick(dock.prepare.job.button, LEFT)
    qtbot.waitUntil(lambda: cell(dock.table, "extra", 3).data() == "features")
    assert new_project.features_path("extra").is_file()
    assert "1 slide prepared" in dock.prepare.job.text.text()
    qtbot.waitUntil(lambda: dock.prepare.preview.text() == "This slide is prepared.")
    assert not dock.prepare.job.button.isEnabled()


def test_prepare_on_a_cluster_and_show_its_dashboard(
    viewer: Viewer, new_project: Project, qtbot
) -> None:
    distributed = pytest.importorskip(
        "distributed", reason='needs pip install "napari-weno[cluster]"'
    )
    session_of(viewer).open_project(new_project.root)
    prepare = show_dock(viewer, "Cohort").prepare
    ids = [row.slide_id for row in new_project.slides]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        prepare.choice.setCurrentIndex(prepare.choice.count() - 1)
        qtbot.waitUntil(lambda: prepare.job.button.isEnabled())
        qtbot.keyClicks(prepare.scheduler, cluster.scheduler_address)
        with qtbot.waitSignal(prepare.job.ended, timeout=60_000):
            qtbot.mouseClick(prepare.job.button, LEFT)
        port = cluster.dashboard_link.rpartition(":")[2]
        assert f':{port}">Dashboard' in prepare.note.text()
    assert all(new_project.features_path(slide_id).exists() for slide_id in ids)


def test_filter_sort_and_open_with_the_keyboard(
    viewer: Viewer, new_project: Project, qtbot
) -> None:
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    table = dock.table
    qtbot.waitUntil(lambda: table.model().rowCount() == 6)
    qtbot.keyClicks(dock.filter, "tumour")
    assert table.model().rowCount() == 3
    header = table.horizontalHeader()
    for _ in range(2):
        place = header.sectionViewportPosition(0) + 10
        qtbot.mouseClick(
            header.viewport(),
            LEFT,
            pos=QPoint(place, 8),
        )
    first, last = table.model().index(0, 0).data(), table.model().index(2, 0).data()
    assert first > last
    qtbot.mouseClick(
        table.viewport(), LEFT, pos=table.visualRect(table.model().index(0, 0)).center()
    )
    qtbot.keyClick(table, Qt.Key.Key_Down)
    assert session_of(viewer).selected == [table.model().index(1, 0).data()]
    qtbot.keyClick(table, Qt.Key.Key_Return)
    assert session_of(viewer).opened.slide_id == table.model().index(1, 0).data()
    qtbot.keyClick(dock.filter, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    qtbot.keyClick(dock.filter, Qt.Key.Key_Delete)
    assert table.model().rowCount() == 6


def test_a_failed_slide_is_listed_with_its_reason(
    viewer: Viewer, new_project: Project, qtbot
) -> None:
    new_project.slide("synthetic_002").path.write_bytes(b"no slide")
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)
    qtbot.mouseClick(
        dock.table.viewport(),
        LEFT,
        pos=dock.table.visualRect(cell(dock.table, "synthetic_002")).center(),
    )
    qtbot.keyClick(dock.prepare.choice, Qt.Key.Key_Down)
    assert dock.prepare.choice.which == "selected"
    with qtbot.waitSignal(dock.prepare.job.ended, timeout=30_000):
        qtbot.mouseClick(dock.prepare.job.button, LEFT)
    assert "1 failed" in dock.prepare.failures.text()
    assert "synthetic_002" in dock.prepare.failures.text()
    qtbot.waitUntil(lambda: cell(dock.table, "synthetic_002", 3).data() == "failed")


def test_what_fails_in_another_project_is_not_said_of_the_open_one(
    viewer: Viewer, new_project: Project, demo_project: Project, qtbot
) -> None:
    new_project.slide("synthetic_002").path.write_bytes(b"no slide")
    session = session_of(viewer)
    session.open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)
    qtbot.keyClick(dock.prepare.choice, Qt.Key.Key_End)
    qtbot.waitUntil(dock.prepare.job.button.isEnabled)
    said = []
    dock.prepare.reported.connect(said.append)
    with qtbot.waitSignal(dock.prepare.job.ended, timeout=60_000):
        qtbot.mouseClick(dock.prepare.job.button, LEFT)
        session.open_project(demo_project.root)
    assert "synthetic_002" in new_project.failed_slides()
    assert said == []
    assert dock.prepare.failures.isHidden()


def test_stop_keeps_what_is_done(viewer: Viewer, new_project: Project, qtbot) -> None:
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)
    job = dock.prepare.job
    qtbot.keyClick(dock.prepare.choice, Qt.Key.Key_End)
    with qtbot.waitSignal(
        job.reported, timeout=30_000, check_params_cb=lambda r: r.finished
    ):
        qtbot.mouseClick(job.button, LEFT)
    assert job.button.text() == "Stop"
    with qtbot.waitSignal(job.ended, timeout=30_000):
        qtbot.mouseClick(job.button, LEFT)
    assert job.button.text() == "Prepare"
    done = sorted(path.stem for path in new_project.features_dir.glob("*.h5"))
    assert "synthetic_000" in done
    assert len(done) < 6


def test_a_new_project_is_made_in_the_dock(
    viewer: Viewer, cohort: Path, tmp_path: Path, qtbot
) -> None:
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.new_button, LEFT)
    form = dock.new_form
    assert not form.isHidden()
    qtbot.mouseClick(form.create_button, LEFT)
    assert "folder" in form.problem.text()
    qtbot.keyClicks(form.folder, str(tmp_path / "mine"))
    qtbot.keyClicks(form.slides, str(tmp_path / "nowhere.csv"))
    qtbot.mouseClick(form.create_button, LEFT)
    qtbot.waitUntil(lambda: "nowhere.csv" in form.problem.text())
    form.slides.selectAll()
    qtbot.keyClicks(form.slides, str(cohort / "slides.csv"))
    form.tile_um.selectAll()
    qtbot.keyClicks(form.tile_um.lineEdit(), "64")
    qtbot.keyClick(form.icc, Qt.Key.Key_Space)
    qtbot.keyClick(form.slides, Qt.Key.Key_Return)
    qtbot.waitUntil(form.isHidden)
    project = session_of(viewer).project
    assert project.root == tmp_path / "mine"
    assert project.spec.tile_um == 64
    assert project.spec.icc
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)


def test_pixels_finer_than_the_slides_are_refused_before_anything_is_made(
    viewer: Viewer, cohort: Path, tmp_path: Path, qtbot
) -> None:
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.new_button, LEFT)
    form, root = dock.new_form, tmp_path / "mine"
    form.folder.setText(str(root))
    form.slides.setText(str(cohort / "slides.csv"))
    form.mpp.setValue(0.2)
    qtbot.mouseClick(form.create_button, LEFT)
    problem = form.problem
    qtbot.waitUntil(lambda: "give 0.5 or more at" in problem.text(), timeout=20_000)
    assert not root.exists()
    form.mpp.setValue(0.5)
    qtbot.mouseClick(form.create_button, LEFT)
    qtbot.waitUntil(form.isHidden, timeout=20_000)
    assert session_of(viewer).project.root == root
    assert form.folder.text() == form.slides.text() == ""


def test_of_several_classes_the_dock_says_which_is_asked_about(
    viewer: Viewer, cohort: Path, tmp_path: Path, qtbot
) -> None:
    dock = show_dock(viewer, "Cohort")
    qtbot.mouseClick(dock.new_button, LEFT)
    form = dock.new_form
    form.folder.setText(str(tmp_path / "mine"))
    form.slides.setText(str(cohort / "slides.csv"))
    form.negative.setText("normal")
    form.positive.setText("tumour, necrosis")
    qtbot.mouseClick(form.create_button, LEFT)
    session = session_of(viewer)
    qtbot.waitUntil(lambda: session.project is not None, timeout=20_000)
    project = session.project
    assert project.classes == ("normal", "tumour", "necrosis")
    qtbot.waitUntil(lambda: "predicted" in dock.summary.text())
    assert dock.summary.text().startswith("necrosis against 2 others · 6 slides · ")
    # Labels are the slides' own, not answers to the question.
    assert {state.label for state in look(project).values()} == {"normal", "tumour"}


def test_probabilities_are_of_the_class_of_the_run(new_project: Project) -> None:
    assert question_text(new_project) == ""
    project = ask_of_three(new_project)
    for run, positive in (
        ("demo", "tumour"),
        ("other", "necrosis"),
        (None, "necrosis"),
    ):
        found = finish(survey(project, run, Memory()))
        assert isinstance(found, Survey)
        assert found.positive == positive


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), ProjectError("full")]
)
def test_a_folder_that_cannot_be_written_becomes_a_notification(
    viewer: Viewer,
    new_project: Project,
    odd_slide: Slide,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    qtbot,
) -> None:
    from napari.utils.notifications import notification_manager

    session = session_of(viewer)
    session.open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    data, keywords, _ = slide_layer(odd_slide)
    viewer.add_image(data, **keywords)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("weno.slide_file.replacing", fail)
    qtbot.mouseClick(dock.prepare.add_button, LEFT)
    assert notification_manager.records[-1].message == str(error)
    assert session.opened.slide_id is None
    assert not dock.prepare.add_button.isHidden()


def failing(error: Exception) -> Generator[None, None, None]:
    yield
    raise error


def test_a_job_that_cannot_write_says_so(qtbot) -> None:
    from napari.utils.notifications import notification_manager

    bar = JobBar("Go")
    qtbot.addWidget(bar)
    with qtbot.waitSignal(bar.ended):
        bar.run(failing, OSError("disk full"))
    assert bar.text.text() == "disk full"
    assert notification_manager.records[-1].message == "disk full"


def test_what_is_no_project_becomes_a_notification(
    viewer: Viewer, tmp_path: Path, qtbot
) -> None:
    from napari.utils.notifications import notification_manager

    dock = show_dock(viewer, "Cohort")
    qtbot.keyClicks(dock.path, str(tmp_path))
    qtbot.keyClick(dock.path, Qt.Key.Key_Return)
    assert "not a project" in notification_manager.records[-1].message
    assert session_of(viewer).project is None


@pytest.mark.parametrize("width", [320, 420])
def test_nothing_is_cut_off_in_a_narrow_dock(
    viewer: Viewer, new_project: Project, width: int, qtbot
) -> None:
    session_of(viewer).open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    qtbot.waitUntil(lambda: dock.table.model().rowCount() == 6)
    dock.setFixedWidth(width)
    qtbot.waitUntil(lambda: dock.width() == width)
    for child in dock.findChildren(QWidget):
        if child.isVisible():
            right = child.mapTo(dock, child.rect().topRight()).x()
            assert right <= width, child
    header = dock.table.horizontalHeader()
    assert header.length() <= dock.table.viewport().width() + 1


def test_the_closed_dock_lets_go(viewer: Viewer, new_project: Project, qtbot) -> None:
    session = session_of(viewer)
    session.open_project(new_project.root)
    dock = show_dock(viewer, "Cohort")
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    del dock
    qtbot.wait(50)
    session.files_changed.emit()
    session.open_slide("synthetic_000")
    assert show_dock(viewer, "Cohort").table is not None
