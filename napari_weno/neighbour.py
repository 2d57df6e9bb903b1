"""Making torch a good neighbour in the process of a window.

For the sample data, whose short fit runs in a thread: the fits of the Train dock run in
a process of their own, see `weno.mil.fit_apart`. Predicting needs none of this; it has
no optimiser.
"""

from __future__ import annotations

import importlib
import os
import sys


def prepare_torch() -> None:
    """Call this before a fit in the process of a window.

    Torch's compiler is loaded, as any optimiser would, but Triton is left out of it:
    it brings an LLVM of its own, which takes the whole process down if it comes after
    the one that Mesa's OpenGL draws the canvas with (``AdamW`` is enough). Nothing of
    ours is compiled.

    One processor is left to the window. With all of them busy, each of its frames has
    to wait for its turn; the fit hardly gains by the last one.
    """
    import torch

    spared = (os.cpu_count() or 2) - 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), spared)))
    if "triton" in sys.modules or "torch._dynamo" in sys.modules:
        return
    # None makes the import fail, which torch takes for "not installed".
    # typeshed takes the table for one of modules alone.
    sys.modules["triton"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("torch._dynamo")
    finally:
        del sys.modules["triton"]
