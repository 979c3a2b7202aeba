"""Labels of connected components, and how masks are cleaned before measuring."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OptionError
from .arrays import Grey, Integer, Ints, Labels, plain
from .jit import kernel
from .runs import EIGHT, dilate, erode, fill, find_runs, label_runs

__all__ = ["label_frames", "process_frames"]

#: Labels are stored as uint16.
MAX_LABEL = 65535
#: Columns of `objects` in `process_frames`: found, border, merged, opening.
_FATES = 4


def label_frames(
    mask: npt.NDArray[np.bool_] | npt.NDArray[np.uint8], out: Labels
) -> npt.NDArray[np.int64]:
    """Give each 8-connected component of each frame a number.

    Numbers count from 1 in raster order of the first pixel of a component.

    Parameters
    ----------
    mask
        Masks, bool or uint8 (nonzero is foreground) of shape (n, H, W).
    out
        Labels to be written, uint16 of shape (n, H, W), C-contiguous.

    Returns
    -------
    numpy.ndarray
        Number of components of each frame, int64 of shape (n,).

    Raises
    ------
    InputError
        If a frame has more than 65535 components.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.array([[[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]]], bool)
    >>> labels = np.empty(mask.shape, np.uint16)
    >>> label_frames(mask, labels).tolist(), labels[0].tolist()
    ([2], [[1, 0, 1], [0, 1, 0], [0, 0, 0], [2, 2, 0]])
    """
    counts = np.zeros(mask.shape[0], np.int64)
    _label(plain(mask, mask.dtype).view(np.uint8), out, counts)
    _refuse_too_many(counts)
    return counts


def process_frames(
    labels: Labels,
    clear_border: bool,
    fill_holes: bool,
    closing_disk: int | None,
    objects: npt.NDArray[np.int64] | None = None,
) -> None:
    """Clean labels in place, one step after the other.

    1. `clear_border`: remove each label that has a pixel in the first or last
       row or column; the others keep their numbers.
    2. `fill_holes`: make row 0 and the pixels (1, 0) and (1, 1) background,
       then everything foreground that background cannot reach from (0, 0) by
       4-connected steps. Distinct labels become one binary mask.
    3. `closing_disk`: a binary opening, despite the name, by the disk
       ``dx**2 + dy**2 <= closing_disk**2``. Erosion takes the outside of the
       frame for foreground, dilation for background.
    4. After step 2 or 3, number the 8-connected components anew.

    Parameters
    ----------
    labels
        Labels, uint16 of shape (n, H, W), C-contiguous.
    clear_border, fill_holes
        Whether to do the step.
    closing_disk
        Radius in pixels; 0 or None for no opening.
    objects
        What becomes of the objects of each frame, int64 of shape (n, k), to be
        updated. Its first column must hold the number of labels, which must be
        1 to that number. The next columns then hold how many were lost to the
        border (or to the corner that step 2 clears), were merged with the
        object around them, and were lost to the opening. An object that falls
        into m pieces adds m - 1 to the first column, so that this column, less
        the next three, is the number of labels that are left.

    Raises
    ------
    InputError
        If a frame ends up with more than 65535 components.
    OptionError
        If the radius is negative.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((1, 7, 7), np.uint16)
    >>> labels[0, 2:5, 2:5] = 1
    >>> labels[0, 3, 3] = 0
    >>> process_frames(labels, True, True, 0)
    >>> int(labels[0, 3, 3])
    1
    """
    radius = int(closing_disk or 0)
    if radius < 0:
        raise OptionError(
            f"closing_disk is {radius}", hint="give a radius in pixels, or 0 for no opening"
        )
    if not (clear_border or fill_holes or radius):
        return
    if objects is None:
        objects = np.zeros((labels.shape[0], _FATES), np.int64)
    counts = np.zeros(labels.shape[0], np.int64)
    radius = min(radius, labels.shape[1] + labels.shape[2])  # covers all from everywhere
    half = np.array(
        [math.isqrt(radius * radius - d * d) for d in range(radius + 1)], dtype=np.int32
    )
    _process(labels, bool(clear_border), bool(fill_holes), half, counts, objects)
    _refuse_too_many(counts)


def _refuse_too_many(counts: npt.NDArray[np.int64]) -> None:
    if counts.size and counts.max() > MAX_LABEL:
        frame = int(np.argmax(counts > MAX_LABEL))
        raise InputError(
            f"frame {frame} of this batch has {counts[frame]} separate objects, "
            f"more than {MAX_LABEL}",
            hint="the threshold is probably inside the noise",
        )


@kernel()
def _paint(frame: Labels, begin: Ints, end: Ints, first: Ints, label: Ints) -> None:
    frame[:] = 0
    for y in range(frame.shape[0]):
        for j in range(first[y], first[y + 1]):
            for x in range(begin[j], end[j]):
                frame[y, x] = label[j]


@kernel()
def _label(mask: Grey, out: Labels, counts: npt.NDArray[np.int64]) -> None:
    n, height, width = mask.shape
    runs = np.empty((3, height * (width // 2 + 1)), np.int32)
    first = np.empty(height + 1, np.int32)
    dropped = np.zeros(256, np.int32)
    for i in range(n):
        find_runs(mask[i], dropped, i + 1, runs[0], runs[1], first)
        counts[i] = label_runs(runs[0], runs[1], first, EIGHT, runs[2])
        _paint(out[i], runs[0], runs[1], first, runs[2])


@kernel()
def _mark_border(frame: Labels, dropped: Ints, stamp: Integer) -> bool:
    """Stamp the labels that are on the border; return whether there are any."""
    height, width = frame.shape
    found = False
    for y in (0, height - 1):
        for x in range(width):
            if frame[y, x] != 0:
                dropped[frame[y, x]] = stamp
                found = True
    for y in range(height):
        for x in (0, width - 1):
            if frame[y, x] != 0:
                dropped[frame[y, x]] = stamp
                found = True
    return found


@kernel()
def _clear(frame: Labels, dropped: Ints, stamp: Integer) -> None:
    for y in range(frame.shape[0]):
        for x in range(frame.shape[1]):
            if dropped[frame[y, x]] == stamp:
                frame[y, x] = 0


@kernel()
def _force_corner(begin: Ints, end: Ints, first: Ints) -> None:
    """Make row 0 and the pixels (1, 0) and (1, 1) background."""
    height = first.size - 1
    n = 0
    row_start = first[1]
    first[1] = 0
    for y in range(1, height):
        row_stop = first[y + 1]
        for j in range(row_start, row_stop):
            left = max(begin[j], 2) if y == 1 else begin[j]
            if left < end[j]:
                begin[n] = left
                end[n] = end[j]
                n += 1
        row_start = row_stop
        first[y + 1] = n


@kernel()
def _count_marked(marks: Ints, stamp: Integer, highest: Integer) -> int:
    """Count the labels that have a stamp."""
    n = 0
    for value in range(1, highest + 1):
        if marks[value] == stamp:
            n += 1
    return n


@kernel()
def _mark_runs(frame: Labels, begin: Ints, first: Ints, marks: Ints, stamp: Integer) -> int:
    """Stamp the labels of all runs; return how many labels there are."""
    n = 0
    for y in range(frame.shape[0]):
        for j in range(first[y], first[y + 1]):
            value = frame[y, begin[j]]
            if marks[value] != stamp:
                marks[value] = stamp
                n += 1
    return n


@kernel()
def _trace(
    frame: Labels, runs: Ints, first: Ints, piece: Ints, marks: Ints, stamp: Integer, owner: Ints
) -> tuple[int, int]:
    """Find which of the stamped labels are in the pieces of the cleaned mask.

    A piece belongs to the lowest label in it, which is the outermost. Return
    how many labels are in any piece, and to how many a piece belongs.
    """
    reached = 0
    for y in range(frame.shape[0]):
        for j in range(first[y], first[y + 1]):
            for x in range(runs[0, j], runs[1, j]):
                value = np.int32(frame[y, x])
                if marks[value] < stamp:  # background, or removed before
                    continue
                if marks[value] == stamp:
                    marks[value] = stamp + 1
                    reached += 1
                if owner[piece[j]] == 0 or value < owner[piece[j]]:
                    owner[piece[j]] = value
    owners = 0
    for j in range(first[frame.shape[0]]):
        value = owner[piece[j]]
        owner[piece[j]] = 0
        if value != 0 and marks[value] == stamp + 1:
            marks[value] = stamp + 2
            owners += 1
    return reached, owners


@kernel()
def _process(
    labels: Labels,
    clear_border: bool,
    fill_holes: bool,
    half: Ints,
    counts: npt.NDArray[np.int64],
    objects: npt.NDArray[np.int64],
) -> None:
    n, height, width = labels.shape
    size = height * (width // 2 + 1)
    runs = np.empty((2, size), np.int32)
    work = np.empty((3, size), np.int32)
    first = np.empty(height + 1, np.int32)
    work_first = np.empty(height + 1, np.int32)
    # A stamp of its own for each frame saves resetting the array.
    dropped = np.zeros(65536, np.int32)
    marks = np.zeros(65536, np.int32)
    owner = np.zeros(size + 1, np.int32)
    for i in range(n):
        frame = labels[i]
        stamp = i + 1
        touching = clear_border and _mark_border(frame, dropped, stamp)
        if not fill_holes and half.size == 1:
            if touching:
                objects[i, 1] = _count_marked(dropped, stamp, min(objects[i, 0], MAX_LABEL))
                _clear(frame, dropped, stamp)
            continue
        if find_runs(frame, dropped, stamp, runs[0], runs[1], first) == 0:
            if touching:
                objects[i, 1] = objects[i, 0]
                frame[:] = 0
            continue
        if fill_holes:
            _force_corner(runs[0], runs[1], first)
        left = _mark_runs(frame, runs[0], first, marks, 3 * i + 1)
        if fill_holes:
            fill(runs[0], runs[1], first, width, work)
        if half.size > 1:
            erode(runs[0], runs[1], first, width, half, work, work_first)
            dilate(work[0], work[1], work_first, width, half, runs, first)
        counts[i] = label_runs(runs[0], runs[1], first, EIGHT, work[2])
        reached = owners = min(left, counts[i])
        if left > 1:
            reached, owners = _trace(frame, runs, first, work[2], marks, 3 * i + 1, owner)
        objects[i, 1] = objects[i, 0] - left
        objects[i, 2] = reached - owners
        objects[i, 3] = left - reached
        objects[i, 0] += counts[i] - owners
        _paint(frame, runs[0], runs[1], first, work[2])
