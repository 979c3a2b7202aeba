"""The checksum that HDF5 appends to each stored chunk."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel

__all__ = ["fletcher32"]

#: Words of a row, and rows that are summed at once: a quarter of a million products,
#: for which no library of linear algebra begins threads.
_ROW, _ROWS = 4096, 32
#: Each word counts once in the first sum, and in the second as often as words are left.
_WEIGHTS = np.stack([np.ones(_ROW), np.arange(_ROW, 0, -1.0)], axis=1)


def fletcher32(data: bytes | bytearray | memoryview | npt.NDArray[np.uint8]) -> int:
    """Return the Fletcher-32 checksum of bytes, as the HDF5 filter computes it.

    Sums of big-endian 16-bit words, and sums of those sums, in one's
    complement arithmetic; a last odd byte counts as the upper half of a word
    (HDF5 file format, filter 3).

    Parameters
    ----------
    data
        Bytes, or uint8 of shape (n,).

    Examples
    --------
    >>> hex(fletcher32(b"abcde"))
    '0x4ff029c7'
    """
    values = np.frombuffer(data, dtype=np.uint8)
    # Commands that only look at a file call no other kernel, and to load numba takes
    # longer than all else that they do.
    return int(_fletcher32(values)) if "numba" in sys.modules else _by_numpy(values)


def _by_numpy(values: npt.NDArray[np.uint8]) -> int:
    """Return the same by products of matrices; its threads wait for each other more often."""
    if values.size % 2:
        values = np.append(values, np.uint8(0))
    words = values.view("<u2")
    whole = words.size // _ROW * _ROW
    low = high = 0
    for start in range(0, whole, _ROWS * _ROW):
        rows = words[start : min(start + _ROWS * _ROW, whole)].reshape(-1, _ROW)
        # Exact: no sum reaches 2**53.
        for first, second in (rows.astype(np.float64) @ _WEIGHTS).tolist():
            high += low * _ROW + int(second)
            low += int(first)
    rest = words[whole:].astype(np.float64)
    first, second = (rest @ _WEIGHTS[_ROW - rest.size :]).tolist()
    high += low * rest.size + int(second)
    low += int(first)
    # To swap the bytes of a word is to multiply it by 256, modulo 65535.
    return _folded(256 * high) << 16 | _folded(256 * low)


def _folded(number: int) -> int:
    """Return a sum in one's complement: only nothing at all gives 0."""
    return number % 65535 or (65535 if number else 0)


@kernel()
def _fletcher32(data: npt.NDArray[np.uint8]) -> np.unsignedinteger[Any]:
    low = np.uint64(0)
    high = np.uint64(0)
    even = data.size - data.size % 2
    # 360 words are as many as cannot overflow the second sum. Each word counts as often
    # as words are left, so that no sum waits for the other: that makes vector instructions.
    for start in range(0, even, 720):
        block = data[start : min(start + 720, even)]
        words = block.size // 2
        first = np.uint32(0)
        second = np.uint32(0)
        for i in range(words):
            word = np.uint32(block[2 * i]) << np.uint32(8) | np.uint32(block[2 * i + 1])
            first += word
            second += word * np.uint32(words - i)
        high = _folded_once(high + low * np.uint64(words) + np.uint64(second))
        low = _folded_once(low + np.uint64(first))
    if data.size % 2:
        low += np.uint64(data[data.size - 1]) << np.uint64(8)
        high += low
    for _ in range(2):
        low, high = _folded_once(low), _folded_once(high)
    return (high << np.uint64(16)) | low


@kernel()
def _folded_once(number: np.uint64) -> np.uint64:
    """Add what is above 16 bits to what is below: the same number in one's complement."""
    return (number & np.uint64(0xFFFF)) + (number >> np.uint64(16))
