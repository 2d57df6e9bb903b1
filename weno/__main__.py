"""The command line, for `python -m weno`."""

from __future__ import annotations

from weno.cli import main

if __name__ == "__main__":
    main()
