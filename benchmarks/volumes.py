"""Volumes: what a block costs, exact components, stitching, and how cost grows."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .data import mask_volume
from .measure import Job, alternate
from .plan import Plan
from .results import OURS, as_row

__all__ = ["keys", "rows"]

_SCRIPT = Path(__file__).parent / "jobs" / "volume_job.py"


@dataclass(frozen=True, slots=True)
class Case:
    """A row: what is done, by whom, and with which options."""

    key: str
    text: str
    work: str
    peers: tuple[str, ...]
    amount: tuple[float, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Edge of the volume that it needs and of its blocks; 0 if none.
    volume: tuple[int, int] = (0, 0)


def _blocks(number: int, workers: int) -> Case:
    return Case(
        f"blocks_{number}_{workers}",
        f"{number} blocks that do nothing, {workers} workers",
        "blocks",
        ("daisy", "dask"),
        (number, "blocks"),
        {"blocks": number, "workers": workers},
    )


def _components(size: int, block: int, workers: int, peers: tuple[str, ...]) -> Case:
    number = (size // block) ** 3
    return Case(
        f"components_{size}_{block}_{workers}",
        f"components of {size}³ in {number} blocks, {workers} workers, Zarr to Zarr",
        "components",
        peers,
        (size**3 / 1e6, "Mvoxel"),
        {"block": block, "workers": workers},
        (size, block),
    )


def _label(size: int, chunk: int) -> Case:
    return Case(
        f"label_{size}",
        f"components of {size}³ in memory",
        "label",
        ("cc3d", "scipy"),
        (size**3 / 1e6, "Mvoxel"),
        {},
        (size, chunk),
    )


def _union(number: int) -> Case:
    return Case(
        f"union_{number}",
        f"union-find of {number} nodes and edges, renumbered",
        "union",
        ("scipy",),
        (number / 1e6, "million edges"),
        {"number": number},
    )


def _relabel(size: int, number: int) -> Case:
    return Case(
        f"relabel_{size}",
        f"relabel {size}³ by a list of {number}",
        "relabel",
        ("numpy",),
        (size**3 / 1e6, "Mvoxel"),
        {"size": size, "number": number},
    )


_DASK, _MEMORY = ("dask_image",), ("cc3d", "scipy")
CASES = (
    _blocks(1000, 2),
    _blocks(10_000, 2),
    _blocks(10_000, 0),
    _components(256, 64, 2, (*_DASK, *_MEMORY)),
    _components(512, 128, 2, _MEMORY),
    # how cost grows with the volume, and with the workers
    _components(128, 64, 2, ()),
    _components(256, 64, 0, ()),
    _components(256, 64, 1, ()),
    _components(256, 64, 4, ()),
    _components(512, 64, 2, ()),
    _label(256, 64),
    _label(512, 128),
    _union(10**6),
    _union(10**7),
    _relabel(256, 10**6),
)
QUICK = (
    _blocks(50, 2),
    _blocks(50, 0),
    _components(48, 16, 2, (*_DASK, *_MEMORY)),
    _label(48, 16),
    _union(1000),
    _relabel(48, 1000),
)


def keys(quick: bool) -> list[str]:
    """Return the names of all rows in order."""
    return [case.key for case in (QUICK if quick else CASES)]


def rows(plan: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure the cases, one row each; leave out those that cannot be done yet."""
    for case in QUICK if plan.quick else CASES:
        if not plan.wants(case.key):
            continue
        options = dict(case.options)
        if case.volume[0]:
            options["path"] = str(mask_volume(*case.volume))
        peers = case.peers if case.options.get("workers", 1) else ()
        jobs = plan.chosen([_job(case, name, options) for name in (OURS, *peers)])
        if case.work == "components":
            alternate(jobs[:1], 1)  # compiles
        sides = alternate(jobs, plan.runs)
        if sides[OURS].missing:
            print(f"volumes {case.key}: {sides[OURS].failure}", flush=True)
            continue
        present = {name: side for name, side in sides.items() if not side.missing}
        yield case.key, as_row(case.text, present, amount=case.amount, result="result")


def _job(case: Case, name: str, options: Mapping[str, Any]) -> Job:
    def command(folder: Path) -> list[str]:
        given = dict(options)
        if case.work == "components":
            given["out"] = str(folder / "labels.zarr")
        return [sys.executable, str(_SCRIPT), case.work, name, json.dumps(given)]

    # Components are timed from array to array, without importing what does it;
    # that is what a longer program sees.
    return Job(name, command, inner=True, limit=900)
