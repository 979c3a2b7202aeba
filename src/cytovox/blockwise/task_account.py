"""A daisy task as this package runs it, and the account of its blocks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..run.journal import BlockKey, Journal
from ..run.progress import Listener, StageProgress, StageStarted, Warned, announce
from . import engine
from .attempt import Outcome
from .block_result import BlockFailure
from .events import BlockDone, BlockFailed, BlockStarted
from .task_worker import block_key, outcome_of
from .tracking import logged_error, tracked_blocks

__all__ = ["Account", "RunTask"]

logger = logging.getLogger(__name__)

#: Number of blocks from all over the region that must fail before the others are not tried.
_TRIED = 8


@dataclass(slots=True, eq=False)
class RunTask:
    """A daisy task, and what only this package does with it.

    Parameters
    ----------
    task
        The daisy task.
    work
        A loop over blocks, or a function of a block; the task's own if None.
    sent
        What workers unpickle as the work; the work itself if None.
    check_before, check_after
        Whether a block is done, asked before and after it is worked on.
    init_callback
        Called once with daisy's context when the task starts.
    upstream
        Tasks that must be done before, block by block.
    source
        What the blocks are made from, beside the geometry.
    """

    task: Any
    work: Callable[..., Any] | None = None
    sent: Any = None
    check_before: Callable[[Any], bool] | None = None
    check_after: Callable[[Any], bool] | None = None
    init_callback: Callable[[str], Any] | None = None
    upstream: list[RunTask] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.work = self.work or self.task.process_function
        if self.work is None:
            raise UsageError(f"task '{self.name}' has nothing to do")
        self.sent = self.sent or self.work

    @property
    def name(self) -> str:
        """Name of the task."""
        return str(self.task.task_id)


class Account:
    """Keeps account of the blocks of a task."""

    def __init__(self, run: RunTask, journal: Journal | None, on_event: Listener | None) -> None:
        self.run = run
        self.stage = run.name
        self.broken = ""
        self.unfit = 0
        self.stillborn = 0
        self.called_back = False
        self._journal = journal
        self._on_event = on_event
        self._known = set() if journal is None else journal.completed(self.stage)
        self._attempts: dict[BlockKey, int] = {}
        self._final: set[BlockKey] = set()
        self._refused: set[BlockKey] = set()
        #: Blocks from all over the region that must fail before the others are not tried.
        self._far: set[BlockKey] | None = None
        self._last: dict[BlockKey, BlockFailure] = {}
        self._done: set[BlockKey] = set()
        self._before = 0
        self._total = 0
        self._has_skipped = bool(self._known)
        self._start = 0.0

    def is_done(self, block: Any) -> bool:
        """Return whether a block need not be done; what daisy asks beforehand."""
        if block_key(block) in self._done:
            return True
        check = self.run.check_before
        if self._known and block_key(block) in self._known:
            return check is None or bool(check(block))
        # With a journal it is the journal that knows.
        return self._journal is None and check is not None and bool(check(block))

    @property
    def checks(self) -> bool:
        """Whether `is_done` can ever say yes."""
        return bool(self._known or self._done) or self.run.check_before is not None

    @property
    def owes(self) -> bool:
        """Whether blocks that were put off have had fewer attempts than was asked for."""
        if self.broken or (self._far is not None and not self._far):
            return False
        owed = self._refused - self._done - self._final
        return any(self._attempts.get(key, 0) <= self.run.task.max_retries for key in owed)

    def begin_again(self) -> None:
        """Be ready for another round, in which nothing is put off."""
        self._far = None
        self._has_skipped = True
        self._before = len(self._done)

    def started(self, states: Mapping[str, Any]) -> None:
        """Record daisy's counters."""
        state = states.get(self.stage)
        if state is None:
            return
        if not self._total:
            self._total = state.total_block_count
            self._tell(StageStarted(self.stage, self._total, "blocks"))
        self._has_skipped |= state.skipped_count > 0
        self._tell(StageProgress(self.stage, state.completed_count, self._total))

    def call_back(self, context: str) -> None:
        """Call the task's callback, once."""
        if self.called_back or self.run.init_callback is None:
            return
        self.called_back = True
        try:
            self.run.init_callback(context)
        except Exception as err:
            logger.exception("init_callback_fn of %s failed", self.stage)
            self.broken = f"init_callback_fn failed: {type(err).__name__}: {err}"

    def begin(self, block: Any) -> bool:
        """Record that a block begins in this process; return whether it shall be done now."""
        shall_begin = self.shall_begin(block_key(block))
        if shall_begin:
            self._start = time.perf_counter()
            self.begins(block_key(block), "this process")
        return shall_begin

    def shall_begin(self, key: BlockKey) -> bool:
        """Return whether a block shall be done now: not if it must fail again, or if all do.

        Daisy tries a block again last. So once a block has failed and none has
        worked, those that are not from all over the region are put off once. The
        attempt that this costs is made up for in another round.
        """
        if key in self._final:
            return False
        if self._far is None or self._done or self._has_skipped:
            return True
        if not self._far:
            self._refused.add(key)
            return False
        if key in self._far or key in self._attempts or key in self._refused:
            return True
        self._refused.add(key)
        return False

    def check(self, block: Any) -> bool:
        """Ask the task whether a block is done."""
        return self.run.check_after is None or bool(self.run.check_after(block))

    def end(
        self,
        block: Any,
        error: BaseException | str | None,
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """Record that it has ended."""
        seconds = time.perf_counter() - self._start
        self.ends(block_key(block), outcome_of(error, seconds, result))

    def begins(self, key: BlockKey, worker: str) -> None:
        """Record that an attempt begins."""
        self.stillborn = 0
        number = self._attempts[key] = self._attempts.get(key, 0) + 1
        if self._journal is not None:
            self._journal.started(self.stage, key, attempt=number, worker=worker)
        self._tell(BlockStarted(self.stage, key, number, worker))

    def ends(self, key: BlockKey, outcome: Outcome, reason: str = "error") -> None:
        """Record the outcome of an attempt."""
        if outcome.error:
            self._fails(key, outcome, reason)
            return
        self.unfit = 0
        self._done.add(key)
        self._last.pop(key, None)
        if self._journal is not None:
            self._journal.done(
                self.stage,
                key,
                seconds=outcome.seconds,
                peak_bytes=outcome.peak_bytes,
                result=outcome.result,
            )
        self._tell(
            BlockDone(
                self.stage,
                key,
                outcome.seconds,
                outcome.peak_bytes,
                len(self._done),
                len(self._last),
                self._total,
            )
        )

    def dies(self, key: BlockKey, worker: str, seconds: float) -> None:
        """Record that a worker was lost over a block."""
        limit = float(self.run.task.timeout_secs or engine.NO_LIMIT)
        slow = seconds >= limit
        error = (
            f"it took longer than {limit:g} s, so its worker was stopped"
            if slow
            else f"its worker {worker} was lost"
        )
        self.ends(key, Outcome(None, seconds, None, error), "timeout" if slow else "killed")

    def _fails(self, key: BlockKey, outcome: Outcome, reason: str) -> None:
        number = self._attempts.get(key, 1)
        final = number > self.run.task.max_retries or outcome.hopeless
        if final:
            self._final.add(key)
        self._last[key] = BlockFailure(key, reason, outcome.error, outcome.traceback, number)
        if self._journal is not None:
            self._journal.failed(
                self.stage,
                key,
                error=outcome.error,
                traceback=outcome.traceback,
                seconds=outcome.seconds,
                peak_bytes=outcome.peak_bytes,
                attempt=number,
                reason=reason,
                final=final,
            )
        self._tell(BlockFailed(self.stage, key, outcome.error, outcome.traceback, number, final))
        self._look_elsewhere(key)

    def _look_elsewhere(self, failed: BlockKey) -> None:
        """Let blocks from all over the region be next, since the first one has failed."""
        if self._done or self._has_skipped:
            return
        if self._far is None:
            self._far = {*engine.far_blocks(self.run.task, _TRIED)} or None
        if self._far and failed in self._far:
            self._far.discard(failed)
            if not self._far:
                text = "blocks from all over the region failed and none worked; no more are tried"
                self._tell(Warned(f"{self.stage}: {text}"))

    def failures(self) -> list[BlockFailure]:
        """Return the blocks that were given up."""
        return sorted(self._last.values(), key=lambda failure: failure.block)

    def conclude(self, state: Any, task: Any, notes: Path, logs: Path) -> None:
        """Record what daisy knows and no guard has told."""
        done = len(self._done) - self._before
        untold = state.completed_count - state.skipped_count - done
        if untold <= 0 and state.failed_count <= len(self._last):
            return
        for block in tracked_blocks(task, notes, self._is_untold):
            if block.number is not None and block.key in self._last:
                continue  # told in the first round
            self._attempts[block.key] = block.failures + (block.number is None)
            if block.number is None:
                error, traceback = self._unfinished(task, block.key), ""
            else:
                error, traceback = logged_error(logs, self.stage, block.number)
            outcome = Outcome(None, block.seconds or 0.0, block.peak_bytes, error, traceback)
            self.ends(block.key, outcome)

    def _is_untold(self, key: BlockKey) -> bool:
        told = self._attempts.keys() - self._last.keys()
        return not any(key in keys for keys in (told, self._known, self._refused))

    def _unfinished(self, task: Any, key: BlockKey) -> str:
        """Return why a block that daisy takes as done is not."""
        if self.run.check_after is None:
            return ""
        block = engine.block_at(task, key)
        return "" if self.run.check_after(block) else "check_function says that it is not done"

    def _tell(self, event: Any) -> None:
        if self._on_event is not None:
            announce(self._on_event, event, logger)
