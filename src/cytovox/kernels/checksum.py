"""The checksum that HDF5 appends to each stored chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel

__all__ = ["fletcher32"]


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
    return int(_fletcher32(np.frombuffer(data, dtype=np.uint8)))


@kernel()
def _fletcher32(data: npt.NDArray[np.uint8]) -> np.unsignedinteger[Any]:
    # 360 words are as many as cannot overflow the second sum.
    low = np.uint64(0)
    high = np.uint64(0)
    words = data.size // 2
    start = 0
    while start < words:
        stop = min(words, start + 360)
        for i in range(start, stop):
            low += (np.uint64(data[2 * i]) << np.uint64(8)) | np.uint64(data[2 * i + 1])
            high += low
        low = (low & np.uint64(0xFFFF)) + (low >> np.uint64(16))
        high = (high & np.uint64(0xFFFF)) + (high >> np.uint64(16))
        start = stop
    if data.size % 2:
        low += np.uint64(data[data.size - 1]) << np.uint64(8)
        high += low
        low = (low & np.uint64(0xFFFF)) + (low >> np.uint64(16))
        high = (high & np.uint64(0xFFFF)) + (high >> np.uint64(16))
    low = (low & np.uint64(0xFFFF)) + (low >> np.uint64(16))
    high = (high & np.uint64(0xFFFF)) + (high >> np.uint64(16))
    return (high << np.uint64(16)) | low
