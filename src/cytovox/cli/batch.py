"""Working through a list of recordings; one bad file never stops the others.

Several recordings are measured in worker processes, so that a crash or an endless
loop of a C library costs the file alone. Their start-up is paid once. Small recordings
are measured side by side, others one after the other with all workers.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import InterruptedRunError, StorageError
from ..run.memory import cpu_count, memory_allowed
from ..run.progress import ProgressEvent, StageProgress, Warned
from ..run.team import Team
from ..run.team_worker import WorkerTraceback
from ..run.unit_worker import unit_timeout
from .batch_account import Account
from .console import BY_SIGNAL, showing_warnings
from .one_recording import Measuring, Outcome, Recording, folder_for
from .progress_display import Quiet, reporting_compilation
from .signals import exit_code_of_interrupt, stop_gently, stop_on_signals

__all__ = ["Worker", "run_batch", "side_by_side"]

#: Bytes that a worker may take that measures a small recording, with room to spare.
_WORKER_BYTES = 512 << 20


def run_batch(
    recordings: Sequence[Recording],
    how: Mapping[str, Measuring],
    display: Quiet,
    *,
    apart: bool = False,
    seen: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Measure recordings on this machine, each as its recipe in `how` says.

    When stopped from outside, the rest is waiting. Worker processes do it if there
    are several, or if it is to be `apart`. Each outcome is handed to `seen` at once.
    """
    debug = any(measuring.debug for measuring in how.values())
    account = Account(recordings, display, debug=debug, seen=seen)
    try:
        if debug or len(recordings) < (1 if apart else 2):
            _measure_here(account, how, display)
        else:
            _measure_apart(account, how)
    except KeyboardInterrupt as interrupt:
        account.stop(exit_code_of_interrupt(interrupt))
    except Exception as error:  # noqa: BLE001 - no worker can be started
        account.give_up(error)
    return account.outcomes


def _measure_here(account: Account, how: Mapping[str, Measuring], display: Quiet) -> None:
    """Measure recordings in this process, one after the other."""
    for file in account.files:
        account.turn_to(file)
        outcome, error = how[file.recipe](file, display)
        code = outcome.exit_code
        account.end(file, outcome, error)
        if code >= BY_SIGNAL:
            account.stop(code)
            break


def _measure_apart(account: Account, how: Mapping[str, Measuring]) -> None:
    """Measure recordings in worker processes: those that take all workers, then small ones."""
    files = side_by_side(account.files, how)
    small = [file for file in files if file.at_once > 1]
    team = Team(
        functools.partial(Worker, how),
        max(file.at_once for file in files),
        name="cytovox-recordings",
        limit=unit_timeout(),
        attempts=1,
        nested=True,
        listener=account.take,
    )
    with contextlib.closing(team):  # which has no process before there is work for it
        for file in files:
            if file.at_once == 1:
                account.turn_to(file)
                _measure(team, [file], account)
        if small:
            with account.side_by_side(len(small)), _folders_for(small):
                _measure(team, small, account)


@contextlib.contextmanager
def _folders_for(files: Sequence[Recording]) -> Iterator[None]:
    """Make the folders of results, so that no worker removes one that another begins to use."""
    with contextlib.ExitStack() as stack:
        for out in {file.out.parent: file.out for file in files}.values():
            with contextlib.suppress(StorageError):  # each of its recordings will say so
                stack.enter_context(folder_for(out))
        yield


def side_by_side(recordings: Sequence[Recording], how: Mapping[str, Measuring]) -> list[Recording]:
    """Return recordings, each with how many are measured at once: as many small ones as workers.

    One process at a time uses a GPU.
    """
    workers = next((one.workers for one in how.values()), None) or _default_workers()
    of_gpu = {name for name, measuring in how.items() if measuring.is_for_gpu}
    small = [one.recipe not in of_gpu and one.is_small for one in recordings]
    at_once = max(1, min(workers, sum(small)))
    return [
        replace(one, at_once=at_once if is_small else 1)
        for one, is_small in zip(recordings, small, strict=True)
    ]


def _default_workers() -> int:
    """Return the number of cores, or how many workers the memory suffices for."""
    memory = memory_allowed()
    most = math.inf if memory is None else max(1, memory.size // _WORKER_BYTES)
    return int(min(cpu_count(), most))


def _measure(team: Team, files: Sequence[Recording], account: Account) -> None:
    """Let workers measure recordings; one that crashes is replaced, and costs its own alone."""
    with stop_gently(team.stop):
        for file, result in team.run_each(files):
            if not isinstance(result, Exception):
                outcome, carried = result
                account.end(file, outcome, None if carried is None else carried.error())
            elif not isinstance(result, InterruptedRunError):
                account.fail(file, result)


class Worker:
    """What a worker does with recordings.

    It calls `heartbeat` when it makes progress, and sends to it what is to be shown:
    the name of a method of a display, and its arguments.
    """

    def __init__(self, how: Mapping[str, Measuring]) -> None:
        self._how = how
        for measuring in how.values():
            measuring.load_segmenter()

    def __call__(
        self, recording: Recording, heartbeat: Any
    ) -> tuple[Outcome, WorkerTraceback | None]:
        measuring = self._how[recording.recipe].shared(recording.at_once)
        relay = _Relay(recording, heartbeat)
        outcome, error = recording.outcome(), None
        try:
            with (
                stop_on_signals(is_worker=True),
                showing_warnings(),
                reporting_compilation(relay.compiling),
            ):
                heartbeat.send(("begin", recording.index))
                outcome, error = measuring(recording, relay)
        except KeyboardInterrupt as interrupt:  # before it was begun
            outcome.state, outcome.exit_code = "stopped", exit_code_of_interrupt(interrupt)
        return outcome, None if error is None else WorkerTraceback.of(error)


class _Relay(Quiet):
    """Passes what is to be shown on to the parent; progress proves that this is alive."""

    def __init__(self, recording: Recording, heartbeat: Any) -> None:
        super().__init__()
        self.begin(recording.path.name)
        self._is_alone = recording.at_once == 1
        self._heartbeat = heartbeat
        self._last: Any = None

    def show(self, event: ProgressEvent) -> None:
        standing = (event.stage, event.done) if isinstance(event, StageProgress) else event
        if standing != self._last:
            self._last = standing
            self._heartbeat()
        if isinstance(event, Warned):
            self.warn(self.name, event.text)
        elif self._is_alone:
            self._heartbeat.send(("show", event))

    def warn(self, name: str, text: str) -> None:
        self._heartbeat.send(("warn", name, text))

    def note(self, text: str) -> None:
        self._heartbeat.send(("note", text))

    def compiling(self, kernel: str | None) -> None:
        self._heartbeat()
        self._heartbeat.send(("compiling", kernel))
