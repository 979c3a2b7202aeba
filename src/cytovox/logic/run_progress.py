"""How far a run is: its state and its parts, reported to a listener and to the log."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..errors import InterruptedRunError, UsageError
from ..run.progress import (
    Listener,
    ProgressEvent,
    StageFinished,
    StageProgress,
    StageStarted,
    Warned,
    announce,
)

__all__ = ["RunProgress", "RunState"]


class RunState(StrEnum):
    """Where a run is, in order; ``error`` ends a run at any point."""

    CREATED = "created"
    INIT = "init"
    SETUP = "setup"
    BACKGROUND = "background"
    SEGMENTATION = "segmentation"
    PLUMBING = "plumbing"
    CLEANUP = "cleanup"
    DONE = "done"
    ERROR = "error"


#: Share of each part of a run in its progress, by basin strategy.
_WEIGHTS = {
    "drain": {
        RunState.BACKGROUND: 4,
        RunState.SEGMENTATION: 27,
        RunState.PLUMBING: 15,
        RunState.CLEANUP: 1,
    },
    "tap": {
        RunState.BACKGROUND: 4,
        RunState.SEGMENTATION: 27,
        RunState.PLUMBING: 1,
        RunState.CLEANUP: 1,
    },
}


@dataclass(eq=False)
class RunProgress:
    """State and progress of a run, and the request to stop it."""

    path: Path
    strategy: str
    frames: Callable[[], int]
    logger: logging.Logger
    on_event: Listener | None

    def __post_init__(self) -> None:
        self.state = RunState.INIT
        self.rate = 0.0  # frames measured in a second
        self.seconds: dict[str, float] = {}
        self.stop_requested = threading.Event()
        self._weights = _WEIGHTS[self.strategy]
        self._fractions = dict.fromkeys(self._weights, 0.0)

    @functools.cached_property
    def _total(self) -> int:
        """Number of frames, for which the file is asked once: HDF5 does one thing at a time."""
        return self.frames()

    def enter(self, state: str) -> None:
        """Change the state, by one of the words of `RunState`."""
        try:
            self.state = RunState(state)
        except ValueError:
            raise UsageError(f"a run has no state '{state}'") from None

    def begun(self, part: RunState) -> float | None:
        """Return which share of a part is done; None before it begins."""
        return self._fractions[part] or None

    def skip(self, *parts: RunState) -> None:
        """Count parts as done."""
        self._fractions.update(dict.fromkeys(parts, 1.0))

    def status(self) -> dict[str, Any]:
        """Return progress from 0 to 1, rate and state."""
        progress = 1.0
        if self.state is not RunState.DONE:
            done = sum(weight * self._fractions[part] for part, weight in self._weights.items())
            progress = done / sum(self._weights.values())
        return {"progress": progress, "segm rate": self.rate, "state": self.state.value}

    def timed(self, part: RunState, task: Callable[[], None]) -> None:
        """Do a part, and report how long it took."""
        self.state = part
        begin = time.perf_counter()
        self.emit(StageStarted(part.value, self._total))
        task()
        self.report(part, 1.0)
        self.seconds[part.value] = seconds = time.perf_counter() - begin
        self.emit(StageFinished(part.value, seconds))

    def report(self, part: RunState, fraction: float) -> None:
        """Note progress; this is also where a stop is heeded."""
        self.heed_stop()
        self._fractions[part] = max(self._fractions[part], min(1.0, fraction))
        done = int(self._fractions[part] * self._total)
        self.emit(StageProgress(part.value, done, self._total))

    def heed_stop(self) -> None:
        """Raise an error if the run was asked to stop."""
        if self.stop_requested.is_set():
            raise InterruptedRunError("the run was stopped", path=self.path)

    def warn(self, text: str) -> None:
        """Warn in the log, and through the listener."""
        self.logger.warning(text)
        self.emit(Warned(text))

    def emit(self, event: ProgressEvent) -> None:
        """Pass an event to the listener."""
        announce(self.on_event, event, self.logger)
