"""A team of processes that do units of work and may die.

Each worker is a spawned process with a pipe of its own and does one unit at a
time. The team waits for pipes and for the ends of processes at once, so a
worker that was killed is noticed like one that answers. Workers share no lock,
which a killed one could keep.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import pickle
import platform
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from ..errors import InterruptedRunError, StageError, UsageError
from .children import describe_exit, mp_spawn, start_child
from .team_worker import Heartbeat, work

__all__ = ["LostWorkerError", "Team"]

#: Seconds that workers get to end by themselves when the team is closed.
_END = 2.0
#: When so many workers in succession have died before they could work, the team gives up.
#: A new worker is often hit by what comes from outside, as when memory is short.
_FAILED_STARTS = 6
#: Units that are begun or done while an earlier one is not, as a multiple of the workers.
_WINDOW = 4
#: Windows waits for 63 things at most; there are two for each worker.
_MOST_WORKERS = 30 if os.name == "nt" else 1000
#: Number of the signal by which the system ends what takes too much memory.
_KILL = int(getattr(signal, "SIGKILL", 9))


class LostWorkerError(StageError):
    """Workers were lost: over one unit, which is named, or before they could work."""

    def __init__(
        self,
        what: str,
        *,
        unit: Any = None,
        hint: str | None = None,
        worker: str = "",
        how: str = "",
        seconds: float = 0.0,
        log: str = "",
        is_late: bool = False,
    ) -> None:
        super().__init__("worker", what, hint=hint)
        self.unit = unit  # None if they were lost before they could work
        self.worker = worker  # the last one
        self.how = how  # it ended
        self.seconds = seconds  # that it had worked on the unit
        self.log = log  # the end of what it has printed
        self.is_late = is_late  # whether it was ended by its time limit


@dataclass(slots=True, eq=False)
class _Task:
    """A unit on its way through the team."""

    unit: Any
    is_given: bool = False
    is_done: bool = False
    deaths: int = 0
    result: Any = None
    error: Exception | None = None


class _Worker:
    """A worker process as its parent knows it."""

    def __init__(self, name: str, daemon: bool, imports_main: bool, *args: Any) -> None:
        self.task: _Task | None = None
        self.is_ready = False
        self.heartbeat = Heartbeat()
        self.pipe, link = mp_spawn.Pipe()
        self.process = mp_spawn.Process(
            target=work, args=(link, self.heartbeat, *args), name=name, daemon=daemon
        )
        try:
            start_child(self.process.start, imports_main=imports_main)
        except BaseException:
            self.pipe.close()
            raise
        finally:
            link.close()  # so that the end of the process is the end of the pipe
        self.pid = self.process.pid

    def give(self, task: _Task) -> None:
        """Let the worker do a unit."""
        self.task = task
        task.is_given = True
        self.heartbeat()
        with contextlib.suppress(OSError):  # it is dead, as will be noticed
            self.pipe.send_bytes(pickle.dumps(task.unit))

    def receive(self) -> Any:
        """Return what the worker has sent; None if it is dead."""
        try:  # one that is dead may have answered before
            message = self.pipe.recv_bytes() if self.pipe.poll() else None
        except (EOFError, OSError):
            message = None
        return None if message is None else pickle.loads(message)

    def is_late(self, limit: float) -> bool:
        """Return whether it has been silent for too long."""
        is_idle = self.is_ready and self.task is None
        return not is_idle and time.monotonic() - self.heartbeat.since >= limit

    def end(self, seconds: float = 0) -> int | None:
        """Make the process end, by itself if it does so in time; return its exit code."""
        self.pipe.close()
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(_END)
        code = self.process.exitcode
        if code is not None:  # else the system cannot end it, as when a disk hangs
            self.process.close()
        return code


class Team:
    """Processes that do units of work.

    Workers are started when there is something to do, and live on until `close`.
    Each calls `setup` once, with `shared`, which holds what can be passed to a
    process only when it starts. What that returns is called with each unit and a
    `Heartbeat`, and must give the same result if it is called again.

    A worker that dies, or beats no more for `limit` seconds, is replaced and its
    unit is done again; after `attempts` the unit fails and is named. `split` gets
    the unit and the last beat of the worker that died over it, and returns what is
    to be done again; if that is a smaller part, the culprit comes first.

    Workers may start processes themselves if they are `nested`. Unless
    `imports_main` is false, they import the script of this process, as they must
    for what is pickled by its name. `listener` gets what they send while they work.
    One thread uses a team; `interrupt` and `stop` may be called by others.
    """

    def __init__(
        self,
        setup: Callable[..., Callable[[Any, Heartbeat], Any]],
        size: int,
        *,
        shared: Sequence[Any] = (),
        name: str = "cytovox-worker",
        split: Callable[[Any, int], list[Any]] | None = None,
        limit: float | None = None,
        attempts: int = 2,
        nested: bool = False,
        imports_main: bool = True,
        listener: Callable[[Any], None] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        try:
            load = pickle.dumps(setup)
        except Exception as err:
            raise UsageError(f"this cannot be sent to a worker process: {err}") from err
        self.size = min(size, _MOST_WORKERS)
        self.workers: list[_Worker] = []
        self.limit = limit
        self.logger = logger or logging.getLogger("cytovox.team")
        self._new_worker = functools.partial(_Worker, name, not nested, imports_main, load, shared)
        self._split = split or (lambda unit, at: [unit])
        self._attempts = attempts
        self._listener = listener or (lambda message: None)
        self._is_stopping = False
        self._tasks: list[_Task] = []
        self._failed_starts = 0
        self._alarm, self._bell = mp_spawn.Pipe(duplex=False)

    def start(self, count: int) -> None:
        """Start workers until there are so many, at most `size`."""
        for worker in list(self.workers):
            if worker.is_ready and worker.task is None and not worker.process.is_alive():
                text = _loss_of(worker, self._remove(worker))
                self.logger.warning("%s while it had nothing to do", text)
        while len(self.workers) < min(count, self.size):
            self.workers.append(self._new_worker())

    def run(self, units: Iterable[Any]) -> Iterator[Any]:
        """Do units; yield their results in order. An error of a unit is raised in its turn.

        When this ends early, workers that are at work are killed, so that none
        writes a result that is no longer wanted.
        """
        with contextlib.closing(self._ended(units, in_order=True)) as tasks:
            for task in tasks:
                if task.error is not None:
                    raise task.error
                yield task.result

    def run_each(self, units: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Do units of which none waits for another; yield each as it ends, with its result.

        The error of a unit is yielded in place of its result.
        """
        with contextlib.closing(self._ended(units, in_order=False)) as tasks:
            for task in tasks:
                yield task.unit, task.result if task.error is None else task.error

    def _ended(self, units: Iterable[Any], *, in_order: bool) -> Generator[_Task]:
        """Do units; yield what has been done or has failed."""
        source = iter(units)
        self._tasks = []
        is_complete = False
        try:
            while self._fill(source):
                if not self._is_stopping:
                    self._give()
                candidates = self._tasks[:1] if in_order else self._tasks
                ended = next((task for task in candidates if task.is_done or task.error), None)
                if ended is not None:
                    self._tasks.remove(ended)
                    yield ended
                elif self._is_stopping and not any(worker.task for worker in self.workers):
                    raise InterruptedRunError("the workers were stopped before all was done")
                else:
                    self._wait()
            is_complete = True
        finally:
            if not is_complete:
                for worker in list(self.workers):
                    if worker.task is not None or not worker.is_ready:
                        self._remove(worker)

    def interrupt(self) -> None:
        """Let `run`, in another thread or the next one, end with `InterruptedRunError`."""
        with contextlib.suppress(OSError):  # closed already
            self._bell.send(None)

    def stop(self) -> None:
        """Ask workers that are at work to end in order, by SIGTERM where there is such.

        What they return then is yielded, no more units are begun, and `run` ends with
        `InterruptedRunError`, as does a unit over which a worker dies. Other threads may
        call this.
        """
        self._is_stopping = True
        for worker in list(self.workers):
            with contextlib.suppress(ValueError):  # it has ended by now
                worker.process.terminate()

    def close(self, seconds: float = _END) -> None:
        """End all workers, those that take longer by force; not while `run` is running."""
        for worker in self.workers:
            worker.pipe.close()
        end = time.monotonic() + seconds
        for worker in list(self.workers):
            self._remove(worker, max(0.0, end - time.monotonic()))
        self._alarm.close()
        self._bell.close()

    def _remove(self, worker: _Worker, seconds: float = 0) -> int | None:
        """End a worker; return its exit code."""
        self.workers.remove(worker)
        return worker.end(seconds)

    def _fill(self, source: Iterator[Any]) -> bool:
        """Take units until the window is full; return whether there is any."""
        room = max(0, _WINDOW * self.size - len(self._tasks))
        self._tasks += [_Task(unit) for unit in itertools.islice(source, room)]
        return bool(self._tasks)

    def _give(self) -> None:
        """Give units to workers that have none; nothing behind a unit that has failed."""
        failed = next((i for i, task in enumerate(self._tasks) if task.error), None)
        waiting = [task for task in self._tasks[:failed] if not task.is_given]
        if waiting:
            busy = sum(worker.task is not None for worker in self.workers)
            self.start(busy + len(waiting))
        free = [worker for worker in self.workers if worker.is_ready and worker.task is None]
        for worker, task in zip(free, waiting, strict=False):
            worker.give(task)

    def _wait(self) -> None:
        """Wait until something happens, and handle it."""
        watched: dict[Any, _Worker] = {}
        pause = math.inf
        for worker in self.workers:
            if worker.task is not None or not worker.is_ready:
                watched[worker.pipe] = watched[worker.process.sentinel] = worker
                if self.limit is not None:
                    pause = min(pause, worker.heartbeat.since + self.limit - time.monotonic())
        ready = connection.wait(
            [self._alarm, *watched], None if pause == math.inf else max(0.0, pause)
        )
        if self._alarm in ready:
            raise InterruptedRunError("the workers were stopped while they were working")
        for worker in dict.fromkeys(watched[thing] for thing in ready):
            self._attend(worker)
        for worker in list(self.workers):
            if self.limit is not None and worker.is_late(self.limit):
                self._replace(worker, is_late=True)

    def _attend(self, worker: _Worker) -> None:
        """Handle what a worker has sent."""
        message = worker.receive()
        if message is None:
            self._replace(worker)
            return
        kind, result = message
        if kind == "message":
            self._listener(result)
            return
        task, worker.task = worker.task, None
        if kind == "error":
            result.unit = task.unit if task is not None else None
            error = result.error()
            if task is None:  # the others will send the same, now or later
                raise error
            task.error = error
        elif task is None:
            worker.is_ready = True
            self._failed_starts = 0
        else:
            task.is_done, task.result = True, result

    def _replace(self, worker: _Worker, *, is_late: bool = False) -> None:
        """Remove a worker that is dead or late; let another one do its unit."""
        task, at = worker.task, worker.heartbeat.at
        seconds = time.monotonic() - worker.heartbeat.since
        code = self._remove(worker)
        if self._is_stopping:
            if task is not None:
                text = "the workers were stopped while they were working"
                task.error = InterruptedRunError(text)
            return
        text = _loss_of(worker, code)
        name = f"{platform.node()}:{worker.pid}"
        told: dict[str, Any] = {"worker": name, "how": describe_exit(code), "seconds": seconds}
        told["is_late"] = is_late
        if is_late:
            text = (
                f"worker process {worker.pid} was killed since it took longer than "
                f"{self.limit:g} s"
            )
        if task is None:
            self._failed_starts += 1
            by_itself = code is not None and code >= 0 and not is_late
            if by_itself or self._failed_starts >= _FAILED_STARTS:
                hint = "is there enough memory?"
                if by_itself:
                    hint = "a script that starts workers needs: if __name__ == '__main__':"
                raise LostWorkerError(f"{text} before it could work", hint=hint, **told)
            self.logger.warning("%s before it could work; another one takes its place", text)
            return
        parts = self._split(task.unit, at)
        is_same = parts == [task.unit]
        deaths = (task.deaths if is_same else 0) + (is_same or at >= 0)
        text = f"{text}, working on {parts[0] if at >= 0 else task.unit}"
        if deaths >= self._attempts:
            hint = "is there enough memory, and does the code crash on this?"
            if is_late:
                hint = "does the code hang? CYTOVOX_UNIT_TIMEOUT sets another limit"
            more = f"; so did {deaths - 1} before" if deaths > 1 else ""
            task.error = LostWorkerError(f"{text}{more}", unit=parts[0], hint=hint, **told)
            return
        self.logger.warning("%s; another one does it again", text)
        again = [_Task(part) for part in parts]
        again[0].deaths = deaths
        place = self._tasks.index(task)
        self._tasks[place : place + 1] = again


def _loss_of(worker: _Worker, code: int | None) -> str:
    short = ", as when memory is short" if code == -_KILL else ""
    return f"worker process {worker.pid} died (exit code {code}{short})"
