"""One look at a recording that is written: measuring some of the frames that are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..background.base import OFFSET_ROWS, BackgroundResult
from ..kernels.median import top_row_means
from ..kernels.threshold import equal_to_previous, subtract
from ..read.growing import GrowingRecording
from ..run.rows import FrameRows
from .chunk_slot_data import BYTES_PER_PIXEL, ChunkSlotData
from .job import DCNumPipelineJob
from .live_file import Checks, MadeOf, checks_of_backgrounds, checks_of_frames
from .stages import STAGES, run_stage

__all__ = ["Backgrounds", "Bench", "Look", "Part", "made_of"]

#: Frames that are measured at a time by a thread.
_BATCH = 100
#: Bytes of all slots of a batch.
_BATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What was found in the frames of a slot."""

    rows: FrameRows
    made_of: MadeOf
    background: float
    upper: npt.NDArray[np.float64]
    last: npt.NDArray[np.uint8]  # image of the last frame


@dataclass(eq=False)
class Bench:
    """What the stages of the conveyor need of a register."""

    job: DCNumPipelineJob
    segmenter: Any
    extractor: Any
    workers: int
    pool: ThreadPoolExecutor
    chunk_size = 1  # so that a slot's chunk is its first frame
    first_frame = 0
    makes_offsets = False
    frame_images = ()

    def raw_frame(self, index: int) -> int:
        return index

    def take_less(self, stage: str, most_frames: int) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Backgrounds:
    """Those of the frames so far."""

    result: BackgroundResult
    #: First frame of the burst of each image, and checksum of the image.
    starts: npt.NDArray[np.int64]
    checks: Checks

    def of(self, values: npt.NDArray[Any], start: int, stop: int) -> npt.NDArray[Any]:
        """Return for some frames what `values` has for their images."""
        assert self.result.mapping is not None  # noqa: S101 (for the type checker)
        return np.asarray(values[self.result.mapping[start:stop]])


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A recording as it is now, and what measures its frames."""

    recording: GrowingRecording
    bench: Bench
    background: Backgrounds | None  # None for that of the recording

    def measured(
        self, start: int, stop: int, last: npt.NDArray[np.uint8] | None
    ) -> Iterator[list[Part]]:
        """Measure frames, some at a time; `last` is the one before, if it is known."""
        height, width = self.recording.data.require_images("image").image_shape
        workers = self.bench.workers
        most = _BATCH_BYTES // (workers * height * width * BYTES_PER_PIXEL)
        size = max(1, min(_BATCH, most))
        if last is None and start:
            last = np.empty((height, width), np.uint8)
            self._images("image").read_into(start - 1, last[np.newaxis])
        for first in range(start, stop, workers * size):
            end = min(stop, first + workers * size)
            starts = range(first, end, size)
            slots = list(self.bench.pool.map(self._slot, starts, [*starts[1:], end]))
            for slot in slots:
                slot.duplicate[:] = equal_to_previous(slot.image, last)
                last = slot.image[-1]
            yield list(self.bench.pool.map(self._measure, slots))

    def _images(self, name: str) -> Any:
        return self.recording.data.require_images(name)

    def _slot(self, start: int, stop: int) -> ChunkSlotData:
        """Return frames with their backgrounds."""
        shape = self._images("image").image_shape
        features, background = ["image_bg"], self.background
        has_offset = background is not None and background.result.has_offset
        if has_offset or "bg_off" in self.recording:
            features.append("bg_off")
        slot = ChunkSlotData((stop - start, *shape), features, private=True)
        slot.chunk = start
        assert slot.image_bg is not None  # noqa: S101 (for the type checker)
        assert slot.image_corr is not None  # noqa: S101
        self._images("image").read_into(start, slot.image)
        if background is None:
            self._images("image_bg").read_into(start, slot.image_bg)
        else:
            assert background.result.images is not None  # noqa: S101
            slot.image_bg[:] = background.of(background.result.images, start, stop)
        subtract(slot.image, slot.image_bg, slot.image_corr)
        if slot.bg_off is not None and background is not None and has_offset:
            slot.bg_off[:] = background.result.offsets_of(slot.image, start)
        elif slot.bg_off is not None:
            slot.bg_off[:] = self.recording["bg_off"][start:stop]
        return slot

    def _measure(self, slot: ChunkSlotData) -> Part:
        """Do all stages on a slot."""
        for stage in STAGES:
            found = run_stage(stage, self.bench, slot, 0, slot.length)  # type: ignore[arg-type]
        assert slot.image_bg is not None  # noqa: S101 (for the type checker)
        if self.background is None:
            checks = checks_of_backgrounds(slot.image_bg)
        else:
            checks = self.background.of(
                self.background.checks, slot.chunk, slot.chunk + slot.length
            )
        top = np.ascontiguousarray(slot.image[:, :OFFSET_ROWS])
        return Part(
            found,
            (checks_of_frames(slot), checks),
            float(slot.image_bg[-1].mean()),
            top_row_means(top, OFFSET_ROWS),
            slot.image[-1].copy(),
        )


def made_of(parts: Sequence[Part]) -> MadeOf:
    """Return the checksums of the frames of all parts."""
    frames, backgrounds = zip(*(part.made_of for part in parts), strict=True)
    return np.concatenate(frames), np.concatenate(backgrounds)
