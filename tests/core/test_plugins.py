from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import teacher_contract as contract
import torch
from plugin_files import install as install_package
from torch import nn

from weno.errors import MissingExtra, RunError
from weno.mil.config import TrainConfig
from weno.mil.network import Weno
from weno.mil.plugins import (
    BUILT_IN,
    PUBLISHED,
    TORCHMIL,
    make_teacher,
    teacher_names,
)
from weno.mil.published import PUBLISHED as PUBLISHED_FACTORIES
from weno.mil.teachers import TEACHERS

PAGE = Path(__file__).parents[2] / "docs" / "teachers.md"
needs_torchmil = pytest.mark.skipif(
    not find_spec("torchmil"), reason="torchmil is not installed"
)


def install(folder: Path, name: str, points: dict[str, str], **modules: str) -> None:
    install_package(folder, name, "weno.teachers", points, **modules)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return tmp_path


def block(language: str, heading: str) -> str:
    """The first block of code of a section of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1]
    return section.split(f"```{language}\n")[1].split("```")[0]


def table(heading: str, number: int) -> list[list[str]]:
    """The cells of a table of a section of the page, without its head."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1]
    tables = re.findall(r"(?:^\|.*\|\n)+", section, re.MULTILINE)
    rows = tables[number].splitlines()[2:]
    return [[c.strip().strip("`") for c in row.strip("|").split("|")] for row in rows]


def test_example_of_the_page_is_a_teacher(site: Path) -> None:
    code, project = (
        block("python", "Your own"),
        tomllib.loads(block("toml", "Your own")),
    )
    assert len(code.splitlines()) <= 40
    points = project["project"]["entry-points"]["weno.teachers"]
    (module,) = project["tool"]["setuptools"]["py-modules"]
    install(site, project["project"]["name"], points, **{module: code})

    (name,) = points
    assert name in teacher_names()
    config = TrainConfig(teacher=name, teacher_dim=16, attention_dim=8)
    teacher = contract.settled(make_teacher(contract.DIM, config))
    assert type(teacher).__module__ == module
    contract.check_shapes(teacher)
    contract.check_hidden_is_not_seen(teacher)
    contract.check_hidden_has_a_score(teacher)
    contract.check_order(teacher)
    contract.check_left_out_like_hidden(teacher)
    contract.check_equals_attract_equally(teacher)
    contract.check_evidence(teacher)
    contract.check_bag_of_one(teacher)
    contract.check_loss(teacher)
    assert contract.without_gradient(contract.settled(teacher)) == set()
    whole = Weno(5, config).eval()
    assert isinstance(whole.teacher, type(teacher))
    judged = whole.judge(torch.randn(7, 5), [3, 4])
    assert judged.teacher.logits.shape == (2,)
    assert judged.probability.shape == (7,)


def test_names_are_those_that_can_be_made(site: Path) -> None:
    assert set(BUILT_IN) == set(TEACHERS)
    assert set(PUBLISHED) == set(PUBLISHED_FACTORIES)
    code = "import torch\ndef make(dim, config):\n    return torch.nn.Linear(dim, 1)\n"
    install(site, "of-others", {"theirs": "theirs:make"}, theirs=code)
    names = teacher_names()
    assert names[: len(BUILT_IN)] == list(BUILT_IN)
    assert "theirs" in names
    for name in names:
        assert isinstance(make_teacher(8, TrainConfig(teacher=name)), nn.Module)


def test_names_are_told_without_torch() -> None:
    code = (
        "import sys, json\nfrom weno.mil.plugins import teacher_names\n"
        "print(json.dumps([teacher_names(), 'torch' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    names, loaded = json.loads(done.stdout)
    assert "abmil" in names
    assert not loaded


def test_unknown_name_lists_what_there_is(site: Path) -> None:
    install(site, "of-others", {"theirs": "theirs:make"})
    with pytest.raises(RunError, match=r"'abml'.*gated_abmil.*theirs.*torchmil:NAME"):
        make_teacher(8, TrainConfig(teacher="abml"))
    with pytest.raises(RunError, match="'torchmil:'"):
        make_teacher(8, TrainConfig(teacher="torchmil:"))


def test_built_in_cannot_be_replaced(site: Path) -> None:
    code = "import torch\ndef make(dim, config):\n    return torch.nn.Linear(dim, 1)\n"
    install(site, "of-others", {"abmil": "theirs2:make"}, theirs2=code)
    teacher = make_teacher(8, TrainConfig(teacher="abmil"))
    assert not isinstance(teacher, nn.Linear)
    assert teacher_names().count("abmil") == 1


def test_broken_package_is_named(site: Path) -> None:
    points = {"gone": "no_such_module:make", "odd": "odd:make", "less": "odd:absent"}
    odd = "def make(dim, config):\n    return dim\n"
    install(site, "of-others", points, odd=odd)
    with pytest.raises(RunError, match=r"'gone' of of-others.*no_such_module"):
        make_teacher(8, TrainConfig(teacher="gone"))
    with pytest.raises(RunError, match=r"'less' of of-others.*absent"):
        make_teacher(8, TrainConfig(teacher="less"))
    with pytest.raises(RunError, match=r"'odd' of of-others is a int.*odd:make"):
        make_teacher(8, TrainConfig(teacher="odd"))


@needs_torchmil
def test_models_of_torchmil_are_those_of_the_page() -> None:
    from weno.mil.from_torchmil import torchmil_models

    models = torchmil_models()
    able = [name for name, reason in models.items() if not reason]
    assert able == list(TORCHMIL)
    rows = []
    for name in able:
        teacher = make_teacher(8, TrainConfig(teacher=f"torchmil:{name}"))
        gives = "attention" if teacher.normalised else "scores"
        trains = "a loss of its own" if hasattr(teacher, "loss") else "cross-entropy"
        rows.append([name, gives, trains])
    assert table("torchmil", 0) == rows
    refused = [[name, reason] for name, reason in models.items() if reason]
    assert table("torchmil", 1) == refused


@needs_torchmil
def test_model_of_torchmil_that_cannot_teach_is_refused() -> None:
    with pytest.raises(RunError, match=r"CAMIL cannot teach.*adj; these.*ABMIL, DSMIL"):
        make_teacher(8, TrainConfig(teacher="torchmil:CAMIL"))
    with pytest.raises(RunError, match=r"no model 'ABML'.*ABMIL, DSMIL"):
        make_teacher(8, TrainConfig(teacher="torchmil:ABML"))


@needs_torchmil
def test_what_is_said_of_torchmil_is_still_so() -> None:
    """If this fails, torchmil has mended it: take the model out of the refused."""
    from torchmil.models import CLAM_SB

    model, z = CLAM_SB(in_shape=(4,)), torch.randn(1, 30, 4) * 1000
    with pytest.raises(RuntimeError):
        model.compute_loss(torch.ones(1), z)


@needs_torchmil
def test_torchmil_attention_is_the_models_own() -> None:
    z = contract.bag(6)
    raw, shares = (
        contract.settled(make_teacher(contract.DIM, TrainConfig(teacher=name)))
        for name in ("torchmil:ABMIL", "torchmil:DSMIL")
    )
    with torch.no_grad():
        logits, given = raw.model(z[None], return_att=True)
        output = raw(z)
        torch.testing.assert_close(output.logits, logits)
        torch.testing.assert_close(output.scores, given[0])
        torch.testing.assert_close(output.attention, torch.softmax(given[0], 0))
        logits, given = shares.model(z[None], return_att=True)
        output = shares(z)
        torch.testing.assert_close(output.logits, logits)
        torch.testing.assert_close(output.attention, given[0, :, 0])
        even = shares(z[:1].expand(4, -1)).scores
        torch.testing.assert_close(even, torch.zeros(4))


@needs_torchmil
def test_torchmil_takes_sizes_from_the_config_and_leaves_the_seed_alone() -> None:
    def weights(**sizes: int) -> dict[str, torch.Size]:
        config = TrainConfig(teacher="torchmil:TransformerABMIL", **sizes)
        state = make_teacher(6, config).state_dict()
        return {name: value.shape for name, value in state.items()}

    small = weights(teacher_dim=12, attention_dim=5, teacher_depth=2)
    assert small["model.pool.fc1.module.weight"] == (5, 12)
    assert small["model.feat_ext.4.weight"] == (12, 12)
    torch.manual_seed(0)
    make_teacher(6, TrainConfig(teacher="torchmil:DSMIL"))
    one = torch.rand(())
    torch.manual_seed(0)
    make_teacher(6, TrainConfig(teacher="torchmil:DSMIL"))
    assert torch.rand(()) == one


@needs_torchmil
def test_torchmil_teacher_is_stored_with_the_model() -> None:
    config = TrainConfig(teacher="torchmil:DSMIL")
    one, two = Weno(5, config).eval(), Weno(5, config).eval()
    two.load_state_dict(one.state_dict())
    x = torch.randn(6, 5)
    torch.testing.assert_close(one.judge(x).teacher.logits, two.judge(x).teacher.logits)


def test_torchmil_that_is_missing_says_how_to_get_it() -> None:
    code = (
        "import sys\nsys.modules['torchmil'] = None\n"
        "from weno.mil.config import TrainConfig\n"
        "from weno.mil.plugins import make_teacher\n"
        "make_teacher(8, TrainConfig(teacher='torchmil:ABMIL'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert MissingExtra.__name__ in done.stderr
    assert 'pip install "napari-weno[torchmil]"' in done.stderr
