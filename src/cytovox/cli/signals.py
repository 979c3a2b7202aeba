"""Stopping from outside: Ctrl-C, and what a shell or a scheduler sends.

The first signal asks for an end in order, which gets a few seconds. When they
are over, or with the second signal, all worker processes are killed and this
one ends at once. That costs no more than a kill from outside would: whatever
was finished before is found again by the next run.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from ..errors import InterruptedRunError

__all__ = [
    "STOPPED_TEXT",
    "Stopped",
    "end_now",
    "exit_code_of_interrupt",
    "resumable",
    "stop_gently",
    "stop_on_signals",
]

#: What is said when work was stopped that can be resumed.
STOPPED_TEXT = "stopped; the same command resumes from here"
#: Signals that mean "stop"; not every system has each.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
#: Seconds that work gets to end in order; with the rest it makes three.
_LIMIT = 2.3
#: Undoes what progress bars do to a terminal.
_SHOW_CURSOR = "\x1b[?25h"


class Stopped(KeyboardInterrupt):
    """A signal of this number asked us to stop; cleaned up after like Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


def exit_code_of_interrupt(error: BaseException) -> int:
    """Return 128 plus the number of the signal, the custom of shells."""
    return _exit_code(int(getattr(error, "number", signal.SIGINT)))


def _exit_code(number: int) -> int:
    if number == getattr(signal, "SIGBREAK", None):  # Ctrl-Break is an interrupt, too
        number = signal.SIGINT
    return 128 + number


def end_now(code: int) -> NoReturn:
    """End this process and all its workers at once."""
    from ..run.children import kill_children

    kill_children()
    os._exit(code)


class _Watch:
    """Receives signals in a thread of its own, whatever the main thread is doing.

    The main thread can only answer between two of its instructions, and one
    of these may take long. So the system also writes the number of each signal
    into a socket, at whose other end a thread listens.
    """

    def __init__(self, limit: float, *, is_worker: bool) -> None:
        self.received: list[int] = []
        self.resumable = 0
        self._limit = limit
        self._is_worker = is_worker
        self._requests: list[Callable[[], None]] = []
        self._noted: list[int] = []
        self._before: dict[int, object] = {}
        self._closing = False
        self._ending = threading.Lock()

    def __enter__(self) -> _Watch:
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._thread = threading.Thread(target=self._listen, name="cytovox-signals", daemon=True)
        self._thread.start()
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._note_lost
        self._wakeup = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for name in _NAMES:
            number = getattr(signal, name, None)
            # What was ignored from the start, as under nohup, stays so.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._answer)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, previous in self._before.items():
            signal.signal(number, previous)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        sys.unraisablehook = self._unraisable
        self._closing = True
        self._sender.send(b"\0")
        self._thread.join()
        self._receiver.close()
        self._sender.close()

    def _answer(self, number: int, frame: FrameType | None) -> None:
        """Run in the main thread when a signal has come."""
        self.received.append(number)
        if len(self.received) > 1:
            if self._is_worker:  # it may come from the parent and from outside
                return
            self._end(number)
        if not self._requests:
            raise Stopped(number)

    def _note_lost(self, lost: sys.UnraisableHookArgs) -> None:
        """Say nothing of a `Stopped` that a callback has lost: the listener ends the process."""
        if not isinstance(lost.exc_value, Stopped):
            self._unraisable(lost)

    def _listen(self) -> None:
        limit: float | None = None
        while select.select([self._receiver], [], [], limit)[0]:
            for number in self._receiver.recv(16):
                if self._closing and not number:
                    return
                if number in self._before:
                    self._noted.append(number)
                    if not self._is_worker:
                        if len(self._noted) > 1:
                            self._end(number)
                        limit = self._limit
                    self._ask()
        self._end(self._noted[0])

    def _ask(self) -> None:
        for request in self._requests[-1:]:
            request()

    def _end(self, number: int) -> None:
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()  # the other thread ends the process
        # There may be no reader.
        if not hasattr(select, "poll") or select.select([], [2], [], 0.1)[1]:
            text = STOPPED_TEXT if self.resumable else "stopped"
            cursor = _SHOW_CURSOR if sys.stderr.isatty() else ""
            with contextlib.suppress(OSError):
                os.write(2, f"{cursor}{text}\n".encode())
        end_now(_exit_code(number))

    @contextmanager
    def passing_on(self, request: Callable[[], None]) -> Iterator[None]:
        self._requests.append(request)
        if self._noted:  # it may have been received before it could be passed on
            request()
        try:
            yield
        finally:
            self._requests.pop()


_watch: _Watch | None = None


@contextmanager
def stop_on_signals(limit: float = _LIMIT, *, is_worker: bool = False) -> Iterator[list[int]]:
    """Turn signals that mean "stop" into `Stopped`, raised in the main thread.

    Yields the list of signals received so far, since a parser in between may
    replace the exception. `limit` seconds after the first one the process is
    ended, if it is still in the block then and no worker, which its parent ends.
    Within another such block, that one does it. Does nothing outside the main
    thread, where Python allows no handlers.
    """
    global _watch
    if _watch is not None or threading.current_thread() is not threading.main_thread():
        yield [] if _watch is None else _watch.received
        return
    watch = _Watch(limit, is_worker=is_worker)
    with watch:
        _watch = watch
        try:
            yield watch.received
        finally:
            _watch = None


@contextmanager
def resumable() -> Iterator[None]:
    """Note that the same command resumes the work of this block if it is stopped."""
    with stop_on_signals():
        if _watch is None:
            yield
            return
        _watch.resumable += 1
        try:
            yield
        finally:
            if _watch is not None:
                _watch.resumable -= 1


@contextmanager
def stop_gently(request: Callable[[], None], *, resumes: bool = True) -> Iterator[None]:
    """Pass the first signal on as a request, so that work ends at a good place.

    `resumes` says whether the same command resumes the work.

    An exception that is raised wherever the program happens to be can be lost
    in a callback, or come between making a file and noting it. So `request` is
    called instead, from a thread of its own, for a handler may have interrupted a
    thread that holds the locks that it needs. `InterruptedRunError` becomes
    `Stopped`, which is raised at the end of the block at the latest. A second
    signal, and the end of the time that the work is given, end the process at once.
    """
    with stop_on_signals() as received, resumable() if resumes else contextlib.nullcontext():
        passing = contextlib.nullcontext() if _watch is None else _watch.passing_on(request)
        try:
            with passing:
                yield
        except InterruptedRunError as error:
            if not received:
                raise
            raise Stopped(received[0]) from error
        if received:
            raise Stopped(received[0])
