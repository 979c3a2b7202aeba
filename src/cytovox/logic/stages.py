"""What is done with the frames of a slot, as a table.

Each stage is a function of a slot and a range of its frames. The register
hands them out; the science is in the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CytovoxError, StageError
from ..kernels.labels import label_frames, process_frames
from ..run.rows import FrameRows
from .states import SlotState

if TYPE_CHECKING:
    from .chunk_slot import ChunkSlot
    from .slot_register import SlotRegister

__all__ = [
    "CLEAN",
    "LABEL",
    "LOADED_STATES",
    "MEASURE",
    "SEGMENT",
    "STAGES",
    "Stage",
    "run_stage",
    "state_after",
]

Work = Callable[["SlotRegister", "ChunkSlot", int, int], Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of the conveyor.

    Parameters
    ----------
    name
        What it does, for messages.
    takes, leaves
        State of a slot before and after.
    work
        Function of the register, the slot, and the first and last frame + 1.
    """

    name: str
    takes: SlotState
    leaves: SlotState
    work: Work


def segment(register: SlotRegister, slot: ChunkSlot, start: int, stop: int) -> None:
    """Make masks."""
    images, offset = register.segmenter.input_of(slot, start, stop)
    register.segmenter.segment_into(images, offset, slot.mask[start:stop])


def label(register: SlotRegister, slot: ChunkSlot, start: int, stop: int) -> None:
    """Label the objects of each mask."""
    label_frames(slot.mask[start:stop], slot.labels[start:stop])


def clean(register: SlotRegister, slot: ChunkSlot, start: int, stop: int) -> None:
    """Clean up the labels as the segmenter wants it."""
    segmenter = register.segmenter
    if segmenter.mask_postprocessing:
        options = segmenter.kwargs_mask
        process_frames(
            slot.labels[start:stop],
            bool(options["clear_border"]),
            bool(options["fill_holes"]),
            int(options["closing_disk"] or 0),
        )


def measure(register: SlotRegister, slot: ChunkSlot, start: int, stop: int) -> FrameRows:
    """Measure and gate the events; return them as rows."""
    part = slice(start, stop)
    first = slot.chunk * register.chunk_size + start
    rows = register.extractor.measure(
        start=first,
        labels=slot.labels[part],
        image=slot.image[part],
        image_bg=slot.image_bg[part] if slot.image_bg is not None else None,
        image_corr=slot.image_corr[part] if slot.image_corr is not None else None,
        bg_off=slot.bg_off[part] if slot.bg_off is not None else None,
        duplicate=slot.duplicate[part],
    )
    taken = (*register.frame_images, *(["bg_off"] if register.makes_offsets else []))
    if taken and rows.rows:
        frame_of_event = np.repeat(np.arange(stop - start), rows.counts)
        for name in taken:
            rows.rows[name] = getattr(slot, name)[part][frame_of_event]
    return rows


SEGMENT = Stage("segment", SlotState.SEGMENT, SlotState.LABEL, segment)
LABEL = Stage("label", SlotState.LABEL, SlotState.CLEAN, label)
CLEAN = Stage("clean", SlotState.CLEAN, SlotState.MEASURE, clean)
MEASURE = Stage("measure", SlotState.MEASURE, SlotState.LOAD, measure)
#: The order of work.
STAGES = (SEGMENT, LABEL, CLEAN, MEASURE)
#: States of a slot that holds a chunk.
LOADED_STATES = tuple(stage.takes for stage in STAGES)


def state_after(state: str) -> SlotState:
    """Return the state of a slot when all its frames are done in a state.

    Examples
    --------
    >>> state_after("i").name
    'SEGMENT'
    """
    return next((s.leaves for s in STAGES if s.takes == state), SlotState.SEGMENT)


def run_stage(stage: Stage, register: SlotRegister, slot: ChunkSlot, start: int, stop: int) -> Any:
    """Run a stage on frames of a slot; an error says which frame it was.

    Raises
    ------
    StageError
        If the stage fails; with the number of the frame in the input.
    """
    try:
        return stage.work(register, slot, start, stop)
    except Exception as err:
        first = slot.chunk * register.chunk_size
        culprit = _first_failing(stage, register, slot, start, stop)
        place = {} if culprit is None else {"frame": register.raw_frame(first + culprit)}
        what = err.what if isinstance(err, CytovoxError) else f"{type(err).__name__}: {err}"
        hint = err.hint if isinstance(err, CytovoxError) else None
        path = register.job["path_in"]
        raise StageError(stage.name, what, path=path, hint=hint, **place) from err


def _first_failing(
    stage: Stage, register: SlotRegister, slot: ChunkSlot, start: int, stop: int
) -> int | None:
    """Return the first frame on which the stage fails by itself, if any does."""
    for frame in range(start, stop):
        try:
            stage.work(register, slot, frame, frame + 1)
        except Exception:  # noqa: BLE001 - only its place matters here
            return frame
    return None
