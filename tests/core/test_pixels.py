"""Bags of pixels: the encoder trains with the learner."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from weno.errors import RunError
from weno.mil.bags import Bag
from weno.mil.checkpoint import load_tensors
from weno.mil.config import TrainConfig
from weno.mil.descent import make_optimisers
from weno.mil.encoders import ENCODERS
from weno.mil.network import Weno, train_epoch
from weno.mil.packed import PackedBags
from weno.mil.reports import EpochReport
from weno.mil.standardise import Moments
from weno.mil.training import fit

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = TrainConfig(
    encoder="cnn",
    projector_dim=0,
    norm="layer",
    student_warmup=1,
    batch_size=64,
    epochs=4,
    min_epochs=2,
)
CONTEXT = {"encoder": "", "spec": {}, "class_names": ["no", "yes"]}


def pixel_bags(count: int = 12, tiles: int = 16, side: int = 24) -> list[Bag]:
    """Noise; some tiles of positive bags hold a bright red square."""
    rng = np.random.default_rng(0)
    bags = []
    for i in range(count):
        pixels = rng.integers(60, 120, (tiles, side, side, 3)).astype(np.uint8)
        if i % 2:
            pixels[: tiles // 4, 8:16, 8:16] = (250, 20, 20)
        bags.append(Bag(f"s{i:02}", f"p{i:02}", i % 2, pixels))
    return bags


def trained(config: TrainConfig, epochs: int = 12) -> tuple[Weno, PackedBags]:
    torch.manual_seed(0)
    bags = pixel_bags()
    model = Weno(bags[0].width, config)
    model.standardise.adapt(Moments.of(bags))
    packed = PackedBags.pack(bags, torch.device("cpu"), model.standardise)
    optimisers = make_optimisers(model, config)
    for epoch in range(1, epochs + 1):
        list(train_epoch(model, optimisers, packed, config, epoch))
    return model.eval(), packed


def test_the_student_finds_what_only_pixels_show() -> None:
    model, packed = trained(replace(CONFIG, epochs=100))
    with torch.no_grad():
        probability = model.probability(packed.bag(1))  # (16,)
    assert probability[:4].min() > probability[4:].max()


def test_pixels_stay_bytes_until_the_encoder_sees_them() -> None:
    _, packed = trained(CONFIG, epochs=0)
    assert isinstance(packed.x, torch.Tensor)
    assert packed.x.dtype == torch.uint8


# Switching oneDNN off speaks of Intel's GPUs.
@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN:UserWarning")
@pytest.mark.parametrize("chunk", [1, 5, 16])
def test_a_bag_in_chunks_has_the_gradients_of_a_bag_at_once(chunk: int) -> None:
    plain = replace(CONFIG, augment=False)
    tiles = torch.from_numpy(pixel_bags(1)[0].read())
    gradients = []
    for config in (plain, replace(plain, chunk=chunk)):
        torch.manual_seed(0)
        projector = Weno(24, config).projector
        # oneDNN's convolutions of a single tile are exact to .5 % on some processors.
        with torch.backends.mkldnn.flags(enabled=False):
            projector(tiles).square().sum().backward()
        gradients.append([weights.grad for weights in projector.parameters()])
    for at_once, in_turns in zip(*gradients, strict=True):
        torch.testing.assert_close(in_turns, at_once, rtol=1e-3, atol=1e-3)


def test_a_bag_in_chunks_keeps_no_activations() -> None:
    tiles = torch.from_numpy(pixel_bags(1, tiles=64)[0].read())
    kept = {}
    for chunk in (64, 8):
        projector = Weno(24, replace(CONFIG, chunk=chunk)).projector
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            projector(tiles)
        kept[chunk] = sum(sizes)
    assert kept[8] < 0.5 * kept[64]


def test_augmentation_varies_training_only() -> None:
    torch.manual_seed(0)
    projector = Weno(24, CONFIG).projector
    tiles = torch.from_numpy(pixel_bags(2)[1].read())
    assert not torch.equal(projector(tiles), projector(tiles))
    projector.eval()
    assert torch.equal(projector(tiles), projector(tiles))


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_every_encoder_trains(name: str) -> None:
    if name == "resnet18":
        pytest.importorskip("torchvision", reason="ResNet-18 is torchvision's")
    bags = pixel_bags(4, tiles=4, side=32)
    config = replace(CONFIG, encoder=name, student_width=8, teacher_dim=8)
    model = Weno(32, config)
    packed = PackedBags.pack(bags, torch.device("cpu"), model.standardise)
    before = [weights.clone() for weights in model.projector.parameters()]
    list(train_epoch(model, make_optimisers(model, config), packed, config, 2))
    moved = zip(model.projector.parameters(), before, strict=True)
    assert all(not torch.equal(weights, old) for weights, old in moved)


def test_unknown_encoders_and_tiny_tiles_are_refused() -> None:
    with pytest.raises(RunError, match=r"alexnet_cifar, cnn, resnet18, timm:NAME"):
        Weno(32, replace(CONFIG, encoder="vgg"))
    with pytest.raises(RunError, match="cannot see tiles of 4 px"):
        Weno(4, replace(CONFIG, encoder="alexnet_cifar"))


def test_half_precision_trains_on_the_cpu_too() -> None:
    model, packed = trained(replace(CONFIG, precision="bf16"), epochs=3)
    assert all(weights.dtype == torch.float32 for weights in model.parameters())
    assert model.probability(packed.bag(0)).isfinite().all()


def test_a_stopped_fit_of_pixels_ends_with_equal_weights(tmp_path: Path) -> None:
    bags = pixel_bags()
    for name, stop in (("whole", None), ("stopped", 2)):
        job = fit(tmp_path / name, bags, CONFIG, device="cpu", context=CONTEXT)
        for report in job:
            if isinstance(report, EpochReport) and report.epoch == stop:
                job.close()
                break
    list(
        fit(
            tmp_path / "stopped",
            bags,
            CONFIG,
            device="cpu",
            resume=True,
            context=CONTEXT,
        )
    )
    whole, resumed = (
        load_tensors(tmp_path / name / "last.safetensors")
        for name in ("whole", "stopped")
    )
    assert whole.keys() == resumed.keys()
    assert all(value.equal(resumed[key]) for key, value in whole.items())
