"""The conveyor: a few slots that move from loading to measured events."""

from __future__ import annotations

import functools
import importlib
import logging
import queue
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InterruptedRunError
from ..feat import QueueEventExtractor
from ..read import HDF5Data
from ..run.rows import FrameRows
from ..segm import Segmenter
from . import stages
from .chunk_slot import ChunkSlot, FrameReader, Offsets
from .chunk_slot_data import ChunkSlotData, RegisterState, SlotState, StateWarden, mp_spawn
from .job import extractor_of, segmenter_of
from .measured_before import MeasuredBefore
from .shared_counters import SharedCounters, count_time

__all__ = ["SharedCounters", "SlotRegister", "StateWarden", "count_time", "is_locked", "mp_spawn"]

#: Frames that a worker takes at a time, unless the segmenter wants otherwise.
_BATCH = 100
#: Bytes of event images that a batch may bring forth, on the mean: those of a whole slot with
#: five events a frame, since what comes in several parts has to be copied together.
_BATCH_BYTES = 16 << 20
#: Chunks that are begun before an earlier one has ended, as a multiple of the slots.
_WINDOW = 2
#: Seconds to wait for room on the event queue before looking whether all is over.
_PUT_LIMIT = 1.0


class SlotRegister(SharedCounters):
    """A register for `ChunkSlot` instances and the tasks that move them on.

    Parameters
    ----------
    job, data
        The job, and the recording with background.
    event_queue
        Queue that takes the events: a tuple ``(frame, events or None)`` per
        frame, or `FrameRows` if `batch_rows` is set.
    num_slots
        Number of slots besides the one for the last chunk, at most one for each chunk.
    shared, shared_frames
        Whether worker processes may use the register, not only threads; whether those
        of a segmenter may at least see the frames.
    offsets
        Computes the background offset of frames while they are loaded; each
        event then takes its ``bg_off`` along.
    first_frame
        Frames before this one are done already.

    Attributes
    ----------
    chunk_size, num_chunks, num_frames : int
        Division of the recording.
    feat_nevents
        Shared array with the number of events of each frame, -1 as long as
        it is not known.
    timers, counters : dict
        Seconds per task; counts per name.
    batch_rows : bool
        Whether the queue takes rows of many frames at once.
    frame_images : dict
        Images of the frame (``image``, ``image_bg``) that each event takes
        along, and the type to store.
    """

    def __init__(
        self,
        job: Any,
        data: HDF5Data,
        event_queue: Any = None,
        num_slots: int = 3,
        *,
        shared: bool = True,
        shared_frames: bool = False,
        offsets: Offsets | None = None,
        first_frame: int = 0,
    ) -> None:
        super().__init__(shared)
        self.first_frame = first_frame
        self.job = job
        self.data = data
        self.event_queue = event_queue
        images = data.require_images("image")
        self.chunk_size = images.chunk_size
        self.num_chunks = images.num_chunks
        self.num_frames = len(data)
        self.feat_nevents = mp_spawn.RawArray("q", max(1, self.num_frames))
        self.nevents = self._view_nevents()
        self.nevents[:] = -1
        done = first_frame // max(1, self.chunk_size)
        self.counters["chunks_loaded"].value = (
            done if first_frame < self.num_frames else self.num_chunks
        )
        self.makes_offsets = offsets is not None
        #: What is known of frames without segmenting them.
        self.before: MeasuredBefore | None = None
        self.batch_rows = False
        self.frame_images: Mapping[str, np.dtype[Any]] = {}
        self._most_frames = mp_spawn.RawArray("q", len(stages.STAGES))
        self._chunks_begun = mp_spawn.RawValue("q", self.chunks_loaded)
        self._density = mp_spawn.RawValue("q", 1)
        reader = FrameReader(data)
        self._slots = [
            ChunkSlot(
                job,
                data,
                last,
                monitor=self.monitor,
                reader=reader,
                offsets=offsets,
                private=not (shared or shared_frames),
            )
            for last in [*[False] * min(max(1, num_slots), self.num_chunks - 1), True]
        ]
        height, width = images.image_shape
        self._images_of_batch = _BATCH_BYTES // max(1, height * width)

    def _view_nevents(self) -> npt.NDArray[np.int64]:
        return np.frombuffer(self.feat_nevents, np.int64)

    def __getstate__(self) -> dict[str, Any]:
        # What belongs to one process is made anew in the other.
        mine = ("nevents", "segmenter", "segmenter_class", "extractor")
        return {key: value for key, value in self.__dict__.items() if key not in mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.nevents = self._view_nevents()

    def __getitem__(self, idx: int) -> ChunkSlot:
        return self._slots[idx]

    def __iter__(self) -> Iterator[ChunkSlot]:
        """Iterate over slots, sorted by current chunk number."""
        return iter(sorted(self._slots, key=lambda slot: slot.chunk))

    def __len__(self) -> int:
        return len(self._slots)

    @functools.cached_property
    def segmenter_class(self) -> type[Segmenter]:
        """Class of the segmenter."""
        cls: type[Segmenter] = self.job.get_segmenter_class()
        return cls

    @functools.cached_property
    def segmenter(self) -> Segmenter:
        """The segmenter that this register's tasks use."""
        return segmenter_of(self.job)

    @functools.cached_property
    def extractor(self) -> QueueEventExtractor:
        """What measures and gates events."""
        return extractor_of(self.job, self.data, self, self.event_queue)

    @property
    def slots(self) -> list[ChunkSlot]:
        """A list of all slots."""
        return list(self._slots)

    def free(self) -> None:
        """Release the memory of the slots; nothing can be done with them any more.

        The register is part of a circle of objects, which Python frees some time
        later. In a process that measures one recording after the other, the
        images of many would wait for that.
        """
        self._slots.clear()

    def find_slot(self, state: str, chunk: int | None = None) -> ChunkSlot | None:
        """Return the slot with the smallest chunk that is in a state.

        Parameters
        ----------
        state, chunk
            Letter of the state, and the chunk that the slot must hold; any if None.
        """
        for slot in self:
            if slot.state == state and (chunk is None or slot.chunk == chunk):
                return slot
        return None

    def raw_frame(self, index: int) -> int:
        """Return the number in the input file of a (mapped) frame.

        Parameters
        ----------
        index
            Index of the frame (0-based) as the data show it.
        """
        mapping = self.data.mapping_indices
        return index if mapping is None else int(mapping[index])

    def reserve_slot_for_task(
        self,
        current_state: str,
        next_state: str,
        chunk_slot: ChunkSlot | ChunkSlotData | None = None,
        batch_size: int | None = None,
    ) -> StateWarden | None:
        """Reserve frames for a task, those of the smallest chunk first.

        Parameters
        ----------
        current_state
            State in which the slot must be.
        next_state
            State of the slot when all its frames are done.
        chunk_slot
            The slot; if None, the first with something to do is taken.
        batch_size
            Largest number of frames; all of the slot if None.

        Returns
        -------
        StateWarden or None
            None if no frames could be reserved and no slot was named.
        """
        if chunk_slot is not None:
            return StateWarden(chunk_slot, current_state, next_state, batch_size)
        with self.monitor:
            for slot in self:
                if slot.state == current_state and slot.has_free_frames():
                    return StateWarden(slot, current_state, next_state, batch_size)
        return None

    def take_less(self, stage: str, most_frames: int) -> None:
        """Let workers take fewer frames at a time from now on.

        Parameters
        ----------
        stage, most_frames
            Name of the stage, and the largest number of frames.
        """
        self._most_frames[[one.name for one in stages.STAGES].index(stage)] = most_frames

    def _run(
        self, stage: stages.Stage, batch_size: int | None, logger: logging.Logger | None
    ) -> bool:
        """Do a stage for some frames; return whether there were any."""
        most = self._most_frames[stages.STAGES.index(stage)]
        if most:
            batch_size = min(most, batch_size or most)
        warden = self.reserve_slot_for_task(stage.takes, stage.leaves, batch_size=batch_size)
        if warden is None or not warden.batch_size:
            return False
        with warden as (slot, (start, stop)):
            result = stages.run_stage(stage, self, slot, start, stop, logger)
            if stage is stages.MEASURE:
                self._pass_on(result)
        self.notify()
        return True

    @count_time()
    def task_load_all(self, logger: logging.Logger | None = None) -> bool:
        """Load chunks for as many slots as possible; return whether there were any.

        Parameters
        ----------
        logger
            Not needed here.
        """
        did_something = False
        while self.state == RegisterState.WORK and (warden := self._begin_to_load()) is not None:
            with warden as (slot, _):
                self._load(slot)
                if slot.is_known:
                    warden.next_state = SlotState.MEASURE
            self.increment_counter_value("chunks_loaded")
            did_something = True
            self.notify()
        return did_something

    def _load(self, slot: ChunkSlot) -> None:
        """Let a slot have what its chunk needs: no images, if its events are known without."""
        start, before = slot.chunk * self.chunk_size, self.before
        slot.is_known = before is not None and before.knows(start, start + slot.length)
        if not slot.is_known or self.frame_images or self.makes_offsets:
            slot.load(slot.chunk)
        if before is not None and not slot.is_known:
            slot.is_known = before.fits(start, slot)

    def _begin_to_load(self) -> StateWarden | None:
        """Reserve a slot for the next chunk, if there is a free one."""
        with self.monitor:
            slot = self._slot_to_load()
            if slot is None:
                return None
            slot.chunk = self._chunks_begun.value
            self._chunks_begun.value += 1
            return StateWarden(slot, SlotState.LOAD, SlotState.SEGMENT)

    def _slot_to_load(self) -> ChunkSlot | None:
        next_chunk = self._chunks_begun.value
        if next_chunk >= self.num_chunks:
            return None
        # What comes after a chunk that takes long has to wait for it in memory.
        open_chunks = [slot.chunk for slot in self if slot.state in stages.LOADED_STATES]
        if open_chunks and next_chunk - min(open_chunks) >= _WINDOW * len(self._slots):
            return None
        is_last = next_chunk == self.num_chunks - 1
        for slot in self:
            is_free = slot.state == SlotState.LOAD and slot.has_free_frames()
            if is_free and slot.is_remainder == is_last:
                return slot
        return None

    @count_time()
    def task_segment_images(self, logger: logging.Logger | None = None) -> bool:
        """Make masks for some frames; return whether there were any.

        Parameters
        ----------
        logger
            Where a shortage of memory is reported.
        """
        size = getattr(self.segmenter, "required_batch_size", None)
        return self._run(stages.SEGMENT, size or _BATCH, logger)

    @count_time()
    def task_segment_images_full_chunk(self, logger: logging.Logger | None = None) -> bool:
        """Make masks for all frames of a slot at once; return whether there was one.

        Parameters
        ----------
        logger
            Where a shortage of memory is reported.
        """
        return self._run(stages.SEGMENT, None, logger)

    @count_time()
    def task_label_masks(self, logger: logging.Logger | None = None) -> bool:
        """Label the masks of some frames; return whether there were any.

        Parameters
        ----------
        logger
            Where a shortage of memory is reported.
        """
        return self._run(stages.LABEL, _BATCH, logger)

    @count_time()
    def task_process_labels(self, logger: logging.Logger | None = None) -> bool:
        """Clean up the labels of some frames; return whether there were any.

        Parameters
        ----------
        logger
            Where a shortage of memory is reported.
        """
        return self._run(stages.CLEAN, _BATCH, logger)

    @count_time()
    def task_extract_features(self, logger: logging.Logger | None = None) -> bool:
        """Measure some frames, pass the events on; return whether there were any.

        Parameters
        ----------
        logger
            Where a shortage of memory is reported.
        """
        frames = self._images_of_batch // max(1, self._density.value)
        return self._run(stages.MEASURE, max(1, min(_BATCH, frames)), logger)

    def _pass_on(self, rows: FrameRows) -> None:
        """Note what was measured, then put it on the queue.

        In this order, for the writer may be done with all before this continues.
        """
        # The more events in a frame, the fewer frames at a time.
        density = -(-rows.n_events // max(1, len(rows.counts)))
        self._density.value = max(self._density.value, density)
        if rows.dropped:
            self.increment_counter_value("masks_dropped", rows.dropped)
        self.nevents[rows.start : rows.start + len(rows.counts)] = rows.counts
        if self.event_queue is not None:
            for item in [rows] if self.batch_rows else _per_frame(rows):
                self._put(item)

    def _put(self, item: Any) -> None:
        """Put an item on the queue, which may be full, but not for ever."""
        while True:
            try:
                self.event_queue.put(item, timeout=_PUT_LIMIT)
            except queue.Full:
                if self.state == RegisterState.QUIT:
                    raise InterruptedRunError(
                        "the run ends before its events are written"
                    ) from None
            else:
                return


def _per_frame(rows: FrameRows) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield frame and events one by one, None for a frame without events."""
    stop = 0
    for frame, count in enumerate(rows.counts, start=rows.start):
        start, stop = stop, stop + int(count)
        yield frame, {k: v[start:stop] for k, v in rows.rows.items()} if count else None


def is_locked(lock: Any) -> bool:
    """Return whether another thread or process holds a lock of `multiprocessing` or `threading`.

    Parameters
    ----------
    lock
        The lock, or something else with ``acquire`` and ``release``.

    Examples
    --------
    >>> import threading
    >>> lock = threading.Lock()
    >>> is_locked(lock)
    False
    """
    free = lock.acquire(False)
    if free:
        lock.release()
    return not free


def __getattr__(name: str) -> Any:
    # A documented name; nothing here needs what it stands for.
    if name == "ndi":
        return importlib.import_module("scipy.ndimage")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
