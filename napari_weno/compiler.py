"""Keeping torch's optimisers from ending the window's process."""

from __future__ import annotations

import importlib
import sys


def load_compiler_without_triton() -> None:
    """Load torch's compiler, as any optimiser would, but leave Triton out of it.

    Triton brings an LLVM of its own. Loaded after the one that Mesa's OpenGL draws
    the canvas with, it takes the whole process down (``AdamW`` is enough). Call this
    before a fit in the process of the window; nothing of ours is compiled.
    """
    if "triton" in sys.modules or "torch._dynamo" in sys.modules:
        return
    # None makes the import fail, which torch takes for "not installed".
    sys.modules["triton"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("torch._dynamo")
    finally:
        del sys.modules["triton"]
