"""The ledger of a stage: which blocks are to be done, done, tried again or given up."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from ..errors import StageError, StorageError
from ..run.journal import BlockKey, Journal
from ..run.progress import Listener, StageProgress, Warned, announce
from ..run.team import LostWorkerError
from .attempt import Outcome
from .block_result import BlockDone, BlockFailed, BlockFailure, BlockStarted, WorkerLost

__all__ = ["Fate", "Ledger"]

logger = logging.getLogger(__name__)

#: What becomes of a block after an attempt.
Fate = Literal["done", "again", "failed"]

#: A block over which so many workers have died is given up.
_DEATHS = 2
#: So many blocks from all over the volume must fail before the others are not tried.
_TRIED = 8


class Ledger:
    """Which blocks of a stage are to be done, and what became of each.

    The journal gets a line for each attempt and its end, and `on_event` is told the
    same. What a block returned goes to `on_rows`; it is kept in `rows` if None. A block
    over which so many workers have died as `deaths` says is given up; if None, a death
    counts like an error. So many workers as `restarts` says may die over all blocks.
    """

    def __init__(
        self,
        stage: str,
        total: int,
        retries: int = 0,
        timeout: float | None = None,
        journal: Journal | None = None,
        on_event: Listener | None = None,
        on_rows: Callable[[Any, dict[str, Any]], None] | None = None,
        deaths: int | None = _DEATHS,
        restarts: int | None = None,
    ) -> None:
        self.stage = stage
        self.total = total
        self.done = 0
        self.skipped = 0
        self.failed: list[BlockFailure] = []
        self.rows: dict[BlockKey, dict[str, Any]] = {}
        #: Blocks that have failed and are to be done again.
        self.again: deque[Any] = deque()
        self._retries = retries
        self._timeout = timeout
        self._journal = journal
        self._on_event = on_event
        self._on_rows = on_rows
        self._attempts: dict[BlockKey, int] = {}
        self._deaths: dict[BlockKey, int] = {}
        self._most_deaths = deaths
        self._restarts = restarts
        self._far: set[BlockKey] | None = None

    @property
    def left(self) -> int:
        """Number of blocks that are neither done nor given up."""
        return self.total - self.skipped - self.done - len(self.failed)

    @property
    def any_done(self) -> bool:
        """Whether a block was done, now or before."""
        return bool(self.done or self.skipped)

    def skip_done(
        self, blocks: Iterable[Any], check: Callable[[Any], bool] | None = None
    ) -> set[BlockKey]:
        """Return which blocks were done before, as the journal tells and `check` confirms."""
        records = {} if self._journal is None else self._journal.records(self.stage)
        known = {key for key, record in records.items() if record.state == "done"}
        skip: set[BlockKey] = set()
        for block in blocks if known else ():
            if block.index in known and (check is None or check(block)):
                skip.add(block.index)
                self._keep(block, dict(records[block.index].result or {}))
        self.skipped = len(skip)
        return skip

    def look_elsewhere(self, spread: Callable[[int], set[BlockKey]]) -> None:
        """Once blocks were given up and none was done, have others from far away done next.

        If those are given up as well, `none_works`.
        """
        if self._far is None and self.failed and not self.any_done:
            self._far = spread(_TRIED) or None

    @property
    def none_works(self) -> bool:
        """Whether blocks from all over the volume have failed and none was done."""
        return self._far is not None and not self._far and not self.any_done

    def _keep(self, block: Any, rows: dict[str, Any]) -> None:
        if self._on_rows is None:
            self.rows[block.index] = rows
        else:
            self._on_rows(block, rows)

    def begin(self, block: Any) -> None:
        """Record that an attempt begins."""
        number = self._attempts[block.index] = self._attempts.get(block.index, 0) + 1
        if self._journal is not None:
            self._journal.started(self.stage, block.index, attempt=number)
        self._tell(BlockStarted(self.stage, block.index, number))

    def settle(self, block: Any, outcome: Outcome) -> Fate:
        """Record how an attempt ended; return what becomes of the block."""
        if outcome.error or not isinstance(outcome.result, (Mapping, type(None))):
            error = outcome.error or (
                f"the function returned a {type(outcome.result).__name__}, not a dict or None"
            )
            return self._fail(block, "error", outcome._replace(error=error))
        rows = dict(outcome.result or {})
        # Before the journal tells it as done, whoever wants its rows has them.
        self._keep(block, rows)
        if self._journal is not None:
            self._journal.done(
                self.stage,
                block.index,
                seconds=outcome.seconds,
                peak_bytes=outcome.peak_bytes,
                result=rows,
                worker=outcome.worker,
            )
        self._attempts.pop(block.index, None)
        self._deaths.pop(block.index, None)
        self.done += 1
        done = self.done + self.skipped
        self._tell(
            BlockDone(
                self.stage,
                block.index,
                outcome.seconds,
                outcome.peak_bytes,
                done,
                len(self.failed),
                self.total,
            )
        )
        self._tell(StageProgress(self.stage, done, self.total))
        return "done"

    def died(self, block: Any, lost: LostWorkerError) -> Fate:
        """Record that a worker died over a block; return what becomes of the block."""
        outcome = Outcome(
            None, lost.seconds, None, f"its worker {lost.how}", lost.log, worker=lost.worker
        )
        if lost.is_late:
            error = f"it took longer than {self._timeout:g} s, so its worker was stopped"
            return self._fail(block, "timeout", outcome._replace(error=error))
        self._tell(WorkerLost(lost.worker, lost.how, block.index))
        self._deaths[block.index] = self._deaths.get(block.index, 0) + 1
        given_up = self._fail(block, "killed", outcome)
        if self._restarts is not None:
            if not self._restarts:
                text = f"too many workers have died, the last one over block {block.index}"
                raise StageError(self.stage, f"{text}: {outcome.error}")
            self._restarts -= 1
        return given_up

    def warn(self, text: str) -> None:
        """Pass a warning on."""
        self._tell(Warned(text))

    def _fail(self, block: Any, reason: str, outcome: Outcome) -> Fate:
        number = self._attempts[block.index]
        deaths = self._deaths.get(block.index, 0)
        if self._most_deaths is None:
            final = number > self._retries
        elif reason == "killed":
            final = deaths >= self._most_deaths
        else:
            final = number - deaths > self._retries
        final = final or outcome.hopeless or outcome.full
        error, trace = outcome.error, outcome.traceback
        if self._journal is not None:
            self._journal.failed(
                self.stage,
                block.index,
                error=error,
                traceback=trace,
                seconds=outcome.seconds,
                peak_bytes=outcome.peak_bytes,
                attempt=number,
                reason=reason,
                final=final,
                worker=outcome.worker,
            )
        level = logging.WARNING if final else logging.INFO
        logger.log(level, "block %s failed: %s", block.index, error)
        raised = None if outcome.raised is None else outcome.raised.error()
        self._tell(BlockFailed(self.stage, block.index, error, trace, number, final, raised))
        if outcome.full:  # what others have computed meanwhile could not be kept either
            raise StorageError(
                f"there is no room for the result of block {block.index}: {error}",
                hint="make room; the same command goes on from here",
            )
        if not final:
            self.again.append(block)
            return "again"
        self.failed.append(BlockFailure(block.index, reason, error, trace, number, raised))
        if self._far is not None:
            self._far.discard(block.index)
        return "failed"

    def _tell(self, event: Any) -> None:
        if self._on_event is not None:
            announce(self._on_event, event, logger)
