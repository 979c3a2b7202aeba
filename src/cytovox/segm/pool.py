"""Frames segmented by a team of processes, in memory that they share."""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from ..errors import InterruptedRunError, StageError, UsageError
from ..run.memory import in_smaller_parts, is_memory_error
from ..run.team import LostWorkerError, Team
from ..run.team_worker import Heartbeat, WorkerTraceback
from ..run.unit_worker import unit_timeout
from .segmenter import ChunkOfFrames, FrameOffsets, Images, Masks, Segmenter, slot_of_chunk
from .shared_frames import Batch, BatchView, OpenSlot, SharedSlot, share_slot

__all__ = ["SegmenterPool", "SegmenterWorkerError", "Share", "split_share"]

#: Bytes of images that a batch takes at a time.
_BATCH_BYTES = 64 << 20
#: Frames of a stack that a worker takes at a time, unless the segmenter wants otherwise.
_STACK = 100
#: Seconds that work in a thread gets to end when the pool is closed.
_END = 2.0
_CLOSED = "the segmenter was closed while it was working"
#: Shares of a slot for each worker, where frames are segmented one by one.
_SHARES = 2


class SegmenterWorkerError(StageError):
    """Frames cannot be segmented: the algorithm has failed, or workers were lost."""

    def __init__(
        self, what: str, *, frame_in_chunk: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__("segment", what, hint=hint)
        self.frame_in_chunk = frame_in_chunk


@dataclass(frozen=True, slots=True)
class Share:
    """Frames that one worker segments."""

    slot: int  # its index, -1 for the batch
    start: int
    stop: int
    of: str  # what they are frames of, for messages, e.g. "of chunk 3"
    view: BatchView | None = None  # what lies in the batch
    singly: bool = False  # whether a segmenter of stacks gets them one by one

    def __str__(self) -> str:
        first, last = self.start, self.stop - 1
        frames = f"frame {first}" if first == last else f"frames {first} to {last}"
        return f"{frames} {self.of}"


def split_share(share: Share, at: int) -> list[Share]:
    """Return what is to be done again after the death of a worker, the culprit first."""
    if at < 0:  # the frame of a stack is unknown
        return [dataclasses.replace(share, singly=True)]
    culprit = dataclasses.replace(share, start=at, stop=at + 1)
    rest = dataclasses.replace(share, start=at + 1)
    return [culprit, rest] if rest.start < rest.stop else [culprit]


@dataclass(eq=False)
class SegmenterPool:
    """Segments slots and batches with a segmenter, in processes or in this thread.

    Slots and the batch are shared with the processes when these start. If a
    worker dies, its frames are done again by another, those of a stack one by
    one. A frame over which two workers die is named. With a `size` of 0, it works
    in the calling thread.
    """

    segmenter: Segmenter
    size: int
    _: KW_ONLY
    by_frame: bool  # whether the segmenter takes one image at a time
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("cytovox.segmenter"))

    def __post_init__(self) -> None:
        self.slot_list: list[ChunkOfFrames] | None = None
        self.team: Team | None = None
        self._shared: list[SharedSlot | None] = []
        self._batch: Batch | None = None
        self.lock = threading.RLock()
        self._must_stop = threading.Event()

    def open(self, slots: Sequence[ChunkOfFrames]) -> None:
        """Share some slots with workers that are started when they are needed."""
        with self.lock:
            self.close()
            self.slot_list = list(slots)
            if not self.size:
                return
            self._shared = [share_slot(slot) for slot in slots]
            try:
                self.team = Team(
                    functools.partial(_Work, self.segmenter, self.by_frame),
                    self.size,
                    shared=(self._shared, self._batch),
                    name=type(self.segmenter).__name__,
                    split=split_share,
                    limit=unit_timeout(),
                    logger=self.logger,
                )
            except UsageError as err:
                raise UsageError(
                    f"segmenter {self.segmenter.get_ppid_code()} cannot be sent to a worker "
                    f"process: {err.__cause__}",
                    hint="define its class at the top level of a module, or use debug",
                ) from err

    def close(self) -> None:
        """End the workers; a thread that waits for masks gets an error."""
        # Work in progress either has a team that can be interrupted, or will look here.
        self._must_stop.set()
        if (team := self.team) is not None:
            team.interrupt()
        if not self.lock.acquire(timeout=-1 if self.size else _END):
            return  # work in a thread hangs, and cannot be ended
        try:
            if self.team is not None:
                self.team.close()
            self.team, self.slot_list, self._shared = None, None, []
            self._must_stop.clear()
        finally:
            self.lock.release()

    def segment_chunk(self, chunk: int, slots: Sequence[ChunkOfFrames]) -> Masks:
        """Fill and return the mask of the slot that holds a chunk."""
        index = slot_of_chunk(chunk, slots)
        slot = slots[index]
        images, offset = self.segmenter.input_of(slot, 0, slot.length)
        with self.lock:
            known = self.slot_list
            if known is None or [id(one) for one in known] != [id(one) for one in slots]:
                self.open(slots)
            if self.size and self._shared[index] is None:
                slot.mask[:] = self.segment_batch(images, offset)
            else:
                self._run(Share(index, 0, slot.length, f"of chunk {chunk}"))
        return slot.mask

    def segment_batch(self, images: Images, bg_off: FrameOffsets = None) -> Masks:
        """Return the raw masks of a stack of images."""
        masks = np.empty(images.shape, dtype=bool)
        step = max(1, _BATCH_BYTES // max(1, images[:1].nbytes))
        with self.lock:
            for start in range(0, len(images), step):
                part = slice(start, start + step)
                offset = None if bg_off is None else bg_off[part]
                masks[part] = self._segment_part(images[part], offset)
        return masks

    def _segment_part(self, images: Images, bg_off: FrameOffsets) -> Masks:
        needs = Batch.needs(images)
        if self._batch is None or not self._batch.fits(needs):
            # Powers of two, so that growing batches replace workers a few times only.
            self._batch = Batch(*(1 << int(need - 1).bit_length() for need in needs))
            self.open(self.slot_list or [])
        elif self.slot_list is None:
            self.open([])
        count, height, width = images.shape
        view = BatchView(images.dtype.str, (count, height, width), bg_off is not None)
        arrays = self._batch.open(view)
        arrays.image[:] = images
        if arrays.bg_off is not None:
            arrays.bg_off[:] = bg_off
        self._run(Share(-1, 0, count, "of the batch", view))
        return arrays.mask

    def _run(self, whole: Share) -> None:
        """Segment frames; return when all are done."""
        step = self._step(whole)
        shares = [
            dataclasses.replace(whole, start=start, stop=min(whole.stop, start + step))
            for start in range(whole.start, whole.stop, step)
        ]
        if self._must_stop.is_set():
            raise InterruptedRunError(_CLOSED)
        try:
            done = self._run_here(shares) if self.team is None else self.team.run(shares)
            for texts in done:
                for text in texts:
                    self.logger.warning("%s", text)
        except LostWorkerError as err:
            unit = err.unit
            alone = unit is not None and unit.stop - unit.start == 1
            frame = unit.start if alone else None
            raise SegmenterWorkerError(err.detail, frame_in_chunk=frame, hint=err.hint) from err
        except InterruptedRunError:
            raise InterruptedRunError(_CLOSED) from None
        except Exception as err:
            trace = err.__cause__
            if not isinstance(trace, WorkerTraceback):
                raise
            raise _placed(err, trace, self.segmenter, whole) from err

    def _step(self, whole: Share) -> int:
        """Return how many frames a worker takes at a time."""
        length = whole.stop - whole.start
        if self.by_frame:
            return max(1, -(-length // (_SHARES * max(1, self.size))))
        size = getattr(self.segmenter, "required_batch_size", None) or 1
        wanted = min(max(_STACK, size), -(-length // max(1, self.size)))
        return -(-wanted // size) * size

    def _run_here(self, shares: list[Share]) -> Iterator[list[str]]:
        """Do what `Team.run` does, in this thread."""
        work = _Work(self.segmenter, self.by_frame, self.slot_list or [], self._batch)
        heartbeat = _StoppedBeat(self._must_stop)
        for share in shares:
            try:
                yield work(share, heartbeat)
            except InterruptedRunError:
                raise
            except (Exception, SystemExit) as err:
                trace = WorkerTraceback.of(err, heartbeat.at)
                trace.unit = share
                raise trace.error() from trace


class _StoppedBeat(Heartbeat):
    """The heartbeat of work in this process, which ends with an error if it should stop."""

    def __init__(self, must_stop: threading.Event) -> None:
        super().__init__()
        self._must_stop = must_stop

    def __call__(self, at: int = -1) -> None:
        if self._must_stop.is_set():
            raise InterruptedRunError(_CLOSED)
        super().__call__(at)


class _Work:
    """What a worker does with shares."""

    def __init__(
        self,
        segmenter: Segmenter,
        by_frame: bool,
        slots: Sequence[Any],
        batch: Batch | None,
    ) -> None:
        self.segmenter = segmenter
        self.by_frame = by_frame
        self._slots = slots
        self._batch = batch
        self._most: int | None = None

    def __call__(self, share: Share, heartbeat: Callable[[int], None]) -> list[str]:
        """Segment the frames of a share; return what is to be logged."""
        slot = self._slot(share)
        if self.by_frame or share.singly:
            self._singly(slot, share, heartbeat)
            return []
        texts: list[str] = []

        def on_short(text: str, start: int, stop: int) -> None:
            self._most = (stop - start + 1) // 2
            texts.append(
                f"memory is short ({text}): segment, from now on with at most {self._most} "
                "frames at a time"
            )

        step = self._most or share.stop - share.start
        work = functools.partial(self._stack, slot)
        try:
            for start in range(share.start, share.stop, step):
                in_smaller_parts(work, start, min(share.stop, start + step), on_short)
        except Exception:
            self._singly(slot, share, heartbeat)  # the frame that fails by itself is named
            heartbeat(-1)
            raise
        return texts

    def _slot(self, share: Share) -> Any:
        if share.view is not None:
            assert self._batch is not None
            return self._batch.open(share.view)
        slot = self._slots[share.slot]
        return slot.open() if isinstance(slot, SharedSlot) else slot

    def _stack(self, slot: OpenSlot, start: int, stop: int) -> None:
        # A copy, for an algorithm may change its images, and all others see the slot.
        images, offset = self.segmenter.input_of(slot, start, stop)
        self.segmenter.segment_into(images.copy(), offset, slot.mask[start:stop])

    def _singly(self, slot: OpenSlot, share: Share, heartbeat: Callable[[int], None]) -> None:
        for frame in range(share.start, share.stop):
            heartbeat(frame)
            images, offset = self.segmenter.input_of(slot, frame, frame + 1)
            bg_off = None if offset is None else float(offset[0])
            slot.mask[frame] = self.segmenter.segment_single(images[0].copy(), bg_off)


def _placed(
    err: Exception, trace: WorkerTraceback, segmenter: Segmenter, whole: Share
) -> SegmenterWorkerError:
    """Return an error of the algorithm with its place."""
    if trace.unit is None:
        return SegmenterWorkerError(
            f"a worker process cannot load the segmenter {segmenter.get_ppid_code()}: "
            f"{trace.kind}: {trace.text}",
            hint="its class must be in a module or a file that a new process can import",
        )
    reason = StageError.of("segment", err)
    what, hint = reason.detail, reason.hint
    if is_memory_error(err):
        what = f"there is not enough memory for one frame: {trace.text}"
        hint = "give fewer workers, or close other programs"
    frame = trace.at if trace.at >= 0 else None
    where = f"at frame {frame} {whole.of}" if frame is not None else f"in {trace.unit}"
    return SegmenterWorkerError(f"{what}, {where}", frame_in_chunk=frame, hint=hint)
