"""Brightness of an object and of the background behind it."""

from __future__ import annotations

import math

import numpy as np

from .arrays import Corrected, Floats, Grey, Integer
from .jit import kernel

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


@kernel()
def _count_up_to(frame: Grey, limit: Integer) -> int:
    """Count the values that are not above a limit."""
    total = 0
    highest = np.uint8(limit)
    # Short slices and a short counter make vector instructions of this.
    for left in range(0, frame.size, 4096):
        block = frame[left : left + 4096]
        count = np.uint16(0)
        for k in range(block.size):
            count += np.uint16(block[k] <= highest)
        total += int(count)
    return total


@kernel()
def frame_median(frame: Grey) -> float:
    """Return the median of an image, the mean of the two middle values if need be.

    Parameters
    ----------
    frame
        Flattened image, uint8 of shape (H * W,).
    """
    # Halving the range of values eight times is twice as fast as a histogram.
    low = 0
    high = 255
    while low < high:
        middle = (low + high) // 2
        if _count_up_to(frame, middle) > (frame.size - 1) // 2:
            high = middle
        else:
            low = middle + 1
    upper = low
    while _count_up_to(frame, upper) <= frame.size // 2:
        upper += 1
    return (low + upper) / 2


@kernel(division="numpy")
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
        Values of the raw image under the mask, in raster order, uint8 of shape
        (n,).
    corrected
        Values of image minus background, in the same order, int16 of shape
        (n,).
    offset
        Offset of the background of the frame, to be subtracted.
    corrected_known
        Whether there is a background; NaN is written otherwise.
    out
        Features to be written, float64 of shape
        (len(BRIGHTNESS_NAMES) - 1,).

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
