"""A crew of workers that do independent blocks, wherever they are.

The foreman hears what happens, one thing at a time, and gives each worker one
block at a time. So it is known at any time who works on what: a worker that
dies or is too slow costs one attempt at one block, and nothing else is lost.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..run.executor import Serial, WorkerError, tail_of
from ..run.team import LostWorkerError
from .attempt import Outcome, packed, told_versions
from .block_engine import BlockWork, GridSource, _ready
from .desk import Desk, Link, Message
from .pickling import pickled
from .places import Handle, Place
from .workers import BlockLoop, stillborn

__all__ = ["Crew"]

logger = logging.getLogger(__name__)

#: Seconds after a time limit until a worker that did not stop itself is killed.
_GRACE = 3.0
#: Seconds that workers get to end by themselves.
_END = 5.0
#: Seconds to wait for the reason when a line breaks; others wait as well.
_FAREWELL = 0.5
#: Workers that may end in a row without ever having been ready.
_STILLBORN = 4
#: Seconds without any worker after which somebody should be told.
_LONELY = 30.0


@dataclass(slots=True, eq=False)
class _Started:
    """A worker that was started."""

    number: int
    handle: Handle
    log: Path
    ready: bool = False


@dataclass(slots=True, eq=False)
class _Member:
    """A worker that has called."""

    link: Link
    started: _Started
    block: Any = None
    since: float = 0.0
    ready: bool = False
    name: str = field(default="")


class Crew:
    """Workers at one place with one function; to be used with ``with``."""

    def __init__(
        self,
        place: Place,
        function: Callable[[Any], Any],
        folder: Path,
        *,
        timeout: float | None = None,
        memory: int | None = None,
    ) -> None:
        self.place = place
        self.folder = folder
        self.timeout = timeout
        job = BlockLoop(pickled(function), timeout, memory)
        self._welcome = {"job": pickled(job), "sys_path": list(sys.path)}
        self._desk = Desk(place.host)
        self._started: dict[int, _Started] = {}
        self._members: dict[Link, _Member] = {}
        self._number = 0
        self._stillborn = 0

    def __enter__(self) -> Self:
        self._desk.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._dismiss()
        for member in self._members.values():
            member.link.hang_up()
        for started in self._started.values():
            started.handle.kill()
        for started in self._started.values():
            started.handle.wait(_END)
        self._desk.__exit__(kind, error, traceback)

    def run(self, source: GridSource, work: BlockWork) -> None:
        """Do all blocks; return when each is done or given up, or none works."""
        self._ledger = ledger = work.ledger
        self._source, self._work = source, work
        alone = time.monotonic()
        while ledger.left and not (
            ledger.none_works and all(member.block is None for member in self._members.values())
        ):
            self._staff()
            message = self._next_message()
            if message is not None:
                self._attend(message)
            if self._members:
                alone = time.monotonic()
            elif lost := self.place.lost():
                raise WorkerError(lost, hint="the same command goes on when it is there again")
            elif time.monotonic() - alone > _LONELY:
                alone = time.monotonic()
                ledger.warn(
                    "no worker has called for 30 s; they must be able to reach "
                    f"{self._desk.address[0]} port {self._desk.address[1]}"
                )
            self._stop_slow()

    def _staff(self) -> None:
        """See to it that there are as many workers as can be useful."""
        for _ in range(min(self.place.workers, self._ledger.left) - len(self._started)):
            self._number += 1
            log = self.folder / f"worker-{self._number}.log"
            host, port = self._desk.address
            call = [host, str(port), str(self._number)]
            handle = self.place.start(call, self._desk.key, log)
            started = _Started(self._number, handle, log)
            self._started[self._number] = started
            watch = threading.Thread(target=self._watch, args=(started,), daemon=True)
            watch.start()

    def _watch(self, started: _Started) -> None:
        how = started.handle.wait()
        self._desk.post(Message("ended", started, how))

    def _next_message(self) -> Message | None:
        limits = [_LONELY]
        if self.timeout is not None:
            now = time.monotonic()
            limits += [
                member.since + self.timeout + _GRACE - now
                for member in self._members.values()
                if member.block is not None
            ]
        return self._desk.next(max(0.0, min(limits)))

    def _attend(self, message: Message) -> None:
        if message.kind == "said":
            self._hear(self._members.get(message.sender), message.content)
        elif message.kind == "joined":
            self._welcome_in(message.sender)
        elif message.kind == "left":
            self._part(message.sender)
        elif message.kind == "ended":
            self._end(message.sender, str(message.content))

    def _welcome_in(self, link: Link) -> None:
        started = self._started.get(link.hello.get("number", -1))
        if started is None:
            link.hang_up()
            return
        versions = link.hello.get("versions")
        if versions != told_versions():
            raise WorkerError(
                f"a worker on {link.hello.get('machine')} has {versions}, "
                f"but this process {told_versions()}",
                hint="install the same versions everywhere",
            )
        name = f"{link.hello.get('machine')}:{link.hello.get('pid')}"
        self._members[link] = _Member(link, started, name=name)
        link.send(self._welcome)

    def _hear(self, member: _Member | None, content: Any) -> None:
        if member is None:
            return
        if isinstance(content, Outcome):
            block, member.block = member.block, None
            self._ledger.settle(block, content._replace(worker=member.name))
            self._elsewhere()
        elif content[0] == "unfit":
            raise WorkerError(
                f"a worker cannot load the function: {content[1]}",
                worker_traceback=content[2],
                hint="what it needs must be importable in a new process",
            )
        else:
            member.ready = member.started.ready = True
            self._stillborn = 0
        self._assign(member)
        if member.block is None:
            return
        for other in self._members.values():  # who found nothing to do before
            if other.ready and other.block is None:
                self._assign(other)

    def _assign(self, member: _Member) -> None:
        ready = next(_ready(self._source, [self._work], Serial(), {}), None)
        if ready is None:
            return
        block = ready.block
        member.block = block
        member.since = time.monotonic()
        self._ledger.begin(block)
        member.link.send(packed(block))  # if it is gone, that is told separately

    def _part(self, link: Link) -> None:
        """Say farewell to a worker whose line is broken."""
        member = self._members.pop(link, None)
        if member is None:
            return
        link.hang_up()
        seconds = time.monotonic() - member.since
        if member.block is None:
            return
        how = member.started.handle.wait(_FAREWELL) or "has lost its line to this process"
        log = tail_of(member.started.log)
        late = self.timeout is not None and seconds >= self.timeout
        lost = LostWorkerError(
            how, worker=member.name, how=how, seconds=seconds, log=log, is_late=late
        )
        self._ledger.died(member.block, lost)
        self._elsewhere()
        for other in self._members.values():
            if other.ready and other.block is None:
                self._assign(other)

    def _end(self, started: _Started, how: str) -> None:
        """Record that a place has ended, so that another worker can start."""
        if self._started.pop(started.number, None) is None:
            return
        if not started.ready:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN + self.place.workers:
                text = tail_of(started.log)
                raise WorkerError(
                    stillborn(self._stillborn, how)
                    + (f": {text.splitlines()[-1]}" if text else ""),
                    worker_traceback=text,
                )

    def _elsewhere(self) -> None:
        self._ledger.look_elsewhere(lambda count: self._source.spread(self._work, count))

    def _stop_slow(self) -> None:
        if self.timeout is None:
            return
        now = time.monotonic()
        for member in self._members.values():
            if member.block is not None and now - member.since >= self.timeout + _GRACE:
                member.since = now - self.timeout  # do not kill it again and again
                member.link.hang_up()
                member.started.handle.kill()

    def _dismiss(self) -> None:
        """Let all workers end by themselves."""
        for member in self._members.values():
            member.link.send(None)
        end = time.monotonic() + _END
        for member in self._members.values():
            member.started.handle.wait(max(0.0, end - time.monotonic()))
