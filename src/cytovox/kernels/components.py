"""Connected components of a whole array, exactly, in any dimension."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .jit import kernel
from .lattice import Ids, Int64s, as_rows, connectivity_rank, half_offsets

__all__ = ["label_components"]

_BLOCK = 64


def label_components(array: npt.NDArray[Any], connectivity: int | None = None) -> tuple[Ids, int]:
    """Give each connected component of equal, nonzero values a number.

    Numbers count from 1 in raster (C) order of the first element of a
    component. Neighbouring elements of different values are different
    components.

    Parameters
    ----------
    array
        Mask (bool) or labels (any integer type) of any dimension; 0 is
        background.
    connectivity
        Number of neighbours, e.g. 4 or 8 in two dimensions and 6, 18 or 26 in
        three; None for neighbours that share a face.

    Returns
    -------
    labels : numpy.ndarray
        uint32, of the shape of `array`.
    n : int
        Number of components.

    Raises
    ------
    InputError
        If the values are not integers.
    OptionError
        If this connectivity does not exist in this dimension.

    Examples
    --------
    >>> import numpy as np
    >>> mask = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]], bool)
    >>> label_components(mask, 8)[0].tolist()
    [[1, 0, 1], [0, 1, 0], [0, 0, 0], [2, 2, 0]]
    >>> label_components(mask, 4)[1]
    4
    """
    if array.dtype.kind not in "bui":
        raise InputError(
            f"components of values of type {array.dtype} are not defined",
            hint="give a mask (bool) or labels (integers)",
        )
    ndim = max(array.ndim, 1)
    rank = connectivity_rank(ndim, connectivity)
    out = np.empty(array.shape, np.uint32)
    if array.size == 0:
        return out, 0
    rows, lead = as_rows(array)
    # Equality is all that matters, so that types of one width share a kernel.
    rows = rows.view(f"u{max(array.dtype.itemsize, 1)}")
    offsets = half_offsets(ndim, rank)
    leads = -np.unique(offsets[np.any(offsets[:, :-1] != 0, axis=1), :-1], axis=0)
    reach = (np.abs(leads).sum(axis=1) < rank).astype(np.int64)
    first = _count_runs(rows)
    if first[-1] >= 2**31:
        raise InputError(
            f"the array is cut into {first[-1]} runs, which is too many at once",
            hint="label it in smaller blocks",
        )
    n = _label(rows, lead, first, leads, reach, out.reshape(rows.shape))
    return out, int(n)


@kernel()
def _count_runs(rows: npt.NDArray[Any]) -> Int64s:
    """Count the runs of equal nonzero values up to each row."""
    height, width = rows.shape
    first = np.zeros(height + 1, np.int64)
    for y in range(height):
        row = rows[y]
        n = np.int64(row[0] != 0)
        for x in range(1, width):
            n += (row[x] != row[x - 1]) & (row[x] != 0)
        first[y + 1] = first[y] + n
    return first


@kernel()
def _find_runs(
    row: npt.NDArray[Any], n: int, begin: npt.NDArray[np.int32], end: npt.NDArray[np.int32]
) -> None:
    """Write where the runs of one row begin and end (exclusive)."""
    width = row.size
    last = row.dtype.type(0)
    for left in range(0, width, _BLOCK):
        block = row[left : left + _BLOCK]
        # The compiler makes vector instructions of this, and most blocks of
        # an image hold a single value.
        differ = row.dtype.type(0)
        for x in range(block.size):
            differ |= block[x] ^ last
        if differ == 0:
            continue
        for x in range(block.size):
            value = block[x]
            if value != last:
                if last != 0:
                    end[n] = left + x
                    n += 1
                if value != 0:
                    begin[n] = left + x
                last = value
    if last != 0:
        end[n] = width


@kernel()
def _join(
    parent: npt.NDArray[np.int32],
    begin: npt.NDArray[np.int32],
    end: npt.NDArray[np.int32],
    value: npt.NDArray[Any],
    i: int,
    i_stop: int,
    j: int,
    j_stop: int,
    reach: int,
) -> None:
    """Join the runs of two rows that touch: `i` in the earlier, `j` in the later one."""
    while i < i_stop and j < j_stop:
        if end[i] + reach <= begin[j]:
            i += 1
            continue
        if end[j] + reach <= begin[i]:
            j += 1
            continue
        if value[i] == value[j]:
            _union(parent, i, j)
        if end[i] < end[j]:
            i += 1
            continue
        # If both end here, both next runs may touch the other across the corner.
        more = end[i] == end[j] and i + 1 < i_stop and begin[i + 1] < end[j] + reach
        if more and value[i + 1] == value[j]:
            _union(parent, i + 1, j)
        j += 1


@kernel()
def _union(parent: npt.NDArray[np.int32], a: int, b: int) -> None:
    while parent[a] != a:
        parent[a] = parent[parent[a]]
        a = int(parent[a])
    while parent[b] != b:
        parent[b] = parent[parent[b]]
        b = int(parent[b])
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@kernel()
def _label(
    rows: npt.NDArray[Any],
    lead: Int64s,
    first: Int64s,
    offsets: Int64s,
    reach: Int64s,
    out: Ids,
) -> int:
    height, width = rows.shape
    total = first[height]
    begin = np.empty(total, np.int32)
    end = np.empty(total, np.int32)
    value = np.empty(total, rows.dtype)
    # A forest whose roots are the first run of each component in raster order.
    parent = np.empty(total, np.int32)
    place = np.zeros(lead.size, np.int64)
    for y in range(height):
        row = rows[y]
        _find_runs(row, first[y], begin, end)
        for j in range(first[y], first[y + 1]):
            parent[j] = j
            value[j] = row[begin[j]]
        if first[y] < first[y + 1]:
            for k in range(offsets.shape[0]):
                other = np.int64(0)
                inside = True
                for axis in range(lead.size):
                    at = place[axis] + offsets[k, axis]
                    inside &= 0 <= at < lead[axis]
                    other = other * lead[axis] + at
                if inside:
                    _join(
                        parent,
                        begin,
                        end,
                        value,
                        first[other],
                        first[other + 1],
                        first[y],
                        first[y + 1],
                        reach[k],
                    )
        for axis in range(lead.size - 1, -1, -1):
            place[axis] += 1
            if place[axis] < lead[axis]:
                break
            place[axis] = 0
    return _paint(parent, begin, end, first, out)


@kernel()
def _paint(
    parent: npt.NDArray[np.int32],
    begin: npt.NDArray[np.int32],
    end: npt.NDArray[np.int32],
    first: Int64s,
    out: Ids,
) -> int:
    """Give the roots numbers in their order, then write each run."""
    n = 0
    for y in range(out.shape[0]):
        row = out[y]
        at = 0
        for j in range(first[y], first[y + 1]):
            # Parents come first in order, so that theirs is a number already.
            if parent[j] == j:
                n += 1
                parent[j] = n
            else:
                parent[j] = parent[parent[j]]
            row[at : begin[j]] = 0
            row[begin[j] : end[j]] = parent[j]
            at = end[j]
        row[at:] = 0
    return n
