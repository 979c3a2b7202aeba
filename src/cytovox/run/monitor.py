"""A lock on which one can wait for a change, for threads or across processes.

Among threads this is `threading.Condition`. Across processes the one of the
standard library does not do: it waits for an answer of each sleeper, and a
sleeper that was killed never answers. `SharedMonitor` has the same methods
and outlives the death of any process that uses it.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import threading
import time
from collections.abc import Callable
from multiprocessing.context import SpawnContext
from typing import Any

__all__ = ["Monitor", "SharedMonitor", "mp_spawn"]

#: Everything that is shared is made for processes that start from nothing.
mp_spawn: SpawnContext = mp.get_context("spawn")

#: Most threads, of all processes together, that may wait at the same time.
_WAITERS = 64
#: Seconds after which a lock that nobody owns up to counts as orphaned.
_ORPHANED = 1.0


class SharedMonitor:
    """A reentrant lock with waiting, shared by processes that may be killed.

    A waiter has a bell of its own, a semaphore; to notify is to ring the bells
    of those who said that they wait, which needs no answer. The lock is a
    semaphore as well and knows the process that holds it, so that someone else
    can give it back for a process that has died.
    """

    def __init__(self) -> None:
        self._lock = mp_spawn.Semaphore(1)
        self._owner = mp_spawn.RawValue("q", 0)
        # Per place: 0 free, pid of who waits, -pid of who was rung and still sleeps.
        self._waiting = mp_spawn.RawArray("q", _WAITERS)
        self._bells = [mp_spawn.Semaphore(0) for _ in range(_WAITERS)]
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def __enter__(self) -> bool:
        depth = getattr(self._local, "depth", 0)
        if not depth:
            self._lock.acquire()
            self._owner.value = os.getpid()
        self._local.depth = depth + 1
        return True

    def __exit__(self, *exc: object) -> None:
        self._local.depth -= 1
        if not self._local.depth:
            self._owner.value = 0
            self._lock.release()

    def notify_all(self) -> None:
        """Wake all who wait; the lock must be held."""
        for i in range(_WAITERS):
            if self._waiting[i] > 0:
                self._waiting[i] = -self._waiting[i]
                self._bells[i].release()

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until something is true; the lock must be held, once."""
        end = None if timeout is None else time.monotonic() + timeout
        while not (result := predicate()):
            remaining = None if end is None else end - time.monotonic()
            if remaining is not None and remaining <= 0:
                break
            self._sleep(remaining)
        return bool(result)

    def _sleep(self, timeout: float | None) -> None:
        """Give the lock back until the bell rings or time is over."""
        place = next((i for i in range(_WAITERS) if not self._waiting[i]), None)
        if place is None:
            raise RuntimeError(f"more than {_WAITERS} threads wait on one monitor")
        bell = self._bells[place]
        while bell.acquire(block=False):
            pass  # rung for someone who was gone by then
        self._waiting[place] = os.getpid()
        self.__exit__()
        try:
            bell.acquire(timeout=timeout)
        finally:
            self.__enter__()
            self._waiting[place] = 0

    def recover(self, pid: int) -> bool:
        """Give the lock back if a process that has died was holding it."""
        held = not self._lock.acquire(timeout=_ORPHANED)
        if held and self._owner.value not in (0, pid):
            return False  # someone else is slow
        # Now the lock is ours, or the dead one's (who may have died before
        # saying so) and for us to give back.
        for i in range(_WAITERS):
            if abs(self._waiting[i]) == pid:
                self._waiting[i] = 0
        self._owner.value = 0
        self._lock.release()
        return held


#: What slots and registers lock themselves with.
Monitor = threading.Condition | SharedMonitor
