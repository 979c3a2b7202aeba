"""Running the conveyor: workers, queues and writer around a slot register."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StageError
from ..read import HDF5Data
from ..run.rows import ByteQueue, no_objects
from ..run.unit_worker import unit_timeout
from ..segm import MPOSegmenter, UNISegmenter
from ..segm.pool import SegmenterPool
from ..segm.segmenter_manager_thread import SegmenterManagerThread
from ..write import QueueWriterThread
from ..write.disk import Sink
from ..write.ledger import Ledger
from .chunk_slot import Offsets, stored_rows
from .chunk_slot_data import BYTES_PER_PIXEL, SlotState
from .job import DCNumPipelineJob
from .measured_before import MeasuredBefore
from .slot_register import SlotRegister
from .stages import STAGES
from .universal_worker import DEDICATIONS, UniversalWorkerThread

__all__ = ["Conveyor", "chunk_size_for", "memory_of_slots", "number_of_slots"]

#: Bytes that a slot may take, and all of them together.
_SLOT_BYTES, _ALL_SLOTS = 24 << 20, 512 << 20
_MOST_FRAMES = 1000
#: Bytes of measured frames that may wait to be put in order, and to be written.
#: All that waits is done again after a kill.
_WAITING_BYTES = 4 << 20
#: Seconds between two looks at the progress.
_LOOK = 0.1
#: Seconds that workers and writer get to end after they were asked to stop.
_END = 30.0
#: The same for workers if the run has failed or was stopped; threads are left behind then.
_END_EARLY = 2.0
#: Looks over which the rate is averaged.
_RATE_LOOKS = 20

#: Is called with the share of frames that are done, events, and frames a second.
OnProgress = Callable[[float, int, float], None]


def number_of_slots(job: DCNumPipelineJob) -> int:
    """Return how many slots a job uses, besides that of the last chunk.

    One for each worker, and one more for a segmenter that works beside them.
    """
    if job.kwargs["debug"]:
        return 1
    alone = issubclass(job.get_segmenter_class(), UNISegmenter)
    return int(job.kwargs["num_procs"]) + (not alone)


def memory_of_slots(job: DCNumPipelineJob, pixels: int, frames: int) -> int:
    """Return the bytes that all slots take for so many frames."""
    size = _frames_of_slot(job, pixels)
    slots = min(number_of_slots(job) + 1, -(-frames // size))
    return slots * size * pixels * BYTES_PER_PIXEL


def _frames_of_slot(job: DCNumPipelineJob, pixels: int) -> int:
    """Return how many frames fit into a slot, at least one."""
    budget = min(_SLOT_BYTES, _ALL_SLOTS // (number_of_slots(job) + 1))
    return max(1, min(_MOST_FRAMES, budget // max(1, pixels * BYTES_PER_PIXEL)))


def chunk_size_for(data: HDF5Data, job: DCNumPipelineJob) -> int:
    """Return how many frames a slot should hold.

    The slots stay within their budget, whatever the image size, and a slot holds
    whole chunks of the file where it can.
    """
    frames = _frames_of_slot(job, math.prod(data.require_images("image").image_shape))
    stored = stored_rows(data)
    return frames // stored * stored if stored and stored <= frames else frames


@dataclass(eq=False)
class Conveyor:
    """Segments and measures a recording and writes its events.

    Its workers are threads. A segmenter that would keep them waiting works in a
    team of processes, to which one of the threads gives chunk after chunk. A
    thread that hangs cannot be ended: it ends the run with an error, and does not
    keep the process from ending.
    """

    job: DCNumPipelineJob
    data: HDF5Data
    path_out: Path | Sink
    _: KW_ONLY
    frame_images: Mapping[str, np.dtype[Any]]
    logger: logging.Logger
    processes: bool = False
    offsets: Offsets | None = None
    ledger: Ledger | None = None
    #: Events of each frame that another run has done.
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    #: What `cytovox live` has measured.
    before: MeasuredBefore | None = None

    def __post_init__(self) -> None:
        self.events = 0
        self.objects = no_objects(1)[0]
        self._pool: SegmenterPool | None = None
        self._limit = unit_timeout()
        self._register: SlotRegister | None = None
        self._errors: list[BaseException] = []
        self._wake = threading.Event()
        self._has_ended = threading.Event()

    def wake(self) -> None:
        """Let the run look at its progress now."""
        self._wake.set()

    def _on_error(self, error: BaseException) -> None:
        self._errors.append(error)
        if self._register is not None:
            self._register.close()
        self._wake.set()

    def _on_writer_end(self) -> None:
        self._has_ended.set()
        self._wake.set()

    def run(self, on_progress: OnProgress) -> None:
        """Do it all."""
        events = ByteQueue(_WAITING_BYTES)
        register = SlotRegister(
            self.job,
            self.data,
            events,
            number_of_slots(self.job),
            shared=False,
            shared_frames=self._in_processes,
            offsets=self.offsets,
            first_frame=len(self.counts),
        )
        register.nevents[: len(self.counts)] = self.counts
        self._register = register
        register.batch_rows = True
        register.before = self.before
        register.frame_images = self.frame_images
        writer = self._writer(register, events)
        workers = self._workers(register)
        self.logger.info("Number of slots: %d", len(register))
        self.logger.info("Chunk size: %d", register.chunk_size)
        patience = _END_EARLY
        try:
            writer.start()
            if len(self.counts) < register.num_frames:
                for worker in workers:
                    worker.start()
            self._supervise(register, writer, on_progress)
            patience = _END
        finally:
            register.close()
            writer.abort()
            self._end_workers(register, workers, patience)
            writer.join(_END)  # it may be closing the file
            register.free()
        for name in register.timers:
            self.logger.info("%s: %.1f s", name, register.get_time(name))

    def _writer(self, register: SlotRegister, events: queue.Queue[Any]) -> QueueWriterThread:
        return QueueWriterThread(
            event_queue=events,
            write_queue_size=register.counters["write_queue_size"],
            feat_nevents=register.nevents[: register.num_frames],
            path_out=self.path_out,
            hdf5_dataset_kwargs=self.job.get_hdf5_dataset_kwargs(),
            # whole chunks, so that little is to be done again after a stop
            write_threshold=register.chunk_size,
            byte_budget=_WAITING_BYTES,
            on_error=self._on_error,
            on_done=self._on_writer_end,
            ledger=self.ledger,
        )

    @property
    def _in_processes(self) -> bool:
        """Whether the segmenter works in processes."""
        cls = self.job.get_segmenter_class()
        if issubclass(cls, UNISegmenter):
            return self.processes
        return issubclass(cls, MPOSegmenter) and not self.job["debug"]

    def _workers(self, register: SlotRegister) -> list[threading.Thread]:
        """Return the workers: threads that do all, or all but segmentation and one for that."""
        count = 1 if self.job["debug"] else self.job["num_procs"]
        where = "; processes for the segmenter" if self._in_processes else ""
        self.logger.info("Number of workers: %d threads%s", count, where)
        workers: list[threading.Thread] = []
        dedications = set(DEDICATIONS) - {"segment_images_full_chunk"}
        if self._in_processes or not issubclass(register.segmenter_class, UNISegmenter):
            if issubclass(register.segmenter_class, UNISegmenter):
                self._pool = SegmenterPool(
                    register.segmenter, count, by_frame=False, logger=self.logger
                )
            dedications.remove("segment_images")
            workers.append(
                SegmenterManagerThread(
                    register.segmenter,
                    register,
                    on_error=self._on_error,
                    logger=self.logger,
                    pool=self._pool,
                )
            )
        return workers + [
            UniversalWorkerThread(
                register,
                dedications=list(dedications),
                on_error=self._on_error,
                logger=self.logger,
            )
            for _ in range(count)
        ]

    def _end_workers(
        self, register: SlotRegister, workers: list[threading.Thread], seconds: float
    ) -> None:
        """Wait until all have stopped; the register has asked them to."""
        if self._pool is not None:
            self._pool.close()  # wakes the thread that waits for its masks
        register.segmenter.close()
        limit = time.monotonic() + seconds
        for worker in workers:
            if worker.ident is not None:
                worker.join(max(0.0, limit - time.monotonic()))
                if worker.is_alive():
                    self.logger.error("%s did not end within %.1f s", worker.name, seconds)

    def _check_time(self, register: SlotRegister) -> None:
        """Raise an error if a thread takes too long; a team watches its own units."""
        if self._limit is None:
            return
        for slot in register.slots:
            state = slot.state
            if state == SlotState.SEGMENT and self._in_processes:
                continue
            for start, (stop, since) in slot.under_way.copy().items():
                if time.monotonic() - since >= self._limit:
                    stage = next((s.name for s in STAGES if s.takes == state), "load")
                    first = slot.chunk * register.chunk_size
                    raise StageError(
                        stage,
                        f"frames {first + start} to {first + stop - 1} have given no result for "
                        f"{self._limit:g} s",
                        path=self.job["path_in"],
                        hint="does the storage or the segmenter hang? "
                        "CYTOVOX_UNIT_TIMEOUT sets another limit",
                    )

    def _supervise(
        self, register: SlotRegister, writer: QueueWriterThread, on_progress: OnProgress
    ) -> None:
        looks: deque[tuple[float, int]] = deque(
            [(time.perf_counter(), len(self.counts))], maxlen=_RATE_LOOKS
        )
        flushing = False
        while True:
            self._wake.wait(_LOOK)
            self._wake.clear()
            if self._errors:
                raise self._errors[0]
            self._check_time(register)
            frames = int(np.count_nonzero(register.nevents >= 0))
            self.events = writer.written_events
            now = time.perf_counter()
            rate = (frames - looks[0][1]) / max(1e-9, now - looks[0][0])
            looks.append((now, frames))
            on_progress(frames / max(1, register.num_frames), self.events, rate)
            if not flushing and frames >= register.num_frames:
                flushing = True
                self.logger.debug("Flushing data to disk")  # as dcnum says, for its users
            if self._has_ended.is_set():
                self._check_end(register, writer)
                return

    def _check_end(self, register: SlotRegister, writer: QueueWriterThread) -> None:
        if self._errors:
            raise self._errors[0]
        self.events = writer.written_events
        self.objects = writer.written_objects
        counted = int(register.nevents[: register.num_frames].sum())
        if writer.written_frames != register.num_frames or self.events != counted:
            raise StageError(
                "write",
                f"{writer.written_frames} of {register.num_frames} frames and {self.events} "
                f"of {counted} events were written",
                path=self.job["path_in"],
            )
        found, *lost = (int(number) for number in self.objects)
        if found != self.events + sum(lost):
            raise StageError(
                "measure",
                f"{found} objects were found, but {self.events} were kept and {sum(lost)} lost",
                path=self.job["path_in"],
            )
