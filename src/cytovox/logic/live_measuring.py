"""Measuring a recording while it is written, with the background of what is there so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..background import BackgroundSparseMed
from ..background.base import OFFSET_ROWS, BackgroundResult
from ..kernels.median import top_row_means
from ..kernels.threshold import equal_to_previous, subtract
from ..read.growing import GrowingRecording
from ..run.rows import FrameRows, joined_rows
from ..segm import UNISegmenter
from .chunk_slot_data import ChunkSlotData
from .job import DCNumPipelineJob, extractor_of, segmenter_of
from .live_file import Checks, LiveFile, made_of
from .stages import STAGES, run_stage

__all__ = ["LiveMeasuring", "Measured"]

#: Frames that are measured at a time by a thread.
_BATCH = 100
#: Seconds for which a frame may wait for the background that it will have in the end.
_HOLD = 0.65
#: Bytes of events that are written at once, and most batches of them.
_WRITE, _PARTS = 16 << 20, 64
#: Bytes of a pixel in a slot, and of all slots of a batch.
_BYTES_PER_PIXEL, _BATCH_BYTES = 7, 24 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Some frames that were measured, for those who watch."""

    rows: FrameRows
    #: When each frame was taken, in seconds; NaN if that is unknown. Shape (n,).
    seconds: npt.NDArray[np.float64]
    #: Mean grey value of the background of the last of them.
    background: float
    #: Mean grey value of the upper rows of each frame, shape (n,).
    upper: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What was found in the frames of a slot."""

    rows: FrameRows
    checks: Checks
    background: float
    upper: npt.NDArray[np.float64]
    last: npt.NDArray[np.uint8]  # image of the last frame


@dataclass(eq=False)
class _Bench:
    """What the stages of the conveyor need of a register."""

    job: DCNumPipelineJob
    segmenter: Any
    extractor: Any
    chunk_size = 1  # so that a slot's chunk is its first frame
    first_frame = 0
    makes_offsets = False
    frame_images = ()

    def raw_frame(self, index: int) -> int:
        return index

    def take_less(self, stage: str, most_frames: int) -> None: ...


class LiveMeasuring:
    """Measures frames of a recording as they come, and writes what they yield to a file."""

    def __init__(self, job: DCNumPipelineJob, file: LiveFile) -> None:
        self.job, self._file = job, file
        #: Frames and events so far.
        self.frames = self.events = 0
        self._code = job["background_code"]
        self._options = job["background_kwargs"] if self._code == "sparsemed" else {}
        self._bursts: dict[int, npt.NDArray[np.uint8]] = {}
        self._last: npt.NDArray[np.uint8] | None = None
        self._bench: _Bench | None = None

    def measure(
        self,
        recording: GrowingRecording,
        go_on: Callable[[], bool] = lambda: True,
        *,
        hold: bool = True,
    ) -> Iterator[Measured]:
        """Measure the frames that are new, some at a time, as long as that is wanted.

        If `hold`, the last ones may wait for their background.
        """
        seconds = recording.seconds()
        end = len(recording)
        if hold and not recording.is_complete:
            end = self._settled(seconds)
        if end <= self.frames:
            return
        bench = self._require_bench(recording)
        background = self._background(recording)
        alone = not isinstance(bench.segmenter, UNISegmenter)
        workers = 1 if alone else int(self.job["num_procs"])
        with ThreadPoolExecutor(workers, thread_name_prefix="live") as pool:
            while self.frames < end and go_on():
                parts: list[_Part] = []
                while (
                    self._next(parts) < end and len(parts) < _PARTS and _bytes_of(parts) < _WRITE
                ):
                    slots = self._slots(recording, background, end, parts, workers)
                    parts += pool.map(lambda slot: _measure(bench, slot), list(slots))
                yield self._keep(recording, parts, seconds)

    def _next(self, parts: Sequence[_Part]) -> int:
        """Return the first frame that follows some parts."""
        return parts[-1].rows.stop if parts else self.frames

    def _settled(self, seconds: npt.NDArray[np.float64]) -> int:
        """Return the number of frames that need not wait for the next background.

        A background serves frames up to half an interval after it, and is known when
        its burst of frames has come.
        """
        if self._code == "copy" or not np.all(np.isfinite(seconds)):
            return len(seconds)
        times = seconds - seconds[0]
        split = float(self._options.get("split_time") or 1.0)
        length = int(self._options.get("kernel_size") or 200)
        if len(times) < length:
            return 0  # there is no background at all
        latest = max(times[-1] - _HOLD, (np.floor(times[-length] / split) + 0.5) * split)
        return int(np.searchsorted(times, latest, side="right"))

    def _require_bench(self, recording: GrowingRecording) -> _Bench:
        if self._bench is None:
            extractor = extractor_of(self.job, recording.data)
            self._bench = _Bench(self.job, segmenter_of(self.job), extractor)
        return self._bench

    def _background(self, recording: GrowingRecording) -> BackgroundResult | None:
        """Return the background of the frames so far; None for that of the recording.

        Only that of sparsemed can be computed while the recording grows; it stands in
        for those of other methods.
        """
        if self._code == "copy":
            return None
        method = BackgroundSparseMed(recording, num_workers=self.job["num_procs"], **self._options)
        method.known = self._bursts
        result = method.compute(defer_offset=True)
        # of a burst at the end, which is not where it will be, there is no more need
        self._bursts = method.known or {}
        return result

    def _slots(
        self,
        recording: GrowingRecording,
        background: BackgroundResult | None,
        end: int,
        parts: Sequence[_Part],
        number: int,
    ) -> Iterator[ChunkSlotData]:
        """Yield the frames after some parts with their backgrounds, in several slots."""
        images = recording.data.require_images("image")
        height, width = images.image_shape
        most = _BATCH_BYTES // (number * height * width * _BYTES_PER_PIXEL)
        batch = max(1, min(_BATCH, most))
        first, last = self._next(parts), parts[-1].last if parts else self._last
        for start in range(first, min(end, first + number * batch), batch):
            length = min(batch, end - start)
            features = ["image_bg"]
            if (background and background.has_offset) or "bg_off" in recording:
                features.append("bg_off")
            slot = ChunkSlotData((length, height, width), features, private=True)
            slot.chunk = start
            images.read_into(start, slot.image)
            self._fill_background(slot, recording, background)
            slot.duplicate[:] = equal_to_previous(slot.image, last)
            last = slot.image[-1]
            yield slot

    def _fill_background(
        self,
        slot: ChunkSlotData,
        recording: GrowingRecording,
        background: BackgroundResult | None,
    ) -> None:
        start, stop = slot.chunk, slot.chunk + slot.length
        assert slot.image_bg is not None  # noqa: S101 (for the type checker)
        assert slot.image_corr is not None  # noqa: S101
        if background is None:
            recording.data.require_images("image_bg").read_into(start, slot.image_bg)
        else:
            assert background.images is not None  # noqa: S101
            assert background.mapping is not None  # noqa: S101
            slot.image_bg[:] = background.images[background.mapping[start:stop]]
        subtract(slot.image, slot.image_bg, slot.image_corr)
        if slot.bg_off is not None and background is not None and background.has_offset:
            slot.bg_off[:] = background.offsets_of(slot.image, start)
        elif slot.bg_off is not None:
            slot.bg_off[:] = recording["bg_off"][start:stop]

    def _keep(
        self,
        recording: GrowingRecording,
        parts: Sequence[_Part],
        seconds: npt.NDArray[np.float64],
    ) -> Measured:
        """Write some parts, with what others know frames by."""
        rows = joined_rows([part.rows for part in parts])
        frames = slice(rows.start, rows.stop)
        more = {
            name: np.repeat(recording[name][frames].astype(np.float64), rows.counts)
            for name in ("frame", "time")
            if name in recording
        }
        self._file.append(rows, np.concatenate([part.checks for part in parts]), more)
        self._last = parts[-1].last
        self.frames, self.events = rows.stop, self.events + rows.n_events
        upper = np.concatenate([part.upper for part in parts])
        return Measured(rows, seconds[frames], parts[-1].background, upper)

    def close(self) -> None:
        """End what the segmenter has begun."""
        if self._bench is not None:
            self._bench.segmenter.close()


def _bytes_of(parts: Sequence[_Part]) -> int:
    return sum(part.rows.nbytes for part in parts)


def _measure(bench: _Bench, slot: ChunkSlotData) -> _Part:
    """Do all stages on a slot."""
    for stage in STAGES:
        found = run_stage(stage, bench, slot, 0, slot.length)  # type: ignore[arg-type]
    assert slot.image_bg is not None  # noqa: S101 (for the type checker)
    top = np.ascontiguousarray(slot.image[:, :OFFSET_ROWS])
    return _Part(
        found,
        made_of(slot),
        float(slot.image_bg[-1].mean()),
        top_row_means(top, OFFSET_ROWS),
        slot.image[-1].copy(),
    )
