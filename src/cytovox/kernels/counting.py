"""How often labels, and pairs of them, occur: hash tables, whatever the range of ids.

Keys are uint64 and must not be 0, which marks an empty slot. A table doubles
when it is half full.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .jit import kernel
from .lattice import Ids, Int64s

__all__ = ["count_keys", "count_overlap", "double", "find", "longer", "order", "sizes"]

Keys = npt.NDArray[np.uint64]

#: The golden ratio as a fraction of 2**64 spreads consecutive keys evenly.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


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
def find(keys: Keys, key: np.uint64) -> np.int64:
    """Return the slot that holds a key, or the empty one where it belongs."""
    last = keys.size - 1
    mixed = (key ^ (key >> _HALF)) * _SPREAD
    slot = np.int64(mixed >> _HALF) & last
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & last
    return slot


@kernel()
def double(keys: Keys, values: Int64s) -> tuple[Keys, Int64s]:
    """Return a table of twice the size with the same content."""
    more_keys = np.zeros(2 * keys.size, np.uint64)
    more_values = np.zeros(2 * keys.size, np.int64)
    for i in range(keys.size):
        if keys[i] != 0:
            slot = find(more_keys, keys[i])
            more_keys[slot] = keys[i]
            more_values[slot] = values[i]
    return more_keys, more_values


@kernel()
def order(keys: Keys, values: Int64s) -> tuple[Keys, Int64s]:
    """Return the keys in ascending order, with their values, both of shape (k,)."""
    kept = keys.nonzero()[0]  # of flatnonzero() the kept code would load scipy.linalg
    kept = kept[np.argsort(keys[kept])]
    return keys[kept], values[kept]


@kernel()
def count_keys(high: Ids, low: Ids, shift: int) -> tuple[Keys, Int64s]:
    """Count how often two values occur at the same place.

    The key of a pair is ``high << shift | low``; the pair (0, 0) is not counted.
    Keys are returned in ascending order with their numbers, both of shape (k,).
    """
    keys = np.zeros(1024, np.uint64)
    counts = np.zeros(1024, np.int64)
    used = 0
    i = 0
    while i < high.size:
        a = high[i]
        b = low[i]
        j = i + 1
        while j < high.size and high[j] == a and low[j] == b:
            j += 1
        if a != 0 or b != 0:
            key = (np.uint64(a) << np.uint64(shift)) | np.uint64(b)
            slot = find(keys, key)
            if keys[slot] == 0:
                keys[slot] = key
                used += 1
            counts[slot] += j - i
            if 2 * used > keys.size:
                keys, counts = double(keys, counts)
        i = j
    return order(keys, counts)


@kernel()
def _sizes(labels: Ids, out: npt.NDArray[np.uint64]) -> None:
    for i in range(labels.size):
        if labels[i] < out.size:
            out[labels[i]] += np.uint64(1)


@kernel()
def longer(rows: Int64s, n: int) -> Int64s:
    """Return an array of twice the length with the same first n rows."""
    out = np.empty((2 * rows.shape[0], rows.shape[1]), np.int64)
    # Assigning an array to a slice would take seconds to compile.
    for i in range(n):
        for j in range(rows.shape[1]):
            out[i, j] = rows[i, j]
    return out
