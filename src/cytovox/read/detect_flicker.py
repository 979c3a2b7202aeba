"""Find out whether the light of a recording flickers."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["detect_flickering"]

#: Number of frames that are looked at together.
_BATCH = 100


def detect_flickering(
    image_data: Any,
    roi_height: int = 10,
    brightness_threshold: float = 2.5,
    count_threshold: int = 5,
    max_frames: int = 1000,
) -> bool:
    """Return whether the brightness of the upper rows jumps between frames.

    The median of the first rows of each frame is compared to the median of
    these medians; frames that are off by the threshold or more count.

    Parameters
    ----------
    image_data
        Recording, its images, or an array of shape (frames, rows, columns).
    roi_height
        Number of rows to look at.
    brightness_threshold
        Difference [grey values] from which on a frame counts.
    count_threshold
        Number of such frames from which on a recording flickers.
    max_frames
        Number of frames to look at.

    Examples
    --------
    >>> images = np.full((20, 30, 40), 100, np.uint8)
    >>> detect_flickering(images)
    False
    >>> images[::2] += 6
    >>> detect_flickering(images)
    True
    """
    images = getattr(image_data, "image", image_data)
    number = 0 if images is None else min(len(images), max_frames)
    if not number:
        return False
    medians = np.concatenate(
        [
            np.median(images[start : min(start + _BATCH, number), :roi_height], axis=(1, 2))
            for start in range(0, number, _BATCH)
        ]
    )
    off = np.abs(medians - np.median(medians))
    return bool(np.count_nonzero(off >= abs(brightness_threshold)) >= count_threshold)
