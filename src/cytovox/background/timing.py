"""When each frame was taken, and which burst of frames serves which time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..read.recording_file import frame_rate_of
from .base import Recording, place_of

__all__ = ["assign_frames", "burst_starts", "recording_times", "step_times"]

#: more background images than this are nobody's intention
_MOST_STEPS = 1_000_000

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def recording_times(data: Recording, number: int) -> Floats:
    """Return the time of each frame in seconds since the first.

    The feature ``time`` is preferred; then ``frame`` over the frame rate; then
    an estimate of 1.5 frame intervals each, of 1/3600 s if there is no rate.

    Parameters
    ----------
    data
        The recording.
    number
        Number of frames N.

    Returns
    -------
    ndarray
        float64, shape (N,).

    Raises
    ------
    InputError
        If the feature is not one number for each frame of the recording, or
        the frame rate is no number.
    """
    rate = frame_rate_of(data.meta, place_of(data))
    if "time" in data:
        times = _numbers(data, "time")
    elif "frame" in data and rate > 0:
        times = _numbers(data, "frame") / rate
    else:
        duration = number / (rate if rate > 0 else 3600) * 1.5
        return np.linspace(0, duration, number, dtype=np.float64)
    if len(times) != number:
        raise InputError(
            f"{number} frames, but {len(times)} times",
            path=place_of(data),
            hint="the file was cut short; copy it again or repair its event count",
        )
    return np.asarray(times - times[0])


def _numbers(data: Recording, feat: str) -> Floats:
    stored = np.asarray(data[feat][:])
    if stored.ndim != 1 or stored.dtype.kind not in "biuf":
        raise InputError(
            f"the times of the frames are not one number each in '{feat}'",
            path=place_of(data),
            hint=f"repair feature '{feat}'",
        )
    return stored.astype(np.float64)


def step_times(times: Floats, split_time: float, path: str | None = None) -> Floats:
    """Return the times at which background images are taken.

    Parameters
    ----------
    times
        Time of each frame, s.
    split_time
        Interval, s.
    path
        File, for the message.

    Returns
    -------
    ndarray
        float64; one step if all frames have the same time.

    Raises
    ------
    InputError
        If the times are not numbers, or so long that the steps are too many.

    Examples
    --------
    >>> step_times(np.array([0.0, 1.0, 2.5]), 1.0).tolist()
    [0.0, 1.0, 2.0]
    """
    duration = float(times[-1] - times[0])
    if not np.isfinite(duration):
        raise InputError(
            "the times of the frames are not all numbers", path=path, hint="repair feature 'time'"
        )
    if duration / split_time > _MOST_STEPS:
        raise InputError(
            f"the frames span {duration:g} s, which is too long for a step of {split_time:g} s",
            path=path,
            hint="choose a larger split_time, or repair feature 'time'",
        )
    number = max(1, int(np.ceil(duration / split_time)))
    return np.asarray(np.arange(number, dtype=np.float64) * split_time)


def burst_starts(times: Floats, steps: Floats, length: int) -> Indices:
    """Return the first frame of each burst, so that every burst is whole.

    Parameters
    ----------
    times
        Time of each frame, s, shape (N,).
    steps
        Times of the background images, s.
    length
        Number of frames in a burst, at most N.

    Returns
    -------
    ndarray
        int64, one per step.

    Examples
    --------
    >>> burst_starts(np.arange(10.0), np.array([0.0, 4.0, 8.0]), 3).tolist()
    [0, 4, 7]
    """
    nearest = _Nearest(times)
    starts = [nearest(step, 0.0) for step in steps]
    return np.minimum(np.array(starts, dtype=np.int64), len(times) - length)


def assign_frames(times: Floats, steps: Floats, split_time: float) -> Indices:
    """Return the background image of each frame.

    An image serves the frames up to half an interval after its time. Where
    images were sorted out, the frames of the gap take the next one that is left.

    Parameters
    ----------
    times
        Time of each frame, s, shape (N,).
    steps
        Times of the images that are left, s.
    split_time
        Interval between images, s.

    Returns
    -------
    ndarray
        int64, shape (N,).

    Examples
    --------
    >>> assign_frames(np.arange(6.0), np.array([0.0, 2.0, 4.0]), 2.0).tolist()
    [0, 1, 1, 2, 2, 2]
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
    """Find the first frame whose time is nearest to a step, in few looks."""

    def __init__(self, times: Floats) -> None:
        self.times = times
        self.rising = bool(np.all(times[1:] >= times[:-1]))

    def __call__(self, step: float, shift: float) -> int:
        if not self.rising:
            return int(np.argmin(np.abs((self.times - step) - shift)))
        middle = int(np.searchsorted(self.times, step + shift))
        reach = 8
        while True:
            # The distance falls and rises once, so a local first minimum that
            # lies lower than both ends of the view is that of all frames.
            low = max(0, middle - reach)
            high = min(len(self.times), middle + reach)
            distance = np.abs((self.times[low:high] - step) - shift)
            best = int(np.argmin(distance))
            left = low == 0 or distance[0] > distance[best]
            if left and (high == len(self.times) or distance[-1] > distance[best]):
                return low + best
            reach *= 4
