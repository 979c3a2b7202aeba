"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN or "PYTEST_XDIST_WORKER" in os.environ:
    # Tests that run side by side ignore Ctrl-C, as does what a shell starts in the
    # background, and so would all programs that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests start hundreds of programs, each of which would compile all of the source.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


# What collecting makes stays: to look through it again and again takes a third of the time.
gc.disable()


def pytest_collection_finish() -> None:
    """Free memory again, but look no more at what was made until now."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, since some tests wait for a time limit."""
    return min((os.cpu_count() or 1) + 1, 4)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[Any], list[Any]]:
    """Look for examples in no file of tests: there is none, and each process would look."""
    found = yield
    is_tests = file_path.name.startswith("test_")
    return [one for one in found if not (is_tests and type(one).__name__ == "DoctestModule")]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real recordings, models and volumes; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data are not beside this checkout")
    return SHARED_DATA


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let all disks have so many bytes free."""

    def set_free(number: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1 << 50, 0, number))

    return set_free
