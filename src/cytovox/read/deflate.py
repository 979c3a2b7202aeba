"""Deflated bytes, as in gzip: a few can become a thousand times as many."""

from __future__ import annotations

import zlib
from pathlib import Path

from .permissions import RefusedInputError, default_permissions

__all__ = ["HARMLESS", "MOST_PER_BYTE", "check_deflated", "inflates_beyond"]

#: What cannot become more than this is not looked at [bytes].
HARMLESS = 1 << 25
#: Most that a deflated byte can become.
MOST_PER_BYTE = 1032


def check_deflated(packed: bytes, size: int, path: Path) -> None:
    """Refuse deflated bytes that become many more than they should."""
    most = max(HARMLESS, size)
    if len(packed) * MOST_PER_BYTE <= most or default_permissions().oversized:
        return
    if inflates_beyond(packed, most):
        raise RefusedInputError(
            f"a piece does not unpack to its {size:,} bytes, but to more",
            path=path,
            hint="it is damaged; get the file again",
        )


def inflates_beyond(packed: bytes, most: int) -> bool:
    """Return whether deflated bytes become more than so many; 1 MiB is held at a time."""
    unpacker, left, total = zlib.decompressobj(), packed, 0
    try:
        while left and not unpacker.eof and total <= most:
            total += len(unpacker.decompress(left, 1 << 20))
            left = unpacker.unconsumed_tail
    except zlib.error:
        return False  # whoever reads it tells that it is damaged
    return total > most
