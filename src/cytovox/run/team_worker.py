"""What a worker process of a team does, and how its parent sees that it is alive."""

from __future__ import annotations

import contextlib
import functools
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from .children import mp_spawn, settle_child
from .memory import limit_memory
from .worker_traceback import WorkerTraceback

__all__ = ["Heartbeat", "work"]


class Heartbeat:
    """Where a worker is within its unit, and since when, as its parent can see."""

    #: Sends something to the listener of the team.
    send: Callable[[Any], None] = staticmethod(lambda message: None)

    def __init__(self) -> None:
        self._memory = mp_spawn.RawArray("d", [time.monotonic(), -1])

    def __call__(self, at: int = -1) -> None:
        """Report that work on a part of the unit begins; the time limit starts anew."""
        self._memory[:] = [time.monotonic(), at]

    @property
    def since(self) -> float:
        """Time of the last beat, by the monotonic clock, which all processes share."""
        return float(self._memory[0])

    @property
    def at(self) -> int:
        """The part of the unit that is worked on, -1 if that is not known."""
        return int(self._memory[1])


def work(
    link: Connection,
    heartbeat: Heartbeat,
    load: bytes,
    shared: Sequence[Any],
    memory: int | None,
) -> None:
    """Do what comes through the pipe until its other end is closed."""
    settle_child()
    made: list[Callable[[Any, Heartbeat], Any]] = []
    sending = threading.Lock()  # a unit may send from several threads

    def send(message: bytes) -> None:
        with sending:
            link.send_bytes(message)

    heartbeat.send = lambda message: send(pickle.dumps(("message", message)))
    with link, contextlib.suppress(EOFError, OSError):
        send(_answer(lambda: made.append(_set_up(load, shared, memory)), heartbeat))
        while made:
            do = functools.partial(_do, made[0], link.recv_bytes(), heartbeat)
            heartbeat()
            send(_answer(do, heartbeat))


def _set_up(load: bytes, shared: Sequence[Any], memory: int | None) -> Any:
    function = pickle.loads(load)(*shared)
    limit_memory(memory)
    return function


def _do(function: Callable[[Any, Heartbeat], Any], unit: bytes, heartbeat: Heartbeat) -> Any:
    return function(pickle.loads(unit), heartbeat)


def _answer(do: Callable[[], Any], heartbeat: Heartbeat) -> bytes:
    """Return what something gives: its result or its error."""
    try:
        return pickle.dumps(("result", do()))
    except (Exception, SystemExit) as err:  # noqa: BLE001 - it reaches the parent
        return pickle.dumps(("error", WorkerTraceback.of(err, heartbeat.at)))
