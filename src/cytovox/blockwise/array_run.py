"""Make one array from another, block by block: thresholds, argmax, predictions, other labels."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..read.open_volume import open_volume
from ..read.permissions import Permissions, default_permissions
from ..read.volume import Volume
from ..run.fingerprint import plain
from ..run.journal import BlockKey, Journal
from ..run.progress import Listener
from ..write.volume_creation import create_volume
from .block_result import RunResult
from .checks import is_as_written, refuse_changed_input
from .grid import Block, Grid
from .kept_open import close_kept
from .published import as_told, is_as_published, refuse_damaged, take_back
from .recipe import fitting_sizes, side_folder
from .volume_result import Placement, VolumeResult, publish, refuse_stranger
from .worker_file import ArrayWork

__all__ = ["run_array_work"]


def run_array_work(
    make: Callable[..., ArrayWork],
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    block: Sequence[int] | int,
    context: Sequence[int] | int = 0,
    format: str = "ome-zarr-0.5",
    resume: bool = True,
    verify: bool = False,
    force: bool = False,
    placement: Placement | None = None,
    on_event: Listener | None = None,
    permissions: Permissions | None = None,
    **options: Any,
) -> VolumeResult:
    """Make an array from another one."""
    begin = time.perf_counter()
    folder = side_folder(output)
    target = Path(os.fspath(output).removeprefix("file://")).absolute()
    refuse_stranger(target, folder)
    making = folder / "making" / target.name
    place = placement or Placement()
    may = default_permissions() if permissions is None else permissions
    with contextlib.ExitStack() as stack:
        volume = stack.enter_context(open_volume(input, permissions=may))
        ndim = len(volume.spatial_shape)
        size = fitting_sizes("block", block, ndim)
        grid = Grid(volume.spatial_shape, size, fitting_sizes("context", context, ndim))
        if not len(grid):
            raise UsageError("the volume has no voxel", path=volume.url)
        work = make(input=volume.url, output=str(making), permissions=may, **options)
        work = work.prepared(volume, local=place.cluster is None)
        journal = stack.enter_context(Journal(folder / "journal.jsonl"))
        journal.begin(
            _fingerprint(work, volume, grid, format),
            on_change="refuse" if resume else "recompute",
            resume=resume,
        )
        before = len(journal.completed("blocks"))
        if target.exists() and not making.exists() and before == len(grid):
            same = as_told(grid, journal.records("blocks"))
            boxes = [block.write for block in grid]
            if is_as_published(target, journal, boxes, same, thorough=verify):
                return VolumeResult(str(output), blocks=len(grid))
            refuse_damaged(target, on_event, force=force)
            like = work.output_like(volume)
            take_back(target, making, (*like["channels"], *volume.spatial_shape), like["dtype"])
        if not making.exists() or not before:
            journal.forget("blocks")
            shutil.rmtree(making, ignore_errors=True)  # perhaps it was made in part only
            _create(making, volume, size, format, work.output_like(volume))
        try:
            done = _do(work, volume, grid, journal, place, on_event=on_event, logs=folder / "logs")
        finally:
            close_kept()
        if done:
            publish(making, target, folder / "replaced", journal)
            journal.note("finished", output=str(target))
    return VolumeResult(
        str(output) if done else None,
        blocks=len(grid),
        failed=done.failed,
        untried=done.untried,
        seconds=time.perf_counter() - begin,
    )


def _do(
    work: ArrayWork, volume: Volume, grid: Grid, journal: Journal, place: Placement, **more: Any
) -> RunResult:
    """Do the blocks that are not done, or not as they were written any more."""
    kept: set[BlockKey] = set()
    records = journal.records("blocks")
    before = volume.stamp()
    with open_volume(work.output) as made:

        def is_done(block: Block) -> bool:
            if found := is_as_written(made, block, records[block.index].result):
                kept.add(block.index)
            return found

        done = place.run(grid, work, "blocks", journal=journal, check=is_done, **more)
    if done.done:

        def again() -> Volume:
            return open_volume(work.input, permissions=work.permissions)

        refuse_changed_input(before, again, journal, "blocks", kept)
    return done


def _fingerprint(work: ArrayWork, volume: Volume, grid: Grid, format: str) -> dict[str, Any]:
    options = asdict(work) if is_dataclass(work) else {}
    told = {n: v for n, v in options.items() if n not in ("input", "output", "permissions")}
    return {
        "input": volume.fingerprint(),
        "work": type(work).__name__,
        "options": plain(told),
        "geometry": {"block": list(grid.block), "context": list(grid.context), "format": format},
    }


def _create(
    path: Path, volume: Volume, block: tuple[int, ...], format: str, like: dict[str, Any]
) -> None:
    channels = tuple(like["channels"])
    create_volume(
        path,
        shape=(*channels, *volume.spatial_shape),
        dtype=like["dtype"],
        axes=(*("c",) * len(channels), *volume.axes[-len(block) :]),
        voxel_size=volume.voxel_size,
        units=volume.units,
        offset=volume.offset,
        block=block,
        format=format,
    ).close()
