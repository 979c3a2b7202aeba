"""Brightness of an object and of the background behind it."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

from .arrays import Corrected, Floats, Grey

__all__ = ["BRIGHTNESS_NAMES", "brightness_features", "frame_median"]

#: Features of one object, the first of which belongs to its frame.
BRIGHTNESS_NAMES = (
    "bg_med",
    "bright_avg",
    "bright_sd",
    "bright_bc_avg",
    "bright_bc_sd",
    "bright_perc_10",
    "bright_perc_90",
)


@nb.njit(nogil=True, cache=True)
def frame_median(frame: Grey) -> float:
    """Return the median of an image, the mean of the two middle values if need be.

    Parameters
    ----------
    frame
        Flattened image, uint8.
    """
    # Neighbours are mostly equal; four counters do not wait for one another.
    counts = np.zeros((4, 256), np.int64)
    whole = frame.size // 4 * 4
    for k in range(0, whole, 4):
        counts[0, frame[k]] += 1
        counts[1, frame[k + 1]] += 1
        counts[2, frame[k + 2]] += 1
        counts[3, frame[k + 3]] += 1
    for k in range(whole, frame.size):
        counts[0, frame[k]] += 1
    low_rank = (frame.size - 1) // 2
    high_rank = frame.size // 2
    seen = 0
    low = -1
    for value in range(256):
        seen += counts[0, value] + counts[1, value] + counts[2, value] + counts[3, value]
        if low < 0 and seen > low_rank:
            low = value
        if seen > high_rank:
            return (low + value) / 2
    return math.nan


@nb.njit(nogil=True, cache=True, error_model="numpy")
def brightness_features(
    grey: Grey,
    corrected: Corrected,
    offset: float,
    corrected_known: bool,
    out: Floats,
) -> None:
    """Compute the features of `BRIGHTNESS_NAMES` but the first.

    Parameters
    ----------
    grey
        Values of the raw image under the mask, in raster order.
    corrected
        Values of image minus background, in the same order.
    offset
        Offset of the background of the frame, to be subtracted.
    corrected_known
        Whether there is a background; NaN is written otherwise.
    out
        Features to be written.

    Notes
    -----
    Means are exact sums, divided once. Squares are summed in raster order.
    """
    n = grey.size
    total = np.int64(0)
    total_corrected = np.int64(0)
    least = np.int64(corrected[0])
    most = least
    for k in range(n):
        value = np.int64(corrected[k])
        total += np.int64(grey[k])
        total_corrected += value
        least = min(least, value)
        most = max(most, value)
    mean = total / n
    mean_corrected = total_corrected / n
    squares = 0.0
    squares_corrected = 0.0
    counts = np.zeros(most - least + 1, np.int64)
    for k in range(n):
        squares += (grey[k] - mean) ** 2
        squares_corrected += (corrected[k] - mean_corrected) ** 2
        counts[corrected[k] - least] += 1
    out[0] = mean
    out[1] = math.sqrt(squares / n)
    if not corrected_known:
        out[2:6] = math.nan
        return
    out[2] = mean_corrected - offset
    out[3] = math.sqrt(squares_corrected / n)
    for which in range(2):
        rank = 1 + (n - 1) * ((10 + 80 * which) / 100)
        floor = int(rank)
        part = rank - floor
        seen = 0
        level = -1
        while seen < floor:
            level += 1
            seen += counts[level]
        quantile = float(level + least)
        if n > 1:
            upper = level
            if seen < floor + 1 and seen < n:
                upper += 1
                while counts[upper] == 0:
                    upper += 1
            quantile = quantile * (1 - part) + (upper + least) * part
        out[4 + which] = quantile - offset
