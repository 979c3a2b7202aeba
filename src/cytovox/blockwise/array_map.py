"""Make a volume from a volume, block by block: thresholds, predictions and the like."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import OutputExistsError
from ..read.open_volume import open_volume
from ..run.fingerprint import describe_function, plain
from ..run.journal import Journal
from ..run.progress import Listener
from ..write.volume import create_volume
from .grid import Grid
from .recipe import side_folder
from .run_blocks import RunResult, run_blocks
from .worker_file import ArrayWork

__all__ = ["map_volume"]


def map_volume(
    work: ArrayWork,
    *,
    block: Sequence[int] | int,
    context: Sequence[int] | int = 0,
    format: str = "ome-zarr-0.5",
    resume: bool = True,
    workers: int | None = None,
    cluster: Any = None,
    host: str | None = None,
    timeout: float | None = None,
    retries: int = 2,
    memory: int | None = None,
    on_event: Listener | None = None,
) -> RunResult:
    """Do a work on all blocks of its input, and make its output.

    Parameters
    ----------
    work
        For example a `threshold_worker.ThresholdWork`.
    block, context
        Voxels that a block writes, and that it reads beyond on either side,
        along each axis of space.
    format
        Format of the output, see `cytovox.write.volume.FORMATS`.
    resume
        Whether to go on where the same work was stopped; all is done again
        otherwise.
    workers, cluster, host, timeout, retries, memory, on_event
        See `cytovox.blockwise.run_blocks.run_blocks`.

    Returns
    -------
    RunResult
        True only if each block was done; the same call does only those that
        were not.

    Raises
    ------
    FingerprintChangedError
        If the output was begun with another input, work or geometry.
    OutputExistsError
        If there is an output that was not made so.

    Examples
    --------
    >>> import numpy as np
    >>> from cytovox.blockwise.threshold_worker import ThresholdWork
    >>> folder = getfixture("tmp_path")
    >>> np.save(folder / "a.npy", np.arange(24).reshape(2, 3, 4))
    >>> work = ThresholdWork(input=f"{folder}/a.npy", output=f"{folder}/b.zarr", threshold=20)
    >>> bool(map_volume(work, block=16, workers=0))
    True
    >>> with open_volume(work.output) as made:
    ...     made.read(((1, 2), (2, 3), (0, 4))).ravel().tolist()
    [0, 1, 1, 1]
    """
    folder, output = side_folder(work.output), Path(work.output).absolute()
    if output.exists() and not (folder / "journal.jsonl").is_file():
        raise OutputExistsError(
            "the output exists and was not made here", path=output, hint="choose another name"
        )
    with open_volume(work.input) as volume, Journal(folder / "journal.jsonl") as journal:
        shape = volume.spatial_shape
        grid = Grid(shape, _for_axes(block, shape), _for_axes(context, shape))
        given = {k: v for k, v in dataclasses.asdict(work).items() if k not in ("input", "output")}
        journal.begin(
            {
                "input": volume.fingerprint(),
                "function": describe_function(type(work)),
                "parameters": plain(given),
                "geometry": {"block": grid.block, "context": grid.context, "format": format},
            },
            on_change="refuse" if resume else "recompute",
            resume=resume,
        )
        if not journal.completed("map") and output.exists():
            shutil.rmtree(output)
        if not output.exists():
            journal.forget("map")
            like = work.output_like(volume)
            create_volume(
                output,
                shape=(*like["channels"], *shape),
                dtype=like["dtype"],
                voxel_size=volume.voxel_size,
                units=volume.units,
                offset=volume.offset,
                block=grid.block,
                format=format,
            ).close()
        return run_blocks(
            grid,
            work,
            stage="map",
            journal=journal,
            workers=workers,
            cluster=cluster,
            host=host,
            timeout=timeout,
            retries=retries,
            memory=memory,
            on_event=on_event,
        )


def _for_axes(size: Sequence[int] | int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (size,) * len(shape) if isinstance(size, int) else tuple(size)
