"""Recordings measured by other machines, each by one worker at a time."""

from __future__ import annotations

import faulthandler
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StageError
from ..run.progress import Warned
from ..run.unit_worker import unit_timeout
from .batch import Worker
from .batch_account import Account
from .one_recording import Measuring, Outcome, Recording, folder_for
from .signals import exit_code_of_interrupt, resumable

if TYPE_CHECKING:
    from .command_options import Where
    from .progress_display import Quiet

__all__ = ["run_on_cluster"]


def run_on_cluster(
    recordings: Sequence[Recording],
    how: Mapping[str, Measuring],
    display: Quiet,
    where: Where,
    *,
    seen: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Measure recordings on other machines; one whose worker is lost is given to another.

    Each outcome is handed to `seen` at once.
    """
    from ..blockwise.block_engine import BlockWork, GridSource, do_blocks
    from ..blockwise.block_ledger import Ledger
    from ..run.cluster import find_executor
    from ..run.executor import WorkerError

    if not recordings:
        return []
    debug = any(measuring.debug for measuring in how.values())
    account = Account(recordings, display, debug=debug, seen=seen)
    told = _Told(account, display)
    here = os.getcwd()
    files = [replace(file, folder=here) for file in account.files]
    ledger = Ledger("recordings", len(files), on_event=told.see, on_rows=told.settle)
    elsewhere = {name: measuring.for_other_machines() for name, measuring in how.items()}
    measure = _Elsewhere(elsewhere, unit_timeout())
    try:
        with (
            resumable(),
            account.side_by_side(len(files)),
            folder_for(files[0].out),
            tempfile.TemporaryDirectory(
                prefix=".cytovox-", dir=files[0].out.parent, ignore_cleanup_errors=True
            ) as notes,
            find_executor(where.workers, where.cluster, where.host, Path(notes)) as executor,
        ):
            work = BlockWork(measure, ledger, executor)
            do_blocks(GridSource(work, files), [work])
    except KeyboardInterrupt as interrupt:
        account.stop(exit_code_of_interrupt(interrupt))
    except WorkerError as error:
        account.give_up(error)
    return account.outcomes


class _Told:
    """Enters what the ledger tells into the account."""

    def __init__(self, account: Account, display: Quiet) -> None:
        self._account = account
        self._display = display

    def see(self, event: Any) -> None:
        """Show an event of the ledger, whose blocks are recordings."""
        from ..blockwise.block_result import BlockFailed, BlockStarted

        if isinstance(event, Warned):
            self._display.show(event)
        elif isinstance(event, BlockStarted):
            assert isinstance(event.block, int)
            self._account.begin(event.block)
        elif isinstance(event, BlockFailed):
            assert isinstance(event.block, int)
            file = self._account.files[event.block]
            if not event.final:
                self._display.note(f"{file.input}: {event.error}; another worker measures it")
                return
            error = event.exception
            if error is None:
                hint = f"it was tried {event.attempt} times; does it crash or hang?"
                error = StageError("measuring", event.error, path=file.input, hint=hint)
            self._account.fail(file, error)

    def settle(self, file: Recording, rows: dict[str, Any]) -> None:
        """Take what a worker has sent."""
        for message in rows["messages"]:
            self._account.take(message)
        error = rows["error"]
        self._account.end(file, rows["outcome"], None if error is None else error.error())


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
        self.messages: list[tuple[Any, ...]] = []
        self._limit = limit
        self()

    def __call__(self) -> None:
        """Begin to wait anew; when that is over, the process ends, whatever it is doing."""
        if self._limit is not None:
            faulthandler.dump_traceback_later(self._limit, exit=True)

    def send(self, message: tuple[Any, ...]) -> None:
        """Keep what stays on a screen."""
        if message[0] in ("note", "warn"):
            self.messages.append(message)
