"""``python -m benchmarks``: measure and write the tables of README.md."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import batch, live, packing, recordings, stages, startup, volumes
from .data import bench_folder
from .machine import conditions, load
from .plan import Plan
from .results import merge, render, show

_HERE = Path(__file__).parent
#: Used cores from which on another process seems to be at work.
_BUSY = 0.3

Rows = Iterator[tuple[str, dict[str, Any]]]
#: Rows and their names of each group, and the packages whose versions matter.
GROUPS: dict[str, tuple[Callable[[Plan], Rows], Callable[[bool], list[str]], tuple[str, ...]]] = {
    "recordings": (recordings.rows, recordings.keys, ("dcnum", "numpy", "numba", "h5py")),
    "stages": (
        stages.rows,
        stages.keys,
        ("dcnum", "mahotas", "scipy", "opencv-python-headless", "numpy", "numba", "zstandard"),
    ),
    "packing": (packing.rows, packing.keys, ("zstandard",)),
    "startup": (startup.rows, startup.keys, ("dcnum", "numpy", "numba", "h5py", "click")),
    "batch": (batch.rows, batch.keys, ("numpy", "numba", "h5py")),
    "live": (live.rows, live.keys, ("numpy", "numba", "h5py", "zstandard")),
    "volumes": (
        volumes.rows,
        volumes.keys,
        ("daisy", "dask", "dask-image", "connected-components-3d", "scipy", "zarr", "tensorstore"),
    ),
}


def main() -> None:
    """Measure what was asked for; each row is written as soon as it is there."""
    asked = _parse()
    plan = Plan(
        runs=1 if asked.quick else asked.runs,
        quick=asked.quick,
        patterns=tuple(asked.rows or ()),
        peers=not asked.no_peers,
    )
    others = load()
    busy = f" (busy: others used {others:.1f} cores at the start)" if others > _BUSY else ""
    if busy and not asked.quick:
        print(f"The numbers will not be good{busy}.")
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    results = bench_folder() / "quick.json" if asked.quick else _HERE / "results.json"
    for group in asked.only or list(GROUPS):
        rows, keys, packages = GROUPS[group]
        told = conditions(packages, command) + busy
        for key, row in rows(plan):
            print(f"{group} {key}\n{render([row], [''])}", flush=True)
            _save(results, group, key, row, told, quick=asked.quick)
    if asked.quick:
        print(f"Only tried; the numbers are in {results} and mean nothing.")


def _save(
    results: Path, group: str, key: str, row: dict[str, Any], told: str, *, quick: bool
) -> None:
    merged = merge(results, group, {key: row}, told)
    if not quick:
        order = {name: keys(False) for name, (_, keys, _) in GROUPS.items()}
        show(_HERE / "README.md", merged, order)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="only this group")
    parser.add_argument("--rows", action="append", metavar="NAME", help="only these rows; * fits")
    parser.add_argument("--runs", type=int, default=5, help="runs of each program (5)")
    parser.add_argument("--quick", action="store_true", help="only try, on little data")
    parser.add_argument("--no-peers", action="store_true", help="only cytovox")
    parser.add_argument("--list", action="store_true", help="show the names of all rows")
    asked = parser.parse_args()
    if asked.list:
        for group in asked.only or list(GROUPS):
            print(*(f"{group} {key}" for key in GROUPS[group][1](asked.quick)), sep="\n")
        parser.exit()
    return asked


if __name__ == "__main__":
    os.chdir(_HERE.parent)
    main()
