"""What a worker process of a team does: its beats and errors, as its parent gets them."""

from __future__ import annotations

import contextlib
import functools
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from ..errors import StageError
from .children import mp_spawn, settle_child

__all__ = ["Heartbeat", "WorkerTraceback", "shortened", "work"]

#: Characters of a text or traceback, and bytes of an exception, that are passed on.
_MOST_TEXT, _MOST_BYTES = 16_000, 1 << 20


class WorkerTraceback(Exception):  # noqa: N818 - it is the cause of an error, not one
    """An exception of another process: its type, text, traceback and place.

    It is sent in place of the exception. `error` makes an exception of the same
    type again, of which this one is the cause.
    """

    def __init__(
        self, kind: str, text: str, trace: str, pickled: bytes = b"", at: int = -1
    ) -> None:
        super().__init__(kind, text, trace, pickled, at)
        self.kind = kind
        self.text = text
        self.trace = trace
        self.at = at
        self.unit: Any = None
        self._pickled = pickled

    @classmethod
    def of(cls, error: BaseException, at: int = -1) -> WorkerTraceback:
        """Return what is sent of an exception that has just been caught."""
        try:
            pickled = pickle.dumps(error)
        except Exception:  # noqa: BLE001 - then its text must do
            pickled = b""
        if len(pickled) > _MOST_BYTES:  # perhaps it has the block with it
            pickled = b""
        trace = shortened("".join(traceback.format_exception(error)))
        return cls(type(error).__name__, shortened(str(error)), trace, pickled, at)

    def error(self, stage: str = "worker", **place: Any) -> Exception:
        """Return the exception; a `StageError` with its text where it cannot be rebuilt."""
        original: BaseException | None = None
        with contextlib.suppress(Exception):  # its class may be unknown here
            original = pickle.loads(self._pickled)
        if not isinstance(original, Exception):
            original = StageError(stage, f"{self.kind}: {self.text}", **place)
        original.__cause__ = self
        return original

    def __str__(self) -> str:
        return f"\n{self.trace}"


def shortened(text: str, limit: int = _MOST_TEXT) -> str:
    """Return a text without its middle if it has more characters than `limit`."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} ... [{len(text) - 2 * half} characters] ... {text[-half:]}"


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


def work(link: Connection, heartbeat: Heartbeat, load: bytes, shared: Sequence[Any]) -> None:
    """Do what comes through the pipe until its other end is closed."""
    settle_child()
    made: list[Callable[[Any, Heartbeat], Any]] = []
    sending = threading.Lock()  # a unit may send from several threads

    def send(message: bytes) -> None:
        with sending:
            link.send_bytes(message)

    heartbeat.send = lambda message: send(pickle.dumps(("message", message)))
    with link, contextlib.suppress(EOFError, OSError):
        send(_answer(lambda: made.append(pickle.loads(load)(*shared)), heartbeat))
        while made:
            do = functools.partial(_do, made[0], link.recv_bytes(), heartbeat)
            heartbeat()
            send(_answer(do, heartbeat))


def _do(function: Callable[[Any, Heartbeat], Any], unit: bytes, heartbeat: Heartbeat) -> Any:
    return function(pickle.loads(unit), heartbeat)


def _answer(do: Callable[[], Any], heartbeat: Heartbeat) -> bytes:
    """Return what something gives: its result or its error."""
    try:
        return pickle.dumps(("result", do()))
    except (Exception, SystemExit) as err:  # noqa: BLE001 - it reaches the parent
        return pickle.dumps(("error", WorkerTraceback.of(err, heartbeat.at)))
