"""Which GPUs there are and what memory they have free, without loading torch.

To ask torch for free memory would take some of it, and seconds: a context on the GPU
that stays for as long as the process lives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

_QUERY = "index,uuid,name,memory.free"
_LIMIT_S = 10


@dataclass(frozen=True, slots=True)
class Device:
    """What a run can be fitted on.

    Parameters
    ----------
    name : str
        As `weno.mil.fit` takes it.
    text : str
        What to call it, with its free memory.
    """

    name: str
    text: str


def devices() -> list[Device]:
    """Return what a fit can be asked to run on, "auto" first.

    GPUs are numbered by their slot, as torch numbers them where CUDA_DEVICE_ORDER is
    PCI_BUS_ID, and only those that CUDA_VISIBLE_DEVICES leaves.
    """
    found = [Device("auto", "automatic"), Device("cpu", "CPU")]
    for k, (_, _, name, free) in enumerate(_visible(_asked())):
        # One that does not answer counts, too, but nothing should be fitted on it.
        if free.isdecimal():
            told = f"{name}, {int(free) / 1024:.0f} GiB free"
            found.append(Device(f"cuda:{k}", told))
    return found


def _asked() -> list[list[str]]:
    """Ask NVIDIA's driver; nothing where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in told.splitlines()]
    return [row for row in rows if len(row) == len(_QUERY.split(","))]


def _visible(rows: list[list[str]]) -> list[list[str]]:
    """Keep the rows of the GPUs that this process may use, in its order."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return rows
    kept = []
    for wish in (part.strip() for part in chosen.split(",")):
        fitting = [r for r in rows if wish and (wish == r[0] or r[1].startswith(wish))]
        if not fitting:  # what comes after one that is not there, CUDA ignores
            break
        kept.append(fitting[0])
    return kept
