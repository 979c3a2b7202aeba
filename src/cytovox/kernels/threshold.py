"""Frames minus their background, its threshold, and which frames repeat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .arrays import Corrected, Floats, Grey, contiguous, plain
from .jit import kernel

__all__ = ["below", "equal_to_previous", "subtract"]


def subtract(
    image: npt.NDArray[np.uint8],
    image_bg: npt.NDArray[np.uint8],
    out: npt.NDArray[np.int16],
) -> npt.NDArray[np.int16]:
    """Subtract the background from frames.

    Parameters
    ----------
    image, image_bg
        Frames and their backgrounds, uint8 of shape (n, H, W), grey values.
    out
        Difference to be written, int16 of shape (n, H, W), grey values.

    Returns
    -------
    numpy.ndarray
        `out`, of shape (n, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> frame, background = np.array([[[3, 200]]], np.uint8), np.array([[[5, 190]]], np.uint8)
    >>> subtract(frame, background, np.zeros((1, 1, 2), np.int16)).tolist()
    [[[-2, 10]]]
    """
    with contiguous(out) as target:
        _subtract(
            plain(image, np.uint8).reshape(-1),
            plain(image_bg, np.uint8).reshape(-1),
            target.reshape(-1),
        )
    return out


def below(
    image_corr: npt.NDArray[np.int16],
    thresh: float,
    bg_off: npt.NDArray[np.float64] | None,
    out: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Mark the pixels whose corrected value is below a threshold.

    A pixel is marked if ``float64(image_corr) - bg_off < thresh``, strictly.

    Parameters
    ----------
    image_corr
        Frames minus background, int16 of shape (n, H, W), grey values.
    thresh
        Threshold in grey values.
    bg_off
        Offset of each frame, float64 of shape (n,), or None for no offset.
    out
        Mask to be written, bool of shape (n, H, W).

    Returns
    -------
    numpy.ndarray
        `out`, of shape (n, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> corr = np.array([[[-7, -6, 0]]], np.int16)
    >>> below(corr, -6, None, np.zeros((1, 1, 3), bool)).tolist()
    [[[True, False, False]]]
    >>> below(corr, -6, np.array([1e-9]), np.zeros((1, 1, 3), bool)).tolist()
    [[[True, True, False]]]
    """
    count = image_corr.shape[0]
    offsets = np.zeros(count) if bg_off is None else plain(bg_off, np.float64)
    with contiguous(out) as target:
        _below(
            plain(image_corr, np.int16).reshape(count, -1),
            float(thresh),
            offsets,
            target.view(np.uint8).reshape(count, -1),
        )
    return out


def equal_to_previous(
    images: npt.NDArray[np.uint8], previous: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.bool_]:
    """Return which frames are, pixel for pixel, the frame before them.

    Parameters
    ----------
    images
        Frames, uint8 of shape (n, H, W).
    previous
        Frame before the first, uint8 of shape (H, W), or None if there is none.

    Returns
    -------
    numpy.ndarray
        bool of shape (n,)

    Examples
    --------
    >>> import numpy as np
    >>> equal_to_previous(np.array([[[1]], [[1]], [[2]]], np.uint8)).tolist()
    [False, True, False]
    """
    count = images.shape[0]
    equal = np.zeros(count, np.uint8)
    if count:
        flat = plain(images, np.uint8).reshape(count, -1)
        _repeats(flat, equal)
        if previous is not None:
            equal[0] = np.array_equal(images[0], previous)
    return equal.view(np.bool_)


@kernel()
def _subtract(image: Grey, background: Grey, out: Corrected) -> None:
    for k in range(out.size):
        out[k] = np.int16(image[k]) - np.int16(background[k])


@kernel()
def _below(
    corr: Corrected,
    thresh: float,
    offsets: Floats,
    out: Grey,
) -> None:
    for i in range(corr.shape[0]):
        # The rule never falls back to true as values grow, so it is a cut
        # between two integers; comparing integers is several times faster.
        low = -32768
        high = 32768
        while low < high:
            middle = (low + high) // 2
            if np.float64(middle) - offsets[i] < thresh:
                low = middle + 1
            else:
                high = middle
        if low > 32767:
            out[i] = 1
            continue
        cut = np.int16(low)
        for k in range(corr.shape[1]):
            out[i, k] = corr[i, k] < cut


@kernel()
def _repeats(frames: Grey, equal: Grey) -> None:
    for i in range(1, frames.shape[0]):
        same = True
        for left in range(0, frames.shape[1], 1024):
            # Slices let the compiler make vector instructions of the loop.
            one = frames[i, left : left + 1024]
            other = frames[i - 1, left : left + 1024]
            differs = np.uint8(0)
            for k in range(one.size):
                differs |= one[k] ^ other[k]
            if differs != 0:
                same = False
                break
        equal[i] = same
