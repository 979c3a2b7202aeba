"""When each frame was taken, and which burst of frames serves which time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..read.recording_file import frame_rate_of
from .base import Recording, place_of

__all__ = ["Bursts", "assign_frames", "find_bursts", "recording_times"]

#: above this, a number of steps is not exact as a float
_MOST_STEPS = 2**53
#: steps at both ends of a long run that the running median of the cleansing distinguishes
_EDGE = 10

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def recording_times(data: Recording, number: int) -> tuple[Floats, tuple[str, ...]]:
    """Return the time of each frame in seconds since the first, and warnings.

    The feature ``time`` is preferred; then ``frame`` over the frame rate; then
    an estimate of 1.5 frame intervals each, of 1/3600 s if there is no rate. A
    feature that does not rise from the first frame to the last gives no
    intervals of time, so it is passed over with a warning. One that falls in
    between is used, with a warning.
    """
    rate = frame_rate_of(data.meta, place_of(data))
    warnings: tuple[str, ...] = ()
    for feat, per_second in (("time", 1.0), ("frame", rate)):
        if feat not in data or not per_second > 0:
            continue
        times = _numbers(data, feat, number) / per_second
        if number == 1 or times[-1] > times[0]:
            return times - times[0], warnings + _falls(times, feat)
        warnings += (
            f"feature '{feat}' does not rise from the first frame to the last, "
            "so the background does not use it as time",
        )
    duration = number / (rate if rate > 0 else 3600) * 1.5
    return np.linspace(0, duration, number, dtype=np.float64), warnings


def _numbers(data: Recording, feat: str, number: int) -> Floats:
    stored = np.asarray(data[feat][:])
    if stored.ndim != 1 or stored.dtype.kind not in "biuf":
        raise InputError(
            f"the times of the frames are not one number each in '{feat}'",
            path=place_of(data),
            hint=f"repair feature '{feat}'",
        )
    if len(stored) != number:
        raise InputError(
            f"{number} frames, but {len(stored)} times",
            path=place_of(data),
            hint="the file was cut short; copy it again or repair its event count",
        )
    if not np.all(np.isfinite(stored)):
        raise InputError(
            "the times of the frames are not all numbers",
            path=place_of(data),
            hint=f"repair feature '{feat}'",
        )
    return stored.astype(np.float64)


def _falls(times: Floats, feat: str) -> tuple[str, ...]:
    """Return a warning if the times fall somewhere."""
    falls = np.flatnonzero(times[1:] < times[:-1])
    if not len(falls):
        return ()
    return (
        f"feature '{feat}' falls {len(falls)} times, first at frame {falls[0] + 1}; "
        "backgrounds are chosen by time, so those of other frames may be used there",
    )


@dataclass(frozen=True, slots=True)
class Bursts:
    """Bursts of frames, and the steps of time that each of them serves.

    Successive steps that have the same burst are one entry, so that there are
    never more entries than frames, however long the pauses between them.
    """

    starts: Indices
    """First frame of each burst, shape (n,)."""
    counts: Indices
    """Number of successive steps that each of them serves, shape (n,)."""

    def positions(self, most: int) -> tuple[Indices, Indices, Indices | None]:
        """Return the burst, the number and the weight of each step."""
        whole = int(self.counts.sum()) <= most
        kept = self.counts if whole else np.minimum(self.counts, 2 * _EDGE + 1)
        burst = np.repeat(np.arange(len(self.starts)), kept)
        weights = np.ones(len(burst), np.int64)
        long = self.counts > kept
        weights[(np.cumsum(kept) - kept + _EDGE)[long]] += (self.counts - kept)[long]
        return burst, np.cumsum(weights) - 1, None if whole else weights


def find_bursts(times: Floats, split_time: float, length: int, path: str | None = None) -> Bursts:
    """Return the bursts of frames from which background images are made.

    Step k is at ``k * split_time``. Its burst begins at the frame whose time is
    nearest, or earlier, so that every burst is whole.
    """
    duration = float(times[-1] - times[0])
    if duration / split_time > _MOST_STEPS:
        raise InputError(
            f"the frames span {duration:g} s, which is too long for a step of {split_time:g} s",
            path=path,
            hint="choose a larger split_time, or repair feature 'time'",
        )
    number = max(1, int(np.ceil(duration / split_time)))
    nearest = _Nearest(times)

    def start_of(step: int) -> int:
        return min(nearest(step * split_time, 0.0), len(times) - length)

    starts: list[int] = []
    bounds = [0]
    while bounds[-1] < number:
        start = start_of(bounds[-1])
        starts.append(start)
        bounds.append(_first_other(lambda k, s=start: start_of(k) == s, bounds[-1], number))  # type: ignore[misc]
    ends = np.array(bounds, np.int64)
    return Bursts(np.array(starts, np.int64), ends[1:] - ends[:-1])


def _first_other(same: Callable[[int], bool], low: int, end: int) -> int:
    """Return the first number above `low` for which `same` does not hold, or `end`."""
    reach = 1
    while low + reach < end and same(low + reach):
        low += reach
        reach *= 2
    high = min(low + reach, end)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if same(middle) else (low, middle)
    return high


def assign_frames(times: Floats, steps: Floats, split_time: float) -> Indices:
    """Return the background image of each frame.

    An image serves the frames up to half an interval after its time. Where
    images were sorted out, the frames of the gap take the next one that is left.
    """
    nearest = _Nearest(times)
    mapping = np.full(len(times), len(steps) - 1, dtype=np.int64)
    first = 0
    for j, step in enumerate(steps):
        stop = nearest(step, split_time / 2)
        mapping[first:stop] = j
        first = stop
    return mapping


class _Nearest:
    """Find the first frame whose time is nearest to a step, with few comparisons."""

    def __init__(self, times: Floats) -> None:
        self.order = np.argsort(times, kind="stable")
        self.times = times[self.order]

    def __call__(self, step: float, shift: float) -> int:
        middle = int(np.searchsorted(self.times, step + shift))
        reach = 8
        while True:
            # The distance falls and rises once, so a local minimum that lies
            # lower than both ends of the view is that of all frames.
            low = max(0, middle - reach)
            high = min(len(self.times), middle + reach)
            distance = np.abs((self.times[low:high] - step) - shift)
            best = distance.min()
            left = low == 0 or distance[0] > best
            if left and (high == len(self.times) or distance[-1] > best):
                return int(self.order[low:high][distance == best].min())
            reach *= 4
