"""A daisy task whose workers are told by a Python file, and how it is run."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..read.permissions import Permissions
from ..run.cluster import check_placement
from ..run.fingerprint import plain
from ..run.journal import Journal
from ..run.progress import Listener
from ..run.unit_worker import UnitLimits
from .daisy_client import lend_client
from .daisy_order import Task, time_limit, upstream_of
from .pickling import Made
from .placement import Placement
from .task_result import BlockwiseResult
from .task_run import RunTask, run_tasks
from .task_work import AloneLoop, Check, TaskWork
from .worker_file import load_file

__all__ = ["DaCapoBlockwiseTask", "run_blockwise"]

_DIGITS = 8


class DaCapoBlockwiseTask(Task):
    """A task that runs a worker file over all blocks of a region.

    The file defines ``spawn_worker(*args, **kwargs)``, which returns a
    function without parameters: what each worker runs. It is called here, and
    again in each worker, which loads the file itself. The function acquires
    blocks of a `daisy.Client` until there are no more, in its own process or
    in one that it starts (by convention with the file's ``start_worker``). It
    may also be a function of one block. The file may further define

    - ``read_write_conflict``: whether blocks that overlap must not run at the
      same time (True if it says nothing);
    - ``fit``: ``"valid"`` (the default), ``"overhang"`` or ``"shrink"``;
    - ``check_function(block)``: whether a block is done. It is asked before,
      so that the block is skipped, and after, so that it is tried again. A
      pair of functions is asked (before, after), either of them may be None;
    - ``init_callback_fn(context)``: called once in this process when the task
      starts, with a context of daisy that names the task. There is no server.

    A block that raises is failed and tried again, but not after a `UsageError`,
    which would come again; its worker goes on. If blocks from all over the region
    fail and none works, no more are tried.

    Parameters
    ----------
    worker_file
        The Python file.
    total_roi
        All that is processed, with context, in world units.
    read_roi, write_roi
        What a block reads and writes; shifted over `total_roi`.
    num_workers
        Number of worker processes.
    max_retries
        How often a block is tried again.
    timeout
        Seconds that a block may take; its worker is killed then. No limit if
        None.
    upstream_tasks
        Tasks whose blocks must be done before those here that read there.
    *args, **kwargs
        Given to ``spawn_worker``.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    UsageError
        If it cannot be loaded, or lacks ``spawn_worker``.

    Examples
    --------
    >>> import tempfile
    >>> from funlib.geometry import Roi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "nothing.py"
    ...     _ = file.write_text("def spawn_worker(): return lambda block: None")
    ...     block = Roi((0, 0), (5, 5))
    ...     task = DaCapoBlockwiseTask(file, Roi((0, 0), (10, 10)), block, block)
    >>> task.fit, task.max_workers
    ('valid', 16)
    """

    run: RunTask

    def __new__(
        cls,
        worker_file: str | Path,
        total_roi: Any,
        read_roi: Any,
        write_roi: Any,
        num_workers: int = 16,
        max_retries: int = 2,
        timeout: float | None = None,
        upstream_tasks: Sequence[Any] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> DaCapoBlockwiseTask:
        """Load the file and make the task; daisy's are made, not initialised."""
        module = load_file(worker_file)
        lend_client(module)
        spawn_worker = getattr(module, "spawn_worker", None)
        if not callable(spawn_worker):
            raise UsageError("this file has no function spawn_worker", path=worker_file)
        work = spawn_worker(*args, **kwargs)
        if not callable(work):
            raise UsageError(
                "spawn_worker has returned nothing that can be called", path=worker_file
            )
        before, after = _pair(getattr(module, "check_function", None), worker_file)
        # what may be read decides on no result
        known = {n: v for n, v in kwargs.items() if not isinstance(v, Permissions)}
        told = [[str(roi) for roi in (total_roi, read_roi, write_roi)], args, known]
        digest = hashlib.sha256(json.dumps(plain(told), sort_keys=True).encode()).hexdigest()
        name = f"{Path(worker_file).stem}-{digest[:_DIGITS]}"
        sent = Made(spawn_worker, *args, **kwargs)
        task_work = TaskWork(work, after, sent, name, timeout)
        task: Any = super().__new__(
            cls,
            name,
            total_roi=total_roi,
            read_roi=read_roi,
            write_roi=write_roi,
            process_function=AloneLoop(task_work),
            check_function=before,
            read_write_conflict=bool(getattr(module, "read_write_conflict", True)),
            fit=getattr(module, "fit", "valid"),
            max_workers=max(1, num_workers),
            max_retries=max_retries,
            timeout=timeout,
            upstream_tasks=list(upstream_tasks or ()),
        )
        task.run = RunTask(
            task,
            task_work,
            before,
            getattr(module, "init_callback_fn", None),
            [_run_task_of(other) for other in upstream_tasks or ()],
            {"function": plain(spawn_worker), "parameters": {"args": plain(args), **plain(known)}},
        )
        made: DaCapoBlockwiseTask = task
        return made


def _run_task_of(task: Any) -> RunTask:
    """Return what this package does with a daisy task, its own or a plain one."""
    if isinstance(task, DaCapoBlockwiseTask):
        return task.run
    if not hasattr(task, "task_id"):
        raise UsageError(f"a {type(task).__name__} is not a task", hint="give daisy tasks")
    if task.process_function is None:
        raise UsageError(f"task '{task.task_id}' has nothing to do")
    check = task.check_function
    return RunTask(
        task,
        TaskWork(task.process_function, check, None, task.task_id, time_limit(task)),
        check_before=check,
        upstream=[_run_task_of(other) for other in upstream_of(task)],
    )


def _pair(check: Any, file: str | Path) -> tuple[Check | None, Check | None]:
    if check is None or callable(check):
        return check, check
    if isinstance(check, (tuple, list)) and len(check) == 2:
        before, after = check
        if all(one is None or callable(one) for one in check):
            return before, after
    raise UsageError(
        "check_function is neither a function nor a pair of functions (before, after)",
        path=file,
    )


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
