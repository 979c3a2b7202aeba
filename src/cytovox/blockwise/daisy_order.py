"""Blocks of daisy's tasks, in the order that daisy's scheduler allows.

Daisy knows which blocks exclude each other and which need what another task
makes. It is asked for nothing else: not for its server, not for its workers,
not for its notes of what was done.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import daisy
import numpy as np
from daisy import v2

from ..errors import UsageError
from ..run.journal import BlockKey
from .block_engine import BlockWork, Ready
from .task_work import TaskBlock

__all__ = ["NO_LIMIT", "Stage", "Task", "TaskSource", "time_limit", "upstream_of"]

#: Seconds that stand for "no time limit": daisy takes None for ten minutes.
NO_LIMIT = 1e8
#: Restarts are limited by the number of attempts at blocks, not by a count.
_RESTARTS = 1_000_000_000
_FITS = ("valid", "overhang", "shrink")


class Task(daisy.Task):
    """A daisy task whose time limits and restarts are what was asked for."""

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


def time_limit(task: Any) -> float | None:
    """Return how many seconds a block may take; None if there is no limit."""
    seconds = task.timeout_secs
    return None if seconds is None or seconds >= NO_LIMIT else float(seconds)


def upstream_of(task: Any) -> list[Any]:
    """Return the tasks that a task needs: the one list of tasks among its attributes.

    Daisy has no public way to ask a task, which was made with ``upstream_tasks``.
    """
    for value in getattr(task, "__dict__", {}).values():
        if isinstance(value, list) and value and all(isinstance(one, v2.Task) for one in value):
            return list(value)
    return []


@dataclass(slots=True, eq=False)
class Stage:
    """The blocks of one task."""

    task: Any
    work: BlockWork
    #: Whether a block need not be done; daisy asks.
    is_done: Callable[[Any], bool] | None = None
    #: Stages whose blocks must be done before those here that read there.
    upstream: Sequence[Stage] = ()
    running: int = 0
    #: Blocks that daisy has given and that are put off.
    held: deque[TaskBlock] = field(default_factory=deque)
    #: Where blocks are that shall come before the others.
    wanted: set[BlockKey] = field(default_factory=set)
    #: Blocks that have begun, until one is done.
    begun: set[BlockKey] = field(default_factory=set)
    #: Whether blocks from all over the region were asked for.
    is_spread: bool = False

    @property
    def name(self) -> str:
        """Name of the task."""
        return str(self.task.task_id)

    @property
    def waits(self) -> bool:
        """Whether those from all over the region must show first that any block works."""
        ledger = self.work.ledger
        is_open = self.is_spread and not ledger.any_done
        return ledger.none_works or (is_open and not self.wanted and self.running > 0)


class TaskSource:
    """Gives blocks of tasks, upstream ones first, in an order that daisy allows.

    Blocks that are done at once require no more than `resources` together; what is
    not named there is not limited here.
    """

    def __init__(
        self, stages: Sequence[Stage], resources: Mapping[str, float] | None = None
    ) -> None:
        self._stages = {stage.name: stage for stage in stages}
        self._free = dict(resources or {})
        tasks = {stage.name: _plain_task(stage) for stage in stages}
        edges = [(tasks[up.name], tasks[stage.name]) for stage in stages for up in stage.upstream]
        self._scheduler = v2.Scheduler(v2.Pipeline(list(tasks.values()), edges))

    @property
    def states(self) -> dict[str, Any]:
        """What daisy has counted, by the name of the task."""
        return dict(self._scheduler.task_states)

    def close(self) -> None:
        """Let the scheduler end here: daisy wants that in the thread where it began."""
        del self._scheduler

    def next(self) -> Ready | None:
        """Return a block that may be done now; None if there is none for now."""
        for stage in self._stages.values():
            requires = stage.work.requires or {}
            may = all(self._free.get(name, n) >= n for name, n in requires.items())
            if stage.running >= stage.work.executor.slots or stage.waits or not may:
                continue
            unit = self._take(stage)
            if unit is None:
                continue
            stage.running += 1
            self._use(stage, 1)
            if not stage.work.ledger.any_done:
                stage.begun.add(unit.index)
            return Ready(stage.work, unit)
        return None

    def done(self, ready: Ready) -> None:
        """Take note that a block is done."""
        self._release(ready.block, v2.BlockStatus.SUCCESS).begun.clear()

    def failed(self, ready: Ready) -> None:
        """Take note that a block was given up; what needs it is never done."""
        self._release(ready.block, v2.BlockStatus.FAILED)

    def spread(self, work: Any, count: int) -> set[BlockKey]:
        """Let blocks from all over the region come next; return which."""
        stage = next(stage for stage in self._stages.values() if stage.work is work)
        far = _far_blocks(stage.task, count) - {failure.block for failure in work.ledger.failed}
        stage.wanted = far - stage.begun
        stage.is_spread = True
        return far

    def _take(self, stage: Stage) -> TaskBlock | None:
        """Return a block of a stage; those that are wanted come first."""
        while stage.wanted or not stage.held:
            block = self._scheduler.acquire_block(stage.name)
            if stage.is_done is not None:
                stage.work.ledger.skipped = self.states[stage.name].skipped_count
            if block is None:
                break
            unit = TaskBlock.of(block)
            if not stage.wanted or unit.index in stage.wanted:
                stage.wanted.discard(unit.index)
                return unit
            stage.held.append(unit)
        return stage.held.popleft() if stage.held else None

    def _release(self, unit: TaskBlock, status: Any) -> Stage:
        stage = self._stages[unit.block.task_id]
        stage.running -= 1
        self._use(stage, -1)
        unit.block.status = status
        self._scheduler.release_block(unit.block)
        return stage

    def _use(self, stage: Stage, times: int) -> None:
        for name, number in (stage.work.requires or {}).items():
            if name in self._free:
                self._free[name] -= times * number


def _plain_task(stage: Stage) -> Any:
    """Return a task with the same blocks, of which daisy knows nothing but their order."""
    names = ("total_roi", "read_roi", "write_roi", "fit", "read_write_conflict", "skip_mask")
    return Task(
        stage.name,
        **{name: getattr(stage.task, name) for name in names},
        process_function=print,  # which nobody calls
        check_function=stage.is_done,
        max_retries=0,
    )


def _far_blocks(task: Any, number: int) -> set[BlockKey]:
    """Return where blocks from all over a task write from, or all of few."""
    read, write, sizes = task.read_roi, task.write_roi, task.block_grid_shape
    start = task.total_roi.begin + (write.begin - read.begin)
    total = math.prod(sizes)
    chosen: Any = range(total)
    if total > 2 * number:
        chosen = (round(i * (total - 1) / (number - 1)) for i in range(number))
    places = (np.unravel_index(at, sizes) for at in chosen)
    return {
        tuple(int(a + i * w) for a, i, w in zip(start, place, write.shape, strict=True))
        for place in places
    }
