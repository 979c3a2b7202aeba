"""Each stage alone: seconds of one core, share of the whole, and floor."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .data import Recording
from .measure import Job, Run, Side, alternate
from .plan import Plan
from .recordings import our_job
from .results import OURS, as_row

__all__ = ["keys", "rows"]

_BACKGROUND = Path(__file__).parent / "jobs" / "background.py"
#: Stages in order: what they are called, and who does the same elsewhere.
STAGES = {
    "read": ("read images", "h5py"),
    "background": ("background (sparsemed), reading included", ""),
    "prepare": ("subtract background, offset, find repeated frames", ""),
    "segment": ("segment", "dcnum"),
    "label": ("label", "scipy"),
    "clean": ("clean", "dcnum"),
    "find": ("find events", ""),
    "contour": ("contour and moments", "dcnum (OpenCV)"),
    "brightness": ("brightness", "dcnum"),
    "texture": ("texture", "dcnum (mahotas)"),
    "volume": ("volume", "dcnum"),
    "collect": ("masks and images of events", ""),
    "write": ("write (drain)", "dcnum"),
}
#: Peers that use several threads where they can would spin; seconds are those of one core.
_ALONE = {f"{name}_NUM_THREADS": "1" for name in ("MKL", "NUMEXPR", "OMP", "OPENBLAS", "VECLIB")}
_METHODS = ("sparsemed", "rollmed")


def keys(quick: bool) -> list[str]:
    """Return the names of all rows in order."""
    return [*STAGES, "sum", "whole", "rollmed", *(f"process_{name}" for name in _METHODS)]


def rows(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure all stages in one process several times, then both backgrounds as processes."""
    recording = Recording(120 if plan.quick else 5000)
    if any(plan.wants(key) for key in (*STAGES, "sum", "whole", "rollmed")):
        yield from _stage_rows(recording.path, recording.frames, plan)
    for method in _METHODS:
        if plan.wants(f"process_{method}"):
            yield f"process_{method}", _process_row(recording, method, plan)


def _stage_rows(path: Path, frames: int, plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    peers = ["peers"] if plan.peers else []
    words = ["-m", "benchmarks.jobs.stage_times", str(path), str(min(300, frames)), *peers]
    job = Job(OURS, lambda folder: [sys.executable, *words], env=lambda folder: _ALONE, limit=1800)
    side = alternate([job], plan.runs)[OURS]
    if side.failure:
        raise SystemExit(side.failure)
    told = [run.said for run in side.runs]
    whole = alternate([our_job(path)], plan.runs + 1)[OURS].runs[1:]
    sums = [sum(each["ours"][stage] for stage in STAGES) for each in told]
    for stage, (work, peer) in STAGES.items():
        yield stage, _stage_row(stage, work, peer, told, statistics.median(sums))
    yield "sum", as_row("sum of the above", {OURS: _side(sums)}, amount=(frames, "frames"))
    cpu = [run.cpu for run in whole if run.cpu is not None]
    note = "start, threads, queues and verifying included"
    yield "whole", as_row("the whole program", {OURS: _side(cpu)}, note=note)
    yield "rollmed", _stage_row("rollmed", "rollmed in place of sparsemed", "", told, None)


def _stage_row(
    stage: str, work: str, peer: str, told: Sequence[Mapping[str, Any]], whole: float | None
) -> dict[str, Any]:
    ours = [each["ours"].get(stage, 0.0) for each in told]
    sides = {OURS: _side(ours)}
    others = [each["peers"][stage] for each in told if stage in each["peers"]]
    if peer and others:
        sides[peer] = _side(others)
    floor = None
    if stage in told[0]["floors"]:
        seconds = statistics.median(each["floors"][stage][0] for each in told)
        floor = [round(seconds, 6), told[-1]["floors"][stage][1]]
    texture = told[0]["events"] if stage in ("contour", "brightness", "texture", "volume") else 0
    amount = (texture, "events") if texture else (told[0]["frames"], "frames")
    share = None if whole is None else round(statistics.median(ours) / whole, 4)
    return as_row(work, sides, amount=amount, floor=floor, share=share)


def _side(seconds: Sequence[float]) -> Side:
    return Side([Run(value, None, None) for value in seconds])


def _process_row(recording: Recording, method: str, plan: Plan) -> dict[str, Any]:
    def job(name: str) -> Job:
        def command(folder: Path) -> list[str]:
            words = [name, method, str(recording.path), str(folder / "background.rtdc")]
            return [sys.executable, str(_BACKGROUND), *words]

        limit = 60 + recording.frames * 0.2
        return Job(name, command, inner=True, limit=limit, retries=int(name != OURS))

    jobs = plan.chosen([job(OURS), job("dcnum")])
    alternate(jobs[:1], 1)  # compiles
    sides = alternate(jobs, min(plan.runs, 3) if method == "rollmed" else plan.runs)
    work = f"{method} of {recording.frames} frames, all cores, read and written"
    return as_row(work, sides, amount=(recording.frames, "frames"))
