"""Who does units of work: this process, its threads, or a team of processes.

An executor takes units one by one and gives a future for each. It does a unit
once: what happens to one that fails, or whose worker dies, is decided by whoever
submits it.
"""

from __future__ import annotations

import abc
import functools
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

from ..errors import StageError
from .team import LostWorkerError, Team
from .unit_worker import Member, UnitLimits, log_of

__all__ = ["Serial", "TeamExecutor", "Threads", "UnitExecutor", "WorkerError", "tail_of"]

#: Seconds that threads get to end the unit that they work on.
_END = 2.0
#: Seconds that a worker gets to end by itself; what it has loaded may have to be closed.
_TEAM_END = 30.0
#: Seconds after which a worker is killed whose own time limit has not ended it.
_GRACE = 60.0

#: Bytes at the end of what a worker has printed that are shown.
_TAIL = 8_000

Function = Callable[[Any], Any]


class WorkerError(StageError):
    """No worker can do this work at all; says why."""

    def __init__(self, what: str, *, worker_traceback: str = "", hint: str | None = None) -> None:
        super().__init__("starting workers", what, hint=hint)
        self.worker_traceback = worker_traceback


class UnitExecutor(abc.ABC):
    """Who does units; to be used with ``with``.

    Leaving it because of an exception ends what is being worked on.
    """

    #: Whether function and unit stay in this process; else they are pickled.
    shares_memory = False

    def __init__(self, slots: int = 1) -> None:
        self._slots = slots

    @property
    def slots(self) -> int:
        """How many units may be on their way at once."""
        return self._slots

    @abc.abstractmethod
    def submit(
        self, function: Function, unit: Any, requires: Mapping[str, float] | None = None
    ) -> Future[Any]:
        """Let a unit be done by a worker that has what it `requires`, as ``{"gpu": 1}``.

        If the function has a method ``load``, a worker process calls what that
        returns. The exception of the future is that of the function; a
        `LostWorkerError` if the worker died over the unit, or was stopped since it
        took too long; a `WorkerError` if no worker can do anything.
        """

    def waiting(self) -> str:
        """Return why nothing may be happening, in one line; empty if that is not known."""
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:  # noqa: B027 - some have nothing to end
        """End all workers."""


class Serial(UnitExecutor):
    """Does a unit in this process, when it is submitted."""

    shares_memory = True

    def submit(
        self, function: Function, unit: Any, requires: Mapping[str, float] | None = None
    ) -> Future[Any]:
        """Do a unit."""
        future: Future[Any] = Future()
        _fill(future, functools.partial(function, unit))
        return future


class Threads(UnitExecutor):
    """Threads of this process, each of which does one unit at a time."""

    shares_memory = True
    _end = _END

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(
        self, function: Function, unit: Any, requires: Mapping[str, float] | None = None
    ) -> Future[Any]:
        """Give a unit to the next thread that has nothing to do."""
        future: Future[Any] = Future()
        self._inbox.put((future, function, unit))
        if len(self._threads) < self._slots:
            name = f"thread {len(self._threads) + 1} of this process"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def _work(self) -> None:
        while (given := self._inbox.get()) is not None:
            future, function, unit = given
            _fill(future, functools.partial(function, unit))

    def __exit__(self, *error: object) -> None:
        """Wait for what is being worked on, but not for long."""
        end = time.monotonic() + self._end
        for _thread in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))


class TeamExecutor(Threads):
    """Processes of this machine: each thread of this process has a team of one.

    What workers print goes to files in `logs`.
    """

    shares_memory = False
    _end = _TEAM_END + _END

    def __init__(self, slots: int, limits: UnitLimits | None = None, logs: Path | None = None):
        super().__init__(slots)
        self._limits = limits or UnitLimits()
        self._logs = logs
        self._teams: list[Team] = []

    def _work(self) -> None:
        seconds = self._limits.seconds
        team = Team(
            functools.partial(Member, self._logs, self._limits),
            1,
            limit=None if seconds is None else seconds + _GRACE,
            attempts=1,
            nested=True,
            imports_main=False,
        )
        self._teams.append(team)
        known: Any = None  # a worker that dies does not leave the function to the next one
        try:
            while (given := self._inbox.get()) is not None:
                future, function, unit = given
                sent = None if known is function else function
                if _fill(future, functools.partial(self._do, team, (sent, unit))):
                    known = function
                else:
                    known = None
        finally:
            team.close(_TEAM_END)

    def _do(self, team: Team, unit: Any) -> Any:
        try:
            (result,) = team.run([unit])
        except LostWorkerError as err:
            if self._logs is not None:
                err.log = tail_of(log_of(self._logs, err.worker))
            limit = self._limits.seconds
            err.is_late = err.is_late or (limit is not None and err.seconds >= limit)
            if err.unit is None:
                last = err.log.splitlines()[-1:]
                text = ": ".join([err.detail, *last])
                raise WorkerError(text, worker_traceback=err.log, hint=err.hint) from err
            raise
        return result

    def __exit__(self, *error: object) -> None:
        """End all workers, in the middle of their units if there is an error."""
        if error[0] is not None:
            for team in self._teams:
                team.interrupt()
        super().__exit__(*error)


def _fill(future: Future[Any], do: Callable[[], Any]) -> bool:
    """Give a future what a call returns or raises; return whether it returned."""
    future.set_running_or_notify_cancel()
    try:
        result = do()
    except BaseException as err:
        future.set_exception(err)
        return False
    future.set_result(result)
    return True


def tail_of(log: Path) -> str:
    """Return the end of what a worker has printed, if it can be read here."""
    try:
        with open(log, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""
