"""What frames of Zstandard have in common, whatever they are of.

Numbers in comments are sections of RFC 8878.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .put_bits import Bytes, put

__all__ = ["BLOCK", "begin_frame", "end_of_equal"]

#: Bytes that a block may have (3.1.1.2.4).
BLOCK = 1 << 17


@kernel()
def begin_frame(out: Bytes, size: int) -> int:
    """Write a head: content size in four bytes, one segment, no checksum (3.1.1.1)."""
    return put(out, put(out, 0, 0xA0FD2FB528, 5), size, 4)


@kernel()
def end_of_equal(data: Bytes, begin: int, end: int, back: int) -> int:
    """Return up to where bytes equal those so many before."""
    at, stop, before = np.uint64(begin), np.uint64(end), np.uint64(begin - back)
    while at + np.uint64(64) <= stop:
        different = np.uint8(0)
        for i in range(64):
            different |= data[at + np.uint64(i)] ^ data[before + np.uint64(i)]
        if different:
            break
        at, before = at + np.uint64(64), before + np.uint64(64)
    while at < stop and data[at] == data[before]:
        at, before = at + np.uint64(1), before + np.uint64(1)
    return int(np.int64(at))
