"""Folders of many small recordings, measured by one command."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .data import Recording, bench_folder
from .measure import Job, alternate
from .plan import Plan
from .results import OURS, as_row

__all__ = ["keys", "rows"]

_JOB = Path(__file__).parent / "jobs" / "batch_run.py"
#: Number of recordings, and of frames in each.
CASES = ((100, 40), (1000, 40))
QUICK = ((5, 40),)


def keys(quick: bool) -> list[str]:
    """Return the names of all rows in order."""
    return [f"{files}_{frames}" for files, frames in (QUICK if quick else CASES)]


def rows(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure folders, one row each."""
    for files, frames in QUICK if plan.quick else CASES:
        if not plan.wants(key := f"{files}_{frames}"):
            continue
        folder = _folder(files, frames)
        job = Job(OURS, lambda out, folder=folder: _command(folder, out), inner=True, limit=1200)
        sides = alternate([job], plan.runs)
        work = f"{files} recordings of {frames} frames, one command"
        yield key, as_row(work, sides, amount=(files, "files"), result="beyond")


def _command(folder: Path, out: Path) -> list[str]:
    return [sys.executable, str(_JOB), str(folder), str(out)]


def _folder(files: int, frames: int) -> Path:
    """Return a folder with copies of a recording."""
    path = Recording(frames).path
    folder = bench_folder() / f"batch_{files}_{frames}"
    folder.mkdir(exist_ok=True)
    for number in range(files):
        name = folder / f"{number:04}.rtdc"
        if not name.exists():
            shutil.copyfile(path, name)
    return folder
