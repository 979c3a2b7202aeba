"""Run daisy tasks, keep account of their blocks, and tell what was left undone."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..errors import StageError, UsageError
from ..run.journal import BlockKey, Journal
from ..run.progress import Listener, StageFinished, announce
from . import engine
from .attempt import told_versions
from .desk import Desk, Link, Message
from .pickling import pickled
from .places import DaskPlace, Here, LocalPlace, Place
from .run_blocks import log_folder
from .task_account import Account, RunTask
from .task_result import BlockwiseResult, leftovers
from .task_worker import TaskJob, make_slot
from .workers import stillborn

__all__ = ["run_tasks"]

logger = logging.getLogger(__name__)

#: Workers in a row that may fail outside of any block before all is given up.
_UNFIT = 8
#: Seconds that daisy gets to end once all workers are gone.
_END = 10.0


def run_tasks(
    tasks: Sequence[RunTask],
    *,
    place: Place | None = None,
    journal: Journal | None = None,
    on_event: Listener | None = None,
    logs: Path | None = None,
) -> BlockwiseResult:
    """Run tasks and all that they need; return what became of them."""
    ordered, edges = _in_order(tasks)
    start = time.monotonic()
    left = {
        run.name: leftovers(
            run.task.total_roi, run.task.read_roi, run.task.write_roi, run.task.fit
        )
        for run in ordered
    }
    accounts = [Account(run, journal, on_event) for run in ordered]
    if isinstance(place, Here):
        rounds = _run_here(ordered, edges, accounts)
    else:
        if logs is None and journal is not None:
            logs = Path(f"{journal.path}.logs")
        rounds = _run_there(ordered, edges, accounts, place, logs)
    seconds = time.monotonic() - start
    for account in accounts:
        announce(on_event, StageFinished(account.stage, seconds), logger)
    totals = [rounds[-1][run.name] for run in ordered]
    # What the first round has done, the second one has skipped.
    skipped = sum(rounds[0][run.name].skipped_count for run in ordered)
    return BlockwiseResult(
        total=sum(s.total_block_count for s in totals),
        done=sum(s.completed_count for s in totals) - skipped,
        skipped=skipped,
        failed=tuple(itertools.chain.from_iterable(a.failures() for a in accounts)),
        undone=sum(s.total_block_count - s.completed_count for s in totals),
        leftovers=left,
        seconds=seconds,
        stages=tuple(run.name for run in ordered),
    )


def _in_order(tasks: Sequence[RunTask]) -> tuple[list[RunTask], list[tuple[int, int]]]:
    """Return all tasks, upstream ones first, and the edges between them."""
    ordered: list[RunTask] = []

    def visit(run: RunTask) -> None:
        if run in ordered:
            return
        for other in run.upstream:
            visit(other)
        ordered.append(run)

    for run in tasks:
        visit(run)
    names = [run.name for run in ordered]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two tasks have the name '{name}'", hint="they would do the same work twice"
            )
    edges = [(ordered.index(up), i) for i, run in enumerate(ordered) for up in run.upstream]
    return ordered, edges


def _in_rounds(
    once: Callable[[], dict[str, Any]], accounts: Sequence[Account]
) -> list[dict[str, Any]]:
    """Run all, and once more if blocks are owed an attempt; return the states of each time."""
    rounds = [once()]
    if any(account.owes for account in accounts):
        for account in accounts:
            account.begin_again()
        rounds.append(once())
    return rounds


def _run_here(
    ordered: Sequence[RunTask], edges: Sequence[tuple[int, int]], accounts: Sequence[Account]
) -> list[dict[str, Any]]:
    for account in accounts:
        account.call_back("")
        if account.broken:
            raise StageError("starting a task", account.broken)

    def once() -> dict[str, Any]:
        tasks = [
            engine.clone(
                run.task,
                process_function=run.work,
                check_function=account.is_done if account.checks else None,
            )
            for run, account in zip(ordered, accounts, strict=True)
        ]
        return engine.run_here(tasks, edges, accounts)

    return _in_rounds(once, accounts)


def _run_there(
    ordered: Sequence[RunTask],
    edges: Sequence[tuple[int, int]],
    accounts: Sequence[Account],
    place: Place | None,
    logs: Path | None,
) -> list[dict[str, Any]]:
    folder = log_folder(logs)

    def once() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="cytovox-notes-") as scratch:
            notes = [Path(scratch, str(i)) for i in range(len(ordered))]
            tasks, states = _serve(ordered, edges, accounts, place, folder, notes)
            for account, task, noted in zip(accounts, tasks, notes, strict=True):
                account.conclude(states[account.stage], task, noted, folder)
        return states

    rounds = _in_rounds(once, accounts)
    if not any(account.failures() for account in accounts):
        shutil.rmtree(folder, ignore_errors=True)
        if logs is not None:
            with contextlib.suppress(OSError):  # those of another run
                logs.rmdir()
    return rounds


def _serve(
    ordered: Sequence[RunTask],
    edges: Sequence[tuple[int, int]],
    accounts: Sequence[Account],
    place: Place | None,
    folder: Path,
    notes: Sequence[Path],
) -> tuple[list[Any], dict[str, Any]]:
    """Let daisy do the tasks; return those that it was given, and their states."""
    remote = None if place is None or isinstance(place, LocalPlace) else place
    host = "127.0.0.1" if remote is None else remote.host
    patience = 0.0 if remote is None else 0.5
    with Desk(host) as desk, _Clerk(desk, accounts, patience) as clerk:
        tasks = [
            engine.clone(
                run.task,
                process_function=make_slot(desk.address, desk.key, i, _portable(remote), folder),
                check_function=account.is_done if account.checks else None,
                notes=notes[i],
            )
            for i, (run, account) in enumerate(zip(ordered, accounts, strict=True))
        ]

        def tell(states: dict[str, Any]) -> None:
            server.begun.set()
            for account in accounts:
                account.started(states)

        run = functools.partial(
            engine.run_server, tasks, edges, host=host, folder=folder, on_progress=tell
        )
        server = _Server(run)
        states = server.states(clerk.abandon)
    return tasks, states


class _Server(threading.Thread):
    """Daisy's server in a thread of its own, so that signals reach the main one.

    Daisy takes Ctrl-C for itself, and answers it only when the blocks that are
    being worked on have ended. Once it runs, signals are given back to Python.
    """

    def __init__(self, run: Callable[[], dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self.begun = threading.Event()
        self._ended = threading.Event()
        self._run = run
        self._states: dict[str, Any] = {}
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run daisy."""
        try:
            self._states = self._run()
        except BaseException as err:  # raised again where it is waited for
            self._error = err
        self.begun.set()
        self._ended.set()

    def states(self, abandon: Callable[[], None]) -> dict[str, Any]:
        """Wait for the end; if something comes in between, end all workers first."""
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGINT)
        self.start()
        try:
            self.begun.wait()
            if main and before is not None:
                signal.signal(signal.SIGINT, before)
            self._ended.wait()
        except BaseException:
            abandon()
            self._ended.wait(_END)
            raise
        if self._error is not None:
            raise self._error
        return self._states


def _portable(place: Place | None) -> Any:
    """Return a place that another process can use."""
    return _DaskSpec(place.address, place.host) if isinstance(place, DaskPlace) else place


@dataclass(frozen=True, slots=True)
class _DaskSpec:
    """A Dask cluster that is joined where it is needed."""

    address: str
    host: str

    def __reduce__(self) -> tuple[Any, ...]:
        return DaskPlace, (self.address, 1, self.host)


class _Clerk:
    """Hears what the guards in the workers tell, and writes it down."""

    def __init__(self, desk: Desk, accounts: Sequence[Account], patience: float) -> None:
        self._desk = desk
        self._patience = patience
        self._accounts = accounts
        self._busy: dict[Link, tuple[BlockKey, float]] = {}
        self._welcomes = [_welcome(account.run) for account in accounts]
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._error: BaseException | None = None
        self._links: set[Link] = set()
        self._abandoned = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def abandon(self) -> None:
        """End all workers, in the middle of their blocks, and do no more."""
        self._abandoned = True
        for account in self._accounts:
            account.broken = account.broken or "the run was stopped"
        for link in list(self._links):
            link.hang_up()

    def __exit__(self, *exc: object) -> None:
        self._desk.post(Message("ended", self))
        self._thread.join()
        if self._error is not None and exc[0] is None:
            raise self._error

    def _work(self) -> None:
        with contextlib.suppress(OSError):
            for message in self._messages():
                try:
                    self._attend(message)
                except Exception as err:  # the journal cannot be written any more
                    self._error = self._error or err
                    self.abandon()

    def _messages(self) -> Iterator[Message]:
        while True:
            message = self._desk.next()
            if message is None:
                continue
            if message.sender is not self:
                yield message
                continue
            # What was told before the last block was given back may still come.
            while (message := self._desk.next(self._patience)) is not None:
                yield message
            return

    def _attend(self, message: Message) -> None:
        link = message.sender
        if message.kind == "joined":
            self._links.add(link)
            self._welcome(link)
            return
        account = self._accounts[link.hello["number"]]
        worker = f"{link.hello['machine']}:{link.hello['pid']}"
        if message.kind == "left":
            self._links.discard(link)
            busy = self._busy.pop(link, None)
            if busy is not None and not self._abandoned:
                account.dies(busy[0], worker, time.monotonic() - busy[1])
            return
        kind, *content = message.content
        if self._abandoned:
            if kind == "begin":
                link.send(True)
            return
        if kind == "begin":
            shall_begin = account.shall_begin(content[0])
            if shall_begin:
                self._busy[link] = content[0], time.monotonic()
                account.begins(content[0], worker)
            link.send(shall_begin)
        elif kind == "end":
            self._busy.pop(link, None)
            account.ends(content[0], content[1])
        elif kind == "unfit":
            logger.warning("a worker of %s failed:\n%s", account.stage, content[1])
            account.unfit += 1
            if account.unfit >= _UNFIT:
                account.broken = f"no worker can do this: {content[0]}"

    def _welcome(self, link: Link) -> None:
        number = link.hello.get("number", -1)
        if not 0 <= number < len(self._accounts):
            link.hang_up()
            return
        account = self._accounts[number]
        if link.hello.get("versions") != told_versions():
            account.broken = (
                f"a worker on {link.hello.get('machine')} has {link.hello.get('versions')}, "
                f"but this process {told_versions()}"
            )
        if "lost" in link.hello:
            account.stillborn += 1
            if account.stillborn >= _UNFIT:
                said = stillborn(account.stillborn, link.hello["lost"])
                account.broken = account.broken or said
        elif account.run.init_callback is not None and not account.called_back:
            context = engine.context_from(link.hello["context"])
            account.call_back(engine.shared_context(context))
        link.send(self._welcomes[number])
        # Whoever is told a reason fails all blocks with it.
        link.send(account.broken or None)


def _welcome(run: RunTask) -> dict[str, Any]:
    check = None if run.check_after is None else pickled(run.check_after)
    job = TaskJob(pickled(run.sent), check)
    return {"job": pickled(job), "sys_path": list(sys.path)}
