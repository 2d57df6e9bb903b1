from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys, torch
before = torch.get_num_threads()
from napari_weno.neighbour import prepare_torch
prepare_torch()
prepare_torch()
print(before, torch.get_num_threads(), "torch._dynamo" in sys.modules,
      "triton" in sys.modules)
"""


def test_a_fit_leaves_a_processor_and_triton_out_of_the_window() -> None:
    # In a process of its own: both hold until it ends.
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    before, now, compiler, triton = done.stdout.split()
    assert int(now) == max(1, min(int(before), (os.cpu_count() or 2) - 1))
    assert (compiler, triton) == ("True", "False")
