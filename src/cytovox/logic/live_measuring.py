"""Measuring a recording while it is written, with the background of what is there so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..background import BackgroundSparseMed
from ..background.sparse_median import KnownBursts
from ..read.growing import GrowingRecording
from ..run.rows import FrameRows, joined_rows
from ..segm import UNISegmenter
from .job import DCNumPipelineJob, extractor_of, segmenter_of
from .live_file import LiveFile, checks_of_backgrounds
from .live_look import Backgrounds, Bench, Look, Part, made_of

__all__ = ["LiveMeasuring", "Measured"]

#: Seconds for which a frame may wait for the background that it will have in the end.
_HOLD = 0.45
#: Steps of the background after which it seldom becomes another one.
_SETTLED = 5
#: Seconds for which frames are measured again before there is another look; not if new
#: frames of more than so many seconds had come.
_AGAIN, _LATE = 0.1, 1.0
#: Bytes of events that are written at once, and most batches of them.
_WRITE, _PARTS = 8 << 20, 64


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


class LiveMeasuring:
    """Measures frames of a recording as they come, and writes what they yield to a file.

    Which background a frame has in the end depends on all that come after it, so
    those that have another one by now are measured again when there is time.
    """

    def __init__(self, job: DCNumPipelineJob, file: LiveFile) -> None:
        self.job, self._file = job, file
        #: Frames and events so far.
        self.frames = self.events = 0
        #: Whether frames that could be measured again are left.
        self.is_behind = False
        self._code = job["background_code"]
        self._options = job["background_kwargs"] if self._code == "sparsemed" else {}
        self._split = float(self._options.get("split_time") or 1.0)
        self._known: KnownBursts = {}
        #: Checksums of background images, by the first frame of their bursts.
        self._checks: dict[int, int] = {}
        #: That first frame for the background of each frame that was measured.
        self._bursts = np.empty(0, np.int64)
        self._last: npt.NDArray[np.uint8] | None = None
        self._bench: Bench | None = None

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
        seconds, first = recording.seconds(), self.frames
        end = len(recording)
        if hold and not recording.is_complete:
            end = self._settled(seconds)
        if end <= first and not self.is_behind:
            return
        look = Look(recording, self._require_bench(recording), self._background(recording))
        while self.frames < end and go_on():
            yield self._keep(look, self._parts(look, self.frames, end, self._last), seconds)
        new = seconds[first : self.frames]
        # what is measured again must not let new frames wait
        is_late = bool(len(new)) and new[-1] - new[0] > _LATE and not recording.is_complete
        if self.frames and not is_late:
            self._measure_again(look, seconds, go_on)

    def _settled(self, seconds: npt.NDArray[np.float64]) -> int:
        """Return the number of frames that need not wait for the next background.

        A background serves frames up to half an interval after it, and is known when
        its burst of frames has come.
        """
        if self._code == "copy" or not np.all(np.isfinite(seconds)):
            return len(seconds)
        times = seconds - seconds[0]
        length = int(self._options.get("kernel_size") or 200)
        if len(times) < length:
            return 0  # there is no background at all
        latest = max(
            times[-1] - _HOLD, (np.floor(times[-length] / self._split) + 0.5) * self._split
        )
        return int(np.searchsorted(times, latest, side="right"))

    def _require_bench(self, recording: GrowingRecording) -> Bench:
        if self._bench is None:
            segmenter, extractor = segmenter_of(self.job), extractor_of(self.job, recording.data)
            alone = not isinstance(segmenter, UNISegmenter)
            workers = 1 if alone else int(self.job["num_procs"])
            # the same threads for all looks: what each has freed is left to it by the C library
            pool = ThreadPoolExecutor(workers, thread_name_prefix="live")
            self._bench = Bench(self.job, segmenter, extractor, workers, pool)
        return self._bench

    def _background(self, recording: GrowingRecording) -> Backgrounds | None:
        """Return the background of the frames so far; None for that of the recording.

        Only that of sparsemed can be computed while the recording grows; it stands in
        for those of other methods.
        """
        if self._code == "copy":
            return None
        method = BackgroundSparseMed(recording, num_workers=self.job["num_procs"], **self._options)
        method.known = self._known
        result = method.compute(defer_offset=True)
        # of a burst at the end, which is not where it will be, there is no more need
        self._known, starts = method.known, method.starts
        assert result.images is not None  # noqa: S101 (for the type checker)
        for start, image in zip(starts.tolist(), result.images, strict=True):
            if start not in self._checks:
                self._checks[start] = int(checks_of_backgrounds([image])[0])
        checks = np.array([self._checks[start] for start in starts.tolist()], np.uint32)
        return Backgrounds(result, starts, checks)

    def _parts(
        self,
        look: Look,
        start: int,
        stop: int,
        last: npt.NDArray[np.uint8] | None,
        is_enough: Callable[[], bool] = lambda: False,
    ) -> list[Part]:
        """Measure frames, as many as are written at once."""
        parts: list[Part] = []
        for some in look.measured(start, stop, last):
            parts += some
            if is_enough() or len(parts) >= _PARTS or _bytes_of(parts) >= _WRITE:
                break
        return parts

    def _measure_again(
        self, look: Look, seconds: npt.NDArray[np.float64], go_on: Callable[[], bool]
    ) -> None:
        """Measure frames again that have another background by now, for a short time."""
        if look.background is None or self._code != "sparsemed":
            return  # it is not the background that they will have
        bursts = look.background.of(look.background.starts, 0, self.frames)
        differ = bursts != self._bursts
        if not look.recording.is_complete:  # else it may be another one soon
            differ &= seconds[: self.frames] < seconds[-1] - _SETTLED * self._split
        end = time.monotonic() + _AGAIN
        while differ.any() and time.monotonic() < end and go_on():
            first = int(np.argmax(differ))
            stop = first + int(np.argmin(np.append(differ[first:], False)))
            parts = self._parts(look, first, stop, None, lambda: time.monotonic() >= end)
            rows = joined_rows([part.rows for part in parts])
            self._file.replace(rows, made_of(parts))
            self._bursts[first : rows.stop] = bursts[first : rows.stop]
            differ[first : rows.stop] = False
        self.is_behind = bool(differ.any())

    def _keep(
        self,
        look: Look,
        parts: Sequence[Part],
        seconds: npt.NDArray[np.float64],
    ) -> Measured:
        """Write some parts, with what others know frames by."""
        rows = joined_rows([part.rows for part in parts])
        recording, frames = look.recording, slice(rows.start, rows.stop)
        more = {
            name: np.repeat(recording[name][frames].astype(np.float64), rows.counts)
            for name in ("frame", "time")
            if name in recording
        }
        self._file.append(rows, made_of(parts), more)
        if look.background is not None:
            bursts = look.background.of(look.background.starts, rows.start, rows.stop)
            self._bursts = np.concatenate([self._bursts, bursts])
        self._last = parts[-1].last
        self.frames, self.events = rows.stop, self.events + rows.n_events
        upper = np.concatenate([part.upper for part in parts])
        return Measured(rows, seconds[frames], parts[-1].background, upper)

    def complete(self, stamp: tuple[int, ...]) -> None:
        """Let a run take over what was measured of a recording that is complete, and as it was."""
        self._file.complete(stamp, self._known if self._code == "sparsemed" else {})

    def close(self) -> None:
        """End what the segmenter has begun."""
        if self._bench is not None:
            self._bench.pool.shutdown()
            self._bench.segmenter.close()


def _bytes_of(parts: Sequence[Part]) -> int:
    return sum(part.rows.nbytes for part in parts)
