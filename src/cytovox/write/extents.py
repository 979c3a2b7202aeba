"""Bytes that lie over those of a file, at any places."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

__all__ = ["Extents"]


class Extents:
    """Pieces of a file that are kept in memory; later writes win."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._parts: dict[int, bytearray] = {}
        self._new: set[int] = set()
        #: Number of bytes in all.
        self.nbytes = 0

    def __iter__(self) -> Iterator[tuple[int, bytearray]]:
        """Iterate over place and content of each piece, in order."""
        return ((start, self._parts[start]) for start in self._starts)

    def __len__(self) -> int:
        return len(self._starts)

    def write(self, offset: int, data: memoryview) -> None:
        """Put bytes at a place."""
        if not len(data):
            return
        stop = offset + len(data)
        first = bisect_right(self._starts, offset) - 1
        if first >= 0 and self._stop(first) >= stop:
            start = self._starts[first]
            self._parts[start][offset - start : stop - start] = data
            self._new.add(start)
            return
        if first < 0 or self._stop(first) <= offset:
            first += 1
        last = bisect_left(self._starts, stop)
        self._merge(first, last, offset, data)

    def _stop(self, index: int) -> int:
        start = self._starts[index]
        return start + len(self._parts[start])

    def _merge(self, first: int, last: int, offset: int, data: memoryview) -> None:
        """Put bytes at a place, in one piece with those that they overlap."""
        stop = offset + len(data)
        old = self._starts[first:last]
        low = min(offset, *old[:1]) if old else offset
        high = max(stop, self._stop(last - 1)) if old else stop
        merged = bytearray(high - low)
        for start in old:
            part = self._parts.pop(start)
            self._new.discard(start)
            self.nbytes -= len(part)
            merged[start - low : start - low + len(part)] = part
        merged[offset - low : stop - low] = data
        self._starts[first:last] = [low]
        self._parts[low] = merged
        self._new.add(low)
        self.nbytes += len(merged)

    def lay_over(self, offset: int, view: memoryview) -> None:
        """Put the pieces over bytes that were read from the file."""
        stop = offset + len(view)
        index = max(0, bisect_right(self._starts, offset) - 1)
        for start in self._starts[index : bisect_left(self._starts, stop)]:
            part = self._parts[start]
            low, high = max(offset, start), min(stop, start + len(part))
            if low < high:
                view[low - offset : high - offset] = part[low - start : high - start]

    def take_new(self) -> list[tuple[int, bytes]]:
        """Return the pieces that were written to since this was last asked."""
        new = sorted(self._new)
        self._new.clear()
        return [(start, bytes(self._parts[start])) for start in new]

    def clear(self) -> None:
        """Forget all."""
        self._starts.clear()
        self._parts.clear()
        self._new.clear()
        self.nbytes = 0
