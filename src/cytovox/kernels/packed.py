"""Labels as runs, which are small to keep; and what two blocks call the same voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .counting import double, find, longer, order
from .jit import kernel
from .lattice import Ids, Int64s, as_rows

__all__ = ["Packed", "Shells", "count_votes", "pack"]

Int32s = npt.NDArray[np.int32]


class Packed(NamedTuple):
    """Labels of a box, as runs of equal values along the last axis."""

    first: Int64s  # where the runs of each row begin, of shape (rows + 1,)
    begin: Int32s  # where each run begins along the last axis, of shape (n,)
    value: Ids  # label of each run, of shape (n,)


class Shells(NamedTuple):
    """What many blocks have seen in their contexts, one after the other."""

    box: Int64s  # what each block has seen, of shape (blocks, ndim, 2)
    first_at: Int64s  # where the rows of each block begin, of shape (blocks,)
    run_at: Int64s  # where its runs begin
    first: Int64s
    begin: Int32s
    value: Ids

    @classmethod
    def of(cls, shells: Sequence[Packed], boxes: Sequence[Any]) -> Shells:
        """Put the shells of blocks one after the other."""
        empty = Packed(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.uint32))
        every = [empty, *shells]
        return cls(
            np.array(boxes, np.int64),
            np.cumsum([shell.first.size for shell in every[:-1]]),
            np.cumsum([shell.value.size for shell in every[:-1]]),
            np.concatenate([shell.first for shell in every]),
            np.concatenate([shell.begin for shell in every]),
            np.concatenate([shell.value for shell in every]),
        )


def pack(labels: Ids) -> Packed:
    """Turn labels, uint32 of any shape, into runs.

    Examples
    --------
    >>> import numpy as np
    >>> packed = pack(np.array([[0, 0, 4, 4], [4, 4, 4, 4]], np.uint32))
    >>> packed.begin.tolist(), packed.value.tolist()
    ([0, 2, 0], [0, 4, 4])
    """
    rows, _ = as_rows(np.asarray(labels, np.uint32))
    return Packed(*_pack(rows))


def count_votes(shells: Shells, pairs: Int64s, boxes: Int64s) -> tuple[Int64s, ...]:
    """Count in how many voxels of a box two labels of two blocks coincide.

    `pairs` are two blocks each, of shape (m, 2), and `boxes` where they are
    compared, of shape (m, ndim, 2). Returned are arrays of shape (k,): number of the
    pair, label of the one and of the other block, voxels of both, of the one and of
    the other.
    """
    return tuple(np.ascontiguousarray(column) for column in _count_votes(shells, pairs, boxes).T)


@kernel()
def _pack(rows: Ids) -> tuple[Int64s, Int32s, Ids]:
    height, width = rows.shape
    first = np.zeros(height + 1, np.int64)
    for y in range(height):
        runs = np.int64(1)
        for x in range(1, width):
            runs += rows[y, x] != rows[y, x - 1]
        first[y + 1] = first[y] + runs
    begin = np.empty(first[height], np.int32)
    value = np.empty(first[height], np.uint32)
    n = 0
    for y in range(height):
        for x in range(width):
            if x == 0 or rows[y, x] != rows[y, x - 1]:
                begin[n] = x
                value[n] = rows[y, x]
                n += 1
    return first, begin, value


@kernel()
def _row_of(row: int, box: Int64s, seen: Int64s) -> np.int64:
    """Return which row of what a block has seen is a row of a box."""
    at, scale = np.int64(0), np.int64(1)
    for axis in range(len(box) - 2, -1, -1):
        size = box[axis, 1] - box[axis, 0]
        at += (box[axis, 0] + row % size - seen[axis, 0]) * scale
        row //= size
        scale *= seen[axis, 1] - seen[axis, 0]
    return at


@kernel()
def _run_at(begin: Int32s, start: int, stop: int, left: int) -> np.int64:
    """Return which run of a row holds a place."""
    low = np.int64(start)
    high = np.int64(stop)
    while high - low > 1:
        middle = (low + high) // 2
        if begin[middle] <= left:
            low = middle
        else:
            high = middle
    return low


@kernel()
def _count_votes(shells: Shells, pairs: Int64s, boxes: Int64s) -> Int64s:
    box, first, begin, value = shells.box, shells.first, shells.begin, shells.value
    first_at, run_at = shells.first_at, shells.run_at
    last = box.shape[1] - 1
    found = np.empty((1024, 6), np.int64)
    n = 0
    for p in range(pairs.shape[0]):
        a, b = pairs[p, 0], pairs[p, 1]
        keys, counts = np.zeros(64, np.uint64), np.zeros(64, np.int64)
        used = 0
        left, right = boxes[p, last, 0], boxes[p, last, 1]
        from_a, from_b = box[a, last, 0], box[b, last, 0]
        count = 1
        for axis in range(last):
            count *= boxes[p, axis, 1] - boxes[p, axis, 0]
        for row in range(count):
            row_a = first_at[a] + _row_of(row, boxes[p], box[a])
            row_b = first_at[b] + _row_of(row, boxes[p], box[b])
            end_a, end_b = run_at[a] + first[row_a + 1], run_at[b] + first[row_b + 1]
            i = _run_at(begin, run_at[a] + first[row_a], end_a, left - from_a)
            j = _run_at(begin, run_at[b] + first[row_b], end_b, left - from_b)
            x = left
            while x < right:
                stop_a = right if i + 1 >= end_a else min(right, from_a + begin[i + 1])
                stop_b = right if j + 1 >= end_b else min(right, from_b + begin[j + 1])
                stop = min(stop_a, stop_b)
                key = (np.uint64(value[i]) << np.uint64(32)) | np.uint64(value[j])
                if key != 0:
                    slot = find(keys, key)
                    if keys[slot] == 0:
                        keys[slot] = key
                        used += 1
                    counts[slot] += stop - x
                    if 2 * used > keys.size:
                        keys, counts = double(keys, counts)
                i += stop == stop_a
                j += stop == stop_b
                x = stop
        while n + used > found.shape[0]:
            found = longer(found, n)
        n += _add_votes(keys, counts, p, found[n:])
    return found[:n].copy()


@kernel()
def _add_votes(keys: npt.NDArray[np.uint64], counts: Int64s, pair: int, out: Int64s) -> int:
    """Write those pairs of labels of which none is background; return how many."""
    keys, counts = order(keys, counts)
    one = (keys >> np.uint64(32)).astype(np.int64)
    two = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    of_one, of_two = _totals(one, counts), _totals(two, counts)
    n = 0
    for i in range(keys.size):
        if one[i] != 0 and two[i] != 0:
            out[n, 0], out[n, 1], out[n, 2] = pair, one[i], two[i]
            out[n, 3], out[n, 4], out[n, 5] = counts[i], of_one[i], of_two[i]
            n += 1
    return n


@kernel()
def _totals(labels: Int64s, counts: Int64s) -> Int64s:
    """Return for each label the sum of the counts of all that are equal to it."""
    totals = np.empty_like(counts)
    by_label = np.argsort(labels)
    start = 0
    while start < labels.size:
        stop, total = start, np.int64(0)
        while stop < labels.size and labels[by_label[stop]] == labels[by_label[start]]:
            total += counts[by_label[stop]]
            stop += 1
        for i in range(start, stop):
            totals[by_label[i]] = total
        start = stop
    return totals
