"""A daisy task whose workers are told by a Python file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..read.permissions import Permissions
from ..run.fingerprint import plain
from .daisy_client import lend_client
from .daisy_order import Task, time_limit, upstream_of
from .loading import load_file
from .pickling import Made
from .task_run import RunTask
from .task_work import AloneLoop, Check, TaskWork

__all__ = ["DaCapoBlockwiseTask", "run_task_of"]

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
        sent = Made(spawn_worker, *args, **kwargs)
        before, after = _pair(getattr(module, "check_function", None), worker_file)
        # what may be read decides on no result
        known = {n: v for n, v in kwargs.items() if not isinstance(v, Permissions)}
        told = [[str(roi) for roi in (total_roi, read_roi, write_roi)], args, known]
        digest = hashlib.sha256(json.dumps(plain(told), sort_keys=True).encode()).hexdigest()
        upstream = list(upstream_tasks or ())
        name = f"{Path(worker_file).stem}-{digest[:_DIGITS]}"
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
            upstream_tasks=upstream,
        )
        task.run = RunTask(
            task,
            task_work,
            check_before=before,
            init_callback=getattr(module, "init_callback_fn", None),
            upstream=[run_task_of(other) for other in upstream],
        )
        task.run.source = {
            "function": plain(spawn_worker),
            "parameters": {"args": plain(args), **plain(known)},
        }
        made: DaCapoBlockwiseTask = task
        return made


def run_task_of(task: Any) -> RunTask:
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
        upstream=[run_task_of(other) for other in upstream_of(task)],
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
