"""Compressing images: how fast, and how small."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py

from .data import REAL, Recording
from .measure import Job, Side, alternate
from .plan import Plan
from .results import OURS, as_row

__all__ = ["keys", "rows"]

_JOB = Path(__file__).parent / "jobs" / "packing_times.py"
_LEVELS = (5, 1)
_FRAMES = 960


def keys(quick: bool) -> list[str]:
    """Return the names of all rows in order."""
    return [key for key, *_ in _inputs()]


def rows(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure each kind of images."""
    for key, work, path, feature in _inputs():
        if not plan.wants(key):
            continue
        file = (
            Recording(120 if plan.quick else _FRAMES, shape=(80, 400)).path
            if path is None
            else path
        )
        names = {OURS: OURS, **{f"zstd level {level}": str(level) for level in _LEVELS}}

        def job(name: str, way: str, file: Path = file, feature: str = feature) -> Job:
            words = [sys.executable, str(_JOB), str(file), feature, way]
            return Job(name, lambda folder: words, inner=True, limit=120)

        sides = alternate(plan.chosen([job(*pair) for pair in names.items()]), plan.runs)
        for side in sides.values():  # of the whole process, these say nothing
            side.runs = [replace(run, cpu=None, peak=None) for run in side.runs]
        told = sides[OURS].runs[0].said if sides[OURS].runs else {"raw": 0}
        amount = (told["raw"] / 1e6, "MB")
        yield key, as_row(work, sides, amount=amount, result="bytes", note=_reading(sides))


def _reading(sides: Mapping[str, Side]) -> str:
    """Say how fast each of them is unpacked."""
    speeds = []
    for name, side in sides.items():
        if side.runs:
            each = [run.said["raw"] / run.said["seconds of reading"] / 1e6 for run in side.runs]
            speeds.append(f"{name} {statistics.median(each):.0f} MB/s")
    return "unpacked: " + ", ".join(speeds)


def _inputs() -> Iterator[tuple[str, str, Path | None, str]]:
    """Yield name, description, file and feature of what is compressed."""
    for path in sorted(REAL.glob("*.rtdc")):
        with h5py.File(path) as h5:
            for feature in ("image", "image_bg", "mask"):
                count = len(h5["events"].get(feature, ()))
                if count > 1:
                    text = f"{feature} of {path.stem}, {count} frames"
                    yield f"{path.stem}_{feature}", text, path, feature
    yield "simulated_image", "image, simulated with camera noise", None, "image"
    if any(REAL.glob("cytoshot_2023.rtdc")):
        grown = "image of cytoshot_2023, grown to 960 frames"
        yield "grown_image", grown, Recording(_FRAMES).path, "image"
