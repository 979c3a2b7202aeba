"""Do independent blocks anywhere, tell how each went, and do no block twice."""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import StorageError, UsageError
from ..run.journal import BlockKey, Journal
from ..run.progress import (
    Listener,
    StageFinished,
    StageProgress,
    StageStarted,
    Warned,
    announce,
)
from .crew import Crew, HasIndex
from .events import BlockDone, BlockFailed, BlockStarted, WorkerLost
from .places import Here, LocalPlace, find_place
from .threads import do_in_threads, may_use_threads
from .workers import Outcome, attempt

__all__ = ["BlockFailure", "RunResult", "log_folder", "refuse_limits", "run_blocks"]

logger = logging.getLogger(__name__)

#: A block over which so many workers have died is given up.
_DEATHS = 2


@dataclass(frozen=True, slots=True)
class BlockFailure:
    """A block that was given up.

    Parameters
    ----------
    block
        Its index or position.
    reason
        ``"error"``, ``"timeout"`` or ``"killed"``, of the last attempt.
    error
        What happened, in one line.
    traceback
        Where it happened, as text; empty if nobody knows.
    attempts
        How often it was tried in this run.
    """

    block: BlockKey
    reason: str
    error: str
    traceback: str
    attempts: int


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a stage went; true only if each of its blocks is done.

    Parameters
    ----------
    stage
        Name of the stage.
    total
        Number of blocks.
    done
        How many were done in this run.
    skipped
        How many were done before.
    failed
        Those that were given up, in the order of their index.
    rows
        What each block returned, by its index; of those done before, what the
        journal could keep.
    seconds
        How long it took.
    """

    stage: str
    total: int
    done: int
    skipped: int
    failed: tuple[BlockFailure, ...]
    rows: dict[BlockKey, dict[str, Any]] = field(repr=False)
    seconds: float

    def __bool__(self) -> bool:
        return self.done + self.skipped == self.total


def run_blocks(
    blocks: Iterable[HasIndex],
    function: Callable[[Any], Mapping[str, Any] | None],
    *,
    workers: int | None = None,
    cluster: Any = None,
    host: str | None = None,
    timeout: float | None = None,
    retries: int = 2,
    memory: int | None = None,
    journal: Journal | None = None,
    stage: str = "blocks",
    on_event: Listener | None = None,
    on_rows: Callable[[Any, dict[str, Any]], None] | None = None,
    check: Callable[[Any], bool] | None = None,
    logs: Path | None = None,
) -> RunResult:
    """Call a function for each block; blocks must not depend on each other.

    Parameters
    ----------
    blocks
        Anything with an `index` that tells them apart and can be pickled.
    function
        Called with a block; returns a dict, or None. Workers load it by its
        module or file and its name; what has none is sent by cloudpickle.
    workers, cluster, host
        Where blocks are done; see `places.find_place`. Workers of this machine
        are threads of this process if the function allows it, see
        `threads.uses_threads`, and there is neither `timeout` nor `memory`.
    timeout
        Seconds that a block may take; its worker is killed then. Not with
        ``workers=0``, where nobody could be killed.
    retries
        How often a block is tried again after an error or a timeout, but not
        after a `UsageError`, which would come again. A block over which a
        worker dies is tried once more whatever is said here, and is given up
        if that kills a worker, too.
    memory
        Bytes that a worker may hold; asking for more fails the block. Only
        Linux can see to that, and not with ``workers=0``, where this process
        would be limited.
    journal
        An open journal. Blocks that it tells as done in this stage are skipped.
    stage
        Name of this stage in the journal and in events.
    on_event
        Is told what happens.
    on_rows
        Is given what a block returned, once, in the order of arrival; then the
        result does not hold it.
    check
        Whether a block that the journal tells as done really is; it is done
        again if not.
    logs
        Folder for what workers print; a temporary one if None, which is
        removed at the end.

    Returns
    -------
    RunResult
        True only if each block is done.

    Raises
    ------
    UsageError
        If there is no such place.
    WorkerError
        If workers cannot start or cannot load the function.
    StorageError
        If there is no room for results; no more blocks are begun then.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> blocks = [SimpleNamespace(index=i) for i in range(3)]
    >>> result = run_blocks(blocks, lambda block: {"square": block.index**2}, workers=0)
    >>> bool(result), result.rows[2]
    (True, {'square': 4})
    """
    if timeout is not None and timeout <= 0:
        raise UsageError(f"a block cannot be done in {timeout} s", hint="give more, or None")
    if not isinstance(blocks, Sized):
        blocks = list(blocks)
    total = len(blocks)
    start = time.monotonic()
    announce(on_event, StageStarted(stage, total, "blocks"), logger)
    ledger = _Ledger(stage, total, retries, timeout, journal, on_event, on_rows)
    skip = ledger.skip(blocks, check) if journal is not None else set()
    left = (block for block in blocks if block.index not in skip)
    count = total - len(skip)
    with contextlib.ExitStack() as stack:
        place = find_place(workers, cluster, host)
        stack.callback(place.close)
        if count and isinstance(place, Here):
            refuse_limits(timeout, memory)
            _do_here(left, function, ledger)
        elif count and _in_threads(place, function, timeout, memory):
            do_in_threads(left, function, min(place.workers, count), ledger)
        elif count:
            folder = log_folder(logs)
            if logs is None:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            crew = Crew(place, function, folder, timeout=timeout, memory=memory)
            stack.enter_context(crew).run(left, count, ledger)
    seconds = time.monotonic() - start
    announce(on_event, StageFinished(stage, seconds), logger)
    failed = tuple(sorted(ledger.failed, key=lambda failure: failure.block))
    return RunResult(stage, total, ledger.done, len(skip), failed, ledger.rows, seconds)


def refuse_limits(timeout: float | None, memory: int | None = None) -> None:
    """Refuse limits that nobody could see to in this process.

    Parameters
    ----------
    timeout, memory
        Limits of a block; None for none.

    Raises
    ------
    UsageError
        If there is one.
    """
    if timeout is not None:
        raise UsageError(
            "a block in this process cannot be stopped",
            hint="leave the timeout out, or let a worker do it: workers=1",
        )
    if memory is not None:
        raise UsageError(
            "a block in this process cannot be kept from using more memory",
            hint="leave the limit out, or let a worker do it: workers=1",
        )


def _in_threads(
    place: Any, function: Callable[[Any], Any], timeout: float | None, memory: int | None
) -> bool:
    """Return whether threads will do, which nobody can kill."""
    limited = timeout is not None or memory is not None
    return isinstance(place, LocalPlace) and may_use_threads(function) and not limited


def log_folder(logs: Path | None) -> Path:
    """Return a folder for what the workers of one run print.

    Parameters
    ----------
    logs
        Where it shall be; a temporary one if None.
    """
    if logs is None:
        return Path(tempfile.mkdtemp(prefix="cytovox-"))
    logs.mkdir(parents=True, exist_ok=True)
    # Workers are numbered anew in each run.
    return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=logs))


def _do_here(blocks: Iterator[Any], function: Callable[[Any], Any], ledger: _Ledger) -> None:
    again: list[Any] = []
    waiting = itertools.chain(blocks, _emptied(again))
    for block in waiting:
        ledger.begin(block, "this process")
        if ledger.settle(block, attempt(function, block)):
            again.append(block)


def _emptied(items: list[Any]) -> Iterator[Any]:
    while items:
        yield items.pop(0)


class _Ledger:
    """Keeps account of the blocks of a stage."""

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

    def skip(self, blocks: Iterable[Any], check: Callable[[Any], bool] | None) -> set[BlockKey]:
        """Return which blocks were done before."""
        assert self._journal is not None
        records = self._journal.records(self.stage)
        known = {key for key, record in records.items() if record.state == "done"}
        if not known:
            return known
        skip = set()
        for block in blocks:
            if block.index in known and (check is None or check(block)):
                skip.add(block.index)
                rows = dict(records[block.index].result or {})
                if self._on_rows is None:
                    self.rows[block.index] = rows
                else:
                    self._on_rows(block, rows)
        self.skipped = len(skip)
        return skip

    def begin(self, block: Any, worker: str) -> None:
        """Take note that an attempt begins."""
        number = self._attempts[block.index] = self._attempts.get(block.index, 0) + 1
        if self._journal is not None:
            self._journal.started(self.stage, block.index, attempt=number, worker=worker)
        self._tell(BlockStarted(self.stage, block.index, number, worker))

    def settle(self, block: Any, outcome: Outcome) -> bool:
        """Take note of an outcome; return whether the block shall be tried again."""
        if outcome.error or not isinstance(outcome.result, (Mapping, type(None))):
            error = outcome.error or (
                f"the function returned a {type(outcome.result).__name__}, not a dict or None"
            )
            return self._fail(block, "error", error, outcome.traceback, outcome)
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
        return False

    def bury(self, block: Any, worker: str, how: str, seconds: float, log: str) -> bool:
        """Take note that a worker died over a block; return whether to try it again."""
        outcome = Outcome(None, seconds, None)
        if self._timeout is not None and seconds >= self._timeout:
            error = f"it took longer than {self._timeout:g} s, so its worker was stopped"
            return self._fail(block, "timeout", error, log, outcome)
        self._tell(WorkerLost(worker, how, block.index))
        self._deaths[block.index] = self._deaths.get(block.index, 0) + 1
        return self._fail(block, "killed", f"its worker {how}", log, outcome)

    def lost(self, worker: str, how: str) -> None:
        """Take note that a worker has ended."""
        logger.info("%s %s", worker, how)

    def lonely(self, text: str) -> None:
        """Take note that there are no workers for a long time."""
        self._tell(Warned(text))

    def _fail(self, block: Any, reason: str, error: str, traceback: str, outcome: Outcome) -> bool:
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
        return not final

    def _tell(self, event: Any) -> None:
        if self._on_event is not None:
            announce(self._on_event, event, logger)
