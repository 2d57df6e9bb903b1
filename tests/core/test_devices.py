from __future__ import annotations

import sys
from pathlib import Path

import pytest

from weno.mil.devices import devices

TOLD = """\
0, GPU-aaaa, NVIDIA H200, 140000
1, GPU-cccc, NVIDIA Broken, [N/A]
2, GPU-bbbb, NVIDIA T4, 9216
"""
H200, T4 = "NVIDIA H200, 137 GiB free", "NVIDIA T4, 9 GiB free"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver's tool that tells of three GPUs, one of which does not answer."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{TOLD}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tool


@pytest.mark.skipif(sys.platform == "win32", reason="the tool is a shell script")
@pytest.mark.parametrize(
    ("visible", "told"),
    [
        # The broken one has a number, too.
        pytest.param(None, {"cuda:0": H200, "cuda:2": T4}, id="all"),
        pytest.param("2", {"cuda:0": T4}, id="by number"),
        pytest.param("GPU-b,0", {"cuda:0": T4, "cuda:1": H200}, id="by uuid"),
        pytest.param("2,-1,0", {"cuda:0": T4}, id="cut short"),
        pytest.param("1,0", {"cuda:1": H200}, id="broken first"),
        pytest.param("", {}, id="none"),
    ],
)
def test_gpus_are_told_with_their_free_memory(
    driver: Path,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    told: dict[str, str],
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = {device.name: device.text for device in devices()}
    assert found == {"auto": "automatic", "cpu": "CPU", **told}


def test_without_a_driver_that_works_there_is_the_cpu(
    driver: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver.write_text("#!/bin/sh\nexit 9\n")
    assert [device.name for device in devices()] == ["auto", "cpu"]
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert [device.name for device in devices()] == ["auto", "cpu"]
