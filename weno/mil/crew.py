"""Processes that train one model together: each takes its share of every step.

Every process holds the whole model and comes to the same weights. Of a step's bags or
tiles each computes its own, with the sum of its losses divided by the number of all;
the gradients, added up, are then those of a single process. A model's forward is called
in parts here, teacher and student each with its own, so no module is wrapped.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
import torch.distributed

from weno.errors import RunError, WenoError, import_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

T = TypeVar("T", covariant=True)
Said = TypeVar("Said")


class Sliceable(Protocol[T]):
    """What a share can be cut from: a list or a tensor."""

    def __getitem__(self, part: slice, /) -> T: ...


class Crew:
    """One process alone, and what several do otherwise.

    Attributes
    ----------
    rank, size : int
        Which of the processes this is, from 0, and how many there are.
    """

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def share(self, items: Sliceable[T]) -> T:
        """Return this process's part: of `size` items in a row, one each."""
        return items[self.rank :: self.size]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype by their sums over the processes."""

    def gather(self, tensor: Tensor) -> Tensor:
        """Return a tensor of every process, of shape (size, …)."""
        table = tensor.new_zeros(self.size, *tensor.shape)
        table[self.rank] = tensor
        self.add([table])
        return table

    def agree(self, said: Said) -> Said:
        """Return what the first process said."""
        return said

    def by_first(self, job: Callable[[], None]) -> None:
        """Let the first process do what one must do; if it fails, all fail."""
        job()


ALONE = Crew()


class FabricCrew(Crew):
    """The processes that Lightning Fabric has started, on one machine or several.

    Parameters
    ----------
    fabric : lightning_fabric.Fabric
        Launched.
    """

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.rank = int(fabric.global_rank)
        self.size = int(fabric.world_size)
        self.device: torch.device = fabric.device

    def add(self, tensors: Sequence[Tensor]) -> None:
        # One message for all: a step's time is latency, not bytes.
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        total = self._fabric.all_reduce(flat, reduce_op="sum")
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, part in zip(tensors, torch.split(total, sizes), strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, said: Said) -> Said:
        first: Said = self._fabric.broadcast(said)
        return first

    def by_first(self, job: Callable[[], None]) -> None:
        failure = None
        if self.first:
            try:
                job()
            except (WenoError, OSError) as error:
                failure = str(error)
        # Those that do nothing must hear of it, or they would wait for ever.
        failure = self.agree(failure)
        if failure is not None:
            raise RunError(failure)


def launch(devices: int, device: str = "auto", *, nodes: int = 1) -> FabricCrew:
    """Start the other processes of a crew, by running this program once more for each.

    Under torchrun or SLURM, which start them by themselves, only join them.

    Parameters
    ----------
    devices : int
        Processes of this machine: one for each GPU.
    device : str
        "auto", "cuda" or "cpu".
    nodes : int
        Machines.

    Raises
    ------
    MissingExtra
        If Lightning Fabric is not installed.
    RunError
        If there are not so many devices.
    """
    lightning = import_extra("lightning_fabric", "multi")
    try:
        fabric = lightning.Fabric(
            accelerator=device, devices=devices, num_nodes=nodes, strategy="ddp"
        )
    except Exception as error:
        raise RunError(f"cannot train on {devices} x {device}: {error}") from error
    fabric.launch()
    # Left to the end of the process, the threads of gloo now and then abort it.
    atexit.register(_disband)
    return FabricCrew(fabric)


def _disband() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
