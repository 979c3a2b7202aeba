"""How far `cytovox live` is behind a camera, and how soon after it the result is there."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cytovox.testing import simulate_recording

from .data import bench_folder
from .measure import Job, Side, alternate
from .plan import Plan
from .results import OURS, as_row

__all__ = ["keys", "rows"]

_JOB = Path(__file__).parent / "jobs" / "live_run.py"
#: Frames a second, and what becomes of images.
_CAMERAS = {"drain": 2000, "tap": 3000}
_SECONDS, _QUICK_SECONDS = 60, 2


def keys(quick: bool) -> list[str]:
    """Return the names of all rows in order."""
    return list(_CAMERAS)


def rows(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure a drained and a tapped result, each by one worker beside the camera."""
    seconds = _QUICK_SECONDS if plan.quick else _SECONDS
    for key, rate in _CAMERAS.items():
        if not plan.wants(key):
            continue
        words = [sys.executable, str(_JOB), str(_source(seconds * rate, rate)), str(rate), key]
        job = Job(OURS, lambda folder, words=words: [*words, str(folder)], inner=True, limit=600)
        sides = alternate([job], plan.runs)
        work = f"last frame to result, {key}, {rate} frames/s for {seconds} s"
        yield key, as_row(work, sides, note=_standing(sides[OURS]))


def _source(frames: int, rate: int) -> Path:
    """Return a recording whose times are those of the camera."""
    path = bench_folder() / f"live_{frames}_{rate}.rtdc"
    if not path.exists():
        print(f"making {path}", flush=True)
        simulate_recording(path, frames=frames, frame_rate=rate, save_truth=False)
    return path


def _standing(side: Side) -> str:
    """Say how it stood while the camera was at work."""
    if not side.runs:
        return ""
    missed = max(run.said["missed"] for run in side.runs)
    known = statistics.median(run.said["known"] for run in side.runs)
    backlog = max(run.said["backlog"] for run in side.runs)
    return f"{missed} frames missed, at most {backlog:.1f} s behind, {known:.0%} taken over"
