"""The one loop over blocks: from a source, by an executor, into ledgers."""

from __future__ import annotations

import functools
import os
import pickle
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..run.executor import UnitExecutor, WorkerError
from ..run.journal import BlockKey
from ..run.team import LostWorkerError
from .attempt import Outcome, PackedAttempt, attempt, failure_of, packed
from .block_ledger import Fate, Ledger

__all__ = ["BlockSource", "BlockWork", "GridSource", "HasIndex", "Ready", "do_blocks"]

#: Seconds without an answer after which somebody should be told why.
_SILENCE = 30.0
#: Seconds after which more workers may have come; Windows notices Ctrl-C only between two waits.
_WAIT = 0.5 if os.name == "nt" else 5.0


class HasIndex(Protocol):
    """What the loop needs of a block."""

    @property
    def index(self) -> Any:
        """What tells it from the others."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockWork:
    """What is done with the blocks of a stage, and by whom."""

    function: Callable[[Any], Any]  # of a block; returns a dict, or None
    ledger: Ledger
    executor: UnitExecutor  # does `executor.slots` at a time at most
    requires: Mapping[str, float] | None = None  # what a worker must have, as ``{"gpu": 1}``


class Ready(NamedTuple):
    """A block that may be done now."""

    work: BlockWork
    block: Any


class BlockSource(Protocol):
    """Where blocks come from, in which order, and what they wait for.

    A block that fails is done again by the loop; its source hears nothing of it
    until it is done or given up.
    """

    def next(self) -> Ready | None:
        """Return a block that may be done now; None if there is none for now."""

    def done(self, ready: Ready) -> None:
        """Take note that a block is done."""

    def failed(self, ready: Ready) -> None:
        """Take note that a block was given up."""

    def spread(self, work: BlockWork, count: int) -> set[BlockKey]:
        """Let about `count` blocks from all over come next; return which, if there are more."""


class GridSource:
    """Blocks that do not depend on each other."""

    def __init__(self, work: BlockWork, blocks: Iterable[Any]) -> None:
        self._work = work
        self._waiting = iter(blocks)

    def next(self) -> Ready | None:
        """Return the next block."""
        block = None if self._work.ledger.none_works else next(self._waiting, None)
        return None if block is None else Ready(self._work, block)

    def done(self, ready: Ready) -> None:
        """Do nothing; no block waits for another one."""

    def failed(self, ready: Ready) -> None:
        """Do nothing; no block waits for another one."""

    def spread(self, work: BlockWork, count: int) -> set[BlockKey]:
        """Let the next blocks be from all over the volume, those that are far away first."""
        rest = list(self._waiting)
        step = (len(rest) - 1) / (count - 1)
        chosen = {round(i * step) for i in range(count)} if rest else set()
        others = (i for i in range(len(rest)) if i not in chosen)
        self._waiting = iter([rest[i] for i in (*sorted(chosen, reverse=True), *others)])
        return {rest[i].index for i in chosen}


def do_blocks(source: BlockSource, works: Sequence[BlockWork]) -> None:
    """Do blocks until each is done or given up, or none works.

    A WorkerError is raised if no worker can do anything, a StorageError if there is no
    room for what blocks write.
    """
    ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
    running: dict[Future[Any], Ready] = {}
    attempts: dict[BlockWork, Callable[[Any], Any]] = {}
    silence = 0.0
    while True:
        for ready in _ready(source, works, running):
            work, block = ready
            work.ledger.begin(block)
            if work not in attempts:
                attempts[work] = _attempt_of(work)
            unit = block if work.executor.shares_memory else packed(block)
            future = work.executor.submit(attempts[work], unit, work.requires)
            running[future] = ready
            future.add_done_callback(ended.put)
        if not running:
            return
        try:
            future = ended.get(timeout=_WAIT)
        except queue.Empty:
            silence = _warned_of(silence + _WAIT, works)
            continue
        silence = 0.0
        ready = running.pop(future)
        fate = _settle(ready, future)
        if fate == "done":
            source.done(ready)
        elif fate == "failed":
            source.failed(ready)
            ready.work.ledger.look_elsewhere(functools.partial(source.spread, ready.work))


def _ready(
    source: BlockSource, works: Sequence[BlockWork], running: Mapping[Any, Any]
) -> Iterator[Ready]:
    """Yield blocks to begin now, as long as there is room for them."""
    while len(running) < sum(work.executor.slots for work in works):
        again = [w for w in works if w.ledger.again and not w.ledger.none_works]
        # It should soon be known whether any block works at all.
        urgent = next((work for work in again if not work.ledger.any_done), None)
        ready = None if urgent is not None else source.next()
        if ready is None:
            if not again:
                return
            work = urgent or again[0]
            ready = Ready(work, work.ledger.again.popleft())
        yield ready


def _attempt_of(work: BlockWork) -> Callable[[Any], Any]:
    if work.executor.shares_memory:
        return functools.partial(attempt, work.function)
    return PackedAttempt(work.function)


def _warned_of(silence: float, works: Sequence[BlockWork]) -> float:
    """Say why nothing may be happening, if it is time to; return the silence since."""
    if silence < _SILENCE:
        return silence
    for work in works:
        if why := work.executor.waiting():
            work.ledger.warn(why)
    return 0.0


def _settle(ready: Ready, future: Future[Any]) -> Fate:
    """Record how an attempt ended; return what becomes of the block."""
    work, block = ready
    error = future.exception()
    if isinstance(error, LostWorkerError):
        return work.ledger.died(block, error)
    if isinstance(error, WorkerError) or not isinstance(error, Exception | None):
        raise error
    if error is not None:
        return work.ledger.settle(block, failure_of(error, 0.0))
    result = future.result()
    outcome: Outcome = pickle.loads(result) if isinstance(result, bytes) else result
    return work.ledger.settle(block, outcome)
