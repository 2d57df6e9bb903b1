from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from weno.cli import app
from weno.encoder_commands import tile_advice
from weno.errors import FeatureError
from weno.features import MODELS, check_name, get_encoder
from weno.tiles import TileSpec

DOCS = Path(__file__).parents[2] / "docs" / "encoders.md"


def weno(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def listed(*arguments: object) -> dict[str, dict[str, Any]]:
    result = weno("encoders", *arguments, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout.splitlines()[-1])["encoders"]
    return {row["name"]: row for row in rows}


@pytest.fixture
def slides(
    tmp_path: Path, write_pyramid: Callable[[Path, list[np.ndarray], float], Path]
) -> Path:
    level = np.full((256, 256, 3), 200, np.uint8)
    write_pyramid(tmp_path / "slides" / "a.tif", [level], 0.5)
    return tmp_path / "slides"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "slides").mkdir()
    (tmp_path / "weights").mkdir()
    monkeypatch.setenv("WENO_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_all_encoders_are_listed() -> None:
    rows = listed()
    assert list(rows) == ["texture", *MODELS]
    assert rows["texture"]["state"] == "built in"
    assert rows["virchow2"] == {
        "name": "virchow2",
        "features": 2560,
        "tile_px": 224,
        "mpp": [0.5, 0.25, 1.0, 2.0],
        "licence": "CC-BY-NC-ND-4.0",
        "gated": True,
        "state": rows["virchow2"]["state"],
    }
    shown = weno("encoders").stdout
    assert all(name in shown for name in rows)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("optimus", {"h-optimus-0", "h-optimus-1"}),
        ("MIT", {"midnight-12k"}),
        ("uni_v2", {"uni2-h"}),
        ("nothing", set()),
    ],
)
def test_the_list_can_be_narrowed(wanted: str, names: set[str]) -> None:
    assert set(listed(wanted)) == names


def test_one_encoder_comes_with_the_steps_to_get_it() -> None:
    shown = weno("encoders", "uni2-h").stdout
    assert "https://huggingface.co/MahmoodLab/UNI2-h" in shown
    assert "hf auth login" in shown


def test_weights_in_the_folder_are_ready(folder: Path) -> None:
    pytest.importorskip("timm")
    assert listed("ctranspath")["ctranspath"]["state"] == "file needed"
    (folder / "ctranspath.pth").touch()
    assert listed("ctranspath")["ctranspath"]["state"] == "ready"
    assert "To get it" not in weno("encoders", "ctranspath").stdout


@pytest.mark.parametrize(
    ("encoder", "tile_um", "mpp"),
    [
        ("texture", 128, 0.5),
        ("timm:resnet50", 64, 1.0),
        ("uni2-h", 128, 0.5),
        ("uni2-h@own.bin", 128.1, 0.501),
        ("virchow2", 224, 1.0),
        ("gpfm", 128, 0.25),
    ],
)
def test_tiles_that_suit_an_encoder_need_no_advice(
    encoder: str, tile_um: float, mpp: float
) -> None:
    assert tile_advice(encoder, TileSpec(tile_um=tile_um, mpp=mpp)) is None


@pytest.mark.parametrize(
    ("encoder", "tile_um", "mpp", "cure"),
    [
        ("uni2-h", 128, 1.0, "--tile-um 128 --tile-mpp 0.5"),
        ("virchow", 128, 0.5, "--tile-um 112 --tile-mpp 0.5"),
        ("ctranspath", 128, 0.5, "--tile-um 224 --tile-mpp 1"),
    ],
)
def test_tiles_that_do_not_are_told(
    encoder: str, tile_um: float, mpp: float, cure: str
) -> None:
    told = tile_advice(encoder, TileSpec(tile_um=tile_um, mpp=mpp))
    assert told is not None
    assert cure in told


def test_init_tells_what_tiles_suit_the_encoder(slides: Path, tmp_path: Path) -> None:
    result = weno("init", tmp_path / "p", "--slides", slides, "--encoder", "virchow")
    assert result.exit_code == 0, result.output
    assert "virchow was trained on tiles of 224 px at 0.5 µm/px" in result.stderr
    assert "this project's are 256 px" in result.stderr


def test_init_refuses_an_unknown_encoder(slides: Path, tmp_path: Path) -> None:
    result = weno("init", tmp_path / "p", "--slides", slides, "--encoder", "uni_v1")
    assert result.exit_code == 2
    assert "did you mean uni?" in result.stderr
    assert not (tmp_path / "p").exists()


def test_what_trident_has_made_is_extracted_there() -> None:
    with pytest.raises(FeatureError, match=r"slides there, or .* encoder uni2-h$"):
        check_name("trident:uni_v2")
    with pytest.raises(FeatureError, match=r"slides there$"):
        get_encoder("trident:resnet50")


def table_of_docs() -> str:
    """The table of docs/encoders.md as it should be."""
    lines = [
        "| name | model | features | tile, px | µm/px | on a GPU | extra | licence |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in MODELS.values():
        mpp = ", ".join(f"{mpp:g}" for mpp in model.mpp)
        where = model.source if model.on_hub else "Xiyue-Wang/TransPath"
        licence = f"{model.licence}, gated" if model.gated else model.licence
        lines.append(
            f"| `{model.name}` | [{where}]({model.page}) | {model.dim} | "
            f"{model.tile_px} | {mpp} | {model.precision} | {model.library} | "
            f"{licence} |"
        )
    return "\n".join(lines)


def test_the_documented_table_is_that_of_the_code() -> None:
    assert table_of_docs() in DOCS.read_text(encoding="utf-8")
