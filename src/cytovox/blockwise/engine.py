"""The one module that knows daisy: tasks, its server, and its client in workers.

Daisy decides which block may be done when: it knows about blocks that need
each other's results and about tasks that feed each other. What it does by
default and should not is set right here: it listens on this machine only, has
time limits and a number of restarts that are asked for, keeps no files in the
current folder, prints nothing, and a block that raises does not end its worker.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import daisy
import numpy as np
from daisy import logging as daisy_logging
from daisy import v2
from funlib.geometry import Coordinate, Roi

from ..errors import StageError, UsageError

__all__ = [
    "NO_LIMIT",
    "BlockStatus",
    "Guard",
    "GuardedClient",
    "Task",
    "block_at",
    "clone",
    "context_from",
    "far_blocks",
    "guarded",
    "loop_over_blocks",
    "pipeline_of",
    "positional_arity",
    "run_here",
    "run_server",
    "set_context",
    "shared_context",
    "upstream_of",
]

BlockStatus: Any = v2.BlockStatus
#: Seconds that stand for "no time limit": daisy takes None for ten minutes.
NO_LIMIT = 1e8
#: Restarts are limited by the number of attempts at blocks, not by a count.
_RESTARTS = 1_000_000_000
_FITS = ("valid", "overhang", "shrink")


class Task(daisy.Task):
    """A daisy task whose time limits and restarts are what was asked for.

    Parameters are those of `daisy.Task`.
    """

    def __new__(cls, task_id: str, *args: Any, **kwargs: Any) -> Task:
        """Make the task; daisy's are made, not initialised."""
        fit = kwargs.get("fit", "valid")
        if fit not in _FITS:
            raise UsageError(f"blocks cannot fit '{fit}'", hint=f"one of {', '.join(_FITS)}")
        kwargs["timeout"] = kwargs.get("timeout") or NO_LIMIT
        kwargs.setdefault("max_worker_restarts", _RESTARTS)
        if kwargs.get("check_function") is None:
            kwargs.pop("check_function", None)
        with warnings.catch_warnings():
            # It recommends a store that knows nothing of functions and inputs, and
            # pipelines in place of tasks that name those that they need.
            warnings.simplefilter("ignore")
            make: Any = super().__new__
            task: Task = make(cls, task_id, *args, **kwargs)
        return task


def clone(
    task: Any,
    process_function: Any,
    check_function: Callable[[Any], bool] | None,
    notes: Path | None = None,
) -> Any:
    """Return a task like this one that does something else."""
    names = ("total_roi", "read_roi", "write_roi", "fit", "read_write_conflict")
    kept: dict[str, Any] = {name: getattr(task, name) for name in names}
    kept |= {
        "max_workers": task.max_workers,
        "max_retries": task.max_retries,
        "timeout": task.timeout_secs,
        "process_function": process_function,
        "requires": task.requires or None,
    }
    if notes is not None:
        kept |= {"tracking_path": str(notes), "resource_tracking": True}
    return Task(task.task_id, check_function=check_function, **kept)


class Guard(Protocol):
    """Who is told about the blocks that a client acquires."""

    def begin(self, block: Any) -> bool:
        """Record that a block begins; return whether it shall be done now."""

    def check(self, block: Any) -> bool:
        """Return whether a block that was worked on is really done."""

    def end(
        self, block: Any, error: BaseException | str | None, result: Mapping[str, Any] | None
    ) -> None:
        """Record that it has ended, and how."""


class _OfThread(threading.local):
    """What clients of one thread are told, so that runs in two threads are apart."""

    guard: Guard | None = None
    here: _Here | None = None


_of_thread = _OfThread()


class GuardedClient(v2.Client):
    """Daisy's client; what a block raises fails the block and nothing else.

    Without a guard it is daisy's client as it is.
    """

    #: The guard of all threads of a worker process.
    process_guard: ClassVar[Guard | None] = None
    #: What the function returned for the block that is worked on.
    result: Mapping[str, Any] | None = None

    def __init__(self, context: Any = None) -> None:
        self.guard = _of_thread.guard or self.process_guard
        self.here = _of_thread.here
        if self.here is None:
            begin: Any = super().__init__
            begin(context)
        else:
            self._client: Any = None
            self.task_id = self.here.task_id
            self.context = context

    @contextlib.contextmanager
    def acquire_block(self) -> Iterator[Any]:
        """Yield a block to work on, or None if there are no more."""
        while True:
            source = super().acquire_block() if self.here is None else self.here.acquire()
            with source as block:
                if block is None or self.guard is None:
                    yield block
                    return
                if self.guard.begin(block):
                    yield from self._guarded(self.guard, block)
                    return
                block.status = BlockStatus.FAILED

    def _guarded(self, guard: Guard, block: Any) -> Iterator[Any]:
        """Yield a block, and tell the guard what became of it."""
        self.result = None
        error: BaseException | str | None = None
        try:
            yield block
            if block.status == BlockStatus.FAILED:
                error = "the worker marked it as failed"
            elif not guard.check(block):
                error = "check_function says that it is not done"
        except (Exception, SystemExit) as err:
            error = err
        if error is not None:
            block.status = BlockStatus.FAILED
        guard.end(block, error, self.result)


_patching = threading.Lock()
_patched: list[Any] = []


@contextlib.contextmanager
def guarded(guard: Guard | None = None, *, everywhere: bool = False) -> Iterator[None]:
    """Let what says ``daisy.Client`` meanwhile get a `GuardedClient`."""
    modules: tuple[Any, ...] = (daisy, v2)
    before, process_before = _of_thread.guard, GuardedClient.process_guard
    _of_thread.guard = guard or before
    if everywhere:
        GuardedClient.process_guard = guard
    with _patching:
        if not _patched:
            _patched.extend(module.Client for module in modules)
            for module in modules:
                module.Client = GuardedClient
        _patched.append(None)
    try:
        yield
    finally:
        with _patching:
            _patched.pop()
            if len(_patched) == len(modules):  # the last one restores what was there
                for module, client in zip(modules, _patched, strict=True):
                    module.Client = client
                _patched.clear()
        _of_thread.guard = before
        if everywhere:
            GuardedClient.process_guard = process_before


def loop_over_blocks(process_function: Callable[[Any], Any]) -> None:
    """Call a function for each block that there is for this worker."""
    client: Any = daisy.Client()
    while True:
        with client.acquire_block() as block:
            if block is None:
                return
            result = process_function(block)
            if isinstance(result, Mapping):
                client.result = result


def upstream_of(task: Any) -> list[Any]:
    """Return the tasks that a task needs: the one list of tasks among its attributes.

    Daisy has no public way to ask a task, which was made with ``upstream_tasks``.
    """
    for value in getattr(task, "__dict__", {}).values():
        if isinstance(value, list) and value and all(isinstance(one, v2.Task) for one in value):
            return list(value)
    return []


def positional_arity(function: Any) -> int:
    """Return how many positional arguments a function takes; 0 for a loop over blocks."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled
        return 0
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in kinds for parameter in parameters)


def block_at(task: Any, begin: Any) -> Any:
    """Return the block of a task that writes from a place on."""
    total, read, write = task.total_roi, task.read_roi, task.write_roi
    before, behind = write.begin - read.begin, read.end - write.end
    start = Coordinate(begin)
    end = start + write.shape
    if task.fit == "shrink":
        end = Coordinate(map(min, end, total.end - behind))
    reads = Roi(start - before, end + behind - start + before)
    return v2.Block(total, reads, Roi(start, end - start), task.task_id)


def far_blocks(task: Any, number: int) -> set[tuple[int, ...]]:
    """Return where blocks from all over a task write from; none if it has few blocks."""
    read, write = task.read_roi, task.write_roi
    start = task.total_roi.begin + (write.begin - read.begin)
    stop = task.total_roi.end - (read.end - write.end)
    extra = 0 if task.fit == "valid" else 1
    sizes = [
        (b - a + extra * (w - 1)) // w for a, b, w in zip(start, stop, write.shape, strict=True)
    ]
    total = math.prod(sizes)
    if total <= 2 * number:
        return set()
    chosen = (round(i * (total - 1) / (number - 1)) for i in range(number))
    places = (np.unravel_index(at, sizes) for at in chosen)
    return {
        tuple(int(a + i * w) for a, i, w in zip(start, place, write.shape, strict=True))
        for place in places
    }


def set_context(text: str) -> None:
    """Let clients of this process know where the server is."""
    os.environ[v2.Context.ENV_VARIABLE] = text


def shared_context(context: Any) -> str:
    """Return a context for any client, whichever worker got it."""
    shared = context.copy()
    shared["worker_id"] = -1
    return str(shared.to_env())


def context_from(text: str) -> Any:
    """Return a context from its text."""
    kind: Any = v2.Context
    return kind.from_env_string(text)


def pipeline_of(tasks: Sequence[Any], edges: Sequence[tuple[int, int]]) -> Any:
    """Return tasks as a pipeline; edges are pairs of indices (upstream, task)."""
    return v2.Pipeline(list(tasks), [(tasks[up], tasks[down]) for up, down in edges])


class _Observer:
    """Passes daisy's counters on, a few times a second."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self.on_start = self.on_progress = self.on_finish = tell


def run_server(
    tasks: Sequence[Any],
    edges: Sequence[tuple[int, int]],
    *,
    host: str,
    folder: Path,
    on_progress: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run tasks with worker processes; return their states by name."""
    try:
        with _logging_to(folder):
            states: dict[str, Any] = v2.run_blockwise(
                pipeline_of(tasks, edges),
                progress=_Observer(on_progress),
                return_states=True,
                host=host,
                summary=False,
            )
    except RuntimeError as err:
        raise StageError("running blocks", str(err)) from err
    return states


_log_folders: list[Any] = []


@contextlib.contextmanager
def _logging_to(folder: Path) -> Iterator[None]:
    """Let daisy's workers log to a folder; with several runs at once, to that of the newest."""
    with _patching:
        if not _log_folders:
            _log_folders.append(daisy_logging.get_log_basedir())
        _log_folders.append(folder)
        daisy_logging.set_log_basedir(folder)
    try:
        yield
    finally:
        with _patching:
            _log_folders.remove(folder)
            daisy_logging.set_log_basedir(_log_folders[-1])
            if len(_log_folders) == 1:
                _log_folders.clear()


class _Here:
    """Hands out the blocks of a pipeline in this process, one at a time."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.task_id = ""
        self.acquired = 0
        self.asked = False

    @contextlib.contextmanager
    def acquire(self) -> Iterator[Any]:
        """Yield a block of the current task."""
        self.asked = True
        block = self.scheduler.acquire_block(self.task_id)
        if block is None:
            yield None
            return
        self.acquired += 1
        block.status = BlockStatus.PROCESSING
        try:
            yield block
            if block.status == BlockStatus.PROCESSING:
                block.status = BlockStatus.SUCCESS
        finally:
            if block.status != BlockStatus.SUCCESS:
                block.status = BlockStatus.FAILED
            self.scheduler.release_block(block)


#: What to do about workers that a process of their own is started for.
_PROGRAMS = "a worker that starts a program needs num_workers=1 at least"


def _work_here(work: Callable[..., Any]) -> None:
    try:
        if positional_arity(work):
            loop_over_blocks(work)
        else:
            work()
    except Exception as err:  # what blocks raise, their guard has taken
        raise StageError(
            "working in this process",
            f"{type(err).__name__}: {err}",
            hint=_PROGRAMS,
        ) from err


def run_here(
    tasks: Sequence[Any], edges: Sequence[tuple[int, int]], guards: Sequence[Guard]
) -> dict[str, Any]:
    """Run tasks in this process, block by block; return their states by name."""
    here = _Here(v2.Scheduler(pipeline_of(tasks, edges)))
    before, _of_thread.here = _of_thread.here, here
    # Programs of their own shall not look for the server of an earlier run.
    context = os.environ.pop(v2.Context.ENV_VARIABLE, None)
    try:
        while True:
            here.acquired = 0
            for task, guard in zip(tasks, guards, strict=True):
                here.task_id = task.task_id
                work = task.process_function
                here.asked = False
                with guarded(guard):
                    _work_here(work)
                if not here.asked:
                    raise StageError(
                        "working in this process",
                        f"the worker of {task.task_id} has ended without asking for a block",
                        hint=_PROGRAMS,
                    )
            states: dict[str, Any] = dict(here.scheduler.task_states)
            if not here.acquired or all(state.is_done() for state in states.values()):
                return states
    finally:
        _of_thread.here = before
        if context is not None:
            set_context(context)
        # Tracebacks may hold on to this frame, and daisy wants its scheduler to
        # end in the thread where it began.
        here.scheduler = None
