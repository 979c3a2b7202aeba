"""Run a worker file, or a segmentation function, over all blocks of a region."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ..run.journal import Journal
from ..run.progress import Listener
from .blockwise_task import DaCapoBlockwiseTask
from .places import Here, find_place
from .run_blocks import refuse_limits
from .task_account import RunTask
from .task_result import BlockwiseResult
from .task_run import run_tasks

__all__ = ["run_blockwise"]


def run_blockwise(
    worker_file: str | Path,
    total_roi: Any,
    read_roi: Any,
    write_roi: Any,
    num_workers: int = 16,
    max_retries: int = 1,
    timeout: float | None = None,
    upstream_tasks: Sequence[Any] | None = None,
    *args: Any,
    cluster: Any = None,
    host: str | None = None,
    journal: str | Path | None = None,
    on_change: Literal["refuse", "recompute"] = "refuse",
    on_event: Listener | None = None,
    logs: str | Path | None = None,
    **kwargs: Any,
) -> BlockwiseResult:
    """Run a worker file in parallel over all blocks of a region.

    Parameters
    ----------
    worker_file
        Python file with ``spawn_worker``; see `DaCapoBlockwiseTask`.
    total_roi
        All that is processed, with context, in world units.
    read_roi, write_roi
        What a block reads and writes; shifted over `total_roi`.
    num_workers
        Number of workers; 0 to do all in this process, which is then the one
        to debug.
    max_retries
        How often a block is tried again, be it that it failed, that
        ``check_function`` says so afterwards, or that its worker was lost.
    timeout
        Seconds that a block may take; its worker is killed then. No limit if
        None, as it must be with ``num_workers=0``, where nobody could be
        killed.
    upstream_tasks
        Tasks whose blocks must be done before those here that read there.
        They are run as well.
    *args, **kwargs
        Given to ``spawn_worker``.
    cluster, host
        Where workers are; see `places.find_place`. Daisy knows no passwords:
        with a host other than this machine's own, anyone who can reach it can
        take part in the run.
    journal
        File in which each block's fate is written. Blocks that it tells as
        done are skipped, if ``check_function`` agrees; others are not asked
        about beforehand.
    on_change
        Whether to refuse a journal of another worker file, of other
        parameters or another geometry, or to do all blocks again.
    on_event
        Is told what happens.
    logs
        Folder for what workers print; beside the journal if None, else a
        temporary one. It is removed if all goes well.

    Returns
    -------
    BlockwiseResult
        True only if every voxel was processed: no block failed, and with
        ``fit = "valid"`` none was left over. It names those that were not.

    Raises
    ------
    FingerprintChangedError
        If the journal is of something else.
    UsageError
        If the regions, the file or the place make no sense.

    Notes
    -----
    Workers may be programs of their own that ask daisy for blocks, as in a
    ``start_worker`` that is run by a command. What becomes of their blocks is
    known at the end, from daisy and from what they print.

    Daisy itself writes a warning to the standard error of this process when a
    worker is lost; it has no switch for it.
    """
    task = DaCapoBlockwiseTask(
        worker_file,
        total_roi,
        read_roi,
        write_roi,
        num_workers,
        max_retries,
        timeout,
        upstream_tasks,
        *args,
        **kwargs,
    )
    with contextlib.ExitStack() as stack:
        place = find_place(num_workers, cluster, host)
        stack.callback(place.close)
        if isinstance(place, Here):
            refuse_limits(timeout)
        book = None
        if journal is not None:
            book = stack.enter_context(Journal(journal))
            book.begin(_fingerprint(task.run), on_change=on_change)
        return run_tasks(
            [task.run],
            place=place,
            journal=book,
            on_event=on_event,
            logs=None if logs is None else Path(logs),
        )


def _fingerprint(run: RunTask) -> dict[str, Any]:
    """Return what the blocks of a task and of those upstream are made from."""
    task = run.task
    rois = ("total_roi", "read_roi", "write_roi")
    told: dict[str, Any] = {
        **run.source,
        "geometry": {name: str(getattr(task, name)) for name in rois} | {"fit": task.fit},
    }
    for other in run.upstream:
        told[f"upstream {other.name.rpartition('-')[0] or other.name}"] = _fingerprint(other)
    return told
