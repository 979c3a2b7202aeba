"""Who works on which frames, and whether it takes too long."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..run.monitor import mp_spawn

__all__ = ["SharedStint", "Stint", "Stints", "Timekeeper"]

#: What a piece of work can be, by number.
_STAGES = ("load", "segment", "label", "clean", "measure")


class Stint(NamedTuple):
    """A piece of work under way.

    Parameters
    ----------
    serial
        Number that tells it from all others of the same worker.
    stage
        What is done.
    first, last
        The frames.
    """

    serial: int
    stage: str
    first: int
    last: int

    def __str__(self) -> str:
        frames = f"frames {self.first} to {self.last}"
        return f"{self.stage}, {frames if self.last > self.first else f'frame {self.first}'}"


class Stints:
    """What the threads of this process are working on."""

    def __init__(self) -> None:
        self._under_way: dict[int, Stint] = {}
        self._serials = itertools.count(1)

    def __reduce__(self) -> Any:
        return Stints, ()  # another process has other threads

    def begin(self, stage: str, first: int, last: int) -> None:
        """Tell that this thread begins to work on frames."""
        stint = Stint(next(self._serials), stage, first, last)
        self._under_way[threading.get_ident()] = stint

    def end(self) -> None:
        """Tell that this thread has ended its work."""
        self._under_way.pop(threading.get_ident(), None)

    def under_way(self) -> dict[int, Stint]:
        """Return what is worked on, by the number of the thread."""
        return dict(self._under_way)


class SharedStint:
    """What a worker process is working on, as its parent can see."""

    def __init__(self) -> None:
        self._memory = mp_spawn.RawArray("q", 4)

    def begin(self, stage: str, first: int, last: int) -> None:
        """Tell that the worker begins to work on frames."""
        self._memory[1:] = [_STAGES.index(stage), first, last]
        self._memory[0] += 1  # odd: under way

    def end(self) -> None:
        """Tell that the worker has ended its work."""
        self._memory[0] += self._memory[0] % 2

    def under_way(self) -> dict[int, Stint]:
        """Return what is worked on; empty, or with one entry."""
        serial, stage, first, last = self._memory
        return {0: Stint(serial, _STAGES[stage], first, last)} if serial % 2 else {}


class Timekeeper(threading.Thread):
    """Tells when a piece of work takes longer than allowed."""

    def __init__(
        self,
        limit: float | None,
        under_way: Callable[[], Mapping[Any, Stint]],
        on_late: Callable[[Any, Stint], None],
    ) -> None:
        super().__init__(name="cytovox-timekeeper", daemon=True)
        self.limit = limit
        self._under_way = under_way
        self._on_late = on_late
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        if self.limit is not None:
            super().start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()

    def run(self) -> None:
        """Look until told to stop."""
        assert self.limit is not None
        since: dict[Any, tuple[int, float]] = {}
        while not self._over.wait(self.limit / 4):
            now, before, since = time.monotonic(), since, {}
            for worker, stint in self._under_way().items():
                serial, begin = before.get(worker, (stint.serial, now))
                if serial != stint.serial:
                    begin = now
                if now - begin >= self.limit:
                    begin = float("inf")  # do not tell again
                    self._on_late(worker, stint)
                since[worker] = stint.serial, begin
