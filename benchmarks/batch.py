"""Folders of many small recordings, measured by one command."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .data import Recording, bench_folder
from .measure import Job, alternate
from .plan import Plan
from .results import OURS, as_row

__all__ = ["keys", "rows"]

_JOBS = Path(__file__).parent / "jobs"


@dataclass(frozen=True, slots=True)
class Case:
    """A folder, and how it is measured."""

    files: int
    frames: int
    basins: str = "drain"
    #: Files that ChipStream measures, which takes long; its time is scaled to all.
    of_peer: int = 0

    @property
    def key(self) -> str:
        """Name of the row."""
        return f"{self.files}_{self.frames}"


CASES = (Case(100, 40), Case(1000, 40), Case(1000, 300, "tap", 20))
QUICK = (Case(5, 40),)


def keys(quick: bool) -> list[str]:
    """Return the names of all rows in order."""
    return [case.key for case in (QUICK if quick else CASES)]


def rows(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure folders, one row each."""
    for case in QUICK if plan.quick else CASES:
        if not plan.wants(case.key):
            continue
        sides = alternate(list(_jobs(case)), plan.runs)
        work = f"{case.files} recordings of {case.frames} frames, one command, {case.basins}"
        amount = (case.files, "files")
        yield case.key, as_row(work, sides, amount=amount, result="files")


def _jobs(case: Case) -> Iterator[Job]:
    folder = str(_folder(case.files, case.frames))

    def command(script: str, word: str) -> Callable[[Path], list[str]]:
        return lambda out: [sys.executable, str(_JOBS / script), folder, str(out), word]

    yield Job(OURS, command("batch_run.py", case.basins), inner=True, limit=1200)
    if case.of_peer:
        peer = command("chipstream_folder.py", str(case.of_peer))
        yield Job("ChipStream", peer, inner=True, limit=1200)


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
