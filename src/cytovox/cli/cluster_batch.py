"""Recordings measured by other machines, each as a unit of a cluster."""

from __future__ import annotations

import faulthandler
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..blockwise.block_engine import BlockWork, GridSource, do_blocks
from ..blockwise.block_ledger import Ledger
from ..blockwise.block_result import BlockFailed, BlockStarted
from ..errors import CytovoxError, StageError, escaped
from ..run.cluster import find_executor
from ..run.executor import WorkerError
from ..run.progress import StageFinished, StageProgress, StageStarted, Warned
from ..run.unit_worker import unit_timeout
from .batch import Recording, Worker
from .console import report_error, say
from .one_recording import Measuring, Outcome, folder_for
from .progress_display import Quiet
from .signals import STOPPED_TEXT, exit_code_of_interrupt, resumable

if TYPE_CHECKING:
    from ..blockwise.block_result import BlockFailure
    from .command_options import Where

__all__ = ["run_on_cluster"]

_STAGE = "measured"


def run_on_cluster(
    pairs: Sequence[tuple[Path, Path]], measuring: Measuring, display: Quiet, where: Where
) -> list[Outcome]:
    """Measure recordings on other machines; one whose worker is lost is given to another."""
    account = _Account(pairs, display, debug=measuring.settings.debug)
    files = [Recording(path.absolute(), out.absolute(), i) for i, (path, out) in enumerate(pairs)]
    if not files:
        return []
    ledger = Ledger(_STAGE, len(files), on_event=account.see, on_rows=account.settle)
    measure = _Elsewhere(measuring.for_other_machines(), unit_timeout())
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
        report_error(error, debug=measuring.settings.debug)
        account.give_up(error)
    for failure in ledger.failed:
        account.fail(failure)
    display.show(StageFinished(_STAGE, time.monotonic() - begin))
    return account.outcomes


class _Account:
    """What becomes of the recordings that a cluster measures, shown as it comes."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]], display: Quiet, *, debug: bool) -> None:
        self.outcomes = [Outcome(str(path), str(out)) for path, out in pairs]
        self._display = display
        self._debug = debug
        self._begun: set[int] = set()

    def see(self, event: Any) -> None:
        """Show an event of the ledger."""
        if isinstance(event, BlockStarted):
            self._begun.add(_index(event))
        elif isinstance(event, BlockFailed) and not event.final:
            name = self.outcomes[_index(event)].input
            self._display.note(f"{name}: {event.error}; another worker measures it")
        elif isinstance(event, StageProgress | Warned):
            self._display.show(event)

    def settle(self, file: Recording, rows: dict[str, Any]) -> None:
        """Take what a worker has sent, in which a file has the name that it has there."""
        outcome, error = rows["outcome"], rows["error"]
        known, self.outcomes[file.index] = self.outcomes[file.index], outcome
        place, name = str(file.path), known.input
        outcome.input, outcome.output = name, known.output
        self._display.name, before = escaped(file), self._display.name
        for show, what in rows["messages"]:
            text = what.replace(place, name, 1) if show == "note" else what
            getattr(self._display, show)(text)
        self._display.name = before
        if error is None:
            self._display.note(f"{name}: {outcome.verdict}")
            return
        raised = error.error()
        if isinstance(raised, CytovoxError) and raised.path == place:
            raised.path = name
        outcome.error = outcome.error.replace(place, name, 1)
        report_error(raised, debug=self._debug)

    def fail(self, failure: BlockFailure) -> None:
        """Note that a recording was given up, since its workers died."""
        outcome = self.outcomes[_index(failure)]
        error = failure.exception
        if error is None:
            hint = f"it was tried {failure.attempts} times; does it crash or hang?"
            error = StageError("measuring", failure.error, path=outcome.input, hint=hint)
        outcome.fail(error)
        report_error(error, debug=self._debug)

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

    measuring: Measuring
    limit: float | None

    def __call__(self, recording: Recording) -> dict[str, Any]:
        postponed = _Postponed(self.limit)
        try:
            outcome, error = Worker(self.measuring)(recording, postponed)
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
