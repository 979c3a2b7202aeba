"""Segmenters whose algorithm takes one image, in as many processes as there are cores."""

from __future__ import annotations

import abc
import contextlib
import functools
import logging
import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Lock
from typing import Any, ClassVar

import numpy as np

from ..errors import OptionError, UsageError
from ..run.children import mp_spawn, settle_child, start_child
from ..run.memory import cpu_count
from .pool import SegmenterPool
from .segmenter import ChunkOfFrames, FrameOffsets, Images, Masks, Segmenter, slot_of_chunk
from .shared_frames import SharedSlot, share_slot

__all__ = [
    "MPOSegmenter",
    "MPOSegmenterWorker",
    "MPOSegmenterWorkerProcess",
    "MPOSegmenterWorkerThread",
    "mp_spawn",
]

#: What belongs to the process that has made a segmenter, not to a pickle.
_LOCAL = (
    "_pool",
    "mp_active",
    "mp_count_lock",
    "mp_num_workers_done",
    "mp_shutdown",
    "mp_slot_index",
    "segment_algorithm_wrapper",
)


class SharedFlag:
    """An event of several processes without a lock, which a killed one could keep."""

    def __init__(self) -> None:
        self._value = mp_spawn.RawValue("b", 0)

    def set(self) -> None:
        self._value.value = 1

    def clear(self) -> None:
        self._value.value = 0

    def is_set(self) -> bool:
        return bool(self._value.value)


class MPOSegmenter(Segmenter, abc.ABC):
    """A segmenter with multiprocessing operation, whose algorithm takes one image.

    A subclass implements the static method `segment_algorithm` for one image
    (H, W). It may hold the GIL as long as it likes: the frames of a chunk are
    divided among worker processes, which live from chunk to chunk. The class
    must be one that a new process can import.

    Parameters
    ----------
    num_workers
        Number of worker processes; as many as cores if None. There are never
        more than there are frames.
    kwargs_mask
        Options of the mask clean-up; see `Segmenter.process_labels`.
    debug
        Use one thread in place of processes.
    **kwargs
        Options of `segment_algorithm`.

    Attributes
    ----------
    num_workers : int
        Number of workers for the present slots.
    slot_list : list or None
        Slots whose arrays the workers share.
    mp_slot_index
        Shared index of the slot that is being worked on, -1 for a batch.
    mp_active
        Shared event, whether the workers are at work.
    mp_num_workers_done
        Shared number of workers that are done with the slot.
    mp_shutdown
        Shared number; it is not 0 once the workers have been asked to stop.

    Raises
    ------
    OptionError
        If `num_workers` is less than one, or an option does not fit.

    Examples
    --------
    >>> class SegmentBrighter(MPOSegmenter):
    ...     @staticmethod
    ...     def segment_algorithm(image, *, level: float = 8):
    ...         return image > level
    >>> with SegmentBrighter(level=3, debug=True) as segmenter:
    ...     segmenter.segment_batch(np.array([[[2, 4]], [[5, 0]]]))
    array([[[False,  True]],
    <BLANKLINE>
           [[ True, False]]])
    """

    #: What the algorithm is made for, ``"cpu"`` or ``"gpu"``.
    hardware_processor: ClassVar[str] = "cpu"

    def __init__(
        self,
        *,
        num_workers: int | None = None,
        kwargs_mask: dict[str, Any] | None = None,
        debug: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(kwargs_mask=kwargs_mask, debug=debug, **kwargs)
        if num_workers is not None and num_workers < 1:
            raise OptionError(
                f"segmenter {self.get_ppid_code()} cannot work with {num_workers} workers",
                hint="give one at least, or leave num_workers out",
            )
        self._wanted = 1 if debug else int(num_workers or cpu_count())
        self.num_workers = self._wanted
        self._set_up()

    def _set_up(self) -> None:
        """Make what a pickle does not take along."""
        self.mp_slot_index = mp_spawn.RawValue("q", -1)
        self.mp_active = SharedFlag()
        self.mp_num_workers_done = mp_spawn.RawValue("q", 0)
        self.mp_shutdown = mp_spawn.RawValue("b", 0)
        size = 0 if self.debug else self._wanted
        self._pool = SegmenterPool(self, size, by_frame=True)

    @property
    def logger(self) -> logging.Logger:
        """Where lost workers are reported."""
        return self._pool.logger

    @logger.setter
    def logger(self, value: logging.Logger) -> None:
        self._pool.logger = value

    @property
    def slot_list(self) -> list[ChunkOfFrames] | None:
        """Slots whose arrays the workers share."""
        return self._pool.slot_list

    @functools.cached_property
    def mp_count_lock(self) -> Lock:
        """Lock of `mp_num_workers_done`, for workers that a program starts by itself."""
        return mp_spawn.Lock()

    @property
    def _worker_starter(self) -> SegmenterPool | None:
        return None if self._pool.slot_list is None else self._pool

    @property
    def _workers(self) -> list[Any]:
        return [] if self._pool.team is None else [w.process for w in self._pool.team.workers]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in _LOCAL}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_up()

    def close(self) -> None:
        """End the workers; may be called again, and from another thread.

        A thread that waits for masks meanwhile gets an `InterruptedRunError`.
        """
        self.join_workers()

    def join_workers(self) -> None:
        """Ask all workers to stop and join them.

        They are killed if they do not within two seconds.
        """
        self.mp_shutdown.value = 1
        self._pool.close()

    def reinitialize_workers(self, slot_list: Sequence[ChunkOfFrames]) -> None:
        """Start workers that share the arrays of some slots; end those there are.

        Parameters
        ----------
        slot_list
            The slots, e.g. `SlotRegister.slots`. A slot whose arrays are not
            in shared memory can be worked on, too, but is copied.
        """
        self.mp_shutdown.value = 0
        self._pool.open(slot_list)
        self._count_workers(slot_list)
        if self._pool.team is not None:
            self._pool.team.start(self.num_workers)

    def _count_workers(self, slot_list: Sequence[ChunkOfFrames]) -> None:
        longest = max((slot.length for slot in slot_list), default=0)
        self.num_workers = max(1, min(self._wanted, longest))

    @contextlib.contextmanager
    def _at_work(self, index: int) -> Iterator[None]:
        """Show to which slot the workers have been set, and when they are done."""
        self.mp_shutdown.value = 0
        self.mp_slot_index.value = index
        self.mp_num_workers_done.value = 0
        self.mp_active.set()
        try:
            yield
            self.mp_num_workers_done.value = len(self._workers)
        finally:
            self.mp_active.clear()

    def segment_chunk(self, chunk: int, slot_list: Sequence[ChunkOfFrames]) -> Masks:
        """Segment the slot that holds a chunk.

        Parameters
        ----------
        chunk
            Index of the chunk.
        slot_list
            Slots among which to look for it, e.g. `SlotRegister.slots`. As
            long as they are the same, the same workers do the work.

        Returns
        -------
        numpy.ndarray
            The ``mask`` of the slot, bool (N, H, W), now filled.

        Raises
        ------
        ValueError
            If no slot holds this chunk.
        StageError
            If the algorithm fails in a worker, or workers are lost twice over
            the same frames.
        """
        self._count_workers(slot_list)
        with self._pool.lock, self._at_work(slot_of_chunk(chunk, slot_list)):
            return self._pool.segment_chunk(chunk, slot_list)

    def segment_batch(self, images: Images, bg_off: FrameOffsets = None) -> Masks:
        """Return the raw boolean masks (N, H, W) of a stack of images.

        The workers live on until `close`; they are replaced if a batch needs
        more room than those before.

        Raises
        ------
        ValueError
            If the segmenter takes no offsets, or the images are not a stack.
        StageError
            If the algorithm fails in a worker, or workers are lost twice over
            the same frames.
        """
        images = np.asarray(images)
        if images.ndim != 3 or images.dtype.hasobject:
            raise UsageError(
                f"a batch of shape {images.shape} and type {images.dtype} is not a stack",
                hint="give an array of numbers (N, H, W)",
            )
        if bg_off is not None:
            bg_off = np.asarray(bg_off, dtype=np.float64)
            self.corrected(images[:0], bg_off[:0])  # whether offsets apply
        with self._pool.lock, self._at_work(-1):
            return self._pool.segment_batch(images, bg_off)

    def segment_single(self, image: Images, bg_off: float | None = None) -> Masks:
        """Return the raw boolean mask (H, W) of one image, made in this process."""
        return self._masks_of(self.corrected(np.asarray(image), bg_off))


class MPOSegmenterWorker:
    """Segments a range of frames of the present slot; for a process or a thread.

    A segmenter does not need it: its workers get one share of frames after the
    other. It is for programs that start workers by themselves.

    Parameters
    ----------
    segmenter
        The segmenter.
    sl_start, sl_stop
        Range of frames in the slot.

    Attributes
    ----------
    slot_list : list
        The slots of the segmenter.
    mp_slot_index, mp_active, mp_num_workers_done, mp_shutdown
        Those of the segmenter, see there.
    """

    def __init__(
        self, segmenter: MPOSegmenter, sl_start: int, sl_stop: int, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.segmenter = segmenter
        self.slot_list: Any = segmenter.slot_list
        self.mp_slot_index = segmenter.mp_slot_index
        self.mp_active = segmenter.mp_active
        self.mp_num_workers_done = segmenter.mp_num_workers_done
        self.mp_count_lock = segmenter.mp_count_lock
        self.mp_shutdown = segmenter.mp_shutdown
        self.sl_start = sl_start
        self.sl_stop = sl_stop

    def run(self) -> None:
        """Segment the range of the slot ``mp_slot_index`` once; nothing if that is -1."""
        index = int(self.mp_slot_index.value)
        if index < 0:
            return
        slot = self.slot_list[index]
        slot = slot.open() if isinstance(slot, SharedSlot) else slot
        for frame in range(self.sl_start, min(self.sl_stop, slot.length)):
            if self.mp_shutdown.value:
                return
            images, offset = self.segmenter.input_of(slot, frame, frame + 1)
            slot.mask[frame] = self.segmenter.segment_single(
                images[0].copy(), None if offset is None else float(offset[0])
            )
        with self.mp_count_lock:
            self.mp_num_workers_done.value += 1


class MPOSegmenterWorkerProcess(MPOSegmenterWorker, SpawnProcess):
    """A worker in a process of its own, which dies with its parent.

    Examples
    --------
    It segments the slot that ``mp_slot_index`` of the segmenter names when it is
    started, which a new process can do with a class that it can import::

        segmenter.reinitialize_workers(register.slots)
        segmenter.mp_slot_index.value = 0
        worker = MPOSegmenterWorkerProcess(segmenter, 0, 50)
        worker.start()
        worker.join()
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, daemon=True, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # Of the slots, what is shared goes to the other process.
        return {**self.__dict__, "slot_list": [share_slot(slot) for slot in self.slot_list or []]}

    def start(self) -> None:
        """Start the child process."""
        start_child(super().start)

    def run(self) -> None:
        """Segment the range of the slot ``mp_slot_index`` once; nothing if that is -1."""
        if multiprocessing.current_process() is self:
            settle_child()
        super().run()


class MPOSegmenterWorkerThread(MPOSegmenterWorker, threading.Thread):
    """A worker in a thread of this process, which a debugger can follow."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, daemon=True, **kwargs)
