"""How long an epoch takes, beside what the machine's matrix products allow."""

from __future__ import annotations

import platform
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from weno.mil.bags import Bag
from weno.mil.descent import make_optimisers, matrix_precision
from weno.mil.network import Weno, student_step, teacher_step, train_epoch
from weno.mil.packed import Batch, PackedBags
from weno.mil.scores import choose_device, score_bags
from weno.mil.standardise import Moments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch.optim import Optimizer

    from weno.mil.config import TrainConfig
    from weno.mil.network import Progress

_MATRIX = 4096  # rows and columns of the product that is the measure


def bench_epoch(
    config: TrainConfig,
    *,
    bags: int = 20,
    tiles: int = 1000,
    width: int = 512,
    device: str = "auto",
    epochs: int = 3,
    plain: bool = False,
) -> dict[str, Any]:
    """Time an epoch on random bags of features, and an evaluation of as many.

    Parameters
    ----------
    config : TrainConfig
        Student warm-up and mining are left out, so that all epochs are alike.
    bags, tiles, width : int
        Training bags, instances of each, and features of an instance.
    device : str
    epochs : int
        The fastest counts; one more goes before it.
    plain : bool
        Whether to run a loop of the usual kind on the same model beside it: a
        DataLoader that fetches instance by instance.

    Returns
    -------
    dict
        "seconds" of "teacher", "labels and student", "evaluation" and "all";
        "gflops", the rate of the student's and the teacher's stage; "matrix", the rate
        of a product of two matrices of 4,096 rows and columns on the device; "layers",
        the rate of the products of a student's step with nothing between them; "plain",
        the seconds of the other loop.
    """
    target = choose_device(device)
    config = replace(config, student_warmup=0, mining="off")
    with matrix_precision(config, target):
        return _bench(config, target, (bags, tiles, width), epochs, plain=plain)


def _bench(
    config: TrainConfig,
    target: torch.device,
    size: tuple[int, int, int],
    epochs: int,
    *,
    plain: bool,
) -> dict[str, Any]:
    bags, tiles, width = size
    torch.manual_seed(0)
    made = _random_bags(bags, tiles, width)
    model = Weno(width, config)
    moments = Moments.of(made)
    model.standardise.adapt(moments)
    model.to(target)
    packed = PackedBags.pack(made, target, model.standardise, moments=moments)
    optimisers = make_optimisers(model, config)
    runs = []
    for epoch in range(1, epochs + 2):
        job = train_epoch(model, optimisers, packed, config, epoch)
        seconds = _stages(job, target)
        started = _now(target)
        score_bags(model, packed, config)
        seconds["evaluation"] = _now(target) - started
        runs.append({**seconds, "all": sum(seconds.values())})
    best = min(runs[1:], key=lambda seconds: seconds["all"])
    operations = _operations(model, optimisers, packed, config)
    result: dict[str, Any] = {
        "device": _name(target),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "seconds": best,
        "gflops": {name: n / best[name] / 1e9 for name, n in operations.items()},
        "matrix": _rate([(_MATRIX,) * 3], target),
        "layers": _rate(_products(model, config), target),
    }
    if plain:
        result["plain"] = _plain_epoch(model, optimisers, packed, config)
    return result


def _random_bags(bags: int, tiles: int, width: int) -> list[Bag]:
    rng = np.random.default_rng(0)
    return [
        Bag(f"s{b}", f"p{b}", b % 2, rng.standard_normal((tiles, width), np.float32))
        for b in range(bags)
    ]


def _stages(job: Iterable[Progress], device: torch.device) -> dict[str, float]:
    """Run an epoch; return the seconds of its stages."""
    started = _now(device)
    begun = None
    for progress in job:
        if begun is None and progress.done == progress.total:
            begun = _now(device)  # all the teacher's steps are done
    ended = _now(device)
    begun = ended if begun is None else begun
    return {"teacher": begun - started, "labels and student": ended - begun}


def _operations(
    model: Weno,
    optimisers: Mapping[str, Optimizer],
    bags: PackedBags,
    config: TrainConfig,
) -> dict[str, float]:
    """Count the operations of the two stages by those of one step of each."""
    with FlopCounterMode(display=False) as counter:
        teacher_step(model, optimisers, bags.group([0]), config, None)
    teacher = counter.get_total_flops() * len(bags)
    index, x = next(bags.shuffled(config.batch_size))
    labels = torch.zeros(len(index), device=bags.device)
    batch = Batch(
        x,
        bags.positive[index],
        bags.verdicts[index],
        labels if config.clean_labels else None,
    )
    with FlopCounterMode(display=False) as counter:
        student_step(model, optimisers, batch, config)
    student = counter.get_total_flops() / len(index) * len(bags.positive)
    return {"teacher": teacher, "labels and student": student}


def _products(model: Weno, config: TrainConfig) -> list[tuple[int, int, int]]:
    """Return the sizes of the products of a student's step: forward, and both back."""
    sizes = []
    for part in (model.projector, model.student):
        for layer in part.modules():
            if isinstance(layer, nn.Linear):
                n, d, h = config.batch_size, layer.in_features, layer.out_features
                sizes += [(n, d, h), (n, h, d), (h, n, d)]
    return sizes


def _rate(sizes: Sequence[tuple[int, int, int]], device: torch.device) -> float:
    """Return the GFLOP/s of products of (n, k) by (k, m), the fastest time of each."""
    total = 0.0
    for n, k, m in sizes:
        a, b = torch.randn(n, k, device=device), torch.randn(k, m, device=device)
        out = torch.empty(n, m, device=device)
        seconds = []
        for _ in range(6):
            started = _now(device)
            torch.mm(a, b, out=out)
            seconds.append(_now(device) - started)
        total += min(seconds)
    return sum(2 * n * k * m for n, k, m in sizes) / total / 1e9


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


class _Instances(Dataset[tuple[torch.Tensor, int, int]]):
    """Instances one by one, with their bag and place, as published loops hold them."""

    def __init__(self, bags: PackedBags) -> None:
        self.x = [bags.bag(b).cpu() for b in range(len(bags))]
        self.places = [(b, i) for b, x in enumerate(self.x) for i in range(len(x))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, int]:
        b, i = self.places[index]
        return self.x[b][i], b, i


def _plain_epoch(
    model: Weno,
    optimisers: Mapping[str, Optimizer],
    bags: PackedBags,
    config: TrainConfig,
) -> float:
    """Return the seconds of an epoch whose instances come through a DataLoader.

    The very same steps; bags and instances are in the machine's memory and travel to
    the device when they are asked for, and losses are looked at after every step.
    """
    started = _now(bags.device)
    data = _Instances(bags)
    for b in torch.randperm(len(bags)).tolist():
        group = bags.group([b])
        group = group._replace(x=data.x[b].to(bags.device))
        teacher_step(model, optimisers, group, config, None).loss.item()
    labels = torch.zeros(len(bags.positive), device=bags.device)
    starts = torch.tensor([s.start for s in bags.slices])
    for x, b, i in DataLoader(data, batch_size=config.batch_size, shuffle=True):
        index = (starts[b] + i).to(bags.device)
        batch = Batch(
            x.to(bags.device),
            bags.positive[index],
            bags.verdicts[index],
            labels[index] if config.clean_labels else None,
        )
        loss, _ = student_step(model, optimisers, batch, config)
        loss.item()
    return _now(bags.device) - started
