"""Working through a list of recordings; one bad file never stops the others.

Several recordings are measured one after the other in a worker process, so that
a crash or an endless loop of a C library costs the file alone. Its start-up is
paid once.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..run.progress import ProgressEvent, StageProgress
from ..run.team import Team
from ..run.team_worker import WorkerTraceback
from ..run.unit_worker import unit_timeout
from .console import (
    BY_SIGNAL,
    FINDINGS,
    exit_code_of_all,
    in_columns,
    placed,
    print_json,
    print_text,
    report_error,
    say,
    showing_warnings,
)
from .one_recording import Measuring, Outcome
from .progress_display import Quiet, reporting_compilation
from .signals import STOPPED_TEXT, exit_code_of_interrupt, stop_gently, stop_on_signals

__all__ = ["Recording", "Worker", "exit_code_of_batch", "run_batch", "show_results", "table_of"]


def run_batch(
    pairs: Sequence[tuple[Path, Path]], measuring: Measuring, display: Quiet
) -> list[Outcome]:
    """Measure one recording after the other; when stopped from outside, the rest is waiting."""
    outcomes = [Outcome(str(path), str(out)) for path, out in pairs]
    alone = len(pairs) < 2 or measuring.settings.debug
    team = Team(
        functools.partial(Worker, measuring),
        1,
        name="cytovox-recordings",
        limit=unit_timeout(),
        attempts=1,
        nested=True,
        listener=lambda message: getattr(display, message[0])(*message[1:]),
    )
    with contextlib.closing(team):  # which has no process before there is work for it
        for index, (path, out) in enumerate(pairs):
            display.begin(path.name)
            if alone:
                outcome, error = measuring(path, out, display)
            else:
                outcome, error = _measure_in(team, Recording(path, out))
            outcomes[index] = outcome
            if error is not None:
                report_error(error, debug=measuring.settings.debug)
            if outcome.exit_code >= BY_SIGNAL:
                say(f"{path}: {STOPPED_TEXT}")
                break
    return outcomes


def _measure_in(team: Team, recording: Recording) -> tuple[Outcome, BaseException | None]:
    """Measure a recording in a worker process, which is replaced when it crashes."""
    outcome = Outcome(str(recording.path), str(recording.out))
    error: BaseException | None = None
    try:
        with stop_gently(team.stop):
            ((outcome, carried),) = team.run([recording])
            error = None if carried is None else carried.error()
    except KeyboardInterrupt as interrupt:
        if outcome.state == "waiting":
            outcome.state = "stopped"
        outcome.exit_code = exit_code_of_interrupt(interrupt)
    except Exception as lost:  # noqa: BLE001 - one file never stops the others
        error = placed(lost, outcome.input)
        outcome.fail(error)
    return outcome, error


@dataclass(frozen=True)
class Recording:
    path: Path
    out: Path
    index: int = 0

    def __str__(self) -> str:
        return self.path.name


class Worker:
    """What a worker does with recordings.

    It calls `heartbeat` when it makes progress, and sends to it what is to be shown:
    the name of a method of a display, and its argument.
    """

    def __init__(self, measuring: Measuring) -> None:
        self._measuring = measuring
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
            outcome, error = self._measuring(recording.path, recording.out, relay)
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


def exit_code_of_batch(outcomes: Sequence[Outcome]) -> int:
    """Return the exit code of a whole batch, in which what was left out does not count."""
    tried = [outcome for outcome in outcomes if outcome.state != "left out"]
    return exit_code_of_all([one.exit_code or FINDINGS * bool(one.findings) for one in tried])


def show_results(outcomes: Sequence[Outcome], code: int, *, as_json: bool, quiet: bool) -> None:
    """Print what became of each input: a table, or one JSON object."""
    if as_json:
        results = [asdict(outcome) for outcome in outcomes]
        print_json({"cytovox": __version__, "exit_code": code, "results": results})
    elif not quiet:
        print_text(table_of(outcomes))


def table_of(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as aligned text, with a count of states below."""
    rows = [["file", "frames", "found", "events", "seconds", "state"]]
    for one in outcomes:
        seconds = "-" if one.seconds is None else f"{one.seconds:.1f}"
        found = None if one.objects is None else one.objects["found"]
        numbers = ("-" if n is None else str(n) for n in (one.frames, found, one.events))
        rows.append([one.input, *numbers, seconds, one.verdict])
    lines = in_columns(rows, right=(1, 2, 3, 4))
    counts = Counter(one.state for one in outcomes)
    named = {"waiting": "not begun"}
    states = ", ".join(f"{number} {named.get(state, state)}" for state, number in counts.items())
    files = "1 file" if len(outcomes) == 1 else f"{len(outcomes)} files"
    lines.append(f"{files}: {states}")
    if counted := [one.objects for one in outcomes if one.objects is not None]:
        lines.append(_objects_in_words(counted))
    return "\n".join(lines)


def _objects_in_words(counted: Sequence[dict[str, Any]]) -> str:
    """Say what became of the objects of all files."""
    found, kept = (sum(objects[key] for objects in counted) for key in ("found", "kept"))
    lost = sum((Counter(objects["lost"]) for objects in counted), Counter())
    causes = ", ".join(f"{cause} {number}" for cause, number in lost.items())
    line = f"{found} objects found: {kept} kept, {found - kept} lost"
    return f"{line} ({causes})" if causes else line
