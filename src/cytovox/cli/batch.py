"""Working through a list of recordings; one bad file never stops the others.

Several recordings are measured one after the other in a worker process, so that
a crash or an endless loop of a C library costs the file alone. Its start-up is
paid once. With a cluster, each is a unit of work for one of its workers.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import StageError, escaped
from ..run.progress import ProgressEvent, StageFinished, StageProgress, StageStarted, Warned
from ..run.team import Team
from ..run.team_worker import WorkerTraceback
from ..run.unit_worker import unit_timeout
from .console import (
    BY_SIGNAL,
    FINDINGS,
    counted,
    exit_code_of_all,
    in_columns,
    report_error,
    say,
    show,
    showing_warnings,
)
from .one_recording import Measuring, Outcome, Recording, folder_for
from .progress_display import Quiet, reporting_compilation
from .signals import (
    STOPPED_TEXT,
    exit_code_of_interrupt,
    resumable,
    stop_gently,
    stop_on_signals,
)

if TYPE_CHECKING:
    from ..blockwise.block_result import BlockFailed, BlockFailure, BlockStarted
    from .command_options import Where
    from .run_options import Work

__all__ = [
    "Worker",
    "exit_code_of_batch",
    "objects_in_words",
    "run_batch",
    "run_on_cluster",
    "show_outcomes",
    "table_of",
]

#: The stage of a run on a cluster, whose units are recordings.
_STAGE = "measured"


def run_batch(
    recordings: Sequence[Recording],
    how: Mapping[str, Measuring],
    display: Quiet,
    *,
    apart: bool = False,
    seen: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Measure one recording after the other, each as its recipe in `how` says.

    When stopped from outside, the rest is waiting. A worker process does it if there
    are several, or if it is to be `apart`. Each outcome is handed to `seen` at once.
    """
    outcomes = [recording.outcome() for recording in recordings]
    debug = any(measuring.debug for measuring in how.values())
    alone = debug or (len(recordings) < 2 and not apart)
    team = Team(
        functools.partial(Worker, how),
        1,
        name="cytovox-recordings",
        limit=unit_timeout(),
        attempts=1,
        nested=True,
        listener=lambda message: getattr(display, message[0])(*message[1:]),
    )
    with contextlib.closing(team):  # which has no process before there is work for it
        for index, recording in enumerate(recordings):
            display.begin(recording.path.name)
            if alone:
                outcome, error = how[recording.recipe](recording, display)
            else:
                outcome, error = _measure_in(team, recording)
            outcomes[index] = outcome
            display.end(outcome)
            if error is not None:
                report_error(error, debug=debug)
            if seen is not None:
                seen(outcome)
            if outcome.exit_code >= BY_SIGNAL:
                if outcome.state == "done" and recording is recordings[-1]:
                    outcome.exit_code = 0  # nothing was left to be stopped
                else:
                    done = outcome.state == "done"
                    say(STOPPED_TEXT if done else f"{recording.input}: {STOPPED_TEXT}")
                break
    return outcomes


def _measure_in(team: Team, recording: Recording) -> tuple[Outcome, Exception | None]:
    """Measure a recording in a worker process, which is replaced when it crashes."""
    outcome = recording.outcome()
    error: Exception | None = None
    try:
        with stop_gently(team.stop):
            ((outcome, carried),) = team.run([recording])
            error = None if carried is None else carried.error()
    except KeyboardInterrupt as interrupt:
        if outcome.state == "waiting":
            outcome.state = "stopped"
        outcome.exit_code = exit_code_of_interrupt(interrupt)
    except Exception as lost:  # noqa: BLE001 - one file never stops the others
        error = recording.named(lost)
        outcome.fail(error)
    return outcome, error


class Worker:
    """What a worker does with recordings.

    It calls `heartbeat` when it makes progress, and sends to it what is to be shown:
    the name of a method of a display, and its argument.
    """

    def __init__(self, how: Mapping[str, Measuring]) -> None:
        self._how = how
        for measuring in how.values():
            measuring.load_segmenter()

    def __call__(
        self, recording: Recording, heartbeat: Any
    ) -> tuple[Outcome, WorkerTraceback | None]:
        relay = _Relay(heartbeat)
        with (
            stop_on_signals(is_worker=True),
            showing_warnings(),
            reporting_compilation(relay.compiling),
        ):
            outcome, error = self._how[recording.recipe](recording, relay)
        return outcome, None if error is None else WorkerTraceback.of(error)


class _Relay(Quiet):
    """Passes what is to be shown on to the parent; progress proves that this is alive."""

    def __init__(self, heartbeat: Any) -> None:
        super().__init__()
        self._heartbeat = heartbeat
        self._last: Any = None

    def show(self, event: ProgressEvent) -> None:
        standing = (event.stage, event.done) if isinstance(event, StageProgress) else event
        if standing != self._last:
            self._last = standing
            self._heartbeat()
        self._heartbeat.send(("show", event))

    def note(self, text: str) -> None:
        self._heartbeat.send(("note", text))

    def compiling(self, kernel: str | None) -> None:
        self._heartbeat()
        self._heartbeat.send(("compiling", kernel))


def run_on_cluster(
    recordings: Sequence[Recording],
    how: Mapping[str, Measuring],
    display: Quiet,
    where: Where,
    *,
    seen: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Measure recordings on other machines; one whose worker is lost is given to another.

    Each outcome that comes from a worker is handed to `seen` at once.
    """
    from ..blockwise.block_engine import BlockWork, GridSource, do_blocks
    from ..blockwise.block_ledger import Ledger
    from ..run.cluster import find_executor
    from ..run.executor import WorkerError

    if not recordings:
        return []
    debug = any(measuring.debug for measuring in how.values())
    account = _Account(recordings, display, debug=debug, seen=seen)
    here = os.getcwd()
    files = [replace(one, index=i, folder=here) for i, one in enumerate(recordings)]
    ledger = Ledger(_STAGE, len(files), on_event=account.see, on_rows=account.settle)
    elsewhere = {name: measuring.for_other_machines() for name, measuring in how.items()}
    measure = _Elsewhere(elsewhere, unit_timeout())
    begin = time.monotonic()
    display.begin("recordings")
    display.show(StageStarted(_STAGE, len(files), "files"))
    try:
        with (
            resumable(),
            folder_for(files[0].out),
            tempfile.TemporaryDirectory(
                prefix=".cytovox-", dir=files[0].out.parent, ignore_cleanup_errors=True
            ) as notes,
            find_executor(where.workers, where.cluster, where.host, Path(notes)) as executor,
        ):
            work = BlockWork(measure, ledger, executor)
            do_blocks(GridSource(work, files), [work])
    except KeyboardInterrupt as interrupt:
        account.stop(interrupt)
    except WorkerError as error:
        report_error(error, debug=debug)
        account.give_up(error)
    for failure in ledger.failed:
        account.fail(failure)
    display.show(StageFinished(_STAGE, time.monotonic() - begin))
    return account.outcomes


class _Account:
    """What becomes of the recordings that a cluster measures, shown as it comes."""

    def __init__(
        self,
        recordings: Sequence[Recording],
        display: Quiet,
        *,
        debug: bool,
        seen: Callable[[Outcome], None] | None = None,
    ) -> None:
        self.outcomes = [recording.outcome() for recording in recordings]
        self._seen = seen
        self._display = display
        self._debug = debug
        self._begun: set[int] = set()

    def see(self, event: Any) -> None:
        """Show an event of the ledger."""
        from ..blockwise.block_result import BlockFailed, BlockStarted

        if isinstance(event, BlockStarted):
            self._begun.add(_index(event))
        elif isinstance(event, BlockFailed) and not event.final:
            name = self.outcomes[_index(event)].input
            self._display.note(f"{name}: {event.error}; another worker measures it")
        elif isinstance(event, StageProgress | Warned):
            self._display.show(event)

    def settle(self, file: Recording, rows: dict[str, Any]) -> None:
        """Take what a worker has sent."""
        outcome = self.outcomes[file.index] = rows["outcome"]
        self._display.name, before = escaped(file), self._display.name
        for name, what in rows["messages"]:
            getattr(self._display, name)(what)
        self._display.name = before
        if rows["error"] is None:
            self._display.note(f"{outcome.input}: {outcome.verdict}")
        else:
            report_error(rows["error"].error(), debug=self._debug)
        if self._seen is not None:
            self._seen(outcome)

    def fail(self, failure: BlockFailure) -> None:
        """Note that a recording was given up, since its workers died."""
        outcome = self.outcomes[_index(failure)]
        error = failure.exception
        if error is None:
            hint = f"it was tried {failure.attempts} times; does it crash or hang?"
            error = StageError("measuring", failure.error, path=outcome.input, hint=hint)
        outcome.fail(error)
        report_error(error, debug=self._debug)
        if self._seen is not None:
            self._seen(outcome)

    def give_up(self, error: Exception) -> None:
        """Note why all that is not done cannot be done."""
        for outcome in self.outcomes:
            if outcome.state == "waiting":
                outcome.fail(error)

    def stop(self, interrupt: KeyboardInterrupt) -> None:
        """Note that the run was stopped."""
        say(STOPPED_TEXT)
        for index, outcome in enumerate(self.outcomes):
            if outcome.state == "waiting":
                outcome.exit_code = exit_code_of_interrupt(interrupt)
                if index in self._begun:
                    outcome.state = "stopped"


def _index(one: BlockStarted | BlockFailed | BlockFailure) -> int:
    """Return which recording is meant: here a block is one."""
    assert isinstance(one.block, int)
    return one.block


@dataclass(frozen=True)
class _Elsewhere:
    """What a worker on another machine does with a recording."""

    how: Mapping[str, Measuring]
    limit: float | None

    def __call__(self, recording: Recording) -> dict[str, Any]:
        postponed = _Postponed(self.limit)
        try:
            outcome, error = Worker(self.how)(recording, postponed)
        finally:
            faulthandler.cancel_dump_traceback_later()
        return {"outcome": outcome, "error": error, "messages": postponed.messages}


class _Postponed:
    """Keeps what is to be shown later, and ends a process that makes no progress."""

    def __init__(self, limit: float | None) -> None:
        self.messages: list[tuple[str, Any]] = []
        self._limit = limit
        self()

    def __call__(self) -> None:
        """Begin to wait anew; when that is over, the process ends, whatever it is doing."""
        if self._limit is not None:
            faulthandler.dump_traceback_later(self._limit, exit=True)

    def send(self, message: tuple[str, Any]) -> None:
        """Keep what stays on a screen."""
        if message[0] == "note" or isinstance(message[1], Warned):
            self.messages.append(message)


def exit_code_of_batch(outcomes: Sequence[Outcome]) -> int:
    """Return the exit code of a whole batch, in which what was left out does not count."""
    tried = [outcome for outcome in outcomes if outcome.state != "left out"]
    return exit_code_of_all([one.exit_code or FINDINGS * bool(one.findings) for one in tried])


def show_outcomes(outcomes: Sequence[Outcome], work: Work) -> int:
    """Show what became of all recordings of a command; return its exit code."""
    code = exit_code_of_batch(outcomes)
    if work.findings_ok and code == FINDINGS:
        code = 0
    results = [asdict(outcome) for outcome in outcomes]
    plain = {"cytovox": __version__, "exit_code": code, "results": results}
    show(plain, "" if work.quiet else table_of(outcomes), as_json=work.as_json)
    return code


def table_of(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as aligned text, with a count of states below.

    What was lost has a column for each cause that occurs.
    """
    measured = [one.objects for one in outcomes if one.objects is not None]
    causes = [cause for cause in _causes(measured) if any(one["lost"][cause] for one in measured)]
    rows = [["file", "frames", "found", "events", *causes, "seconds", "state"]]
    several = len({one.recipe for one in outcomes if one.recipe is not None}) > 1
    for one in outcomes:
        seconds = "-" if one.seconds is None else f"{one.seconds:.1f}"
        objects = one.objects or {"found": None, "lost": dict.fromkeys(causes)}
        lost = [objects["lost"][cause] for cause in causes]
        numbers = [
            "-" if n is None else str(n) for n in (one.frames, objects["found"], one.events)
        ]
        numbers += ["-" if n is None else str(n) for n in lost]
        name = f"{one.input} ({one.recipe})" if several and one.recipe else one.input
        rows.append([name, *numbers, seconds, one.verdict])
    lines = in_columns(rows, right=range(1, len(rows[0]) - 1))
    counts = Counter(one.state for one in outcomes)
    named = {"waiting": "not begun"}
    states = ", ".join(f"{number} {named.get(state, state)}" for state, number in counts.items())
    lines.append(f"{counted(len(outcomes), 'file')}: {states}")
    if measured:
        lines.append(objects_in_words(measured))
    lines += [
        f"{escaped(one.input)}: {one.events or 'no'} events, likely because {one.likely_reason}"
        for one in outcomes
        if one.likely_reason is not None
    ]
    return "\n".join(lines)


def _causes(measured: Sequence[dict[str, Any]]) -> list[str]:
    return list(measured[0]["lost"]) if measured else []


def objects_in_words(objects: Sequence[dict[str, Any]]) -> str:
    """Say what became of the objects of all files."""
    found, kept = (sum(one[key] for one in objects) for key in ("found", "kept"))
    lost = sum((Counter(one["lost"]) for one in objects), Counter())
    causes = ", ".join(f"{cause} {number}" for cause, number in lost.items())
    line = f"{counted(found, 'object')} found: {kept} kept, {found - kept} lost"
    return f"{line} ({causes})" if causes else line
