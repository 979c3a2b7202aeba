"""Showing what a run announces: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from ..errors import escaped
from ..run.progress import ProgressEvent, StageFinished, StageProgress, StageStarted, Warned
from .console import say

__all__ = [
    "Bars",
    "Lines",
    "Quiet",
    "reporting_compilation",
    "showing_bytes",
    "showing_progress",
]

#: Seconds between two lines about one stage where there is no terminal.
_INTERVAL = 10.0
#: Seconds that a stage must take to be worth a line; these are always.
_WORTH_A_LINE = 1.0
_ALWAYS = ("background", "segmentation", "segment", "blocks", "measured")


class Quiet:
    """Shows warnings only; the base of what shows more."""

    def __init__(self) -> None:
        self.name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def begin(self, name: str) -> None:
        """Turn to the next file."""
        self.name = escaped(name)

    def show(self, event: ProgressEvent) -> None:
        """Show one event of the present file."""
        if isinstance(event, Warned):
            self.warn(self.name, event.text)

    def warn(self, name: str, text: str) -> None:
        """Show what a person should know about a file."""
        say(f"warning: {name}: {text}")

    def note(self, text: str) -> None:
        """Show one line that stays, where more than warnings is shown."""

    def standing(self, text: str) -> None:
        """Show how work stands whose end is not known; the next such line replaces it."""

    def compiling(self, kernel: str | None) -> None:
        """Show which kernel is being compiled; None when none is any more."""

    def measuring(self, index: int) -> None:
        """Note that the file of this number is being measured."""

    def end(self, index: int, outcome: Any) -> None:
        """Note what has become of the file of this number."""

    def close(self, outcomes: Sequence[Any], code: int) -> None:
        """Note what has become of all files, and the exit code."""


class Lines(Quiet):
    """A line when a stage ends, and every ten seconds in between."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self._clock = clock
        self._compiled = False
        self._stood = float("-inf")
        self._stages: dict[str, _Stage] = {}

    def begin(self, name: str) -> None:
        super().begin(name)
        self._stages.clear()

    def show(self, event: ProgressEvent) -> None:
        super().show(event)
        if isinstance(event, StageStarted):
            now = self._clock()
            self._stages[event.stage] = _Stage(event.total, event.unit, now, now)
        elif isinstance(event, StageProgress) and event.stage in self._stages:
            stage = self._stages[event.stage]
            if not stage.done and stage.unit == "blocks":
                # All but one of these were done in an earlier run.
                stage.before = event.done - 1
            stage.done = event.done
            if self._clock() - stage.said >= _INTERVAL:
                stage.said = self._clock()
                say(f"{self.name}: {event.stage} {stage.standing(self._clock())}")
        elif isinstance(event, StageFinished) and event.stage in self._stages:
            stage = self._stages.pop(event.stage)
            if event.seconds >= _WORTH_A_LINE or event.stage in _ALWAYS:
                say(f"{self.name}: {event.stage} {stage.summary(event.seconds)}")

    def note(self, text: str) -> None:
        say(text)

    def standing(self, text: str) -> None:
        if text and self._clock() - self._stood >= _INTERVAL:
            self._stood = self._clock()
            say(f"{self.name}: {text}")

    def compiling(self, kernel: str | None) -> None:
        if kernel is not None and not self._compiled:
            self._compiled = True
            say("compiling kernels (once on this computer, takes about half a minute)")


class Bars(Quiet):
    """A bar for each stage of the present file, with rate and time left."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            ProgressColumn,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Any) -> Text:
                speed = task.finished_speed or task.speed
                unit = task.fields.get("unit", "")
                return Text(_rate(speed, unit) if speed else "", style="cyan")

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            Rate(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._status: Any = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def begin(self, name: str) -> None:
        super().begin(name)
        for task, _ in self._tasks.values():
            self._progress.remove_task(task)
        self._tasks.clear()

    def show(self, event: ProgressEvent) -> None:
        super().show(event)
        if isinstance(event, StageStarted):
            name, total = f"{self.name}: {event.stage}", max(event.total, 1)
            task = self._progress.add_task(name, total=total, unit=event.unit)
            self._tasks[event.stage] = task, total
        elif isinstance(event, StageProgress) and event.stage in self._tasks:
            self._progress.update(self._tasks[event.stage][0], completed=event.done)
        elif isinstance(event, StageFinished) and event.stage in self._tasks:
            task, total = self._tasks[event.stage]
            self._progress.update(task, completed=total, refresh=True)

    def warn(self, name: str, text: str) -> None:
        self.note(f"warning: {name}: {text}")

    def note(self, text: str) -> None:
        """Say one line that stays, above the bars."""
        self._progress.console.print(escaped(text), markup=False, highlight=False, soft_wrap=True)

    def standing(self, text: str) -> None:
        self._describe(text and f"{self.name}: {escaped(text)}")

    def compiling(self, kernel: str | None) -> None:
        """Show the kernel that is being compiled."""
        self._describe("" if kernel is None else f"compiling kernels (once): {kernel}")

    def _describe(self, text: str) -> None:
        if self._status is None:
            self._status = self._progress.add_task("", total=None, unit="")
        self._progress.update(self._status, description=text, visible=bool(text))


@dataclass(slots=True)
class _Stage:
    total: int
    unit: str
    began: float
    said: float
    done: int = 0
    before: int = 0

    def standing(self, now: float) -> str:
        rate = (self.done - self.before) / max(now - self.began, 1e-9)
        left = (self.total - self.done) / rate if rate else 0
        ahead = f", {_rate(rate, self.unit)}, {left:.0f} s left" if rate else ""
        return f"{self.done} of {self.total} {self.unit}{ahead}"

    def summary(self, seconds: float) -> str:
        rate = (self.total - self.before) / max(seconds, 1e-9)
        done = f"{self.total} {self.unit}"
        if self.unit == "blocks" and self.done < self.total:
            done = f"{self.done} of {done}"
        return f"{done} in {seconds:.1f} s ({_rate(rate, self.unit)})"


def _rate(rate: float, unit: str) -> str:
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.2g} {unit}/s"


@contextmanager
def showing_progress(*, quiet: bool) -> Iterator[Quiet]:
    """Yield what shows progress: nothing if quiet, bars on a terminal, lines elsewhere."""
    if quiet:
        yield Quiet()
        return
    display = Bars() if sys.stderr.isatty() else Lines()
    with display, reporting_compilation(display.compiling):
        yield display


@contextmanager
def showing_bytes(display: Quiet, name: str, stage: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what shows how many bytes of how many are done; the stage begins with the first."""
    begin = time.perf_counter()
    begun = False

    def listen(done: int, total: int) -> None:
        nonlocal begun
        whole = max(1, total // 1_000_000)
        if not begun:
            begun = True
            display.begin(name)
            display.show(StageStarted(stage, whole, "MB"))
        display.show(StageProgress(stage, done // 1_000_000, whole))

    yield listen
    if begun:
        display.show(StageFinished(stage, time.perf_counter() - begin))


@contextmanager
def reporting_compilation(report: Callable[[str | None], None]) -> Iterator[None]:
    """Call a function when a kernel of ours begins to compile, and when all are done.

    It gets the name of the kernel, or None, in any thread. The compiler itself
    announces this, and only where its cache has nothing.
    """
    from numba.core import event

    class Compilations(event.Listener):
        """Counts the compilations under way; one may need another."""

        def __init__(self) -> None:
            self.under_way = 0

        def on_start(self, happening: Any) -> None:
            function = happening.data["dispatcher"].py_func
            if function.__module__.startswith("cytovox."):
                self.under_way += 1
                report(function.__name__.strip("_"))

        def on_end(self, happening: Any) -> None:
            function = happening.data["dispatcher"].py_func
            if function.__module__.startswith("cytovox."):
                self.under_way -= 1
                if not self.under_way:
                    report(None)

    listener = Compilations()
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)
