"""Make one array from another, block by block: thresholds, argmax, predictions, other labels."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from ..errors import UsageError
from ..read.open_volume import open_volume
from ..read.permissions import Permissions, default_permissions
from ..read.volume import Volume
from ..run.fingerprint import plain
from ..run.progress import Listener
from ..write.volume_creation import create_volume
from .block_result import RunResult, VolumeResult
from .block_run import BlockRun, Check, Layout
from .grid import Grid
from .placement import Placement
from .recipe import fitting_sizes
from .worker_file import ArrayWork

__all__ = ["run_array_work"]


def run_array_work(
    make: Callable[..., ArrayWork],
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    block: Sequence[int] | int | None = None,
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
    place = placement or Placement()
    run = BlockRun(output, place, on_event, verify=verify, force=force, making="making")
    run.stamps.append(0)  # which is that of what an array is made from and into
    run.refuse_stranger()
    may = default_permissions() if permissions is None else permissions
    with open_volume(input, permissions=may) as volume:
        ndim = len(volume.spatial_shape)
        size = fitting_sizes("block", block, ndim)
        grid = Grid(volume.spatial_shape, size, fitting_sizes("context", context, ndim))
        if not len(grid):
            raise UsageError("the volume has no voxel", path=volume.url)
        work = make(input=volume.url, output=str(run.making), permissions=may, **options)
        work = work.prepared(volume, local=place.cluster is None)
        with run.working():
            run.begin(_fingerprint(work, volume, grid, format), resume)
            done = _made(run, work, volume, grid, format)
            if done is None:
                return VolumeResult(str(output), blocks=len(grid))
            if done:
                run.publish()
                run.journal.note("finished", output=str(run.output))
    return VolumeResult(
        str(output) if done else None,
        blocks=len(grid),
        failed=done.failed,
        untried=done.untried,
        seconds=time.perf_counter() - begin,
    )


def _made(
    run: BlockRun, work: ArrayWork, volume: Volume, grid: Grid, format: str
) -> RunResult | None:
    """Do the blocks that are not done, or not as they were written any more."""
    like = work.output_like(volume)
    channels = tuple(like["channels"])
    layout = Layout.of(
        volume,
        grid.block,
        shape=(*channels, *volume.spatial_shape),
        axes=(*("c",) * len(channels), *volume.axes[-grid.ndim :]),
        create=create_volume,
    )

    def do(is_done: Check) -> RunResult:
        return run.reading(
            volume,
            lambda: open_volume(work.input, permissions=work.permissions),
            "blocks",
            lambda check: run.do(grid, work, "blocks", check=check),
            is_done,
        )

    return run.make("blocks", grid, layout, like["dtype"], format, do)


def _fingerprint(work: ArrayWork, volume: Volume, grid: Grid, format: str) -> dict[str, Any]:
    options = asdict(work) if is_dataclass(work) else {}
    told = {n: v for n, v in options.items() if n not in ("input", "output", "permissions")}
    return {
        "input": volume.fingerprint(),
        "work": type(work).__name__,
        "options": plain(told),
        "geometry": {"block": list(grid.block), "context": list(grid.context), "format": format},
    }
