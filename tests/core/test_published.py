from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from teacher_contract import bag, settled
from torch import Tensor

from weno.errors import RunError
from weno.mil.bags import Bag
from weno.mil.checkpoint import load_tensors
from weno.mil.config import TrainConfig
from weno.mil.plugins import make_teacher
from weno.mil.published import (
    PublishedClam,
    PublishedDsmil,
    load_teacher,
    published_teacher,
)
from weno.mil.reports import EpochReport
from weno.mil.training import fit

DIM = 24
State = dict[str, Tensor]


def random_state(shapes: dict[str, tuple[int, ...]]) -> State:
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(shape, generator=generator) * 0.3
        for name, shape in shapes.items()
    }


def layer(name: str, out: int, inside: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, inside), f"{name}.bias": (out,)}


def clam_state(
    classes: int = 2, *, gated: bool = True, dropout: bool = True, hidden: int = 16
) -> State:
    """Weights as CLAM-SB's code names them; dropout moves the attention by one."""
    net = f"attention_net.{3 if dropout else 2}"
    shapes = layer("attention_net.0", hidden, DIM)
    if gated:
        shapes |= layer(f"{net}.attention_a.0", 8, hidden)
        shapes |= layer(f"{net}.attention_b.0", 8, hidden)
        shapes |= layer(f"{net}.attention_c", 1, 8)
    else:
        shapes |= layer(f"{net}.module.0", 8, hidden)
        shapes |= layer(f"{net}.module.{3 if dropout else 2}", 1, 8)
    shapes |= layer("classifiers", classes, hidden)
    for c in range(classes):
        shapes |= layer(f"instance_classifiers.{c}", 2, hidden)
    return random_state(shapes)


def dsmil_state(classes: int = 1, *, deep: bool = True, value: bool = False) -> State:
    """Weights as the code of DSMIL names them."""
    shapes = layer("i_classifier.fc.0", classes, DIM)
    if deep:
        shapes |= layer("b_classifier.q.0", 10, DIM)
        shapes |= layer("b_classifier.q.2", 10, 10)
    else:
        shapes |= layer("b_classifier.q", 10, DIM)
    if value:
        shapes |= layer("b_classifier.v.1", DIM, DIM)
    shapes["b_classifier.fcc.weight"] = (classes, classes, DIM)
    shapes["b_classifier.fcc.bias"] = (classes,)
    return random_state(shapes)


def saved(folder: Path, state: State) -> Path:
    path = folder / "checkpoint.pt"
    torch.save(state, path)
    return path


class Sums:
    """The published models once more, in NumPy, straight from a state dict."""

    def __init__(self, state: State) -> None:
        self.state = {k: v.double().numpy() for k, v in state.items()}

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def clam(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities of the classes and attention before the softmax."""
        h = np.maximum(self.linear("attention_net.0", x), 0)
        names = dict.fromkeys(name.rpartition(".")[0] for name in self.state)
        inner = [n for n in names if re.match(r"attention_net\.[23]", n)]
        gate = np.tanh(self.linear(inner[0], h))
        if len(inner) == 3:
            gate = gate / (1 + np.exp(-self.linear(inner[1], h)))
        scores = self.linear(inner[-1], gate)[:, 0]
        weights = np.exp(scores) / np.exp(scores).sum()
        logits = self.linear("classifiers", weights @ h)
        return np.exp(logits) / np.exp(logits).sum(), scores

    def dsmil(
        self, x: np.ndarray, *, relu: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return bag logits (C,), instance logits (N, C) and attention (N, C)."""
        instances = self.linear("i_classifier.fc.0", x)
        if "b_classifier.q.weight" in self.state:
            queries = self.linear("b_classifier.q", x)
        else:
            first = np.maximum(self.linear("b_classifier.q.0", x), 0)
            queries = np.tanh(self.linear("b_classifier.q.2", first))
        values = x
        if "b_classifier.v.1.weight" in self.state:
            values = self.linear("b_classifier.v.1", x)
            values = np.maximum(values, 0) if relu else values
        attention = np.zeros_like(instances)
        streams = []
        for c in range(instances.shape[1]):
            critical = queries[np.argmax(instances[:, c])]
            power = np.exp(queries @ critical / np.sqrt(len(critical)))
            attention[:, c] = power / power.sum()
            streams.append(attention[:, c] @ values)
        kernel, bias = (self.state[f"b_classifier.fcc.{n}"] for n in ("weight", "bias"))
        return (
            np.einsum("ocd,cd->o", kernel, np.array(streams)) + bias,
            instances,
            (attention),
        )


def close(actual: Tensor, expected: np.ndarray | float) -> None:
    np.testing.assert_allclose(
        actual.detach().double().numpy(), expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("dropout", [True, False])
def test_clam_says_what_the_published_one_says(
    tmp_path: Path, classes: int, gated: bool, dropout: bool
) -> None:
    state = clam_state(classes, gated=gated, dropout=dropout)
    path, x = saved(tmp_path, state), bag(30, dim=DIM)
    probabilities, scores = Sums(state).clam(x.double().numpy())
    for c in range(classes):
        output = published_teacher(path, positive=c)(x)
        close(torch.sigmoid(output.logits), probabilities[[c]])
        close(output.scores, scores)
        close(output.attention, np.exp(scores) / np.exp(scores).sum())


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("value", [True, False])
def test_dsmil_says_what_the_published_one_says(
    tmp_path: Path, classes: int, deep: bool, value: bool
) -> None:
    state = dsmil_state(classes, deep=deep, value=value)
    path, x = saved(tmp_path, state), bag(30, dim=DIM)
    for relu in (None, True, False):
        bags, instances, attention = Sums(state).dsmil(
            x.double().numpy(), relu=deep if relu is None else relu
        )
        for c in range(classes):
            output = published_teacher(path, positive=c, relu=relu)(x)
            close(output.logits, bags[[c]])
            close(output.scores, instances[:, c])
            close(output.attention, attention[:, c])


def test_newer_name_of_the_instance_stream_is_known(tmp_path: Path) -> None:
    state = dsmil_state()
    x = bag(9, dim=DIM)
    one = published_teacher(saved(tmp_path, state))(x)
    renamed = {
        k.replace("i_classifier.fc.0", "i_classifier.fc"): v for k, v in state.items()
    }
    renamed["i_classifier.feature_extractor.conv1.weight"] = torch.ones(2, 2)
    two = published_teacher(saved(tmp_path, renamed))(x)
    torch.testing.assert_close(one.logits, two.logits)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"module.{name}",
        lambda name: name.replace("attention_net.", "attention_net.module."),
    ],
)
@pytest.mark.parametrize("gated", [True, False])
def test_wrappers_are_stripped(tmp_path: Path, wrap, gated: bool) -> None:
    state = clam_state(gated=gated)
    x = bag(9, dim=DIM)
    one = published_teacher(saved(tmp_path, state))(x)
    wrapped = {wrap(name): value for name, value in state.items()}
    wrapped["instance_loss_fn.labels"] = torch.arange(2)
    two = published_teacher(saved(tmp_path, wrapped))(x)
    torch.testing.assert_close(one.logits, two.logits)


@pytest.mark.parametrize("name", ["clam_sb", "gated_abmil", "published_clam"])
def test_clam_loads_into_teachers_of_its_shape(tmp_path: Path, name: str) -> None:
    state = clam_state()
    path, x = saved(tmp_path, state), bag(20, dim=DIM)
    config = TrainConfig(teacher=name, teacher_dim=16, attention_dim=8)
    teacher = make_teacher(DIM, config).eval()
    load_teacher(teacher, path, "clam")
    probabilities, scores = Sums(state).clam(x.double().numpy())
    output = teacher(x)
    close(torch.sigmoid(output.logits), probabilities[[1]])
    close(output.scores, scores)
    if name == "clam_sb":
        weights = teacher.instance_heads[1].weight
        assert torch.equal(weights, state["instance_classifiers.1.weight"])


def test_clam_without_gate_loads_into_abmil(tmp_path: Path) -> None:
    path, x = saved(tmp_path, clam_state(gated=False)), bag(20, dim=DIM)
    config = TrainConfig(teacher="abmil", teacher_dim=16, attention_dim=8)
    teacher = make_teacher(DIM, config).eval()
    load_teacher(teacher, path)
    torch.testing.assert_close(teacher(x).logits, published_teacher(path)(x).logits)


def test_dsmil_loads_into_a_published_one_only(tmp_path: Path) -> None:
    path, x = saved(tmp_path, dsmil_state()), bag(20, dim=DIM)
    config = TrainConfig(teacher="published_dsmil", attention_dim=10)
    teacher = make_teacher(DIM, config).eval()
    load_teacher(teacher, path, "dsmil")
    torch.testing.assert_close(teacher(x).logits, published_teacher(path)(x).logits)
    other = make_teacher(DIM, TrainConfig(teacher="dsmil"))
    with pytest.raises(RunError, match=r"DualStreamTeacher.*published_dsmil can"):
        load_teacher(other, path)
    with pytest.raises(RunError, match="of dsmil, not of clam"):
        load_teacher(teacher, path, "clam")


def test_misfit_names_both_shapes_and_changes_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path, clam_state())
    teacher = PublishedClam(DIM, 20, 8)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    wanted = r"embed\.weight is \(16, 24\) in the file, \(20, 24\) in the teacher"
    with pytest.raises(RunError, match=wanted):
        load_teacher(teacher, path)
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name])
    ungated = PublishedClam(DIM, 16, 8, gated=False)
    with pytest.raises(RunError, match=r"u\.weight.*missing in the teacher"):
        load_teacher(ungated, path)


def test_missing_weight_is_named(tmp_path: Path) -> None:
    state = dsmil_state()
    del state["b_classifier.fcc.bias"]
    with pytest.raises(RunError, match=r"bag\.bias is missing in the file"):
        published_teacher(saved(tmp_path, state))


def test_positive_class_must_be_said_where_there_are_many(tmp_path: Path) -> None:
    path = saved(tmp_path, clam_state(3))
    with pytest.raises(RunError, match="3 classes"):
        published_teacher(path)
    with pytest.raises(RunError, match="no class 3"):
        published_teacher(path, positive=3)
    with pytest.raises(RunError, match="two classes"):
        published_teacher(saved(tmp_path, clam_state(1)))


class Trap:
    """Leaves a trace if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "trace"
    pickle.loads(pickle.dumps(Trap(trace)))
    assert trace.exists(), "the trap works"
    trace.unlink()
    torch.save(dsmil_state() | {"i_classifier.fc.0.bias": Trap(trace)}, path)
    with pytest.raises(RunError, match="not a checkpoint of tensors"):
        published_teacher(path)
    assert not trace.exists()


@pytest.mark.parametrize("raw", [b"", b"hello world", b"PK\x03\x04 and no more"])
def test_damaged_file_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(raw)
    with pytest.raises(RunError, match="damaged"):
        published_teacher(path)
    with pytest.raises(RunError, match="not readable"):
        published_teacher(tmp_path / "absent.pt")


def test_other_models_are_refused(tmp_path: Path) -> None:
    other = {"encoder.weight": torch.ones(2, 2)}
    with pytest.raises(RunError, match=r"neither.*encoder\.weight"):
        published_teacher(saved(tmp_path, other))
    several = clam_state() | {"classifiers.0.weight": torch.ones(1, 16)}
    with pytest.raises(RunError, match="CLAM-MB"):
        published_teacher(saved(tmp_path, several))
    with pytest.raises(RunError, match="not a state dict"):
        published_teacher(saved(tmp_path, {"epoch": 3, "state": other}))


def test_critical_instance_is_never_a_hidden_one() -> None:
    teacher = settled(PublishedDsmil(DIM, 2))
    z = bag(12, dim=DIM)
    keep = torch.ones(12, dtype=torch.bool)
    keep[teacher(z).scores.argmax()] = False
    hidden, left_out = teacher(z, keep), teacher(z[keep])
    torch.testing.assert_close(hidden.logits, left_out.logits)
    loss = teacher.loss(hidden, torch.ones(1), keep)
    torch.testing.assert_close(loss, teacher.loss(left_out, torch.ones(1), None))


def test_a_fit_begins_with_published_weights_and_keeps_them_in_the_run(
    tmp_path: Path,
) -> None:
    state = clam_state(hidden=16)
    config = TrainConfig(
        teacher="published_clam",
        teacher_dim=16,
        attention_dim=8,
        projector_dim=0,
        standardise=False,
        epochs=3,
        min_epochs=1,
        learning_rate=1e-7,
        weight_decay=0.0,
    )
    rng = np.random.default_rng(0)
    bags = [
        Bag(f"s{i}", f"p{i}", i % 2, rng.standard_normal((9, DIM), np.float32))
        for i in range(12)
    ]

    def epochs(weights: Path | None) -> Iterator[EpochReport]:
        job = fit(
            tmp_path / "run",
            bags,
            config,
            device="cpu",
            resume=True,
            teacher_weights=weights,
            context={"encoder": "", "spec": {}, "class_names": ["no", "yes"]},
        )
        return (report for report in job if isinstance(report, EpochReport))

    path = saved(tmp_path, state)
    next(epochs(path))
    path.unlink()  # the run has a copy
    assert [report.epoch for report in epochs(None)] == [2, 3]
    trained = load_tensors(tmp_path / "run" / "best.safetensors")
    torch.testing.assert_close(
        trained["model.teacher.embed.weight"],
        state["attention_net.0.weight"],
        atol=1e-5,
        rtol=1e-5,
    )


def test_weights_that_do_not_fit_begin_no_run(tmp_path: Path) -> None:
    bags = [Bag(f"s{i}", f"p{i}", i % 2, np.ones((3, 5), np.float32)) for i in range(4)]
    config = TrainConfig(teacher="published_clam", projector_dim=0)
    job = fit(
        tmp_path / "run",
        bags,
        config,
        teacher_weights=saved(tmp_path, clam_state()),
        context={},
    )
    with pytest.raises(RunError, match="24"):
        next(job)
    assert not (tmp_path / "run").exists()
