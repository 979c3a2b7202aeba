"""Blocks done by threads of this process, for functions that let each other work.

Starting a process costs as long as labelling tens of millions of voxels. What
spends its time in compiled code that releases the interpreter needs none.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .workers import Outcome, attempt

if TYPE_CHECKING:
    from .block_ledger import Ledger

__all__ = ["do_in_threads", "may_use_threads", "uses_threads"]

Function = TypeVar("Function", bound=Callable[..., Any])

#: Seconds that threads get to end the block that they work on.
_END = 2.0
#: Seconds to wait at once; on Windows, Ctrl-C is not noticed meanwhile.
_PATIENCE = 0.5


def uses_threads(function: Function) -> Function:
    """Say that blocks of a function may be done by threads of one process.

    It must be called by several threads at once without harm, and release the
    interpreter (GIL) while it computes, as NumPy and most compiled code do.

    Parameters
    ----------
    function
        Function of an array, or what is called for a block.

    Examples
    --------
    >>> @uses_threads
    ... def bright(array):
    ...     return array > 100
    >>> may_use_threads(bright), may_use_threads(len)
    (True, False)
    """
    function.uses_threads = True  # type: ignore[attr-defined]
    return function


def may_use_threads(function: Callable[..., Any]) -> bool:
    """Return whether that was said of a function.

    Parameters
    ----------
    function
        The function.
    """
    return bool(getattr(function, "uses_threads", False))


class _Hand:
    """A thread that does one block at a time."""

    def __init__(
        self, name: str, function: Callable[[Any], Any], told: queue.SimpleQueue[Any]
    ) -> None:
        self.name = name
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._function = function
        self._told = told
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)

    def _work(self) -> None:
        while (block := self.inbox.get()) is not None:
            outcome: Outcome | BaseException
            try:
                outcome = attempt(self._function, block)
            except BaseException as err:
                outcome = err
            self._told.put((self, block, outcome))


def do_in_threads(function: Callable[[Any], Any], workers: int, ledger: Ledger) -> None:
    """Do the blocks of a ledger by threads; return when each is done or given up.

    If there is an exception, e.g. since somebody wants to stop, blocks that
    are worked on are waited for, but not for long.

    Parameters
    ----------
    function
        Called with a block.
    workers
        Number of threads.
    ledger
        Has the blocks and is told about each, in this thread.
    """
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    hands = [_Hand(f"thread {n + 1} of this process", function, told) for n in range(workers)]
    idle = hands[::-1]
    try:
        for hand in hands:
            hand.thread.start()
        while True:
            while idle and (block := ledger.next()) is not None:
                hand = idle.pop()
                ledger.begin(block, hand.name)
                hand.inbox.put(block)
            if len(idle) == len(hands):
                return
            hand, block, outcome = _heard(told)
            idle.append(hand)
            if isinstance(outcome, BaseException):
                raise outcome
            ledger.settle(block, outcome)
    finally:
        end = time.monotonic() + _END
        for hand in hands:
            hand.inbox.put(None)
        for hand in hands:
            if hand.thread.is_alive():
                hand.thread.join(max(0.0, end - time.monotonic()))


def _heard(told: queue.SimpleQueue[Any]) -> Any:
    while True:
        try:
            return told.get(timeout=_PATIENCE)
        except queue.Empty:
            continue
