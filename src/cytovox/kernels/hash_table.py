"""A hash table of integers: what kernels count and rename by, whatever the range of ids.

Keys are uint64 and must not be 0, which marks an empty slot. The table doubles
when it is half full.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .jit import kernel

__all__ = ["count_keys", "double", "find", "order"]

Keys = npt.NDArray[np.uint64]

#: The golden ratio as a fraction of 2**64 spreads consecutive keys evenly.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


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
def double(keys: Keys, values: npt.NDArray[np.int64]) -> tuple[Keys, npt.NDArray[np.int64]]:
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
def order(keys: Keys, values: npt.NDArray[np.int64]) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Return the keys in ascending order, with their values, both of shape (k,)."""
    kept = np.flatnonzero(keys)
    kept = kept[np.argsort(keys[kept])]
    return keys[kept], values[kept]


@kernel()
def count_keys(
    high: npt.NDArray[np.uint32], low: npt.NDArray[np.uint32], shift: int
) -> tuple[Keys, npt.NDArray[np.int64]]:
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
