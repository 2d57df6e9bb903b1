"""``weno bench NAME``: the command line of the benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weno.errors import WenoError, import_extra
from weno.mil.config import PRESETS
from weno.terminal import command, print_table, say

if TYPE_CHECKING:
    from collections.abc import Mapping

benchmarks = typer.Typer(
    no_args_is_help=True,
    help="Measure accuracy and speed; docs/benchmarks.md holds the results.",
)

DataOption = Annotated[Path, typer.Option(help="Folder with the data.")]
OutOption = Annotated[
    Path, typer.Option(help="For features and runs; finished runs are kept.")
]
SeedsOption = Annotated[
    str, typer.Option(help="Seeds of folds and weights, with commas.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")]


@command(benchmarks)
def glands(
    data: DataOption,
    out: OutOption = Path("bench"),
    seeds: SeedsOption = "0,1,2",
    device: DeviceOption = "auto",
) -> dict[str, Any]:
    """Accuracy on the gland cohort, against a ceiling and a floor."""
    from weno.bench.glands import bench_glands

    chosen = _seeds(seeds)
    table = bench_glands(data, out / "glands", seeds=chosen, device=device)
    print_table("AUC, out of fold", {who: _shown(row) for who, row in table.items()})
    return {"seeds": chosen, "results": table}


@command(benchmarks)
def ablation(
    data: DataOption,
    out: OutOption = Path("bench"),
    seeds: SeedsOption = "0,1,2",
    choices: Annotated[
        bool, typer.Option("--choices", help="Also one row for each choice of ours.")
    ] = False,
    device: DeviceOption = "auto",
) -> dict[str, Any]:
    """Worth of distillation, shared projector and mining, on the gland cohort."""
    from weno.bench.glands import CHOICES, PARTS, bench_glands

    chosen = _seeds(seeds)
    results = {}
    for name, config in (PARTS | CHOICES if choices else PARTS).items():
        results[name] = bench_glands(
            data, out / "glands", seeds=chosen, config=config, name=name, device=device
        )
    shown = {
        name: {
            f"{who} {metric}": value["mean"]
            for who in ("teacher", "student")
            for metric, value in table[who].items()
        }
        for name, table in results.items()
    }
    print_table("AUC, out of fold", shown)
    return {"seeds": chosen, "results": results}


@command(benchmarks)
def crc_nuclei(
    data: DataOption,
    out: OutOption = Path("bench"),
    seeds: SeedsOption = "0,1,2",
    epochs: Annotated[int, typer.Option(help="Of every run.")] = 20,
    device: DeviceOption = "auto",
) -> dict[str, Any]:
    """Accuracy end to end on nuclei: the teacher alone, WENO, WENO with mining."""
    import_extra("torch", "torch")
    from weno.bench.nuclei import bench_nuclei

    result = bench_nuclei(
        data, out / "crc-nuclei", seeds=_seeds(seeds), epochs=epochs, device=device
    )
    variants = {name: _shown(row) for name, row in result["variants"].items()}
    print_table("AUC, out of fold", variants)
    for name, value in _shown(result["differences"]).items():
        say(f"{name}: {value}")
    return result


@command(benchmarks)
def cifar10_mil(
    data: DataOption,
    ratio: Annotated[float, typer.Option(help="Share of positives in positive bags.")],
    out: OutOption = Path("bench"),
    seeds: SeedsOption = "0,1,2",
    preset: Annotated[str, typer.Option(help="default or paper.")] = "default",
    epochs: Annotated[int | None, typer.Option(help="Instead of the preset's.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few bags, a small encoder: 3 minutes.")
    ] = False,
    device: DeviceOption = "auto",
) -> dict[str, Any]:
    """Accuracy on CIFAR-10-MIL, as the paper builds it, beside its figures."""
    import_extra("torch", "torch")
    from weno.bench.cifar import CONFIGS, bench_cifar

    if preset not in CONFIGS:
        raise WenoError(f"no preset {preset!r}; there are: {', '.join(CONFIGS)}")
    if not 0 < ratio < 1:
        raise WenoError(f"--ratio is a share between 0 and 1: {ratio}")
    result = bench_cifar(
        data,
        out / "cifar10-mil",
        ratio=ratio,
        seeds=_seeds(seeds),
        preset=preset,
        epochs=epochs,
        quick=quick,
        device=device,
    )
    for name, value in _shown(result["metrics"]).items():
        say(f"{name}: {value}")
    if result["published"]:
        instance, bag = result["published"]
        say(f"published, ABMIL + WENO: instances {instance:.4f}, bags {bag:.4f}")
    return result


@command(benchmarks)
def epoch(
    preset: Annotated[
        str, typer.Option(help=f"One of {', '.join(PRESETS)}.")
    ] = "default",
    bags: Annotated[int, typer.Option(help="Training bags.")] = 20,
    tiles: Annotated[int, typer.Option(help="Instances of a bag.")] = 1000,
    width: Annotated[int, typer.Option(help="Features of an instance.")] = 512,
    epochs: Annotated[int, typer.Option(help="The fastest counts.")] = 3,
    plain: Annotated[
        bool, typer.Option("--plain", help="Beside it, a plain DataLoader loop.")
    ] = False,
    precision: Annotated[str, typer.Option(help="auto, fp32, tf32 or bf16.")] = "auto",
    device: DeviceOption = "auto",
) -> dict[str, Any]:
    """Seconds of an epoch, beside the machine's matrix product."""
    import_extra("torch", "torch")
    from weno.bench.epoch import bench_epoch
    from weno.mil.config import TrainConfig

    if preset not in PRESETS:
        raise WenoError(f"no preset {preset!r}; there are: {', '.join(PRESETS)}")
    values = PRESETS[preset].to_dict() | {"precision": precision}
    result = bench_epoch(
        TrainConfig.from_dict(values),
        bags=bags,
        tiles=tiles,
        width=width,
        device=device,
        epochs=epochs,
        plain=plain,
    )
    rows = {
        name: {"seconds": seconds, "GFLOP/s": result["gflops"].get(name)}
        for name, seconds in result["seconds"].items()
    }
    rows["the student's products, bare"] = {"GFLOP/s": result["layers"]}
    rows["product of matrices"] = {"GFLOP/s": result["matrix"]}
    if plain:
        rows["plain loop, training only"] = {"seconds": result["plain"]}
    say(f"{result['device']}, torch {result['torch']}, {result['threads']} threads")
    print_table(f"{preset}, {bags} x {tiles} x {width}", rows)
    return result


@command(benchmarks)
def memory(
    out: OutOption = Path("bench"),
    bags: Annotated[int, typer.Option(help="Bags.")] = 1000,
    tiles: Annotated[int, typer.Option(help="Instances of a bag.")] = 20_000,
    width: Annotated[int, typer.Option(help="Features of an instance.")] = 1024,
    device: DeviceOption = "auto",
) -> dict[str, Any]:
    """Memory of a fit whose features, in half precision on disk, are far larger."""
    import_extra("torch", "torch")
    from weno.bench.memory import bench_memory

    result = bench_memory(
        out / "memory",
        PRESETS["default"],
        bags=bags,
        tiles=tiles,
        width=width,
        device=device,
    )
    print_table("memory", {f"{bags} x {tiles} x {width}": result})
    return result


def _seeds(text: str) -> list[int]:
    if not all(seed.strip().isdecimal() for seed in text.split(",")):
        raise WenoError(f"--seeds needs numbers with commas, as 0,1,2: {text!r}")
    return [int(seed) for seed in text.split(",")]


def _shown(row: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    return {
        metric: f"{value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
        for metric, value in row.items()
    }
