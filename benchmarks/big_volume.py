"""``python -m benchmarks.big_volume``: how much memory volumes take that are larger than it.

A volume is simulated and segmented by the programs of the command line, and
each process is watched from outside. The objects that are found are compared
with those that were drawn. Everything is deleted afterwards. The table goes
into docs/explanation/performance.md.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .data import bench_folder
from .measure import measure
from .results import put_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "performance.md"
#: Seconds after which a program is taken to hang.
_LIMIT = 7200.0


@dataclass(frozen=True, slots=True)
class Case:
    """A row: edges of volume and block in voxels, and what is drawn and how it is found."""

    size: int
    block: int
    kind: str = "blobs"
    function: tuple[str, ...] = ("label", "--set", "threshold=100")
    context: int = 16


_WATERSHED = ("watershed", "--set", "threshold=80", "--set", "seed_distance=6")
CASES = (
    Case(256, 128),
    Case(512, 128),
    Case(1024, 128),
    Case(1024, 256),
    Case(512, 128, "cells", _WATERSHED),
)


def rows(cases: tuple[Case, ...], workers: int) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    yield (
        "| voxels | block + context | function | blocks | seconds | simulating | this program "
        "| largest worker | objects found / drawn |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for case in cases:
        folder = Path(tempfile.mkdtemp(dir=bench_folder()))
        try:
            yield _row(case, workers, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _row(case: Case, workers: int, folder: Path) -> str:
    run = [sys.executable, "-m", "cytovox"]
    image, labels, table = (folder / name for name in ("image.zarr", "labels.zarr", "o.parquet"))
    shape = ",".join([str(case.size)] * 3)
    draw = ["simulate", "volume", str(image), "--shape", shape, "--seed", "1"]
    drawn = measure([*run, *draw, "--kind", case.kind], limit=_LIMIT)
    words = ["volume", "segment", str(image), str(labels), "--function", *case.function]
    words += ["--block", str(case.block), "--context", str(case.context), "--stitch", "overlap"]
    words += ["--objects", str(table), "--workers", str(workers), "--quiet"]
    done = measure([*run, *words], limit=_LIMIT)
    found, true = _voxels(table), _true_voxels(folder / "image.truth.csv")
    same = " (the same voxels)" if np.array_equal(np.sort(found), np.sort(true)) else ""
    return (
        f"| {case.size}³ {case.kind} | {case.block} + {case.context} | {case.function[0]} "
        f"| {(-(-case.size // case.block)) ** 3} | {done.wall:.0f} | {_mb(drawn.first)} "
        f"| {_mb(done.first)} | {_mb(done.others)} | {len(found)} / {len(true)}{same} |"
    )


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _voxels(table: Path) -> np.ndarray:
    from cytovox.blockwise.object_table import read_objects

    return np.asarray(read_objects(table)[0]["voxels"])


def _true_voxels(table: Path) -> np.ndarray:
    lines = [line for line in table.read_text("utf-8").splitlines() if not line.startswith("#")]
    column = lines[0].split(",").index("voxels")
    return np.array([int(line.split(",")[column]) for line in lines[1:]])


def main() -> None:
    """Measure; put the table into the page if all cases were done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.big_volume", description=__doc__)
    parser.add_argument("--shape", type=int, metavar="N", help="only volumes of N x N x N voxels")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (2)")
    asked = parser.parse_args()
    chosen = tuple(case for case in CASES if asked.shape in (None, case.size))
    if not chosen:
        chosen = (Case(asked.shape, min(128, asked.shape)),)
    lines = []
    for line in rows(chosen, asked.workers):
        print(line, flush=True)
        lines.append(line)
    if asked.shape is None:
        put_table(PAGE, "big volume", lines)


if __name__ == "__main__":
    main()
