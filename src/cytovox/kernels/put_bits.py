"""Writing numbers and bits into bytes, the lowest first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .jit import kernel

__all__ = ["Bytes", "put", "put_word"]

Bytes = npt.NDArray[np.uint8]


@kernel()
def put(out: Bytes, pos: int, value: int, count: int) -> int:
    """Write a number in so many bytes, the lowest first; return where it ends."""
    for i in range(count):
        out[pos + i] = (value >> (8 * i)) & 255
    return pos + count


@kernel()
def put_word(out: Bytes, at: Any, acc: Any, used: Any) -> Any:
    """Write whole bytes of some bits; return where to go on, and the bits that are left."""
    for k in range(8):
        out[at + np.uint64(k)] = np.uint8((acc >> np.uint64(8 * k)) & np.uint64(255))
    return at + (used >> np.uint64(3)), acc >> (used & np.uint64(56)), used & np.uint64(7)
