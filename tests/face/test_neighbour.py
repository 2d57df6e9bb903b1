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


def test_a_fit_beside_a_drawn_canvas_does_not_end_the_process() -> None:
    """In a process of its own: the crash would take the tests with it."""
    program = (
        "import napari, torch\n"
        "from qtpy.QtWidgets import QApplication\n"
        "viewer = napari.Viewer(show=True)\n"
        "QApplication.processEvents()\n"
        "from napari_weno.neighbour import prepare_torch\n"
        "prepare_torch()\n"
        "torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])\n"
        "viewer.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=120, check=False)
    assert done.returncode == 0
