"""The checksum that HDF5 appends to each stored chunk.

In NumPy, not compiled: commands that only look at a file need no other kernel, and
to load numba takes longer than all else that they do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
