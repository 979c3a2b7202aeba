"""Programs in processes of their own, and the harness that compares files."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

HARNESS = str(Path(__file__).resolve().parents[1] / "parity")
if HARNESS not in sys.path:
    sys.path.insert(0, HARNESS)

AS_DCNUM = (sys.executable, "-m", "cytovox", "as-dcnum", "--")


@dataclass(frozen=True)
class Ended:
    """How a program has ended; the code is None if it had to be ended."""

    code: int | None
    text: str


def _run(command: list[str], folder: Path, limit: float) -> Ended:
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        text, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        text, _ = process.communicate(timeout=600)
        return Ended(None, text)
    return Ended(process.returncode, text)


@pytest.fixture
def run_as_dcnum(tmp_path: Path) -> Callable[..., Ended]:
    """Return a function that runs a program with cytovox as dcnum."""

    def run(*command: str, folder: Path = tmp_path, limit: float = 60) -> Ended:
        return _run([*AS_DCNUM, *command], folder, limit)

    return run


@pytest.fixture
def run_program(tmp_path: Path) -> Callable[..., Ended]:
    """Return a function that runs a program as it is; one that hangs is tried twice."""

    def run(*command: str, folder: Path = tmp_path, limit: float = 60) -> Ended:
        ended = _run(list(command), folder, limit)
        return _run(list(command), folder, limit) if ended.code is None else ended

    return run
