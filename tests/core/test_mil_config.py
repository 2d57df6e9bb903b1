from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from weno.errors import RunError
from weno.mil.config import PRESETS, TrainConfig

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_a_file(tmp_path: Path, name: str) -> None:
    PRESETS[name].write(tmp_path / "config.json")
    assert TrainConfig.read(tmp_path / "config.json") == PRESETS[name]


def test_a_run_of_before_there_was_a_limit_on_features_has_none(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    PRESETS["default"].write(path)
    values = json.loads(path.read_text())
    del values["feature_limit"]
    path.write_text(json.dumps(values))
    assert TrainConfig.read(path).feature_limit == 0.0
    assert PRESETS["default"].feature_limit == 3.0


def test_every_field_says_what_it_is() -> None:
    for field in dataclasses.fields(TrainConfig):
        assert field.default is not dataclasses.MISSING, field.name
        assert field.metadata["label"], field.name
        assert field.metadata["help"], field.name
        assert isinstance(field.metadata["advanced"], bool), field.name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 2.5}, "epochs is 2.5, not of type int"),
        ({"epochs": True}, "epochs is True"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"mining": "sometimes"}, "mining is 'sometimes'"),
        ({"mining_full_view": 1}, "mining_full_view is 1"),
        ({"folds": 1}, "folds is 1"),
        ({"epoch": 3}, "unknown training setting: epoch"),
        ({"epochs": 0, "val": 2}, r"epochs is 0.*; val is 2"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        TrainConfig.from_dict(values)


@pytest.mark.parametrize("text", ["{", "[1]", json.dumps({"typo": 1})])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(RunError):
        TrainConfig.read(path)


def test_the_settings_load_without_torch() -> None:
    code = "import sys, weno.mil; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_student_learns_before_any_epoch_is_chosen() -> None:
    for epochs in range(1, 60):
        for warmup in (0, 10, 100):
            config = TrainConfig(epochs=epochs, student_warmup=warmup)
            assert config.teacher_epochs < config.first_choice <= epochs
