"""Bags on their way to the device: all at once where they fit, else as they come."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch

from weno.errors import import_extra
from weno.mil.crew import ALONE, Crew

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from weno.mil.bags import Bag
    from weno.mil.standardise import Moments, Standardiser

_TOGETHER = 1 << 14  # instances of the bags that are looked at together
_BLOCK = 256  # neighbouring instances read together from disk
_POOL_BYTES = 64 << 20  # of the instances that are shuffled among each other


def device_memory(device: torch.device) -> int:
    """Return all the memory of a device in bytes, in use or not.

    Not what is free: a run that is resumed must come to the same decision.
    """
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    psutil = import_extra("psutil", "torch")
    return int(psutil.virtual_memory().total)


class Group(NamedTuple):
    """Bags of one step, end to end.

    Parameters
    ----------
    x : Tensor of shape (N, F)
    labels : Tensor of shape (B,), float32
    sizes : list of int
        Instances of each bag.
    classes : list of int
        The labels once more, where asking for them waits for no device.
    """

    x: Tensor
    labels: Tensor
    sizes: list[int]
    classes: list[int]


class Batch(NamedTuple):
    """Instances of any bags.

    Parameters
    ----------
    x : Tensor of shape (n, F)
    positive : Tensor of shape (n,), bool
        Which are of positive bags.
    verdicts : Tensor of shape (n,), int8
        People's answers: 1, 0, `UNKNOWN` or `UNSURE`.
    labels : Tensor of shape (n,), optional
        Pseudo-labels; None asks the teacher as it is now, in training mode.
    """

    x: Tensor
    positive: Tensor
    verdicts: Tensor
    labels: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class PackedBags:
    """Labelled bags end to end, ready for the learner.

    Parameters
    ----------
    x : Tensor of shape (N, F) or StreamedRows
        Standardised features of all tiles, or their pixels.
    labels : Tensor of shape (B,), float32
    sizes : list of int
        Instances of each bag.
    classes : list of int
        The labels once more, on the CPU.
    slices : list of slice
        Where each bag lies in `x`.
    verdicts : Tensor of shape (N,), int8
        People's answers: 1, 0, `UNKNOWN` or `UNSURE`.
    positive : Tensor of shape (N,), bool
        Which tiles are of positive bags.
    """

    x: Tensor | StreamedRows
    labels: Tensor
    sizes: list[int]
    classes: list[int]
    slices: list[slice]
    verdicts: Tensor
    positive: Tensor

    @classmethod
    def pack(
        cls,
        bags: Sequence[Bag],
        device: torch.device,
        standardise: Standardiser,
        *,
        memory: float = float("inf"),
        moments: Moments | None = None,
    ) -> Self:
        """Bring bags to the device.

        Parameters
        ----------
        bags : sequence of Bag
            Labelled, none empty.
        device : torch.device
        standardise : Standardiser
        memory : float
            Bytes that the instances may take there; if they need more, they stay where
            they are and are read when their turn comes.
        moments : Moments, optional
            Of these bags; what is missing is found when a bag is read.
        """
        sizes = [len(bag) for bag in bags]
        classes = [int(bag.label or 0) for bag in bags]
        ends = list(itertools.accumulate(sizes, initial=0))
        slices = [slice(*pair) for pair in itertools.pairwise(ends)]
        verdicts = np.concatenate([bag.verdicts for bag in bags])
        rows = StreamedRows(bags, ends, device, standardise, moments)
        return cls(
            rows if rows.nbytes > memory else rows.together(slices),
            torch.tensor(classes, dtype=torch.float32, device=device),
            sizes,
            classes,
            slices,
            torch.from_numpy(verdicts).to(device),
            torch.from_numpy(np.repeat(np.array(classes) == 1, sizes)).to(device),
        )

    def __len__(self) -> int:
        return len(self.slices)

    @property
    def device(self) -> torch.device:
        return self.labels.device

    def bag(self, b: int) -> Tensor:
        """Return the instances of one bag, of shape (N, F)."""
        return self.x[self.slices[b]]

    def group(self, chosen: Sequence[int]) -> Group:
        """Return several bags end to end."""
        x = [self.bag(b) for b in chosen]
        return Group(
            x[0] if len(x) == 1 else torch.cat(x),
            torch.stack([self.labels[b] for b in chosen]),
            [self.sizes[b] for b in chosen],
            [self.classes[b] for b in chosen],
        )

    def portions(self) -> list[list[int]]:
        """Return all bags in order, small ones together, to be looked at only."""
        portions: list[list[int]] = []
        room = 0
        for b, size in enumerate(self.sizes):
            if size > room:
                portions.append([])
                room = _TOGETHER
            portions[-1].append(b)
            room -= size
        return portions

    def span(self, chosen: Sequence[int]) -> slice:
        """Return where the instances of neighbouring bags lie in `x`."""
        return slice(self.slices[chosen[0]].start, self.slices[chosen[-1]].stop)

    def shuffled(
        self, size: int, crew: Crew = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all instances once, in random order.

        Parameters
        ----------
        size : int
            Instances of a batch; the last one may be smaller.
        crew : Crew
            Processes that need the same order.

        Yields
        ------
        index : Tensor of shape (n,)
        x : Tensor of shape (n, F)
        """
        if isinstance(self.x, StreamedRows):
            yield from self.x.shuffled(size, crew)
            return
        order = crew.agree(torch.randperm(len(self.x))).to(self.device)
        for index in torch.split(order, size):
            yield index, self.x[index]


class StreamedRows:
    """Instances of bags that are too many for the device's memory.

    Parameters
    ----------
    bags : sequence of Bag
    ends : sequence of int
        0, and where each bag ends.
    device : torch.device
    standardise : Standardiser
    moments : Moments, optional
        Of the bags; else a bag's centre is found when it is first read.
    """

    def __init__(
        self,
        bags: Sequence[Bag],
        ends: Sequence[int],
        device: torch.device,
        standardise: Standardiser,
        moments: Moments | None = None,
    ) -> None:
        self._bags, self._ends = bags, np.asarray(ends)
        self._device, self._standardise = device, standardise
        first = bags[0].read(slice(1))
        self._known = np.full(len(bags), moments is not None)  # whose centres are
        shape = len(bags), len(standardise.mean)
        self._centres = (
            torch.empty(shape, device=device)
            if moments is None
            else standardise.centres(moments)
        )
        one = first.nbytes
        self.nbytes = one * int(self._ends[-1])
        self._pool = max(1, _POOL_BYTES // max(1, one) // _BLOCK)  # blocks

    def __len__(self) -> int:
        return int(self._ends[-1])

    def together(self, slices: Sequence[slice]) -> Tensor:
        """Read all instances, bag by bag, into one tensor."""
        first = self[slice(0, 1)]
        x = first.new_empty(len(self), *first.shape[1:])
        for bag in slices:
            x[bag] = self[bag]
        return x

    def __getitem__(self, rows: slice) -> Tensor:
        """Read instances of one bag, standardised, to the device."""
        b = int(np.searchsorted(self._ends, rows.start, side="right")) - 1
        start = int(self._ends[b])
        inside = slice(rows.start - start, rows.stop - start)
        x = torch.from_numpy(self._bags[b].read(inside)).to(self._device)
        if self._standardise.identity or not self._standardise.relative:
            return self._standardise.apply_centre(x, self._standardise.mean)
        whole = inside == slice(0, len(self._bags[b]))
        if not self._known[b]:
            every = x if whole else torch.from_numpy(self._bags[b].read())
            self._centres[b] = self._standardise.centre(every.to(self._device))
            self._known[b] = True
        return self._standardise.apply_centre(x, self._centres[b])

    def shuffled(
        self, size: int, crew: Crew = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all instances once: blocks at random, mixed with those read next."""
        blocks = [
            slice(start, min(start + _BLOCK, stop))
            for first, stop in itertools.pairwise(self._ends.tolist())
            for start in range(first, stop, _BLOCK)
        ]
        order = crew.agree(torch.randperm(len(blocks))).tolist()
        left: list[tuple[Tensor, Tensor]] = []
        for begin in range(0, len(order), self._pool):
            chosen = [blocks[i] for i in order[begin : begin + self._pool]]
            index = torch.cat([torch.arange(s.start, s.stop) for s in chosen])
            x = torch.cat([*(part for _, part in left), *(self[s] for s in chosen)])
            index = torch.cat([*(part for part, _ in left), index.to(self._device)])
            mixed = crew.agree(torch.randperm(len(index))).to(self._device)
            last = begin + self._pool >= len(order)
            full = len(index) if last else len(index) // size * size
            for part in torch.split(mixed[:full], size):
                yield index[part], x[part]
            left = [(index[mixed[full:]], x[mixed[full:]])]
