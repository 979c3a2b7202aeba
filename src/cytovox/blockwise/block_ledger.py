"""The ledger of a stage: which blocks are to be done, done, tried again or given up."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..errors import StorageError
from ..run.journal import BlockKey, Journal
from ..run.progress import Listener, StageProgress, Warned, announce
from .block_result import BlockFailure
from .events import BlockDone, BlockFailed, BlockStarted, WorkerLost
from .workers import Outcome

__all__ = ["Ledger", "NoneWorksError"]

logger = logging.getLogger(__name__)

#: A block over which so many workers have died is given up.
_DEATHS = 2
#: Number of blocks from all over the volume that must fail before the others are not tried.
_TRIED = 8


class NoneWorksError(Exception):
    """Blocks from all over the volume have failed and none was done."""


class Ledger:
    """Which blocks of a stage are to be done, and what became of each."""

    def __init__(
        self,
        stage: str,
        total: int,
        retries: int,
        timeout: float | None,
        journal: Journal | None,
        on_event: Listener | None,
        on_rows: Callable[[Any, dict[str, Any]], None] | None,
    ) -> None:
        self.stage = stage
        self.total = total
        self.done = 0
        self.skipped = 0
        self.failed: list[BlockFailure] = []
        self.rows: dict[BlockKey, dict[str, Any]] = {}
        self._retries = retries
        self._timeout = timeout
        self._journal = journal
        self._on_event = on_event
        self._on_rows = on_rows
        self._attempts: dict[BlockKey, int] = {}
        self._deaths: dict[BlockKey, int] = {}
        self._waiting: Iterator[Any] = iter(())
        self._again: deque[Any] = deque()
        self._running = 0
        #: Blocks from all over the volume that must fail before the others are not tried.
        self._far: set[BlockKey] | None = None

    @property
    def left(self) -> int:
        """Number of blocks that are neither done nor given up."""
        return self.total - self.skipped - self.done - len(self.failed)

    def take(self, blocks: Iterable[Any], check: Callable[[Any], bool] | None) -> None:
        """Take the blocks of the stage, without those that were done before."""
        skip = set() if self._journal is None else self._skip(self._journal, blocks, check)
        self.skipped = len(skip)
        self._waiting = (block for block in blocks if block.index not in skip)

    def next(self) -> Any:
        """Return the block to begin next; None if there is none for now."""
        if self._none_works:
            return None
        if self._again and not (self.done or self.skipped):
            return self._again.popleft()  # so that it is soon known whether any block works
        block = next(self._waiting, None)
        return self._again.popleft() if block is None and self._again else block

    @property
    def _none_works(self) -> bool:
        """Whether blocks from all over the volume have failed and none was done."""
        return self._far is not None and not self._far and not (self.done or self.skipped)

    def _skip(
        self, journal: Journal, blocks: Iterable[Any], check: Callable[[Any], bool] | None
    ) -> set[BlockKey]:
        records = journal.records(self.stage)
        known = {key for key, record in records.items() if record.state == "done"}
        skip: set[BlockKey] = set()
        if not known:
            return skip
        for block in blocks:
            if block.index in known and (check is None or check(block)):
                skip.add(block.index)
                rows = dict(records[block.index].result or {})
                if self._on_rows is None:
                    self.rows[block.index] = rows
                else:
                    self._on_rows(block, rows)
        return skip

    def begin(self, block: Any, worker: str) -> None:
        """Record that an attempt begins."""
        self._running += 1
        number = self._attempts[block.index] = self._attempts.get(block.index, 0) + 1
        if self._journal is not None:
            self._journal.started(self.stage, block.index, attempt=number, worker=worker)
        self._tell(BlockStarted(self.stage, block.index, number, worker))

    def settle(self, block: Any, outcome: Outcome) -> None:
        """Record an outcome."""
        self._running -= 1
        if outcome.error or not isinstance(outcome.result, (Mapping, type(None))):
            error = outcome.error or (
                f"the function returned a {type(outcome.result).__name__}, not a dict or None"
            )
            self._fail(block, "error", error, outcome.traceback, outcome)
            return
        rows = dict(outcome.result or {})
        # Before the journal tells it as done, whoever wants its rows has them.
        if self._on_rows is None:
            self.rows[block.index] = rows
        else:
            self._on_rows(block, rows)
        if self._journal is not None:
            self._journal.done(
                self.stage,
                block.index,
                seconds=outcome.seconds,
                peak_bytes=outcome.peak_bytes,
                result=rows,
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

    def worker_died(self, block: Any, worker: str, how: str, seconds: float, log: str) -> None:
        """Record that a worker died over a block."""
        self._running -= 1
        outcome = Outcome(None, seconds, None)
        if self._timeout is not None and seconds >= self._timeout:
            error = f"it took longer than {self._timeout:g} s, so its worker was stopped"
            self._fail(block, "timeout", error, log, outcome)
            return
        self._tell(WorkerLost(worker, how, block.index))
        self._deaths[block.index] = self._deaths.get(block.index, 0) + 1
        self._fail(block, "killed", f"its worker {how}", log, outcome)

    def lost(self, worker: str, how: str) -> None:
        """Record that a worker has ended."""
        logger.info("%s %s", worker, how)

    def warn(self, text: str) -> None:
        """Pass a warning on."""
        self._tell(Warned(text))

    def _fail(self, block: Any, reason: str, error: str, traceback: str, outcome: Outcome) -> None:
        number = self._attempts[block.index]
        deaths = self._deaths.get(block.index, 0)
        final = deaths >= _DEATHS if reason == "killed" else number - deaths > self._retries
        final = final or outcome.hopeless or outcome.full
        if self._journal is not None:
            self._journal.failed(
                self.stage,
                block.index,
                error=error,
                traceback=traceback,
                seconds=outcome.seconds,
                peak_bytes=outcome.peak_bytes,
                attempt=number,
                reason=reason,
                final=final,
            )
        if final:
            self.failed.append(BlockFailure(block.index, reason, error, traceback, number))
        logger.log(
            logging.WARNING if final else logging.INFO, "block %s failed: %s", block.index, error
        )
        self._tell(BlockFailed(self.stage, block.index, error, traceback, number, final))
        if outcome.full:  # what others have computed meanwhile could not be kept either
            raise StorageError(
                f"there is no room for the result of block {block.index}: {error}",
                hint="make room; the same command goes on from here",
            )
        if not final:
            self._again.append(block)
        elif not (self.done or self.skipped):
            self._look_elsewhere(block.index)
        if self._none_works and not self._running and self.left:
            raise NoneWorksError

    def _look_elsewhere(self, failed: BlockKey) -> None:
        """Let the next blocks be from all over the volume, since the first one has failed."""
        if self._far is None and (rest := list(self._waiting)):
            step = (len(rest) - 1) / (_TRIED - 1)
            chosen = {round(i * step) for i in range(_TRIED)}
            self._far = {rest[i].index for i in chosen}
            # Those that are far away come first.
            others = (i for i in range(len(rest)) if i not in chosen)
            self._waiting = iter([rest[i] for i in (*sorted(chosen, reverse=True), *others)])
        elif self._far:
            self._far.discard(failed)

    def _tell(self, event: Any) -> None:
        if self._on_event is not None:
            announce(self._on_event, event, logger)
