"""Working through a list of recordings; one bad file never stops the others.

Several recordings are measured one after the other in a worker process, so that
a crash or an endless loop of a C library costs the file alone. Its start-up is
paid once.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from .. import __version__
from ..errors import escaped
from ..run.progress import ProgressEvent, StageProgress
from ..run.team import Team
from ..run.team_worker import WorkerTraceback
from ..run.unit_worker import unit_timeout
from .console import (
    FINDINGS,
    SOME_FAILED,
    in_columns,
    print_json,
    print_text,
    report_error,
    say,
    showing_warnings,
)
from .one_recording import Measuring, Outcome
from .progress_display import Quiet, reporting_compilation
from .signals import (
    STOPPED_TEXT,
    exit_code_of_interrupt,
    stop_gently,
    stop_on_signals,
)

__all__ = ["Recording", "Worker", "exit_code_of_batch", "run_batch", "show_results", "table_of"]

#: Exit codes from here on mean a stop from outside.
_BY_SIGNAL = 128

Measure = Callable[[Path, Path], tuple[Outcome, BaseException | None]]


def run_batch(
    pairs: Sequence[tuple[Path, Path]], measuring: Measuring, display: Quiet
) -> list[Outcome]:
    """Measure one recording after the other; when stopped from outside, the rest is waiting."""
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
        functools.partial(Worker, measuring),
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
                ((outcome, carried),) = team.run([Recording(path, out)])
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


@dataclass(frozen=True)
class Recording:
    path: Path
    out: Path
    index: int = 0

    def __str__(self) -> str:
        return self.path.name


class Pulse(Protocol):
    """What a worker has for its parent: a call says that it makes progress."""

    def __call__(self) -> None: ...

    def send(self, message: tuple[str, Any]) -> None:
        """Send what is to be shown there: the name of a method, and what it gets."""


class Worker:
    """What a worker does with recordings."""

    def __init__(self, measuring: Measuring) -> None:
        self._measuring = measuring
        measuring.load_segmenter()

    def __call__(
        self, recording: Recording, heartbeat: Pulse
    ) -> tuple[Outcome, WorkerTraceback | None]:
        relay = _Relay(heartbeat)
        with (
            stop_on_signals(is_worker=True),
            showing_warnings(),
            reporting_compilation(relay.compiling),
        ):
            outcome, error = self._measuring(recording.path, recording.out, relay)
        return outcome, None if error is None else WorkerTraceback.of(error)


class _Relay(Quiet):
    """Passes what is to be shown on to the parent; progress proves that this is alive."""

    def __init__(self, heartbeat: Pulse) -> None:
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


def show_results(outcomes: Sequence[Outcome], code: int, *, as_json: bool, quiet: bool) -> None:
    """Print what became of each input: a table, or one JSON object."""
    if as_json:
        results = [asdict(outcome) for outcome in outcomes]
        print_json({"cytovox": __version__, "exit_code": code, "results": results})
    elif not quiet:
        print_text(table_of(outcomes))


def table_of(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as aligned text, with a count of states below.

    Examples
    --------
    >>> print(table_of([Outcome("a.rtdc", state="done", frames=40, events=12, seconds=0.5)]))
    file    frames  found  events  seconds  state
    a.rtdc      40      -      12      0.5  done
    1 file: 1 done
    """
    rows = [("file", "frames", "found", "events", "seconds", "state")]
    for one in outcomes:
        seconds = "-" if one.seconds is None else f"{one.seconds:.1f}"
        found = None if one.objects is None else one.objects["found"]
        numbers = (_number(one.frames), _number(found), _number(one.events), seconds)
        rows.append((escaped(one.input), *numbers, escaped(one.verdict)))
    lines = in_columns(rows, right=(1, 2, 3, 4))
    counts = Counter(one.state for one in outcomes)
    named = {"waiting": "not begun"}
    states = ", ".join(f"{number} {named.get(state, state)}" for state, number in counts.items())
    files = "1 file" if len(outcomes) == 1 else f"{len(outcomes)} files"
    return "\n".join([*lines, f"{files}: {states}", *_objects_line(outcomes)])


def _objects_line(outcomes: Sequence[Outcome]) -> list[str]:
    """Say what became of the objects of all files."""
    counted = [one.objects for one in outcomes if one.objects is not None]
    if not counted:
        return []
    found, kept = (sum(objects[key] for objects in counted) for key in ("found", "kept"))
    lost = sum((Counter(objects["lost"]) for objects in counted), Counter())
    causes = ", ".join(f"{cause} {number}" for cause, number in lost.items())
    line = f"{found} objects found: {kept} kept, {found - kept} lost"
    return [f"{line} ({causes})" if causes else line]


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
