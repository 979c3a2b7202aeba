"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real recordings, models and volumes; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data are not beside this checkout")
    return SHARED_DATA
