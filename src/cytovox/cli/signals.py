"""Stopping from outside: Ctrl-C, and what a shell or a scheduler sends."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import InterruptedRunError

__all__ = ["Stopped", "exit_code_of_interrupt", "stop_gently", "stop_on_signals"]

#: Signals beside SIGINT that mean "stop"; not every system has each.
_NAMES = ("SIGTERM", "SIGHUP", "SIGBREAK")

_Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """A signal asked us to stop; cleaned up after like Ctrl-C.

    Parameters
    ----------
    number
        Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by signal {number}")
        self.number = number


def exit_code_of_interrupt(error: BaseException) -> int:
    """Return 128 plus the number of the signal, the custom of shells.

    Examples
    --------
    >>> exit_code_of_interrupt(KeyboardInterrupt()), exit_code_of_interrupt(Stopped(15))
    (130, 143)
    """
    return 128 + int(getattr(error, "number", signal.SIGINT))


@contextmanager
def stop_on_signals() -> Iterator[list[int]]:
    """Turn signals that mean "stop" into `Stopped`, raised in the main thread.

    Yields the list of signals received so far, since a parser in between may
    replace the exception. Does nothing outside the main thread, where Python
    allows no handlers.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Stopped(number)

    with _handling(_NAMES, stop):
        yield received


@contextmanager
def stop_gently(request: Callable[[], None]) -> Iterator[None]:
    """Pass the first signal on as a request, so that work ends at a good place.

    An exception that is raised wherever the program happens to be can be lost
    in a callback, or come between making a file and noting it. So the first
    signal only calls `request`, from a thread of its own, for a handler may
    have interrupted whoever holds the locks that it needs. The second signal
    raises `Stopped` at once.

    Parameters
    ----------
    request
        Asks for an end; what then raises `InterruptedRunError` in this block
        becomes `Stopped`.

    Raises
    ------
    Stopped
        If there was a signal, at the end of the block at the latest.
    """
    received: list[int] = []
    inbox: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise Stopped(number)
        inbox.put(True)

    def pass_on() -> None:
        while inbox.get():
            request()

    messenger = threading.Thread(target=pass_on, name="cytovox-signals", daemon=True)
    messenger.start()
    try:
        with _handling(("SIGINT", *_NAMES), stop):
            yield
    except InterruptedRunError as error:
        if not received:
            raise
        raise Stopped(received[0]) from error
    finally:
        inbox.put(False)
        messenger.join()
    if received:
        raise Stopped(received[0])


@contextmanager
def _handling(names: tuple[str, ...], handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for name in names:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
