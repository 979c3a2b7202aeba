"""``python -m benchmarks.scale``: how volumes scale with blocks and with objects.

Volumes of a lattice of cubes, with and without one object that is in all blocks,
are segmented from end to end by a trivial function. What counts is processor
time of all processes, so that other work on the machine matters little. The
tables go into docs/explanation/scale.md.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .data import bench_folder
from .measure import JobFailedError, Run, measure

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "scale.md"
_JOB = Path(__file__).parent / "jobs" / "scale_job.py"
#: Seconds after which a run is taken to hang.
_LIMIT = 6 * 3600.0
_STAGES = ("segment", "stitch", "objects", "relabel")


@dataclass(frozen=True, slots=True)
class Case:
    """A row: the volume, its blocks, and what is drawn.

    Parameters
    ----------
    key, table
        Name of the row, and the table that it is in.
    shape, block, context
        Voxels.
    period, size
        Voxels from cube to cube, and of a cube.
    joined
        Whether there is also one object in all blocks.
    resumed
        Whether the run is killed when all blocks are segmented, and done again.
    apart
        Whether it is also done by worker processes, to see what each of them and
        the driver need.
    """

    key: str
    table: str
    shape: tuple[int, int, int]
    block: int
    context: int = 4
    period: int = 19
    size: int = 8
    joined: bool = False
    resumed: bool = False
    apart: bool = False

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        sizes = [-(-n // self.block) for n in self.shape]
        return sizes[0] * sizes[1] * sizes[2]


_SHAPES = {"1e3": (160, 160, 160), "1e4": (320, 400, 320), "1e5": (640, 800, 800)}
_EDGES = {"1e4": 108, "1e5": 232, "1e6": 500, "1e7": 1077}
CASES = (
    *(Case(f"blocks_{n}", "blocks", shape, 16) for n, shape in _SHAPES.items()),
    *(Case(f"joined_{n}", "blocks", s, 16, joined=True) for n, s in _SHAPES.items()),
    Case("resumed_1e4", "blocks", _SHAPES["1e4"], 16, resumed=True),
    Case("resumed_1e5", "blocks", _SHAPES["1e5"], 16, resumed=True),
    Case("large_1280", "blocks", (1280,) * 3, 128, 16, 40, 25, apart=True),
    *(
        Case(f"objects_{n}", "objects", (e,) * 3, 128, 4, 5, 3, apart=True)
        for n, e in _EDGES.items()
    ),
)
_HEADS = {
    "blocks": "| row | blocks | voxels | objects | segment | stitch | objects | relabel | all "
    "| largest process | files |\n|---|---|---|---|---|---|---|---|---|---|---|",
    "objects": "| row | objects | blocks | stitch | objects | both | largest process |\n"
    "|---|---|---|---|---|---|---|",
}


def job(what: str, **options: Any) -> Run:
    """Run a part of the work as a process."""
    return measure([sys.executable, str(_JOB), what, json.dumps(options)], limit=_LIMIT)


def row(case: Case, workers: int, folder: Path) -> str:
    """Measure a case."""
    raw, out = folder / "raw.zarr", folder / "out.zarr"
    job("draw", path=str(raw), shape=case.shape, period=case.period, size=case.size,
        joined=case.joined)  # fmt: skip
    how: dict[str, Any] = {
        "raw": str(raw), "block": case.block, "context": case.context, "workers": workers,
    }  # fmt: skip
    name = case.key
    if case.resumed:
        job("run", out=str(folder / "whole.zarr"), **how)
        try:
            job("run", out=str(out), stop=case.blocks, **how)
        except JobFailedError as err:
            if err.code != -signal.SIGKILL:
                raise
    done = job("run", out=str(out), **how)
    peak = f"{max(done.first, done.others) / 1e6:.0f} MB"
    if case.apart:
        two = job("run", out=str(folder / "apart.zarr"), processes=True, **how)
        peak += f"; driver {two.first / 1e6:.0f} MB, worker {two.others / 1e6:.0f} MB"
    if case.resumed:
        equal = job("same", one=str(out), two=str(folder / "whole.zarr")).said["equal"]
        name += " (the same result)" if equal else " (NOT the same result)"
    return _line(case, done, name, peak)


def _line(case: Case, done: Run, name: str, peak: str) -> str:
    said: Mapping[str, Any] = done.said
    objects, stages = int(said["objects"]), said["stages"]
    if case.table == "objects":
        each = [1e6 * stages[name] / objects for name in ("stitch", "objects")]
        times = " | ".join(f"{one:.2f}" for one in (*each, sum(each)))
        return f"| {name} | {objects} | {case.blocks} | {times} | {peak} |"
    each = [1e3 * stages.get(name, 0) / case.blocks for name in _STAGES]
    times = " | ".join(f"{one:.2f}" for one in (*each, 1e3 * (done.cpu or 0) / case.blocks))
    voxels = f"{case.shape[0] * case.shape[1] * case.shape[2] / 1e6:.0f} M"
    return (
        f"| {name} | {case.blocks} | {voxels} | {objects} | {times} | {peak} | {said['files']} |"
    )


def rows(cases: list[Case], workers: int) -> Iterator[tuple[Case, str]]:
    """Yield the lines of the tables as they are measured."""
    root = bench_folder()
    root.mkdir(parents=True, exist_ok=True)
    for case in cases:
        folder = Path(tempfile.mkdtemp(dir=root))
        try:
            yield case, row(case, workers, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def keep(case: Case, line: str) -> None:
    """Put a line into its table of the page, in place of the one before."""
    text = PAGE.read_text("utf-8")
    begin, end = f"<!-- begin {case.table} -->", f"<!-- end {case.table} -->"
    found = re.search(f"{begin}(.*?){end}", text, flags=re.S)
    assert found, f"{PAGE} has no {begin}"
    order = [one.key for one in CASES]
    lines = {one.split()[1]: one for one in found[1].splitlines() if one.split()[1:2]}
    known = {key: one for key, one in lines.items() if key in order}
    known[case.key] = line
    table = [_HEADS[case.table], *(known[key] for key in order if key in known)]
    text = text.replace(found[0], "\n".join([begin, *table, end]))
    PAGE.write_text(text, "utf-8", newline="\n")


def main() -> None:
    """Measure; each line is written into the page as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--rows", action="append", metavar="NAME", help="only these rows; * fits")
    parser.add_argument("--workers", type=int, default=2, help="threads or processes (2)")
    parser.add_argument("--list", action="store_true", help="show the names of all rows")
    asked = parser.parse_args()
    chosen = [
        case for case in CASES
        if not asked.rows or any(fnmatch(case.key, name) for name in asked.rows)
    ]  # fmt: skip
    if asked.list:
        print(*(case.key for case in chosen), sep="\n")
        return
    for case, line in rows(chosen, asked.workers):
        print(line, flush=True)
        keep(case, line)


if __name__ == "__main__":
    main()
