"""What two neighbouring blocks have in common: what touches, what overlaps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .hash_table import count_keys
from .jit import kernel
from .lattice import Ids, Int64s, as_rows

__all__ = ["count_contacts", "count_overlap", "sizes", "touching_pairs"]


def touching_pairs(plane_a: Ids, plane_b: Ids, offsets: Int64s) -> Int64s:
    """Return which labels touch across the border of two blocks.

    The planes are the outermost voxels of either block that face the other,
    uint32 of one shape: a plane for blocks that share a face, a line or a single
    value for those that share an edge or a corner. `offsets` are the steps within
    them that still lead to a neighbour (`lattice.crossing_offsets`). Distinct
    pairs are returned in ascending order, int64 of shape (k, 2).

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([1, 0, 2], np.uint32), np.array([0, 5, 5], np.uint32)
    >>> touching_pairs(a, b, np.array([[0]])).tolist()
    [[2, 5]]
    >>> touching_pairs(a, b, np.array([[-1], [0], [1]])).tolist()
    [[1, 5], [2, 5]]
    """
    if not offsets.shape[0] or not plane_a.size:
        return np.empty((0, 2), np.int64)
    rows_a, rows_b, lead, steps = _facing(plane_a, plane_b, offsets)
    keys = np.unique(_touching(rows_a, rows_b, lead, steps))
    return np.stack([keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)


def count_contacts(plane_a: Ids, plane_b: Ids, offsets: Int64s) -> Int64s:
    """Return, for each step across and each voxel of a plane, whether it leads to the same id.

    Arguments are those of `touching_pairs`, but with the final ids; int64 0 or 1
    of shape (len(offsets), voxels of the plane) is returned.

    Examples
    --------
    >>> import numpy as np
    >>> count_contacts(np.array([1, 2], np.uint32), np.array([1, 1], np.uint32),
    ...                np.array([[0], [1]])).tolist()
    [[1, 0], [1, 0]]
    """
    rows_a, rows_b, lead, steps = _facing(plane_a, plane_b, offsets)
    out = np.zeros((steps.shape[0], *rows_a.shape), np.int64)
    _contacts(rows_a, rows_b, lead, steps, out)
    return out.reshape(steps.shape[0], rows_a.size)


def _facing(plane_a: Ids, plane_b: Ids, offsets: Int64s) -> tuple[Any, Any, Int64s, Int64s]:
    rows_a, lead = as_rows(plane_a)
    rows_b, _ = as_rows(plane_b)
    steps = offsets if offsets.shape[1] else np.zeros((offsets.shape[0], 1), np.int64)
    return rows_a, rows_b, lead, np.ascontiguousarray(steps, np.int64)


def count_overlap(a: Ids, b: Ids) -> tuple[Ids, Ids, Int64s]:
    """Count at how many places each two labels coincide.

    Returns labels of `a`, labels of `b` and the number of places, each of shape
    (k,), in ascending order of the labels; not where both are 0.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([0, 1, 1, 1], np.uint32), np.array([0, 7, 7, 0], np.uint32)
    >>> [part.tolist() for part in count_overlap(a, b)]
    [[1, 1], [0, 7], [1, 2]]
    """
    flat_a = np.ascontiguousarray(a, np.uint32).ravel()
    flat_b = np.ascontiguousarray(b, np.uint32).ravel()
    keys, counts = count_keys(flat_a, flat_b, 32)
    ids_a = (keys >> np.uint64(32)).astype(np.uint32)
    ids_b = (keys & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return ids_a, ids_b, counts


def sizes(labels: Ids, n: int) -> npt.NDArray[np.uint64]:
    """Return the number of voxels of the labels 1 to n, uint64 of shape (n,).

    Larger labels are not counted.

    Examples
    --------
    >>> import numpy as np
    >>> sizes(np.array([0, 2, 2, 3], np.uint32), 2).tolist()
    [0, 2]
    """
    out = np.zeros(n + 1, np.uint64)
    _sizes(np.ascontiguousarray(labels, np.uint32).ravel(), out)
    return out[1:]


@kernel()
def _sizes(labels: Ids, out: npt.NDArray[np.uint64]) -> None:
    for i in range(labels.size):
        if labels[i] < out.size:
            out[labels[i]] += np.uint64(1)


@kernel()
def _other_row(y: int, lead: Int64s, step: Int64s) -> np.int64:
    """Return the row that a step leads to, or -1 if that is outside."""
    other = np.int64(0)
    scale = np.int64(1)
    for axis in range(lead.size - 1, -1, -1):
        at = y % lead[axis] + step[axis]
        y //= lead[axis]
        if not 0 <= at < lead[axis]:
            return np.int64(-1)
        other += at * scale
        scale *= lead[axis]
    return other


@kernel()
def _touching(rows_a: Ids, rows_b: Ids, lead: Int64s, steps: Int64s) -> npt.NDArray[np.uint64]:
    height, width = rows_a.shape
    found = np.empty(256, np.uint64)
    n = 0
    for y in range(height):
        for k in range(steps.shape[0]):
            other = _other_row(y, lead, steps[k])
            if other < 0:
                continue
            dx = steps[k, lead.size]
            last = np.uint64(0)
            for x in range(max(0, -dx), min(width, width - dx)):
                a = rows_a[y, x]
                b = rows_b[other, x + dx]
                if a == 0 or b == 0:
                    continue
                key = (np.uint64(a) << np.uint64(32)) | np.uint64(b)
                if key == last:
                    continue
                last = key
                if n == found.size:
                    # Most are repeated from row to row.
                    distinct = np.unique(found)
                    n = distinct.size
                    if 2 * n > found.size:
                        found = np.empty(4 * n, np.uint64)
                    # Assigning an array to a slice would take seconds to compile.
                    for i in range(n):
                        found[i] = distinct[i]
                found[n] = key
                n += 1
    return found[:n].copy()


@kernel()
def _contacts(
    rows_a: Ids, rows_b: Ids, lead: Int64s, steps: Int64s, out: npt.NDArray[np.int64]
) -> None:
    height, width = rows_a.shape
    for y in range(height):
        for k in range(steps.shape[0]):
            other = _other_row(y, lead, steps[k])
            if other < 0:
                continue
            dx = steps[k, lead.size]
            for x in range(max(0, -dx), min(width, width - dx)):
                a = rows_a[y, x]
                out[k, y, x] = a != 0 and a == rows_b[other, x + dx]
