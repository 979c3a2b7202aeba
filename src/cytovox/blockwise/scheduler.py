"""Run a worker file, or a segmentation function, over all blocks of a region."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..run.cluster import check_placement
from ..run.journal import Journal
from ..run.progress import Listener
from ..run.unit_worker import UnitLimits
from .blockwise_task import DaCapoBlockwiseTask
from .task_result import BlockwiseResult
from .task_run import RunTask, run_tasks
from .volume_result import Placement

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
    resources: Mapping[str, float] | None = None,
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
        Where workers are; see the how-to page of volumes elsewhere.
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
    resources
        What there is for tasks that require something, as ``{"gpu": 2}``: so
        much may be in use at once. On Dask, its workers know what they have.

    Returns
    -------
    BlockwiseResult
        True only if every block is done. It names those that are not, and
        what no block covers with ``fit = "valid"``.

    Raises
    ------
    FingerprintChangedError
        If the journal is of something else.
    UsageError
        If the regions, the file or the place make no sense.

    Notes
    -----
    Workers may be programs of their own that ask a `daisy.Client` for blocks, as
    in a ``start_worker`` that is run by a command. They get the blocks of the
    worker that has started them, on the same machine.
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
    check_placement(num_workers, cluster, UnitLimits(timeout))
    with contextlib.ExitStack() as stack:
        book = None
        if journal is not None:
            book = stack.enter_context(Journal(journal))
            book.begin(_fingerprint(task.run), on_change=on_change)
        return run_tasks(
            task.run,
            placement=Placement(num_workers, cluster, host),
            journal=book,
            on_event=on_event,
            logs=None if logs is None else Path(logs),
            resources=resources,
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
