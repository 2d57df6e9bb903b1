from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from weno.doctor import Finding, package_findings

EXAMINE = """
import dataclasses, json, sys
from weno.doctor import examine
findings = [dataclasses.asdict(finding) for finding in examine()]
print(json.dumps({"findings": findings, "modules": list(sys.modules)}))
"""


@pytest.fixture(scope="module")
def examined() -> dict[str, Any]:
    """What a doctor tells whose Qt dies at once: no such platform."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", EXAMINE],
        capture_output=True,
        check=True,
        env=os.environ | {"QT_QPA_PLATFORM": "no-such-platform"},
        text=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def findings(examined: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {finding["name"]: finding for finding in examined["findings"]}


def test_native_libraries_stay_out_of_the_process(examined: dict[str, Any]) -> None:
    loaded = {name.partition(".")[0] for name in examined["modules"]}
    assert not loaded & {"torch", "openslide", "qtpy", "PyQt6", "PySide6", "napari"}


def test_versions_are_told(findings: dict[str, dict[str, str]]) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert findings["Python"]["detail"].startswith(version)
    assert "numpy" in findings["Packages"]["detail"]
    assert findings["OpenSlide"]["status"] == "ok"
    assert findings["OpenSlide"]["detail"].startswith("library 4.")


@pytest.mark.parametrize("extra", ["torch", "timm", "napari"])
def test_extras_are_found(findings: dict[str, dict[str, str]], extra: str) -> None:
    wanted = "ok" if find_spec(extra) else "missing"
    assert findings[f"Extra {extra}"]["status"] == wanted


@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
def test_the_device_is_told(findings: dict[str, dict[str, str]]) -> None:
    assert findings["GPU"]["status"] == "ok"


@pytest.mark.skipif(find_spec("qtpy") is None, reason="needs Qt")
def test_a_crash_of_qt_is_a_finding(findings: dict[str, dict[str, str]]) -> None:
    assert findings["Qt"]["status"] == "missing"
    assert findings["Qt"]["remedy"]


def test_a_missing_extra_comes_with_its_line() -> None:
    found = package_findings({"": ["numpy"], "torch": ["numpy", "no-such-package"]})
    assert found[0].status == "ok"
    assert found[1] == Finding(
        name="Extra torch",
        status="missing",
        detail="no no-such-package; needed for fit, predict and evaluate",
        remedy='pip install "napari-weno[torch]"',
    )


def test_a_package_that_is_not_installed_is_missing() -> None:
    assert {finding.status for finding in package_findings({})} == {"missing"}
