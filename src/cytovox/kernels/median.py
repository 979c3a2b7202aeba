"""Upper medians of stacks of 8-bit images, by counting and never by sorting.

The upper median of K values is the one of rank ``K // 2`` (0-based): the
middle one if K is odd, the larger of the two middle ones if it is even. It is
always one of the values, so that the result stays an 8-bit image.

Both kernels work on a range of flattened pixels, so that several threads can
share an image; a pixel's result does not depend on the range.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .jit import kernel

__all__ = ["rolling_upper_median", "top_row_means", "upper_median"]

_TILE_STACK = 512
_TILE_ROLL = 64


@kernel()
def upper_median(
    stack: npt.NDArray[np.uint8], start: int, stop: int, out: npt.NDArray[np.uint8]
) -> None:
    """Compute the upper median over a stack for a range of pixels.

    Builds the result bit by bit from the highest: a bit is set if no more than
    ``K // 2`` values lie below the candidate. All comparisons of a tile of
    pixels are independent, which lets the compiler use vector instructions.

    Parameters
    ----------
    stack
        Images, uint8, shape (K, P), C-contiguous; K > 0.
    start, stop
        Range of pixels within P.
    out
        Result, uint8, shape (P,); only ``out[start:stop]`` is written.

    Examples
    --------
    >>> import numpy as np
    >>> stack = np.array([[1, 9], [2, 9], [3, 0], [4, 0]], dtype=np.uint8)
    >>> out = np.zeros(2, dtype=np.uint8)
    >>> upper_median(stack, 0, 2, out)
    >>> out.tolist()
    [3, 9]
    """
    # Loops over pixels in place of whole arrays are compiled and loaded faster.
    length = stack.shape[0]
    rank = length // 2
    below = np.empty(_TILE_STACK, np.uint32)
    result = np.empty(_TILE_STACK, np.uint8)
    candidate = np.empty(_TILE_STACK, np.uint8)
    last = np.uint64(stop)
    for first in range(np.uint64(start), last, np.uint64(_TILE_STACK)):
        width = min(np.uint64(_TILE_STACK), last - first)
        for p in range(width):
            result[p] = 0
        for bit in range(7, -1, -1):
            for p in range(width):
                below[p] = 0
                candidate[p] = result[p] | np.uint8(1 << bit)
            for k in range(length):
                for p in range(width):
                    below[p] += np.uint32(stack[k, first + p] < candidate[p])
            for p in range(width):
                if below[p] <= rank:
                    result[p] = candidate[p]
        for p in range(width):
            out[first + p] = result[p]


@kernel()
def rolling_upper_median(
    frames: npt.NDArray[np.uint8],
    kernel_size: int,
    start: int,
    stop: int,
    out: npt.NDArray[np.uint8],
) -> None:
    """Compute the upper median in a forward window that slides over frames.

    ``out[i]`` is the upper median of ``frames[i : i + kernel_size]``. Each pixel
    keeps a histogram of its window: one value leaves, one enters, and the
    median moves by the few levels that this makes it move.

    Parameters
    ----------
    frames
        Images, uint8, shape (n + kernel_size - 1, P), C-contiguous.
    kernel_size
        Length of the window, > 0.
    start, stop
        Range of pixels within P.
    out
        Result, uint8, shape (n, P); only ``out[:, start:stop]`` is written.

    Examples
    --------
    >>> import numpy as np
    >>> frames = np.array([[1], [5], [3], [7]], dtype=np.uint8)
    >>> out = np.zeros((3, 1), dtype=np.uint8)
    >>> rolling_upper_median(frames, 2, 0, 1, out)
    >>> out.ravel().tolist()
    [5, 5, 7]
    """
    length = out.shape[0]
    rank = kernel_size // 2
    counts = np.zeros((_TILE_ROLL, 256), np.int32)
    median = np.zeros(_TILE_ROLL, np.int64)
    below = np.zeros(_TILE_ROLL, np.int64)
    for first in range(start, stop, _TILE_ROLL):
        width = min(_TILE_ROLL, stop - first)
        counts[:] = 0
        median[:] = 0
        below[:] = 0
        # The window before the first frame lacks that window's last value.
        for k in range(kernel_size - 1):
            for p in range(width):
                counts[p, frames[k, first + p]] += 1
        for i in range(length):
            for p in range(width):
                level = median[p]
                less = below[p]
                entering = frames[i + kernel_size - 1, first + p]
                counts[p, entering] += 1
                less += entering < level
                if i > 0:
                    leaving = frames[i - 1, first + p]
                    counts[p, leaving] -= 1
                    less -= leaving < level
                while less > rank:
                    level -= 1
                    less -= counts[p, level]
                while less + counts[p, level] <= rank:
                    less += counts[p, level]
                    level += 1
                median[p] = level
                below[p] = less
                out[i, first + p] = level


@kernel()
def top_row_means(images: npt.NDArray[np.uint8], rows: int) -> npt.NDArray[np.float64]:
    """Return the mean grey value of the first rows of each image.

    Parameters
    ----------
    images
        Images, uint8, shape (N, H, W), C-contiguous.
    rows
        Number of rows, cut at H.

    Returns
    -------
    ndarray
        float64, shape (N,); exact sums divided once.

    Examples
    --------
    >>> import numpy as np
    >>> top_row_means(np.array([[[1, 2], [9, 9]]], dtype=np.uint8), 1).tolist()
    [1.5]
    """
    number, height, width = images.shape
    rows = min(rows, height)
    means = np.zeros(number, np.float64)
    for i in range(number):
        total = np.int64(0)
        for y in range(rows):
            for x in range(width):
                total += images[i, y, x]
        means[i] = total / (rows * width)
    return means
