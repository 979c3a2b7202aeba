"""Blocks on their way to the loop of a worker file: in a thread, or in a program.

A `Feed` runs a loop in a thread, gives it one block after the other, and hears how
each ended. A program that the loop has started gets blocks of the same feed through
a pipe with a key.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from multiprocessing import AuthenticationError, connection
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import StageError
from ..run.team_worker import WorkerTraceback

__all__ = [
    "ON_PATH",
    "VARIABLE",
    "Ended",
    "Feed",
    "Given",
    "ProgramServer",
    "Result",
    "blocks_here",
]

#: Environment variable that says where a program gets its blocks.
VARIABLE = "CYTOVOX_BLOCKS"
#: Folder that stands first on the path of programs; it has a package ``daisy``.
ON_PATH = Path(__file__).resolve().with_name("on-path")

#: Seconds without a block after which a loop ends; it is begun again for the next one.
_IDLE = 600.0

Result = Mapping[str, Any] | None


class Given(NamedTuple):
    """A block was given back."""

    error: BaseException | None
    result: Result


class Ended(NamedTuple):
    """The loop has ended."""

    error: BaseException | None


class _OfThread(threading.local):
    feed: Feed | None = None


_of_thread = _OfThread()


class Feed:
    """Blocks on their way to a loop that runs in a thread, and back."""

    def __init__(self, loop: Callable[[], Any], task_id: str) -> None:
        self.task_id = task_id
        self.offered: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[Given | Ended] = queue.SimpleQueue()
        self.has_ended = False
        self.thread = threading.Thread(target=self._run, args=(loop,), name=task_id, daemon=True)
        self._holder: threading.Thread | None = None

    def take(self) -> Any:
        """Wait for the next block; None if there are no more, or none comes for long."""
        try:
            block = self.offered.get(timeout=_IDLE)
        except queue.Empty:
            return None
        if block is None:
            self.offered.put(None)  # for the next one who asks
        else:
            self._holder = threading.current_thread()
        return block

    def give_back(self, error: BaseException | None, result: Result) -> None:
        """Report how the block ended."""
        self._holder = None
        self.told.put(Given(error, result))

    def put_back(self, block: Any) -> None:
        """Let another one have a block."""
        self._holder = None
        self.offered.put(block)

    def _run(self, loop: Callable[[], Any]) -> None:
        _of_thread.feed = self
        error: BaseException | None = None
        try:
            loop()
        except (Exception, SystemExit) as err:
            # A command that has ended well ends with SystemExit, too.
            error = None if isinstance(err, SystemExit) and not err.code else err
        if self._holder is threading.current_thread():
            self.give_back(error or StageError("worker", "it ended while it had the block"), None)
        self.told.put(Ended(error))


class ProgramServer:
    """Gives the blocks of a loop to programs that it starts from now on.

    They connect to a pipe of this machine, which has a key of its own. A program
    that ends while it has a block fails this block.
    """

    def __init__(self, feed: Feed, seconds: float | None) -> None:
        self._feed = feed
        self._key = secrets.token_bytes(32)
        self._listener = connection.Listener(authkey=self._key)
        self._is_open = True
        threading.Thread(target=self._accept, daemon=True).start()
        told = [self._listener.address, self._key.hex(), feed.task_id, seconds]
        os.environ[VARIABLE] = json.dumps(told)
        before = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(ON_PATH), *before]))

    def close(self) -> None:
        """Listen no more."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError, EOFError, AuthenticationError):
                # It wakes the thread that accepts.
                connection.Client(self._listener.address, authkey=self._key).close()
            self._listener.close()

    def _accept(self) -> None:
        while self._is_open:
            try:
                line = self._listener.accept()
            except (OSError, EOFError, AuthenticationError):
                continue  # someone else, or a program that has ended meanwhile
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: connection.Connection) -> None:
        with line, contextlib.suppress(EOFError, OSError):
            while line.recv() is None:  # it asks for a block
                block = self._feed.take()
                try:
                    line.send(block)
                except OSError:
                    self._feed.put_back(block)
                    return
                if block is None:
                    return
                try:
                    raised, result = line.recv()
                except (EOFError, OSError):
                    told = StageError("worker", "the program ended while it had the block")
                    self._feed.give_back(told, None)
                    return
                self._feed.give_back(None if raised is None else raised.error(), result)


class _BlocksOfWorker:
    """What a program gets from its worker."""

    def __init__(self, address: Any, key: str, task_id: str, seconds: float | None) -> None:
        self.task_id = task_id
        self._seconds = seconds
        self._address = address
        self._key = bytes.fromhex(key)
        self._heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._line: Any = None
        self._has_block = False

    def take(self) -> Any:
        """Ask for a block."""
        if self._line is None:
            try:
                self._line = connection.Client(self._address, authkey=self._key)
            except OSError:  # the run has ended
                return None
            threading.Thread(target=self._listen, daemon=True).start()
        with contextlib.suppress(OSError):
            self._line.send(None)
        block = self._heard.get()
        self._has_block = block is not None
        if self._has_block and self._seconds is not None:
            # It ends even if the block holds the interpreter, as its worker does.
            faulthandler.dump_traceback_later(self._seconds, exit=True)
        return block

    def give_back(self, error: BaseException | None, result: Result) -> None:
        """Send how the block ended."""
        self._has_block = False
        faulthandler.cancel_dump_traceback_later()
        self._line.send((None if error is None else WorkerTraceback.of(error), result))

    def _listen(self) -> None:
        try:
            while True:
                self._heard.put(self._line.recv())
        except (EOFError, OSError):
            if self._has_block:
                os._exit(1)  # the worker is gone, and another one may do this block
            self._heard.put(None)


def blocks_here() -> Feed | _BlocksOfWorker | None:
    """Return where the client of this thread, or of this program, gets its blocks."""
    if _of_thread.feed is not None:
        return _of_thread.feed
    told = os.environ.get(VARIABLE)
    return None if told is None else _BlocksOfWorker(*json.loads(told))
