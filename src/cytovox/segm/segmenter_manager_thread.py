"""The thread that passes chunks to a segmenter which wants whole ones."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import InterruptedRunError, StageError
from .pool import SegmenterPool
from .segmenter import ChunkOfFrames, Segmenter
from .segmenter_mpo import MPOSegmenter

__all__ = ["SegmenterManagerThread"]

#: Letters of slots that want masks, and that have them.
_WANTS_MASKS, _HAS_MASKS = "s", "m"
#: Letter of a register whose workers shall quit.
_QUIT = "q"


class SegmenterManagerThread(threading.Thread):
    """Gives slots that want masks to a segmenter, chunk by chunk.

    For segmenters that cannot run in any worker: those that have worker
    processes of their own, and those that want one thread.

    Parameters
    ----------
    segmenter, slot_register
        The segmenter, e.g. a `MPOSegmenter` or `STOSegmenter`; the register of the slots.
    on_error
        Called with the exception that has ended this thread.
    logger
        Where lost worker processes are reported, and an error if there is no `on_error`.
    pool
        Processes that segment whole slots in place of the segmenter itself.

    Attributes
    ----------
    t_count : float
        Seconds spent on segmentation.
    started, completed : bool
        Whether the thread has begun, and has ended without an error.
    error : BaseException or None
        What ended it.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        slot_register: Any,
        *args: Any,
        on_error: Callable[[BaseException], None] | None = None,
        logger: logging.Logger | None = None,
        pool: SegmenterPool | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "cytovox-segmenter-manager")
        super().__init__(*args, daemon=True, **kwargs)
        self.segmenter = segmenter
        self.slot_register = slot_register
        self.pool = pool
        self.on_error = on_error
        self.logger = logger or logging.getLogger("cytovox.segmenter")
        if logger is not None and isinstance(segmenter, MPOSegmenter):
            segmenter.logger = logger
        self.t_count = 0.0
        self.started = False
        self.completed = False
        self.error: BaseException | None = None

    def run(self) -> None:
        """Segment until the register says quit or the segmenter fails."""
        self.started = True
        register = self.slot_register
        try:
            register.serve(self._segment_one)
        except Exception as err:  # noqa: BLE001 - it reaches the code that started the thread
            if isinstance(err, InterruptedRunError) and register.state == _QUIT:
                self.completed = True
                return
            self.error = err
            if self.on_error is None:
                self.logger.exception("segmentation has failed")
                register.close()
            else:
                self.on_error(err)
        else:
            self.completed = True

    def _segment_one(self) -> bool:
        """Segment a slot, if one wants masks; return whether one did."""
        warden = self.slot_register.reserve_slot_for_task(_WANTS_MASKS, _HAS_MASKS)
        if warden is None or not warden.batch_size:
            return False
        begin = time.perf_counter()
        with warden as (slot, (start, stop)):
            try:
                self._segment(slot, start, stop)
            except InterruptedRunError:
                raise
            except Exception as err:
                raise self._placed(err, slot, start, stop) from err
        self.t_count += time.perf_counter() - begin
        self.slot_register.notify()
        return True

    def _segment(self, slot: ChunkOfFrames, start: int, stop: int) -> None:
        if stop - start == slot.length:
            (self.pool or self.segmenter).segment_chunk(slot.chunk, self.slot_register.slots)
        else:  # another worker has the other frames
            images, offset = self.segmenter.input_of(slot, start, stop)
            self.segmenter.segment_into(images, offset, slot.mask[start:stop])

    def _placed(self, err: Exception, slot: ChunkOfFrames, start: int, stop: int) -> StageError:
        """Return the error with its place in the input."""
        register = self.slot_register
        place: dict[str, Any] = {"path": register.job["path_in"]}
        frame = getattr(err, "frame_in_chunk", None)
        if frame is not None:
            # A part of a slot is a batch, whose frames are counted from its start.
            first = slot.chunk * register.chunk_size
            offset = 0 if stop - start == slot.length else start
            place["frame"] = register.raw_frame(first + offset + frame)
        return StageError.of("segment", err, **place)
