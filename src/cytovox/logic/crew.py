"""The workers of a conveyor: as threads, or as processes that may die."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np

from ..errors import StageError
from ..run.monitor import mp_spawn
from ..run.rows import FrameRows
from ..segm import UNISegmenter
from ..segm.segmenter_manager_thread import SegmenterManagerThread
from .slot_register import SlotRegister
from .universal_worker import (
    DEDICATIONS,
    UniversalWorkerProcess,
    UniversalWorkerThread,
    WorkerFailure,
)

__all__ = ["Crew", "ProcessCrew", "ThreadCrew"]

OnError = Callable[[BaseException], None]

#: Seconds that workers get to end after they have been told.
_END = 30.0
#: Seconds that a worker process gets before it is killed.
_PATIENCE = 2.0
#: So often may a worker die without having had frames in hand.
_IDLE_DEATHS = 3
#: Seconds between two attempts to put rows on a full queue.
_PUT_LIMIT = 0.5


class Crew(Protocol):
    """Workers that can be started and ended."""

    def start(self) -> None:
        """Let all work."""

    def end(self) -> None:
        """Wait until all have stopped; the register has told them to."""


class ThreadCrew:
    """Workers in threads of this process.

    Parameters
    ----------
    register
        What they work on.
    count
        Number of workers.
    on_error
        Called with the exception that ended a worker.
    logger
        Where they report.
    """

    def __init__(
        self, register: SlotRegister, count: int, on_error: OnError, logger: logging.Logger
    ) -> None:
        self.register = register
        self.logger = logger
        self.workers: list[threading.Thread] = []
        dedications = list(DEDICATIONS)
        if not issubclass(register.segmenter_class, UNISegmenter):
            # One thread asks the segmenter, which may have processes of its own.
            manager = SegmenterManagerThread(
                register.segmenter, register, on_error=on_error, logger=logger
            )
            self.workers.append(manager)
            dedications.remove("segment_images")
        dedications.remove("segment_images_full_chunk")
        self.workers += [
            UniversalWorkerThread(
                register, dedications=dedications, on_error=on_error, logger=logger
            )
            for _ in range(count)
        ]

    def start(self) -> None:
        """Let all work."""
        for worker in self.workers:
            worker.start()

    def end(self) -> None:
        """Wait until all have stopped; the register has told them to."""
        self.register.segmenter.close()  # wakes the one who waits for its masks
        for worker in self.workers:
            if worker.ident is not None:
                worker.join(_END)
                if worker.is_alive():
                    self.logger.error("%s did not end within %d s", worker.name, _END)


class ProcessCrew:
    """Workers in processes, watched by a thread of this one.

    Each worker sends its rows through a pipe of its own. When a worker dies,
    what it has sent is kept, its frames are given to others, and a new worker
    takes its place. Frames on which a worker dies twice end the run.

    Parameters
    ----------
    register
        What they work on; must be a shared one.
    count
        Number of workers.
    on_error
        Called with the error that ends the run.
    logger
        Where deaths are reported.
    events
        Queue that takes the rows.
    """

    def __init__(
        self,
        register: SlotRegister,
        count: int,
        on_error: OnError,
        logger: logging.Logger,
        events: queue.Queue[Any],
    ) -> None:
        self.register = register
        self.count = count
        self.on_error = on_error
        self.logger = logger
        self.events = events
        self.workers: dict[Connection, UniversalWorkerProcess] = {}
        self.deaths = 0
        self._idle_deaths = 0
        self._lost_before: set[tuple[int, str, int]] = set()
        self._received = np.zeros(register.num_frames, dtype=bool)
        self._stop_in, self._stop_out = mp_spawn.Pipe(duplex=False)
        self._collector = threading.Thread(target=self._watch, name="cytovox-crew", daemon=True)

    def start(self) -> None:
        """Let all work."""
        for _ in range(self.count):
            self._hire()
        self._collector.start()

    def _hire(self) -> None:
        receiver, sender = mp_spawn.Pipe(duplex=False)
        worker = UniversalWorkerProcess(self.register, pipe=sender)
        worker.start()
        sender.close()  # so that the end of the worker is the end of the pipe
        self.workers[receiver] = worker

    def end(self) -> None:
        """Wait until all have stopped; the register has told them to."""
        self._stop_out.send(None)
        if self._collector.ident is not None:
            self._collector.join(_END)
        for worker in self.workers.values():
            worker.join(_PATIENCE)
            if worker.is_alive():
                worker.kill()
                worker.join(_PATIENCE)

    def _watch(self) -> None:
        try:
            while self.workers:
                ready = connection.wait([self._stop_in, *self.workers])
                for pipe in ready:
                    if pipe is self._stop_in:
                        return
                    self._hear(pipe)  # type: ignore[arg-type]
        except Exception as err:  # noqa: BLE001 - it ends the run
            self.on_error(err)

    def _hear(self, pipe: Connection) -> None:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            self._bury(pipe)
            return
        if isinstance(message, FrameRows):
            self._keep(message)
        else:
            error, text = message
            error.__cause__ = WorkerFailure(text)
            self.on_error(error)

    def _keep(self, rows: FrameRows) -> None:
        """Pass rows on, but never those of a frame that have come before."""
        for part in _split(rows, ~self._received[rows.start : rows.stop]):
            self._received[part.start : part.stop] = True
            self.register.nevents[part.start : part.stop] = part.counts
            if part.dropped:
                self.register.increment_counter_value("masks_dropped", part.dropped)
            while True:
                try:
                    self.events.put(part, timeout=_PUT_LIMIT)
                    break
                except queue.Full:
                    if self.register.state == "q":
                        return

    def _bury(self, pipe: Connection) -> None:
        worker = self.workers.pop(pipe)
        pipe.close()
        worker.join(_PATIENCE)
        if worker.completed:
            return
        self.deaths += 1
        lost = self.register.recover(worker.pid or 0)
        self.logger.warning("%s", self._obituary(worker, lost))
        units = {(slot.chunk, slot.state, start) for slot, start, _ in lost}
        self._idle_deaths = 0 if units else self._idle_deaths + 1
        if units & self._lost_before or self._idle_deaths > _IDLE_DEATHS:
            raise StageError(
                "worker",
                self._obituary(worker, lost),
                path=self.register.job["path_in"],
                hint="it is not the first time; is there enough memory?",
            )
        self._lost_before |= units
        if self.register.state != "q":
            self._hire()

    def _obituary(self, worker: UniversalWorkerProcess, lost: list[Any]) -> str:
        text = f"worker process {worker.pid} died (exit code {worker.exitcode})"
        for slot, start, stop in lost:
            first = max(0, slot.chunk) * self.register.chunk_size
            text += f", working on frames {first + start} to {first + stop - 1}"
        return text


def _split(rows: FrameRows, wanted: np.ndarray[Any, np.dtype[np.bool_]]) -> Iterator[FrameRows]:
    """Yield the runs of wanted frames."""
    if wanted.all():
        yield rows
        return
    edges = np.flatnonzero(np.diff(wanted.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    ends = np.concatenate([[0], np.cumsum(rows.counts)])
    for first, last in edges:
        part = slice(ends[first], ends[last])
        columns = {name: values[part] for name, values in rows.rows.items()}
        yield FrameRows(rows.start + int(first), rows.counts[first:last], columns)
