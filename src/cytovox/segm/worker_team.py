"""Workers that segment the frames of a slot together, and who watches them.

Every worker has a pipe of its own for what it is told and what it answers.
The one who waits, waits for all pipes and for the ends of all processes at
once, so a worker that was killed is noticed like one that answers. Nothing
is shared that a dead process could keep locked.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any, Protocol

from ..errors import CytovoxError, InterruptedRunError, StageError
from ..run.monitor import mp_spawn
from ..run.unit_timeout import unit_timeout
from .shared_frames import BatchView

__all__ = [
    "SegmenterWorkerError",
    "Work",
    "Worker",
    "WorkerTeam",
    "WorkerTraceback",
    "split_frames",
]

#: Seconds that workers get to end by themselves, then after being asked firmly.
_END = 2.0
#: How often a frame is tried.
_TRIES = 2


class WorkerTraceback(Exception):  # noqa: N818 - it is no error but tells of one
    """The traceback of an error in a worker, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class SegmenterWorkerError(StageError):
    """A worker of a segmenter has raised an error or was lost."""

    def __init__(
        self,
        what: str,
        *,
        frame_in_chunk: int | None = None,
        worker_traceback: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__("segment", what, hint=hint)
        self.frame_in_chunk = frame_in_chunk
        self.worker_traceback = worker_traceback


class Worker(Protocol):
    """What a team wants of a worker, process or thread."""

    name: str
    pipe: Connection
    mp_frame: Any

    def start(self) -> None:
        """Begin to wait for work."""

    def is_alive(self) -> bool:
        """Return whether it has begun and not ended."""

    def waitables(self) -> list[Any]:
        """Return what becomes ready when it answers or ends."""

    def hang_up(self) -> None:
        """Say that there will be no more work."""

    def end(self, seconds: float) -> None:
        """Wait for its end, then make it end."""

    def fate(self) -> tuple[str, int | None]:
        """Return its name in full, and its exit code if it has one."""


@dataclass(frozen=True, slots=True)
class Work:
    """Frames that a team shall segment.

    Parameters
    ----------
    slot
        Index of the slot, -1 for the batch.
    length
        Number of frames.
    of
        What they are frames of, for messages, e.g. ``"of chunk 3"``.
    view
        What lies in the batch.
    """

    slot: int
    length: int
    of: str
    view: BatchView | None = None


@dataclass(slots=True)
class _Share:
    """The part of the work that one worker does."""

    start: int
    stop: int
    deaths: Counter[int] = field(default_factory=Counter)
    at: int = -1
    since: float = field(default_factory=time.monotonic)
    late: bool = False

    def looked_at(self, frame: int, limit: float) -> bool:
        """Take note of the frame that is worked on; return whether it takes too long."""
        now = time.monotonic()
        if frame != self.at:
            self.at, self.since = frame, now
        self.late = now - self.since >= limit
        return self.late

    def __str__(self) -> str:
        first, last = self.start, self.stop - 1
        return f"frame {first}" if first == last else f"frames {first} to {last}"


def split_frames(length: int, count: int) -> list[tuple[int, int]]:
    """Divide frames evenly into contiguous ranges."""
    count = min(length, count)
    edges = [length * i // count for i in range(count + 1)] if count else [0]
    return list(zip(edges, edges[1:], strict=False))


class WorkerTeam:
    """Workers for the slots of one list, as many as are needed, at most `size`."""

    def __init__(
        self,
        make_worker: Callable[[int], Worker],
        size: int,
        *,
        ticket: Any,
        done: Any,
        logger: logging.Logger,
    ) -> None:
        self.size = size
        self.workers: list[Any] = []
        self.logger = logger
        self._make_worker = make_worker
        self._ticket = ticket
        self._done = done
        self._last_ticket = 0
        self._ready: set[int] = set()
        self._limit = unit_timeout()
        self._alarm, self._bell = mp_spawn.Pipe(duplex=False)

    def staff(self, count: int) -> None:
        """See to it that so many workers are there and alive."""
        for place in range(min(count, self.size)):
            if place == len(self.workers):
                self.workers.append(self._new_worker(place))
            elif not self.workers[place].is_alive():
                self.logger.warning(
                    "%s has ended while it had nothing to do; another one takes its place",
                    self.workers[place].fate()[0],
                )
                self._replace(place)

    def run(self, work: Work) -> None:
        """Segment frames; return when all are done."""
        ranges = split_frames(work.length, self.size)
        self.staff(len(ranges))
        self._last_ticket += 1
        self._ticket.value = self._last_ticket
        self._done.value = 0
        shares = {place: _Share(*limits) for place, limits in enumerate(ranges)}
        try:
            for place, share in shares.items():
                self._assign(place, share, work)
            while shares:
                for place in self._wait(shares):
                    if self._attend(place, shares[place], work):
                        del shares[place]
                        self._done.value += 1
        finally:
            self._ticket.value = 0  # who still works on this, stops

    def interrupt(self) -> None:
        """Let `run`, which may wait in another thread, end with an error."""
        self._ticket.value = 0
        with contextlib.suppress(OSError):  # stopped already
            self._bell.send(None)

    def stop(self) -> None:
        """End all workers; not while `run` is running."""
        self._dismiss()
        self._alarm.close()
        self._bell.close()

    def _dismiss(self) -> None:
        for worker in self.workers:
            worker.hang_up()
        end = time.monotonic() + _END
        for worker in self.workers:
            worker.end(max(0.0, end - time.monotonic()))
        self.workers.clear()

    def _new_worker(self, place: int) -> Worker:
        worker = self._make_worker(place)
        self._ready.discard(place)
        worker.start()
        return worker

    def _replace(self, place: int) -> None:
        lost = self.workers[place]
        lost.hang_up()
        lost.end(0)
        self.workers[place] = self._new_worker(place)

    def _assign(self, place: int, share: _Share, work: Work) -> None:
        share.at, share.since, share.late = -1, time.monotonic(), False
        message = (self._last_ticket, work.slot, share.start, share.stop, work.view)
        self.workers[place].mp_frame.value = -1
        with contextlib.suppress(OSError):  # it is dead, as will be noticed
            self.workers[place].pipe.send(message)

    def _wait(self, places: dict[int, _Share]) -> set[int]:
        """Return the places where something happens, once it does."""
        watched = {thing: i for i in places for thing in self.workers[i].waitables()}
        pause = None if self._limit is None else self._limit / 4
        while True:
            ready = connection.wait([*watched, self._alarm], pause)
            if self._alarm in ready:
                raise InterruptedRunError("the segmenter was closed while it was working")
            if ready:
                return {watched[thing] for thing in ready}
            if late := self._late(places):
                return late

    def _late(self, places: dict[int, _Share]) -> set[int]:
        """Return the places where a frame takes too long, after ending who works on it."""
        if self._limit is None:
            return set()
        late = set()
        for place, share in places.items():
            worker = self.workers[place]
            if share.looked_at(int(worker.mp_frame.value), self._limit):
                late.add(place)
                worker.end(0)
        return late

    def _attend(self, place: int, share: _Share, work: Work) -> bool:
        """See what a worker has to say; return whether it is done."""
        try:
            # A worker that is dead may have answered before.
            news = self._has_news(place) and not share.late
            reply = self.workers[place].pipe.recv() if news else None
        except (EOFError, OSError):
            reply = None
        if reply is None:
            self._mourn(place, share, work)
            return False
        kind, ticket, *details = reply
        if kind == "ready":
            self._ready.add(place)
        elif kind == "unfit":
            self._dismiss()  # the others will say the same, now or later
            raise _unfit(*details)
        elif ticket == self._last_ticket:
            if kind == "failed":
                raise _failed(*details, of=work.of)
            return True
        return False

    def _has_news(self, place: int) -> bool:
        return bool(self.workers[place].pipe.poll())

    def _mourn(self, place: int, share: _Share, work: Work) -> None:
        """Let another worker do what a lost one has left, but only once."""
        lost = self.workers[place]
        lost.hang_up()
        lost.end(_END)
        name, code = lost.fate()
        if place not in self._ready and code is not None and code > 0:
            raise SegmenterWorkerError(
                f"{name} could not start (exit code {code})",
                hint="a script that uses worker processes needs: if __name__ == '__main__':",
            )
        frame = int(lost.mp_frame.value)
        known = frame >= 0
        where = f"{share} {work.of}" + (f", at frame {frame}" if known else "")
        how = _cause(code)
        if share.late:
            how = f"was ended since this took longer than {self._limit:g} s"
        share.start = max(share.start, frame)  # those before are done
        share.deaths[share.start] += 1
        if share.deaths[share.start] >= _TRIES or (share.late and lost.is_alive()):
            again = "; so did its predecessor" if share.deaths[share.start] >= _TRIES else ""
            raise SegmenterWorkerError(
                f"{name} {how} while it worked on {where}{again}",
                frame_in_chunk=frame if known else None,
                hint="is there enough memory, and does the algorithm crash on these frames?"
                if not share.late
                else "does the algorithm hang? CYTOVOX_UNIT_TIMEOUT sets another limit",
            )
        self.logger.warning(
            "%s %s while it worked on %s; another one does these frames again", name, how, where
        )
        self._replace(place)
        self._assign(place, share, work)


def _cause(code: int | None) -> str:
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _unfit(name: str, text: str) -> SegmenterWorkerError:
    summary = text.strip().splitlines()[-1]
    error = SegmenterWorkerError(
        f"{name} cannot load the segmenter: {summary}",
        worker_traceback=text,
        hint="its class must be in a module or a file that a new process can import",
    )
    error.__cause__ = WorkerTraceback(text)
    return error


def _failed(frame: int, kind: str, text: str, pickled: bytes, *, of: str) -> SegmenterWorkerError:
    original: BaseException | None = None
    with contextlib.suppress(Exception):  # not every error can be rebuilt
        original = pickle.loads(pickled)
    hint = None
    if isinstance(original, MemoryError):
        hint = "memory is short; give fewer workers, or close other programs"
    if isinstance(original, CytovoxError):
        kind, hint = original.what, original.hint
    error = SegmenterWorkerError(
        f"{kind}, at frame {frame} {of}",
        frame_in_chunk=frame,
        worker_traceback=text,
        hint=hint,
    )
    told = WorkerTraceback(text)
    if isinstance(original, Exception):
        original.__cause__ = told
        error.__cause__ = original
    else:
        error.__cause__ = told
    return error
