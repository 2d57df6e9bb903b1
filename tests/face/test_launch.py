from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from pytestqt.qtbot import QtBot

from napari_weno.launch import begin_demo, save_screenshot
from weno.demo import slide_to_show
from weno.project import Project


def test_the_demo_opens_ready_to_press_keys(
    viewer, demo_project: Project, qtbot: QtBot, tmp_path: Path
) -> None:
    slide_id = slide_to_show(demo_project)
    review = begin_demo(viewer, demo_project.root, slide_id)
    qtbot.waitUntil(lambda: review.round is not None)
    assert review.round.item.tile.slide_id == slide_id
    names = [layer.name for layer in viewer.layers]
    positive = demo_project.class_names[1]
    for name in (slide_id, f"P({positive})", "attention", "candidates"):
        assert name in names
    assert viewer.layers[f"P({positive})"].visible
    assert viewer.layers["candidates"].visible
    picture = tmp_path / "new" / "window.png"
    save_screenshot(viewer, picture)
    pixels = np.asarray(Image.open(picture))
    assert pixels.shape[0] > 300
    assert pixels[..., :3].std() > 20
