from __future__ import annotations

import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.utils.notifications import notification_manager
from review_files import SLIDES

from weno.prediction import Prediction, write_prediction
from weno.project import Project
from weno.slides import Slide, open_slide
from weno.tiles import TileSpec, tile_grid

RUN = "demo"
CLASS_NAMES = ("normal", "tumour")

_EXTRACT_FIT_PREDICT = """
import sys
from collections import deque
from dataclasses import replace
from weno.features import extract
from weno.mil import PRESETS, fit_project, predict_project
from weno.project import Project

project, run = Project.open(sys.argv[1]), sys.argv[2]
deque(extract(project), maxlen=0)
config = replace(PRESETS["quick"], epochs=8, student_warmup=2)
deque(fit_project(project, config, name=run), maxlen=0)
deque(predict_project(project, run), maxlen=0)
"""


@pytest.fixture(autouse=True)
def preferences_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the plugin's preferences are kept for the time of a test.

    The offer to open slides always is answered already.
    """
    from napari import settings

    settings._clear_plugin_settings_cache()
    path = tmp_path / "preferences" / "napari-weno.yaml"
    path.parent.mkdir()
    path.write_text("slides:\n  offer_reader: false\n", encoding="utf-8")
    monkeypatch.setattr(settings, "_CFG_PATH", str(path.with_name("settings.yaml")))
    yield path
    settings._clear_plugin_settings_cache()


@pytest.fixture(autouse=True)
def recent_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the projects opened last are kept for the time of a test."""
    path = tmp_path / "preferences" / "recent.json"
    monkeypatch.setattr("napari_weno.recent.recent_path", lambda: path)
    return path


@pytest.fixture
def viewer(make_napari_viewer) -> Iterator[object]:
    """A real window on the screen of the test, closed at the end."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1400, 900)
    yield viewer
    # Docks are part of the window: what they run must end with it.
    viewer.close()


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What napari notifies of, as it comes."""
    told: list[str] = []

    def keep(notification: object) -> None:
        told.append(str(notification.message))

    notification_manager.notification_ready.connect(keep)
    yield told
    notification_manager.notification_ready.disconnect(keep)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with six small synthetic slides, slides.csv and truth.csv."""
    from weno.synthetic import make_cohort

    folder = tmp_path_factory.mktemp("cohort")
    deque(make_cohort(folder, slides=6, size=1024, workers=2), maxlen=0)
    return folder


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory, cohort: Path) -> Path:
    """Project folder with features, a short fit and predictions of all slides.

    Made by another process: fitting loads a compiler whose LLVM cannot be loaded
    after the one that drives OpenGL in software.
    """
    root = tmp_path_factory.mktemp("fitted") / "project"
    shutil.copytree(cohort, root / "cohort")
    make_project(root)
    start = [sys.executable, "-c", _EXTRACT_FIT_PREDICT, str(root), RUN]
    done = subprocess.run(start, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def demo_project(fitted: Path, tmp_path: Path) -> Project:
    """A copy of the fitted project, for this test alone."""
    return Project.open(shutil.copytree(fitted, tmp_path / "project"))


@pytest.fixture
def new_project(cohort: Path, tmp_path: Path) -> Project:
    """A project whose slides are all new, for this test alone."""
    root = tmp_path / "new"
    shutil.copytree(cohort, root / "cohort")
    return make_project(root)


def make_project(root: Path) -> Project:
    return Project.create(
        root,
        root / "cohort" / "slides.csv",
        spec=TileSpec(tile_um=64.0, mpp=0.5, min_tissue=0.25),
        class_names=CLASS_NAMES,
    )


@pytest.fixture
def predict_by_hand() -> Callable[..., Prediction]:
    """Make a prediction whose values a test knows, without any model."""
    return _prediction


def _prediction(
    slide: Slide, spec: TileSpec, keep: np.ndarray | None = None
) -> Prediction:
    """Predict the tiles `keep`: attention grows, probability falls by index."""
    grid = tile_grid(slide, spec)
    origins = grid.origins if keep is None else grid.origins[keep]
    n = len(origins)
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    attention = (ramp + 0.1) / (ramp + 0.1).sum()
    rank = np.zeros(n, np.int32)
    top = min(3, n)
    rank[n - top :] = np.arange(top, 0, -1)
    return Prediction(
        slide_id=slide.path.stem,
        run=RUN,
        class_name="tumour",
        teacher_probability=0.9,
        student_probability=1.0,
        student_top_mean=0.9,
        threshold=0.4,
        encoder="texture",
        spec=spec,
        mpp=slide.mpp or (1.0, 1.0),
        slide_shape=slide.shape,
        content_hash=slide.content_hash,
        origins=origins,
        score=ramp,
        attention=attention,
        attention_percentile=ramp,
        pseudo_label=ramp,
        probability=1 - ramp,
        re_attention=attention,
        disagreement=2 * ramp - 1,
        familiarity=ramp + 0.5,
        easy_positive=np.zeros(n, bool),
        candidate_rank=rank,
    )


@pytest.fixture
def odd_slide(write_pyramid, tmp_path: Path) -> Iterator[Slide]:
    """A grey slide of 0.27 µm/px and a size that no tile divides."""
    pixels = np.full((1111, 1777, 3), (190, 150, 180), np.uint8)
    with open_slide(write_pyramid(tmp_path / "odd.tif", [pixels], 0.27)) as slide:
        yield slide


@pytest.fixture
def corners() -> dict[str, tuple[int, int, int]]:
    """The colour of each quarter of `corners_slide`."""
    return {
        "top left": (230, 25, 75),
        "top right": (60, 180, 75),
        "bottom left": (0, 130, 200),
        "bottom right": (245, 130, 48),
    }


@pytest.fixture
def corners_slide(
    write_pyramid, tmp_path: Path, corners: dict[str, tuple[int, int, int]]
) -> Iterator[Slide]:
    """A slide of 0.5 µm/px, 1536 x 1024 px, each quarter of it in its own colour."""
    pixels = np.empty((1536, 1024, 3), np.uint8)
    pixels[:768, :512] = corners["top left"]
    pixels[:768, 512:] = corners["top right"]
    pixels[768:, :512] = corners["bottom left"]
    pixels[768:, 512:] = corners["bottom right"]
    levels = [pixels, pixels[::2, ::2]]
    with open_slide(write_pyramid(tmp_path / "corners.tif", levels, 0.5)) as slide:
        yield slide


@pytest.fixture
def slide_without_mpp(write_pyramid, tmp_path: Path) -> Path:
    """A slide of 1024 x 1536 px that does not say its pixel size."""
    pixels = np.full((1024, 1536, 3), (200, 120, 170), np.uint8)
    return write_pyramid(tmp_path / "unsized.tif", [pixels], None)


@pytest.fixture
def guessed_slide(tmp_path: Path) -> Path:
    """A slide that tells its objective, 20x, but not its pixel size."""
    path = tmp_path / "guessed.svs"
    tifffile.imwrite(
        path,
        np.full((1024, 1536, 3), (200, 120, 170), np.uint8),
        tile=(128, 128),
        photometric="rgb",
        description="Aperio Image Library v11\n1536x1024 |AppMag = 20",
        metadata=None,
    )
    return path


@pytest.fixture
def predicted(
    new_project: Project, predict_by_hand: Callable[..., Prediction]
) -> Project:
    """A project with a run whose predictions of two slides are known."""
    folder = new_project.run_dir("demo")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    for slide_id in SLIDES:
        with new_project.open_slide(slide_id) as slide:
            prediction = predict_by_hand(slide, new_project.spec)
        write_prediction(new_project.prediction_path("demo", slide_id), prediction)
    return new_project
