"""A queue whose room is counted in bytes."""

from __future__ import annotations

import queue
from collections import deque
from typing import Any

__all__ = ["ByteQueue"]


class ByteQueue(queue.Queue[Any]):
    """A queue between threads that is full when what waits is too large.

    An item weighs as many bytes as its ``nbytes`` says, and one at least. One
    item always finds room in an empty queue, however large it is, so at most
    one item more than `most_bytes` waits.
    """

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes)

    def _init(self, maxsize: int) -> None:
        self.queue: deque[Any] = deque()
        self._bytes = 0

    def _qsize(self) -> int:
        return self._bytes

    def _put(self, item: Any) -> None:
        self.queue.append(item)
        self._bytes += _weight(item)

    def _get(self) -> Any:
        item = self.queue.popleft()
        self._bytes -= _weight(item)
        return item


def _weight(item: Any) -> int:
    return max(1, int(getattr(item, "nbytes", 1)))
