"""What this machine has, what is missing and how to get it.

Whatever loads a driver or a native library is asked in a process of its own, so that
a crash there is a finding here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DISTRIBUTION = "napari-weno"
_TIMEOUT_S = 120  # the first import of torch from a cold disk takes a minute
_SERVES = {
    "torch": "fit, predict and evaluate",
    "timm": "pretrained encoders (timm:NAME and most pathology models)",
    "hf": "encoders of transformers (hf:NAME and some pathology models)",
    "napari": "the viewer (weno view, weno demo)",
}
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
_SOFTWARE = ("llvmpipe", "softpipe", "swiftshader", "software")

_OPENSLIDE = """
import openslide
print(openslide.__library_version__)
"""
_DEVICES = """
import json, torch
cuda = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())]
print(json.dumps({
    "built_for": torch.version.cuda or torch.version.hip,
    "gpus": [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in cuda],
    "mps": torch.backends.mps.is_available(),
}))
"""
_WINDOW = """
import json
from qtpy import API_NAME, QT_VERSION
from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
app = QGuiApplication(["doctor"])
surface, context = QOffscreenSurface(), QOpenGLContext()
surface.create()
context.create()
told = {"qt": f"{API_NAME} with Qt {QT_VERSION}", "renderer": None}
if context.makeCurrent(surface):
    from vispy.gloo import gl
    told["renderer"] = gl.glGetParameter(gl.GL_RENDERER)
    told["version"] = gl.glGetParameter(gl.GL_VERSION)
print(json.dumps(told))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    name : str
    status : {"ok", "warning", "missing"}
        A warning works, but less well than it could.
    detail : str
        What was found.
    remedy : str
        What to do about it; empty if there is nothing to do.
    """

    name: str
    status: Literal["ok", "warning", "missing"]
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at packages, GPU, OpenSlide, display, Qt and OpenGL; takes some seconds."""
    findings = [
        Finding("Python", "ok", f"{platform.python_version()}, {platform.platform()}"),
        *package_findings(_requirements()),
        _openslide(),
    ]
    if _installed("torch"):
        findings.append(_gpu())
    if _installed("qtpy"):
        findings += [_display(), *_qt()]
    return findings


def package_findings(requirements: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Compare what is installed with what the package and its extras ask for.

    Parameters
    ----------
    requirements : mapping of str to sequence of str
        Names of distributions by extra; the extra ``""`` is the package itself.

    Returns
    -------
    list of Finding
        One for each extra that a user may want.
    """
    findings = []
    for extra in ("", *_SERVES):
        versions = {name: _version(name) for name in requirements.get(extra, ())}
        missing = [name for name, version in versions.items() if version is None]
        wanted = f"{_DISTRIBUTION}[{extra}]" if extra else _DISTRIBUTION
        title = f"Extra {extra}" if extra else "Packages"
        if missing or not versions:
            serves = f"; needed for {_SERVES[extra]}" if extra else ""
            detail = f"no {', '.join(missing or [wanted])}{serves}"
            remedy = f'pip install "{wanted}"'
            findings.append(Finding(title, "missing", detail, remedy))
        else:
            told = ", ".join(f"{name} {version}" for name, version in versions.items())
            findings.append(Finding(title, "ok", told))
    return findings


def _requirements() -> dict[str, list[str]]:
    """Names of the distributions that this package asks for, by extra."""
    try:
        lines = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    wanted: dict[str, list[str]] = {}
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if name and name[0] != _DISTRIBUTION:
            wanted.setdefault(extra[1] if extra else "", []).append(name[0])
    return wanted


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _openslide() -> Finding:
    version, problem = _ask(_OPENSLIDE)
    if version is None:
        remedy = "pip install --force-reinstall openslide-bin openslide-python"
        return Finding("OpenSlide", "missing", f"does not load: {problem}", remedy)
    return Finding("OpenSlide", "ok", f"library {version}")


def _gpu() -> Finding:
    answer, problem = _ask(_DEVICES)
    if answer is None:
        remedy = 'pip install --force-reinstall "napari-weno[torch]"'
        return Finding("GPU", "missing", f"torch does not load: {problem}", remedy)
    told: dict[str, Any] = json.loads(answer)
    if told["gpus"]:
        return Finding("GPU", "ok", "; ".join(told["gpus"]))
    if told["mps"]:
        return Finding("GPU", "ok", "Apple GPU (mps)")
    if told["built_for"] is None:
        return Finding("GPU", "ok", "none: this torch is built for the CPU")
    return Finding("GPU", "ok", "torch finds none and computes on the CPU")


def _display() -> Finding:
    if not _needs_screen():
        named = [f"{s} {os.environ[s]}" for s in _SCREENS if os.environ.get(s)]
        return Finding("Display", "ok", ", ".join(named) or platform.system())
    if shutil.which("xvfb-run"):
        detail = "none, but Xvfb can stand in"
        return Finding("Display", "warning", detail, "xvfb-run -a weno demo")
    remedy = "apt-get install xvfb xauth"
    return Finding("Display", "missing", "neither a display nor Xvfb", remedy)


def _needs_screen() -> bool:
    return sys.platform == "linux" and not any(os.environ.get(s) for s in _SCREENS)


def _qt() -> list[Finding]:
    answer, problem = _ask(_WINDOW, on_screen=True)
    if answer is None:
        if "QtBindingsNotFound" in problem:
            remedy = 'pip install "napari-weno[all]", which brings PyQt6'
        else:
            remedy = "install the system libraries that the README lists"
        return [Finding("Qt", "missing", problem, remedy)]
    told: dict[str, Any] = json.loads(answer)
    return [Finding("Qt", "ok", told["qt"]), _opengl(told)]


def _opengl(told: Mapping[str, Any]) -> Finding:
    renderer = told["renderer"]
    if not renderer:
        remedy = "install libgl1, libegl1 and a graphics driver"
        return Finding("OpenGL", "missing", "no context can be made", remedy)
    detail = f"{renderer}, OpenGL {told['version']}"
    if any(word in renderer.lower() for word in _SOFTWARE):
        remedy = "install the graphics driver, if this machine has a graphics card"
        return Finding("OpenGL", "warning", f"{detail}: drawn by the CPU", remedy)
    return Finding("OpenGL", "ok", detail)


def _ask(code: str, *, on_screen: bool = False) -> tuple[str | None, str]:
    """Run `code` in another Python.

    Returns
    -------
    (str or None, str)
        The last line that it printed, None if it failed; then why it failed.
    """
    command = [sys.executable, "-P", "-c", code]
    if on_screen and _needs_screen() and shutil.which("xvfb-run"):
        command = ["xvfb-run", "-a", *command]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {_TIMEOUT_S} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return lines[-1], ""
    said = done.stderr.strip().splitlines()
    return None, said[-1] if said else f"ended with status {done.returncode}"
