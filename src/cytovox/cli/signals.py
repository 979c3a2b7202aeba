"""Stopping from outside: Ctrl-C, and what a shell or a scheduler sends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stopped", "exit_code_of_interrupt", "stop_on_signals"]

#: Signals beside SIGINT that mean "stop"; not every system has each.
_NAMES = ("SIGTERM", "SIGHUP", "SIGBREAK")


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
    return 128 + getattr(error, "number", int(signal.SIGINT))


@contextmanager
def stop_on_signals() -> Iterator[list[int]]:
    """Turn signals that mean "stop" into `Stopped`, raised in the main thread.

    Yields the list of signals received so far, since a parser in between may
    replace the exception. Does nothing outside the main thread, where Python
    allows no handlers.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Stopped(number)

    before = {}
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
