"""What is done with the frames of a slot, as a table.

Each stage is a function of a slot and a range of its frames. The register
assigns them to workers; the science is in the kernels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import StageError
from ..kernels.labels import label_frames, process_frames
from ..run.memory import in_smaller_parts, is_memory_error
from ..run.rows import FrameRows, joined_rows
from .chunk_slot import ChunkSlot
from .chunk_slot_data import SlotState

__all__ = ["CLEAN", "LABEL", "LOADED_STATES", "MEASURE", "SEGMENT", "STAGES", "Stage", "run_stage"]


#: Stages do not import the register, which imports them.
Register = Any
Work = Callable[[Register, ChunkSlot, int, int], Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the conveyor."""

    name: str  # what it does, for messages
    takes: SlotState  # state of a slot before
    leaves: SlotState  # and after
    work: Work  # function of the register, the slot, the first frame and the last + 1


def segment(register: Register, slot: ChunkSlot, start: int, stop: int) -> None:
    """Make masks."""
    images, offset = register.segmenter.input_of(slot, start, stop)
    register.segmenter.segment_into(images, offset, slot.mask[start:stop])


def label(register: Register, slot: ChunkSlot, start: int, stop: int) -> None:
    """Label the objects of each mask."""
    slot.objects[start:stop] = 0
    slot.objects[start:stop, 0] = label_frames(slot.mask[start:stop], slot.labels[start:stop])


def clean(register: Register, slot: ChunkSlot, start: int, stop: int) -> None:
    """Clean up the labels as the segmenter wants it."""
    segmenter = register.segmenter
    if segmenter.mask_postprocessing:
        options = segmenter.kwargs_mask
        process_frames(
            slot.labels[start:stop],
            bool(options["clear_border"]),
            bool(options["fill_holes"]),
            int(options["closing_disk"] or 0),
            slot.objects[start:stop],
        )


def measure(register: Register, slot: ChunkSlot, start: int, stop: int) -> FrameRows:
    """Measure and gate the events; return them as rows."""
    begin = slot.chunk * register.chunk_size
    start = max(start, register.first_frame - begin)
    if start >= stop:  # another run has done these
        return FrameRows(register.first_frame, np.empty(0, np.int64))
    part = slice(start, stop)
    first = begin + start
    rows = register.before.rows(first, first + stop - start) if slot.is_known else None
    if rows is None:
        if slot.is_known:  # what was kept cannot be read
            slot.load(slot.chunk)
            for work in (segment, label, clean):
                work(register, slot, start, stop)
        rows = _measured(register, slot, part, first)
    taken = dict(register.frame_images)
    if register.makes_offsets:
        taken["bg_off"] = np.dtype(np.float64)
    if taken and rows.rows:
        frame_of_event = np.repeat(np.arange(stop - start), rows.counts)
        for name, dtype in taken.items():
            values = getattr(slot, name)[part][frame_of_event]
            rows.rows[name] = values.astype(dtype, copy=False)
    return rows


def _measured(register: Register, slot: ChunkSlot, part: slice, first: int) -> FrameRows:
    rows: FrameRows = register.extractor.measure(
        start=first,
        labels=slot.labels[part],
        image=slot.image[part],
        image_bg=slot.image_bg[part] if slot.image_bg is not None else None,
        image_corr=slot.image_corr[part] if slot.image_corr is not None else None,
        bg_off=slot.bg_off[part] if slot.bg_off is not None else None,
        duplicate=slot.duplicate[part],
        objects=slot.objects[part],
    )
    return rows


SEGMENT = Stage("segment", SlotState.SEGMENT, SlotState.LABEL, segment)
LABEL = Stage("label", SlotState.LABEL, SlotState.CLEAN, label)
CLEAN = Stage("clean", SlotState.CLEAN, SlotState.MEASURE, clean)
MEASURE = Stage("measure", SlotState.MEASURE, SlotState.LOAD, measure)
#: The order of work.
STAGES = (SEGMENT, LABEL, CLEAN, MEASURE)
#: States of a slot that holds a chunk.
LOADED_STATES = tuple(stage.takes for stage in STAGES)


def run_stage(
    stage: Stage,
    register: Register,
    slot: ChunkSlot,
    start: int,
    stop: int,
    logger: logging.Logger | None = None,
) -> Any:
    """Run a stage on frames of a slot; an error says which frame it was.

    If memory is short it continues with half the frames at a time.
    """

    def work(start: int, stop: int) -> Any:
        try:
            return stage.work(register, slot, start, stop)
        except Exception as err:
            if is_memory_error(err) and stop - start > 1:
                raise
            raise _placed(err, stage, register, slot, start, stop) from err

    def on_short(text: str, start: int, stop: int) -> None:
        most = (stop - start + 1) // 2
        register.take_less(stage.name, most)
        if logger is not None:
            logger.warning(
                "memory is short (%s): %s, from now on with at most %d frames at a time",
                *(text, stage.name, most),
            )
        # Only cleaning changes what it has read, the labels, and to clean twice is
        # not the same as to clean once.
        if stage is CLEAN:
            label(register, slot, start, stop)

    parts = in_smaller_parts(work, start, stop, on_short)
    return joined_rows(parts) if stage is MEASURE else None


def _placed(
    err: Exception, stage: Stage, register: Register, slot: ChunkSlot, start: int, stop: int
) -> StageError:
    """Return the error with its place in the input."""
    first = slot.chunk * register.chunk_size
    path = register.job["path_in"]
    if is_memory_error(err):
        return StageError(
            stage.name,
            f"there is not enough memory for one frame: {err}",
            path=path,
            frame=register.raw_frame(first + start),
            hint="give fewer workers, or close other programs",
        )
    culprit = _first_failing(stage, register, slot, start, stop)
    frame = None if culprit is None else register.raw_frame(first + culprit)
    return StageError.of(stage.name, err, path=path, frame=frame)


def _first_failing(
    stage: Stage, register: Register, slot: ChunkSlot, start: int, stop: int
) -> int | None:
    """Return the first frame on which the stage fails by itself, if any does."""
    for frame in range(start, stop):
        try:
            stage.work(register, slot, frame, frame + 1)
        except Exception:  # noqa: BLE001 - only its place matters here
            return frame
    return None
