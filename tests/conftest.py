from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with real slides; tests that need it are skipped without it."""
    folder = os.environ.get("WENO_TEST_DATA")
    if not folder:
        pytest.skip("real test data not found: set WENO_TEST_DATA to its folder")
    return Path(folder)
