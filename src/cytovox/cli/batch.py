"""Working through a list of recordings; one bad file never stops the others.

Several recordings are measured one after the other in a worker process, so that
a crash or an endless loop of a C library costs the file alone. Its start-up is
paid once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..run.progress import ProgressEvent, StageProgress
from ..run.team import Team
from ..run.team_worker import Heartbeat
from ..run.unit_timeout import unit_timeout
from ..run.worker_traceback import WorkerTraceback
from .compiling import reporting_compilation
from .console import FINDINGS, SOME_FAILED, report_error, say, showing_warnings
from .one_recording import Measuring, Outcome
from .progress_display import Quiet
from .signals import STOPPED_TEXT, exit_code_of_interrupt, stop_gently, stop_on_signals

__all__ = ["exit_code_of_batch", "run_batch"]

#: Exit codes from here on mean a stop from outside.
_BY_SIGNAL = 128

Measure = Callable[[Path, Path], tuple[Outcome, BaseException | None]]


def run_batch(
    pairs: Sequence[tuple[Path, Path]], measuring: Measuring, display: Quiet
) -> list[Outcome]:
    """Measure one recording after the other.

    Parameters
    ----------
    pairs
        Input and output of each.
    measuring
        How.
    display
        Where progress is shown.

    Returns
    -------
    list of Outcome
        One per input, in order. When stopped from outside, the rest is
        ``"waiting"``.
    """
    outcomes = [Outcome(str(path), str(out)) for path, out in pairs]
    alone = len(pairs) < 2 or measuring.settings.debug
    place = _here if alone else _in_worker
    with place(measuring, display) as measure:
        for index, (path, out) in enumerate(pairs):
            display.begin(path.name)
            outcomes[index], error = measure(path, out)
            if error is not None:
                report_error(error, debug=measuring.settings.debug)
            if outcomes[index].exit_code >= _BY_SIGNAL:
                say(f"{path}: {STOPPED_TEXT}")
                break
    return outcomes


@contextmanager
def _here(measuring: Measuring, display: Quiet) -> Iterator[Measure]:
    """Measure in this process."""
    with reporting_compilation(display.compiling):
        yield lambda path, out: measuring(path, out, display)


@contextmanager
def _in_worker(measuring: Measuring, display: Quiet) -> Iterator[Measure]:
    """Measure in a worker process, which is replaced when it crashes."""
    team = Team(
        functools.partial(_Worker, measuring),
        1,
        name="cytovox-recordings",
        limit=unit_timeout(),
        attempts=1,
        nested=True,
        listener=lambda message: getattr(display, message[0])(*message[1:]),
    )

    def measure(path: Path, out: Path) -> tuple[Outcome, BaseException | None]:
        outcome = Outcome(str(path), str(out))
        error: BaseException | None = None
        try:
            with stop_gently(team.stop):
                ((outcome, carried),) = team.run([_Recording(path, out)])
                error = None if carried is None else carried.error()
        except KeyboardInterrupt as interrupt:
            if outcome.state == "waiting":
                outcome.state = "stopped"
            outcome.exit_code = exit_code_of_interrupt(interrupt)
        except Exception as lost:  # noqa: BLE001 - one file never stops the others
            error = lost
            outcome.fail(lost)
        return outcome, error

    try:
        yield measure
    finally:
        team.close()


class _Recording(NamedTuple):
    path: Path
    out: Path

    def __str__(self) -> str:
        return self.path.name


class _Worker:
    """What the worker does with recordings."""

    def __init__(self, measuring: Measuring) -> None:
        self._measuring = measuring
        if measuring.segmenter_file is not None:
            from ..segm.from_file import load_segmenter_file

            load_segmenter_file(measuring.segmenter_file)

    def __call__(
        self, recording: _Recording, heartbeat: Heartbeat
    ) -> tuple[Outcome, WorkerTraceback | None]:
        relay = _Relay(heartbeat)
        with (
            stop_on_signals(is_worker=True),
            showing_warnings(),
            reporting_compilation(relay.compiling),
        ):
            outcome, error = self._measuring(*recording, relay)
        return outcome, None if error is None else WorkerTraceback.of(error)


class _Relay(Quiet):
    """Passes what is to be shown on to the parent; progress proves that this is alive."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        super().__init__()
        self._heartbeat = heartbeat
        self._last: Any = None

    def show(self, event: ProgressEvent) -> None:
        """Show an event there."""
        standing = (event.stage, event.done) if isinstance(event, StageProgress) else event
        if standing != self._last:
            self._last = standing
            self._heartbeat()
        self._heartbeat.send(("show", event))

    def note(self, text: str) -> None:
        """Show a line there."""
        self._heartbeat.send(("note", text))

    def compiling(self, kernel: str | None) -> None:
        """Show a kernel there."""
        self._heartbeat()
        self._heartbeat.send(("compiling", kernel))


def exit_code_of_batch(outcomes: Sequence[Outcome]) -> int:
    """Return the exit code of a whole batch.

    Examples
    --------
    >>> good, bad = Outcome("a", state="done"), Outcome("b", state="failed", exit_code=74)
    >>> exit_code_of_batch([good]), exit_code_of_batch([bad]), exit_code_of_batch([good, bad])
    (0, 74, 4)
    """
    for outcome in outcomes:
        if outcome.exit_code >= _BY_SIGNAL:
            return outcome.exit_code
    failed = [outcome.exit_code for outcome in outcomes if outcome.state == "failed"]
    if failed:
        tried = sum(outcome.state != "left out" for outcome in outcomes)
        return SOME_FAILED if tried > 1 else failed[0]
    return FINDINGS if any(outcome.findings for outcome in outcomes) else 0
