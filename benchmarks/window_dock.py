"""One run of `window.py`: the first dock of a fresh napari is opened, then JSON.

Not to be started by hand. Opened as from the menu: made, put into the window, painted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

import napari
from window_case import Others, spin

PLUGIN = "napari-weno"
_IDLE_MS = 1500


def open_dock(name: str) -> dict[str, float]:
    """Open a dock in a window that has nothing to do; return the milliseconds."""
    viewer = napari.Viewer(show=True)
    spin(_IDLE_MS)
    others = Others()
    start, busy = time.perf_counter(), time.thread_time()
    dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    dock.window().repaint()
    return {
        "ms": 1e3 * (time.perf_counter() - start),
        "own": 1e3 * (time.thread_time() - busy),
        "others": others.cores(),
    }


def main() -> None:
    """Run the case; the last line of what is printed is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    print(json.dumps(open_dock(parser.parse_args().name)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
