"""Looking for processes that should have ended; on Linux only."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Watched", "alive", "descendants", "wait_until"]


def wait_until(fact: Callable[[], object], seconds: float = 300) -> None:
    """Wait until something is true of which nobody tells us, such as a file of another process."""
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and is only waited for does not."""
    stat = Path(f"/proc/{pid}/stat")
    with contextlib.suppress(OSError):
        if stat.parent.parent.joinpath("self").exists():
            return stat.read_text().rpartition(")")[2].split()[0] != "Z"
        os.kill(pid, 0)
        return True
    return False


def descendants(pid: int) -> list[int]:
    """Return the numbers of all processes below one.

    Those that have ended and are only waited for do not count.
    """
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        todo += below
        found += below
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                yield int(stat.parent.name), int(parent)


class Watched:
    """Processes whose end can be waited for, whatever has started them.

    To be used with ``with``; at its end all that are left are killed.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._handles: dict[int, int] = {}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self._handles[os.pidfd_open(pid)] = pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)

    def left(self, seconds: float) -> list[int]:
        """Wait until all have ended; return the numbers of those that have not."""
        end = time.monotonic() + seconds
        left = dict(self._handles)
        while left:
            ended = select.select(list(left), [], [], max(0.0, end - time.monotonic()))[0]
            if not ended:
                break
            for handle in ended:
                del left[handle]
        return sorted(left.values())
