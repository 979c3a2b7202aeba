"""Binary images as runs: where foreground begins and ends in each row.

A frame of a recording is nearly empty, and a cell is one run in each of its
rows. On runs, filling, opening and labelling cost a few dozen operations
where they would touch every pixel several times on an image.

A run list is three arrays: ``begin`` and ``end`` (exclusive) of each run, and
``first``, where ``first[y]:first[y + 1]`` are the runs of row ``y``, from left
to right and never touching each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import Integer, Ints
from .jit import kernel

__all__ = ["EIGHT", "FOUR", "dilate", "erode", "fill", "find_runs", "label_runs"]

_BLOCK = 64

#: Reach of `label_runs` for 8-connectivity. As a plain integer, each value
#: would be compiled for itself.
EIGHT = np.int64(1)
#: Reach of `label_runs` for 4-connectivity.
FOUR = np.int64(0)


@kernel()
def find_runs(
    frame: npt.NDArray[Any], dropped: Ints, stamp: Integer, begin: Ints, end: Ints, first: Ints
) -> int:
    """Find the runs of pixels that are neither zero nor dropped; return their number.

    `frame` is uint8 or uint16 of shape (H, W). A value counts as background if
    `dropped`, int32 of shape (largest value + 1,), has `stamp` for it. There are
    at most H * (W // 2 + 1) runs, for which `begin` and `end` must have room.
    """
    height, width = frame.shape
    n = 0
    for y in range(height):
        first[y] = n
        row = frame[y]
        # The compiler makes vector instructions of a loop only over a whole
        # array, hence the slices. Most rows, and most blocks, are empty.
        some = frame.dtype.type(0)
        for x in range(row.size):
            some |= row[x]
        if some == 0:
            continue
        inside = False
        for left in range(0, width, _BLOCK):
            block = row[left : left + _BLOCK]
            some = frame.dtype.type(0)
            for x in range(block.size):
                some |= block[x]
            if some == 0 and not inside:
                continue
            for x in range(block.size):
                value = block[x]
                kept = value != 0 and dropped[value] != stamp
                if kept != inside:
                    if kept:
                        begin[n] = left + x
                    else:
                        end[n] = left + x
                        n += 1
                    inside = kept
        if inside:
            end[n] = width
            n += 1
    first[height] = n
    return n


@kernel()
def label_runs(begin: Ints, end: Ints, first: Ints, reach: Integer, label: Ints) -> int:
    """Give each connected component a number, from 1 in raster order of their first pixel.

    `reach` is `EIGHT` or `FOUR`. `label` gets the number of each run; what is
    returned is the number of components.
    """
    # `label` first holds a forest whose roots are the lowest run of each
    # component, which is also the first in raster order.
    for y in range(first.size - 1):
        i = first[max(y - 1, 0)]
        last = first[y]
        for j in range(first[y], first[y + 1]):
            label[j] = j
            while i < last and end[i] + reach <= begin[j]:
                i += 1
            k = i
            while k < last and begin[k] < end[j] + reach:
                a = k
                while label[a] != a:
                    label[a] = label[label[a]]
                    a = label[a]
                b = j
                while label[b] != b:
                    label[b] = label[label[b]]
                    b = label[b]
                if a < b:
                    label[b] = a
                else:
                    label[a] = b
                k += 1
    count = 0
    for j in range(first[first.size - 1]):
        if label[j] == j:
            count += 1
            label[j] = count
        else:
            label[j] = label[label[j]]
    return count


@kernel()
def fill(begin: Ints, end: Ints, first: Ints, width: Integer, work: Ints) -> int:
    """Fill, in place, all background that row 0 does not reach by 4-connected steps.

    Row 0 must be empty; `work` is scratch of shape (3, H * (W // 2 + 1)). The
    number of runs is returned.
    """
    height = first.size - 1
    gap_first = np.empty(height + 1, np.int32)
    n = 0
    for y in range(height):
        gap_first[y] = n
        x = 0
        for j in range(first[y], first[y + 1]):
            if begin[j] > x:
                work[0, n] = x
                work[1, n] = begin[j]
                n += 1
            x = end[j]
        if x < width:
            work[0, n] = x
            work[1, n] = width
            n += 1
    gap_first[height] = n
    label_runs(work[0], work[1], gap_first, FOUR, work[2])

    n = 0
    for y in range(height):
        first[y] = n
        x = 0
        for j in range(gap_first[y], gap_first[y + 1]):
            if work[2, j] != 1:  # not of one piece with row 0
                continue
            if work[0, j] > x:
                begin[n] = x
                end[n] = work[0, j]
                n += 1
            x = work[1, j]
        if x < width:
            begin[n] = x
            end[n] = width
            n += 1
    first[height] = n
    return n


@kernel()
def _narrowed_and(
    a: Ints,
    n: Integer,
    begin: Ints,
    end: Ints,
    low: Integer,
    high: Integer,
    by: Integer,
    width: Integer,
    out: Ints,
) -> int:
    """Intersect runs `a` with the narrowed runs of a row; borders do not narrow."""
    i = 0
    m = 0
    for j in range(low, high):
        left = begin[j] + by if begin[j] > 0 else 0
        right = end[j] - by if end[j] < width else width
        if left >= right:
            continue
        while i < n and a[1, i] <= left:
            i += 1
        k = i
        while k < n and a[0, k] < right:
            out[0, m] = max(left, a[0, k])
            out[1, m] = min(right, a[1, k])
            m += 1
            k += 1
    return m


@kernel()
def _widened_or(
    a: Ints,
    n: Integer,
    begin: Ints,
    end: Ints,
    low: Integer,
    high: Integer,
    by: Integer,
    width: Integer,
    out: Ints,
) -> int:
    """Unite runs `a` with the widened runs of a row."""
    i = 0
    j = low
    m = 0
    while i < n or j < high:
        if j >= high or (i < n and a[0, i] <= begin[j] - by):
            left = a[0, i]
            right = a[1, i]
            i += 1
        else:
            left = max(begin[j] - by, 0)
            right = min(end[j] + by, width)
            j += 1
        if m > 0 and left <= out[1, m - 1]:
            out[1, m - 1] = max(right, out[1, m - 1])
        else:
            out[0, m] = left
            out[1, m] = right
            m += 1
    return m


@kernel()
def erode(
    begin: Ints, end: Ints, first: Ints, width: Integer, half: Ints, out: Ints, out_first: Ints
) -> int:
    """Erode by a disk; outside the frame everything is foreground.

    `half` is the half width of the disk at each distance from its middle row,
    int32 of shape (radius + 1,). `out`, of shape (2, H * (W // 2 + 1)), and
    `out_first` are the run list to be written, whose length is returned.
    """
    height = first.size - 1
    row = np.empty((2, width + 1), np.int32)
    other = np.empty((2, width + 1), np.int32)
    total = 0
    for y in range(height):
        out_first[y] = total
        if first[y] == first[y + 1]:
            continue
        row[0, 0] = 0
        row[1, 0] = width
        n: Integer = np.int64(1)
        n = _narrowed_and(row, n, begin, end, first[y], first[y + 1], half[0], width, other)
        row, other = other, row
        for d in range(1, half.size):
            for q in (y - d, y + d):
                if n > 0 and 0 <= q < height:
                    n = _narrowed_and(
                        row, n, begin, end, first[q], first[q + 1], half[d], width, other
                    )
                    row, other = other, row
        for k in range(n):
            out[0, total] = row[0, k]
            out[1, total] = row[1, k]
            total += 1
    out_first[height] = total
    return total


@kernel()
def dilate(
    begin: Ints, end: Ints, first: Ints, width: Integer, half: Ints, out: Ints, out_first: Ints
) -> int:
    """Dilate by a disk, as `erode`; outside the frame everything is background."""
    height = first.size - 1
    row = np.empty((2, width + 1), np.int32)
    other = np.empty((2, width + 1), np.int32)
    total = 0
    reach = half.size - 1
    for y in range(height):
        out_first[y] = total
        if first[max(y - reach, 0)] == first[min(y + reach + 1, height)]:
            continue
        n: Integer = np.int64(0)
        for q in range(max(y - reach, 0), min(y + reach + 1, height)):
            if first[q] < first[q + 1]:
                n = _widened_or(
                    row, n, begin, end, first[q], first[q + 1], half[abs(q - y)], width, other
                )
                row, other = other, row
        for k in range(n):
            out[0, total] = row[0, k]
            out[1, total] = row[1, k]
            total += 1
    out_first[height] = total
    return total
