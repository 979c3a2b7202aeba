"""Whole recordings, from a raw file to a measured one, against dcnum."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from .data import Recording
from .measure import Job, alternate
from .plan import Plan
from .results import OURS, as_row

__all__ = ["Case", "dcnum_job", "our_job", "rows"]

_PEER = Path(__file__).parent / "jobs" / "dcnum_run.py"
#: Runs of the rolling median, which takes the peer minutes.
_SLOW_RUNS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """A recording and how it is measured."""

    recording: Recording
    basins: str = "drain"
    background: str = "sparsemed"
    #: Whether the peer is spared a recording that would take it very long.
    is_alone: bool = False

    @property
    def key(self) -> str:
        """Name of the row."""
        recording = self.recording
        shape = "x".join(map(str, recording.shape)) if recording.shape else "standard"
        name = f"{recording.frames}_{recording.cells:g}_{shape}"
        return f"{name}_{self.background}_{self.basins}"

    @property
    def work(self) -> str:
        """What the row is about."""
        recording = self.recording
        height, width = recording.shape or (80, 400)
        kind = "" if recording.is_real else ", simulated"
        return (
            f"{recording.frames} frames {height} x {width}, {recording.cells:g} cells a frame"
            f"{kind}, {self.background}, {self.basins}"
        )


CASES = (
    *(
        Case(Recording(frames), basins, background)
        for background in ("sparsemed", "rollmed")
        for frames in (300, 5000, 20000)
        for basins in ("drain", "tap")
    ),
    Case(Recording(100_000), is_alone=True),
    *(Case(Recording(5000, cells), basins) for cells in (0.2, 5.0) for basins in ("drain", "tap")),
    *(
        Case(Recording(5000, 1.0, shape), basins)
        for shape in ((80, 250), (80, 400), (100, 1010))
        for basins in ("drain", "tap")
    ),
)
QUICK = (
    Case(Recording(120, 1.0, (80, 250))),
    Case(Recording(120), "tap", "rollmed"),
)


def our_job(path: Path, basins: str = "drain", background: str = "sparsemed", **more: Any) -> Job:
    """Return the measuring of a recording by the program ``cytovox``."""

    def command(folder: Path) -> list[str]:
        words = ["-m", "cytovox", "run", str(path), "-o", str(folder / "out.rtdc"), "--quiet"]
        return [sys.executable, *words, "--basins", basins, "--background", background]

    return Job(OURS, command, after=_events, **more)


def dcnum_job(
    path: Path,
    basins: str = "drain",
    background: str = "sparsemed",
    *,
    limit: float = 600.0,
    **more: Any,
) -> Job:
    """Return the same by dcnum, with default settings and number of workers.

    It now and then waits for ever, and is then started a second time.
    """

    def command(folder: Path) -> list[str]:
        words = [str(path), str(folder / "out.rtdc"), basins, background]
        return [sys.executable, str(_PEER), *words]

    return Job("dcnum", command, after=_events, limit=limit, retries=1, **more)


def _events(folder: Path) -> Mapping[str, Any]:
    path = folder / "out.rtdc"
    if not path.exists():
        return {}
    with h5py.File(path) as h5:
        return {"events": f"{int(h5.attrs['experiment:event count'])} events"}


def rows(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure the cases, one row each."""
    warm = set()
    for case in QUICK if plan.quick else CASES:
        if not plan.wants(case.key):
            continue
        if case.background not in warm:
            _warm_up(case.background)
            warm.add(case.background)
        frames = case.recording.frames
        rolling = case.background == "rollmed"
        limit = 60 + frames * (0.2 if rolling else 0.012)
        where = (case.recording.path, case.basins, case.background)
        jobs = [our_job(*where)]
        jobs += [] if case.is_alone else [dcnum_job(*where, limit=limit)]
        runs = min(plan.runs, _SLOW_RUNS) if rolling else plan.runs
        sides = alternate(plan.chosen(jobs), runs)
        yield case.key, as_row(case.work, sides, amount=(frames, "frames"), result="events")


def keys(quick: bool) -> list[str]:
    """Return the names of all rows in order."""
    return [case.key for case in (QUICK if quick else CASES)]


def _warm_up(background: str) -> None:
    """Let both compile what they keep compiled, which is measured elsewhere."""
    path = Recording(300).path
    for job in (our_job(path, "tap", background), dcnum_job(path, "tap", background, limit=120)):
        alternate([job], 1)
