"""The workers of a conveyor: as threads, or as processes that may die."""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np

from ..errors import StageError
from ..run.monitor import mp_spawn
from ..run.rows import FrameRows
from ..run.unit_timeout import unit_timeout
from ..segm import UNISegmenter
from ..segm.segmenter_manager_thread import SegmenterManagerThread
from .chunk_slot import ChunkSlot
from .slot_register import SlotRegister
from .states import SlotState
from .stints import Stint, Timekeeper
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
#: Frames over which so many workers have died are named, and end the run.
_DEATHS = 2
#: The same while they were being read. That takes no memory of the segmenter's and
#: is the first that a new worker does, so that it is often hit by what comes from outside.
_DEATHS_LOADING = 5
#: Seconds that a worker process gets before it is killed.
_PATIENCE = 2.0
#: So often may a worker die without having had frames in hand.
_IDLE_DEATHS = 3
#: Number of the signal by which the system ends what takes too much memory.
_KILL = int(getattr(signal, "SIGKILL", 9))
#: Seconds between two attempts to put rows on a full queue.
_PUT_LIMIT = 0.5


class Crew(Protocol):
    """Workers that can be started and ended."""

    def start(self) -> None:
        """Let all work."""

    def end(self, seconds: float = _END) -> None:
        """Wait until all have stopped; the register has told them to."""


class ThreadCrew:
    """Workers in threads of this process.

    A thread that hangs cannot be ended. It ends the run with an error, and
    does not keep the process from ending.
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
        self.on_error = on_error
        self._timekeeper = Timekeeper(unit_timeout(), register.stints.under_way, self._give_up)

    def start(self) -> None:
        """Let all work."""
        for worker in self.workers:
            worker.start()
        self._timekeeper.start()

    def _give_up(self, worker: int, stint: Stint) -> None:
        self.on_error(
            StageError(
                stint.stage,
                f"nothing has come of frames {stint.first} to {stint.last} for "
                f"{self._timekeeper.limit:g} s",
                path=self.register.job["path_in"],
                hint="does the storage or the segmenter hang? "
                "CYTOVOX_UNIT_TIMEOUT sets another limit",
            )
        )

    def end(self, seconds: float = _END) -> None:
        """Wait until all have stopped; the register has told them to."""
        self._timekeeper.stop()
        self.register.segmenter.close()  # wakes the one who waits for its masks
        limit = time.monotonic() + seconds
        for worker in self.workers:
            if worker.ident is not None:
                worker.join(max(0.0, limit - time.monotonic()))
                if worker.is_alive():
                    self.logger.error("%s did not end within %.1f s", worker.name, seconds)


class ProcessCrew:
    """Workers in processes, watched by a thread of this one.

    Each worker sends its rows through a pipe of its own. When a worker dies,
    or takes too long, what it has sent is kept, its frames are given to
    others, and a new worker takes its place. They are then done in smaller
    pieces, at first half as many frames at a time (memory may have been
    short), then one by one. So a frame that kills its worker is found, and if
    it does so twice it is named and ends the run.
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
        self._late: set[int] = set()
        self._deaths_over: Counter[tuple[int, str, int | None]] = Counter()
        self._timekeeper = Timekeeper(unit_timeout(), self._under_way, self._stop_late)
        self._received = np.zeros(register.num_frames, dtype=bool)
        self._stop_in, self._stop_out = mp_spawn.Pipe(duplex=False)
        self._collector = threading.Thread(target=self._watch, name="cytovox-crew", daemon=True)

    def start(self) -> None:
        """Let all work."""
        for _ in range(self.count):
            self._hire()
        self._collector.start()
        self._timekeeper.start()

    def _under_way(self) -> dict[UniversalWorkerProcess, Stint]:
        workers = list(self.workers.values())
        return {one: stint for one in workers for stint in one.stint.under_way().values()}

    def _stop_late(self, worker: UniversalWorkerProcess, stint: Stint) -> None:
        self._late.add(worker.pid or 0)
        worker.kill()  # its pipe ends, which is noticed

    def _hire(self) -> None:
        receiver, sender = mp_spawn.Pipe(duplex=False)
        worker = UniversalWorkerProcess(self.register, pipe=sender)
        worker.start()
        sender.close()  # so that the end of the worker is the end of the pipe
        self.workers[receiver] = worker

    def end(self, seconds: float = _END) -> None:
        """Wait until all have stopped; the register has told them to."""
        self._timekeeper.stop()
        limit = time.monotonic() + seconds
        self._stop_out.send(None)
        if self._collector.ident is not None:
            self._collector.join(seconds)
        limit = min(limit, time.monotonic() + _PATIENCE)
        workers = list(self.workers.values())
        for worker in workers:
            worker.join(max(0.0, limit - time.monotonic()))
            if worker.is_alive():
                worker.kill()
        for worker in workers:
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
        elif isinstance(message, str):
            self.logger.warning("%s", message)
        else:
            error, text = message
            error.__cause__ = WorkerFailure(text)
            self.on_error(error)

    def _keep(self, rows: FrameRows) -> None:
        """Pass rows on, but never those of a frame that have come before."""
        for part in _split(rows, ~self._received[rows.start : rows.stop]):
            self._received[part.start : part.stop] = True
            self.register.nevents[part.start : part.stop] = part.counts
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
        if worker.is_alive():  # it has closed its pipe, but not ended
            worker.kill()
            worker.join(_PATIENCE)
        if worker.completed:
            return
        self.deaths += 1
        lost = self.register.recover(worker.pid or 0)
        self._idle_deaths = 0 if lost else self._idle_deaths + 1
        obituary = self._obituary(worker, lost)
        if self._idle_deaths > _IDLE_DEATHS:
            raise self._hopeless(obituary)
        less = [self._take_less(obituary, *part) for part in lost]
        self.logger.warning("%s%s", obituary, "; ".join(["", *filter(None, less)]))
        if self.register.state != "q":
            self._hire()

    def _take_less(self, obituary: str, slot: ChunkSlot, start: int, stop: int) -> str:
        """Let frames over which a worker has died be done in smaller pieces; say so."""
        first = max(0, slot.chunk) * self.register.chunk_size + start
        alone = stop - start == 1 or slot.state == SlotState.LOAD
        self._deaths_over[slot.chunk, slot.state, first if alone else None] += 1
        deaths = self._deaths_over[slot.chunk, slot.state, first if alone else None]
        if not alone:
            most = (stop - start) // 2 if deaths < _DEATHS else 1
            slot.take_less(most)
            return f"they are done again, at most {most} at a time"
        if deaths >= (_DEATHS_LOADING if slot.state == SlotState.LOAD else _DEATHS):
            frame = None if slot.state == SlotState.LOAD else self.register.raw_frame(first)
            raise self._hopeless(f"{obituary}; so did {deaths - 1} before", frame=frame)
        slot.take_less(1)
        return "they are done again"

    def _hopeless(self, text: str, frame: int | None = None) -> StageError:
        return StageError(
            "worker",
            text,
            path=self.register.job["path_in"],
            frame=frame,
            hint="is there enough memory, and does the segmenter crash on these frames?",
        )

    def _obituary(self, worker: UniversalWorkerProcess, lost: list[Any]) -> str:
        text = f"worker process {worker.pid} died (exit code {worker.exitcode}"
        if worker.pid in self._late:
            text = (
                f"worker process {worker.pid} was ended since nothing came of its frames for "
                f"{self._timekeeper.limit:g} s (CYTOVOX_UNIT_TIMEOUT sets another limit"
            )
        elif worker.exitcode == -_KILL:
            text += ", as when memory is short"
        text += ")"
        for slot, start, stop in lost:
            first = max(0, slot.chunk) * self.register.chunk_size
            frames = f"frames {first + start} to {first + stop - 1}"
            one = f"frame {first + start}"
            text += f", working on {one if stop - start == 1 else frames}"
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
        yield FrameRows(
            rows.start + int(first), rows.counts[first:last], columns, rows.objects[first:last]
        )
