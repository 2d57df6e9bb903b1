from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
from qtpy.QtCore import Qt

from napari_weno.form import DataclassForm, FieldSpec, NumberBox, describe
from weno.mil.config import PRESETS, TrainConfig

LEFT = Qt.MouseButton.LeftButton


@dataclass
class Sample:
    number: float = field(
        default=1e-7, metadata={"limits": (0, 1), "help": "wide", "unit": "µm"}
    )
    count: int | None = field(default=None, metadata={"unit": "tiles"})
    mode: Literal["slow", "fast"] = "slow"
    name: str = "x"
    flag: bool = field(default=True, metadata={"label": "A flag", "advanced": True})


@dataclass
class Unknown:
    place: complex = 0j


def test_fields_are_described_by_type_and_metadata() -> None:
    specs = {spec.name: spec for spec in describe(Sample)}
    assert specs["number"] == FieldSpec(
        name="number",
        label="Number",
        tooltip="wide (0 to 1)\nnumber",
        kind=float,
        choices=(),
        limits=(0, 1),
        unit="µm",
        optional=False,
        advanced=False,
    )
    assert specs["count"].optional
    assert specs["count"].kind is int
    assert specs["mode"].choices == ("slow", "fast")
    assert specs["flag"].label == "A flag"
    assert specs["flag"].advanced


def test_a_type_without_editor_is_refused() -> None:
    with pytest.raises(TypeError, match="place"):
        describe(Unknown)


def test_every_setting_says_what_it_is() -> None:
    for spec in describe(TrainConfig):
        assert spec.label
        assert spec.tooltip.splitlines()[0] != spec.name


@pytest.mark.parametrize("teacher", ["abmil", "somebody:else"])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_survives_the_form(qtbot, preset: str, teacher: str) -> None:
    form = DataclassForm(PRESETS["default"], choices={"teacher": ("abmil",)})
    qtbot.addWidget(form)
    config = replace(PRESETS[preset], teacher=teacher)
    for other in PRESETS.values():
        form.set_value(other)
        form.set_value(config)
        assert form.value() == config


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Sample(), id="none"),
        pytest.param(Sample(number=0.123456789, count=0, mode="fast"), id="zero"),
        pytest.param(Sample(count=-5, name="", flag=False), id="off"),
    ],
)
def test_none_and_small_numbers_survive_the_form(qtbot, value: Sample) -> None:
    form = DataclassForm(Sample(count=3, name="y"))
    qtbot.addWidget(form)
    form.set_value(value)
    assert form.value() == value


def test_typing_changes_a_value_and_limits_hold(qtbot) -> None:
    form = DataclassForm(Sample())
    qtbot.addWidget(form)
    number = form.editors["number"].editor
    assert isinstance(number, NumberBox)
    assert number.text() == "1e-07 µm"
    assert form.editors["count"].editor.suffix() == " tiles"
    with qtbot.waitSignal(form.changed):
        number.selectAll()
        qtbot.keyClicks(number, "3e-2")
        qtbot.keyClick(number, Qt.Key.Key_Return)
    assert form.value().number == 0.03
    assert number.text() == "0.03 µm"
    number.setValue(7.0)
    assert form.value().number == 1.0


def test_advanced_fields_wait_until_asked_for(qtbot) -> None:
    form = DataclassForm(Sample())
    qtbot.addWidget(form)
    form.show()
    assert not form.editors["flag"].isVisible()
    qtbot.mouseClick(form.more, LEFT)
    assert form.editors["flag"].isVisible()
