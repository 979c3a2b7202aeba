"""Run daisy tasks and those that they need, and tell what was left undone."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from funlib.geometry import Roi

from ..errors import StageError, UsageError
from ..run.cluster import find_executor
from ..run.executor import UnitExecutor
from ..run.journal import Journal
from ..run.progress import Listener, StageFinished, StageStarted, Warned, announce
from ..run.unit_worker import UnitLimits
from .block_engine import BlockWork, do_blocks
from .block_ledger import Ledger
from .daisy_order import Stage, TaskSource, time_limit
from .placement import Placement, log_folder
from .task_result import BlockwiseResult, leftovers
from .task_work import TaskBlock, TaskWork

__all__ = ["RunTask", "run_tasks"]

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class RunTask:
    """A daisy task, and what only this package does with it."""

    task: Any
    work: TaskWork
    check_before: Callable[[Any], bool] | None = None
    init_callback: Callable[[str], Any] | None = None
    upstream: list[RunTask] = field(default_factory=list)
    #: What the blocks are made from, beside the geometry.
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the task."""
        return str(self.task.task_id)

    @property
    def leftovers(self) -> Any:
        """Regions that no block covers."""
        task = self.task
        return leftovers(task.total_roi, task.read_roi, task.write_roi, task.fit)

    def with_upstream(self) -> list[RunTask]:
        """Return this task and all that it needs, upstream ones first."""
        found: dict[RunTask, None] = {}
        for other in self.upstream:
            found |= dict.fromkeys(other.with_upstream())
        return [*found, self]


def run_tasks(
    run: RunTask,
    *,
    placement: Placement,
    journal: Journal | None = None,
    on_event: Listener | None = None,
    logs: Path | None = None,
    resources: Mapping[str, float] | None = None,
) -> BlockwiseResult:
    """Run a task and all that it needs; return what became of them."""
    ordered = run.with_upstream()
    _refuse(ordered, resources, knows=placement.cluster is not None)
    left = {one.name: one.leftovers for one in ordered}
    start = time.monotonic()
    if logs is None and journal is not None:
        logs = Path(f"{journal.path}.logs")
    folder = log_folder(logs)
    with contextlib.ExitStack() as stack:
        stages: list[Stage] = []
        for one in ordered:
            ledger = _ledger(one, journal, on_event)
            executor = stack.enter_context(_executor(one, placement, folder))
            work = BlockWork(one.work, ledger, executor, one.task.requires or None)
            needed = [stage for stage in stages if stage.name in {up.name for up in one.upstream}]
            done = _done_before(one, journal)
            stages.append(Stage(one.task, work, done, needed))
            stack.push(functools.partial(_close, one.work))
        source = TaskSource(stages, resources)
        stack.callback(source.close)
        for one, stage in zip(ordered, stages, strict=True):
            stage.work.ledger.total = source.states[one.name].total_block_count
            _announce_start(one, stage.work.ledger.total, left[one.name], on_event)
        do_blocks(source, [stage.work for stage in stages])
        states = source.states
    result = _result(stages, states, left, time.monotonic() - start)
    for stage in stages:
        if stage.work.ledger.none_works:
            text = "blocks from all over the region failed and none worked; no more are tried"
            stage.work.ledger.warn(f"{stage.name}: {text}")
        announce(on_event, StageFinished(stage.name, result.seconds), logger)
    if not result.failed:
        shutil.rmtree(folder, ignore_errors=True)
        if logs is not None:
            with contextlib.suppress(OSError):  # those of another run
                logs.rmdir()
    return result


def _close(work: TaskWork, kind: object, *_: object) -> None:
    # What is interrupted does not wait for the block that a loop works on.
    work.close(wait=kind is None)


def _refuse(
    ordered: Sequence[RunTask], resources: Mapping[str, float] | None, *, knows: bool
) -> None:
    """Refuse what could never end, or would be done twice.

    A cluster `knows` what its workers have.
    """
    names = [one.name for one in ordered]
    for one in ordered:
        if names.count(one.name) > 1:
            raise UsageError(
                f"two tasks have the name '{one.name}'", hint="they would do the same work twice"
            )
        for name, number in (one.task.requires or {}).items():
            there = (resources or {}).get(name, math.inf if knows else 0)
            if there < number:
                raise UsageError(
                    f"the task {one.name} requires {number} {name}, but there is {there}",
                    hint=f"say what there is, as in resources={{'{name}': {number}}}",
                )


def _ledger(one: RunTask, journal: Journal | None, on_event: Listener | None) -> Ledger:
    return Ledger(
        one.name,
        0,
        one.task.max_retries,
        time_limit(one.task),
        journal,
        on_event,
        lambda _block, _rows: None,
        deaths=None,
        restarts=one.task.max_worker_restarts,
    )


def _executor(one: RunTask, placement: Placement, folder: Path) -> UnitExecutor:
    """Return who does the blocks of a task; each task has workers of its own."""
    cluster, host = placement.cluster, placement.host
    if placement.workers == 0:
        return find_executor(0, cluster, host, folder)
    limits = UnitLimits(time_limit(one.task))
    return find_executor(one.task.max_workers, cluster, host, folder, limits=limits)


def _done_before(one: RunTask, journal: Journal | None) -> Callable[[Any], bool] | None:
    """Return what tells whether a block need not be done; None if none was done before."""
    check = one.check_before
    if journal is None:
        return check
    # It is the journal that knows, and the check that agrees.
    known = journal.completed(one.name)
    if not known:
        return None
    return lambda block: TaskBlock.of(block).index in known and (check is None or check(block))


def _announce_start(
    one: RunTask, total: int, left: Sequence[Any], on_event: Listener | None
) -> None:
    announce(on_event, StageStarted(one.name, total, "blocks"), logger)
    if left:
        text = f"{one.name}: no block covers {', '.join(map(str, left))}, since fit is 'valid'"
        announce(on_event, Warned(text), logger)
    if one.init_callback is not None:
        try:
            one.init_callback(f"task_id={one.name}")
        except Exception as err:
            what = f"init_callback_fn failed: {type(err).__name__}: {err}"
            raise StageError("starting a task", what) from err


def _result(
    stages: Sequence[Stage],
    states: Mapping[str, Any],
    left: Mapping[str, tuple[Roi, ...]],
    seconds: float,
) -> BlockwiseResult:
    failed = [sorted(stage.work.ledger.failed, key=lambda f: f.block) for stage in stages]
    return BlockwiseResult(
        total=sum(s.total_block_count for s in states.values()),
        done=sum(s.completed_count - s.skipped_count for s in states.values()),
        skipped=sum(s.skipped_count for s in states.values()),
        failed=tuple(itertools.chain.from_iterable(failed)),
        undone=sum(s.total_block_count - s.completed_count for s in states.values()),
        leftovers=dict(left),
        seconds=seconds,
        stages=tuple(stage.name for stage in stages),
    )
