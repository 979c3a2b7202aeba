"""Segmenters whose algorithm takes one image, in as many processes as there are cores."""

from __future__ import annotations

import abc
import logging
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import OptionError, UsageError
from ..run.monitor import mp_spawn
from ..run.resources import cpu_count
from .masks import as_masks
from .mpo_worker import (
    MPOSegmenterWorker,
    MPOSegmenterWorkerProcess,
    MPOSegmenterWorkerThread,
    SharedFlag,
)
from .segmenter import ChunkOfFrames, Segmenter
from .shared_frames import Batch, BatchView, SharedSlot, share_slot
from .worker_team import Work, WorkerTeam, split_frames

__all__ = [
    "MPOSegmenter",
    "MPOSegmenterWorker",
    "MPOSegmenterWorkerProcess",
    "MPOSegmenterWorkerThread",
    "SharedFlag",
    "mp_spawn",
]

#: Bytes of images that a batch takes at a time.
_BATCH_BYTES = 64 << 20
#: What belongs to the process that has started workers, not to a pickle.
_LOCAL = (
    "_lock",
    "_worker_starter",
    "_workers",
    "logger",
    "mp_active",
    "mp_batch",
    "mp_num_workers_done",
    "mp_shutdown",
    "mp_slot_index",
    "mp_slots",
    "mp_ticket",
    "segment_algorithm_wrapper",
    "slot_list",
)


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
        Shared flag, whether the workers are at work.
    mp_num_workers_done
        Shared number of workers that are done with the slot.
    mp_shutdown
        Shared number; workers stop if it is not 0.
    mp_ticket
        Shared number of the piece of work that may go on, 0 if none may.
    mp_slots, mp_batch
        What of the slots, and for batches, is shared with the workers.

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
    _worker_starter: WorkerTeam | None = None

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
        self.logger = logging.getLogger("cytovox.segmenter")
        self.slot_list: list[ChunkOfFrames] | None = None
        self.mp_slot_index = mp_spawn.RawValue("q", -1)
        self.mp_active = SharedFlag()
        self.mp_num_workers_done = mp_spawn.RawValue("q", 0)
        self.mp_shutdown = mp_spawn.RawValue("b", 0)
        self.mp_ticket = mp_spawn.RawValue("q", 0)
        self._lock = threading.RLock()
        self.mp_batch: Batch | None = None
        self.mp_slots: list[SharedSlot | None] = []
        self._worker_starter = None
        self._workers: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in _LOCAL}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_up()

    def __enter__(self) -> MPOSegmenter:
        return self

    def __exit__(  # type: ignore[override]
        self, exc_type: object, exc_val: object, exc_tb: object
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; may be called again, and from another thread.

        A thread that waits for masks meanwhile gets an `InterruptedRunError`.
        """
        self.join_workers()

    def join_workers(self) -> None:
        """Ask all workers to stop and join them.

        They are made to end if they do not within two seconds.
        """
        self.mp_shutdown.value = 1
        team = self._worker_starter
        if team is not None:
            team.interrupt()
        with self._lock:
            team, self._worker_starter = self._worker_starter, None
            if team is not None:
                team.stop()
            self._workers = []
            self.slot_list = None
            self.mp_slots = []

    def reinitialize_workers(self, slot_list: Sequence[ChunkOfFrames]) -> None:
        """Start workers that share the arrays of some slots; end those there are.

        Parameters
        ----------
        slot_list
            The slots, e.g. `SlotRegister.slots`. A slot whose arrays are not
            in shared memory can be worked on, too, but is copied.
        """
        with self._lock:
            self._restart(slot_list)
            longest = max((slot.length for slot in slot_list), default=0)
            self.num_workers = max(1, min(self._wanted, longest))
            if self._worker_starter is not None and any(self.mp_slots):
                self._worker_starter.staff(self.num_workers)

    def _restart(self, slot_list: Sequence[ChunkOfFrames]) -> None:
        self.join_workers()
        self.slot_list = list(slot_list)
        self.mp_slots = [share_slot(slot) for slot in slot_list]
        self.mp_shutdown.value = 0
        self._worker_starter = WorkerTeam(
            self._make_worker,
            self._wanted,
            ticket=self.mp_ticket,
            done=self.mp_num_workers_done,
            logger=self.logger,
        )
        self._workers = self._worker_starter.workers

    def _make_worker(self, place: int) -> MPOSegmenterWorkerProcess | MPOSegmenterWorkerThread:
        longest = max((slot.length for slot in self.slot_list or []), default=0)
        ranges = split_frames(longest, self._wanted)
        start, stop = ranges[place] if place < len(ranges) else (longest, longest)
        name = f"{type(self).__name__}-{place + 1}"
        if self.debug:
            return MPOSegmenterWorkerThread(self, start, stop, name=name)
        return MPOSegmenterWorkerProcess(self, start, stop, name=name)

    def _run(self, work: Work) -> None:
        assert self._worker_starter is not None
        self.mp_slot_index.value = work.slot
        self.mp_active.set()
        try:
            self._worker_starter.run(work)
        finally:
            self.mp_active.clear()

    def segment_chunk(
        self, chunk: int, slot_list: Sequence[ChunkOfFrames]
    ) -> npt.NDArray[np.bool_]:
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
        index = next((i for i, slot in enumerate(slot_list) if slot.chunk == chunk), None)
        if index is None:
            raise ValueError(f"no slot holds chunk {chunk}")
        slot = slot_list[index]
        self.input_of(slot, 0, 0)  # whether it has what the algorithm wants
        with self._lock:
            known = self.slot_list or []
            same = len(known) == len(slot_list) and all(
                a is b for a, b in zip(known, slot_list, strict=True)
            )
            if not same or self._worker_starter is None:
                self.reinitialize_workers(slot_list)
            if self.mp_slots[index] is None:
                return super().segment_chunk(chunk, slot_list)
            self._run(Work(index, slot.length, f"of chunk {chunk}"))
        return slot.mask

    def segment_batch(
        self, images: npt.NDArray[Any], bg_off: npt.NDArray[np.float64] | None = None
    ) -> npt.NDArray[np.bool_]:
        """Return the raw boolean masks of a stack of images.

        The workers live on until `close`; they are replaced if a batch needs
        more room than those before.

        Parameters
        ----------
        images
            Stack (N, H, W): uint8, or int16 if background correction is
            required.
        bg_off
            float64 offsets (N,) to subtract before.

        Returns
        -------
        numpy.ndarray
            Boolean masks (N, H, W), before any clean-up.

        Raises
        ------
        ValueError
            If the segmenter takes no offsets, or the images are no stack.
        StageError
            If the algorithm fails in a worker, or workers are lost twice over
            the same frames.
        """
        images = np.asarray(images)
        if images.ndim != 3 or images.dtype.hasobject:
            raise UsageError(
                f"a batch of shape {images.shape} and type {images.dtype} is no stack of images",
                hint="give an array of numbers (N, H, W)",
            )
        if bg_off is not None:
            bg_off = np.asarray(bg_off, dtype=np.float64)
            self.corrected(images[:0], bg_off[:0])  # whether offsets apply
        masks = np.empty(images.shape, dtype=bool)
        step = max(1, _BATCH_BYTES // max(1, images[:1].nbytes))
        with self._lock:
            for start in range(0, len(images), step):
                part = slice(start, start + step)
                offset = None if bg_off is None else bg_off[part]
                self._segment_part(images[part], offset, masks[part])
        return masks

    def _segment_part(
        self,
        images: npt.NDArray[Any],
        bg_off: npt.NDArray[np.float64] | None,
        out: npt.NDArray[np.bool_],
    ) -> None:
        needs = Batch.needs(images)
        if self.mp_batch is None or not self.mp_batch.fits(needs):
            # Powers of two, so that growing batches replace workers a few times only.
            self.mp_batch = Batch(*(1 << int(need - 1).bit_length() for need in needs))
            self._restart(self.slot_list or [])
        elif self._worker_starter is None:
            self._restart([])
        count, height, width = images.shape
        view = BatchView(images.dtype.str, (count, height, width), bg_off is not None)
        arrays = self.mp_batch.open(view)
        arrays.image[:] = images
        if arrays.bg_off is not None:
            arrays.bg_off[:] = bg_off
        self._run(Work(-1, count, "of the batch", view))
        out[:] = arrays.mask

    def segment_single(
        self, image: npt.NDArray[Any], bg_off: float | None = None
    ) -> npt.NDArray[np.bool_]:
        """Return the raw boolean mask (H, W) of one image, made in this process.

        Parameters
        ----------
        image
            Image (H, W): uint8, or int16 if background correction is required.
        bg_off
            Offset to subtract before.
        """
        image = self.corrected(np.asarray(image), bg_off)
        return as_masks(self.get_ppid_code(), self.segment_algorithm_wrapper(image), image.shape)
