"""What becomes of the recordings of a batch, shown as it comes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..run.progress import StageFinished, StageProgress, StageStarted
from .console import report_error, say
from .one_recording import Outcome, Recording
from .progress_display import Quiet
from .signals import STOPPED_TEXT

__all__ = ["Account"]

#: The stage whose units are recordings.
_STAGE = "measured"


class Account:
    """What becomes of the recordings of a batch, shown as it comes.

    Each outcome is handed to `seen` at once. `files` are the recordings, numbered.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        display: Quiet,
        *,
        debug: bool,
        seen: Callable[[Outcome], None] | None = None,
    ) -> None:
        self.files = [replace(one, index=index) for index, one in enumerate(recordings)]
        self.outcomes = [recording.outcome() for recording in recordings]
        self._display = display
        self._debug = debug
        self._seen = seen
        self._begun: set[int] = set()
        self._together = 0  # recordings that are measured side by side
        self._ended = 0  # of these

    def turn_to(self, file: Recording) -> None:
        """Show what happens to one recording from now on."""
        self._display.begin(file.path.name)
        self.begin(file.index)

    @contextlib.contextmanager
    def side_by_side(self, count: int) -> Iterator[None]:
        """Show how many of so many recordings have been measured."""
        begin = time.monotonic()
        self._together = count
        self._display.begin("recordings")
        self._display.show(StageStarted(_STAGE, count, "files"))
        yield
        self._display.show(StageFinished(_STAGE, time.monotonic() - begin))

    def begin(self, index: int) -> None:
        """Note that a recording is being measured."""
        self._begun.add(index)
        self._display.measuring(index)

    def take(self, message: tuple[Any, ...]) -> None:
        """Show what a worker has sent: the name of a method of a display, and its arguments."""
        name, *what = message
        getattr(self if name == "begin" else self._display, name)(*what)

    def end(self, file: Recording, outcome: Outcome, error: Exception | None) -> None:
        """Note what has become of a recording, and the error that ended it."""
        self.outcomes[file.index] = outcome
        if outcome.state == "stopped":
            return
        if outcome.state == "done":  # a stop may have come too late for this one
            outcome.exit_code = 0
        self._display.end(file.index, outcome)
        if error is not None:
            report_error(error, debug=self._debug)
        if self._seen is not None:
            self._seen(outcome)
        elif self._together and outcome.state == "done":
            self._display.note(f"{outcome.input}: {outcome.verdict}")
        if self._together:
            self._ended += 1
            self._display.show(StageProgress(_STAGE, self._ended, self._together))

    def fail(self, file: Recording, error: Exception) -> None:
        """Note that a recording was given up, since its workers died."""
        outcome, error = file.outcome(), file.named(error)
        outcome.fail(error)
        self.end(file, outcome, error)

    def give_up(self, error: Exception) -> None:
        """Note why all that is not done cannot be done."""
        report_error(error, debug=self._debug)
        for outcome in self.outcomes:
            if outcome.state == "waiting":
                outcome.fail(error)

    def stop(self, code: int) -> None:
        """Note that the run was stopped, which means this exit code, if anything is left."""
        is_any_left = False
        for index, outcome in enumerate(self.outcomes):
            if outcome.state == "waiting" and index in self._begun:
                outcome.state = "stopped"
            if outcome.state in ("waiting", "stopped"):
                outcome.exit_code = code
                is_any_left = True
        if is_any_left:
            say(STOPPED_TEXT)
