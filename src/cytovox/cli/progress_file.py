"""How far a run is, kept in a file, for programs that show it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..run.lock import OutputLock
from ..run.progress import ProgressEvent, StageProgress, StageStarted, Warned
from .progress_display import Quiet

if TYPE_CHECKING:
    from .one_recording import Outcome, Recording

__all__ = ["ProgressFile", "keeping_progress", "one_run_keeps"]

#: Seconds between two versions of the file within a stage.
_INTERVAL = 0.3
#: So many of the latest warnings are kept.
_WARNINGS = 20


class ProgressFile(Quiet):
    """Passes all on to another display, and keeps in a file how far the run is."""

    def __init__(
        self,
        path: Path,
        shown: Quiet,
        recordings: Sequence[Recording],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._path = path
        self._shown = shown
        self._clock = clock
        self._written = -_INTERVAL
        self._files: list[dict[str, Any]] = [asdict(one.outcome()) for one in recordings]
        self._stage: dict[str, Any] = {}
        self._warnings: list[str] = []
        self._write()

    def begin(self, name: str) -> None:
        super().begin(name)
        self._shown.begin(name)
        self._stage = {}

    def measuring(self, index: int) -> None:
        self._shown.measuring(index)
        self._files[index]["state"] = "measuring"
        self._write()

    def show(self, event: ProgressEvent) -> None:
        self._shown.show(event)
        if isinstance(event, Warned):
            self._keep(self.name, event.text)
        elif isinstance(event, StageStarted):
            self._stage = {"name": event.stage, "done": 0, "total": event.total}
            self._write()
        elif isinstance(event, StageProgress) and event.stage == self._stage.get("name"):
            self._stage["done"] = event.done
            if self._clock() - self._written >= _INTERVAL:
                self._write()

    def warn(self, name: str, text: str) -> None:
        self._shown.warn(name, text)
        self._keep(name, text)

    def _keep(self, name: str, text: str) -> None:
        self._warnings = [*self._warnings, f"{name}: {text}"][-_WARNINGS:]

    def note(self, text: str) -> None:
        self._shown.note(text)

    def compiling(self, kernel: str | None) -> None:
        self._shown.compiling(kernel)

    def end(self, index: int, outcome: Outcome) -> None:
        self._shown.end(index, outcome)
        self._files[index] = asdict(outcome)
        self._write()

    def close(self, outcomes: Sequence[Outcome], code: int) -> None:
        """Keep what has become of all, and the exit code."""
        self._files = [asdict(outcome) for outcome in outcomes]
        self._stage = {}
        self._write(exit_code=code)

    def _write(self, **more: Any) -> None:
        self._written = self._clock()
        state = {
            "pid": os.getpid(),
            "files": self._files,
            "stage": self._stage,
            "warnings": self._warnings,
            **more,
        }
        beside = self._path.with_name(f"{self._path.name}~")
        with contextlib.suppress(OSError):  # the work goes on, even if nobody sees it
            beside.write_text(json.dumps(state), "ascii")
            os.replace(beside, self._path)


def one_run_keeps(path: Path | None) -> contextlib.AbstractContextManager[object]:
    """Return what makes sure that one run at a time keeps a file, if one is wanted."""
    return contextlib.nullcontext() if path is None else OutputLock(path)


def keeping_progress(path: Path | None, shown: Quiet, recordings: Sequence[Recording]) -> Quiet:
    """Return a display that also keeps a file, if one is wanted."""
    return shown if path is None else ProgressFile(path, shown, recordings)
