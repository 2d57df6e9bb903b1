"""Packages with entry points, as an installer would put them into a folder."""

from __future__ import annotations

from pathlib import Path


def install(
    folder: Path, name: str, group: str, points: dict[str, str], **modules: str
) -> None:
    """Put a package with entry points of a group into a folder on the path."""
    about = folder / f"{name.replace('-', '_')}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
    )
    lines = [f"{point} = {target}" for point, target in points.items()]
    (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
    for module, code in modules.items():
        (folder / f"{module}.py").write_text(code)
