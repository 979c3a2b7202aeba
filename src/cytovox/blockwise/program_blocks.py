"""Blocks on their way to a program that a worker has started, through a pipe with a key."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import queue
import secrets
import threading
from collections.abc import Mapping
from multiprocessing import AuthenticationError, connection
from pathlib import Path
from typing import Any, Protocol

from ..errors import StageError
from ..run.team_worker import WorkerTraceback

__all__ = ["ON_PATH", "VARIABLE", "Blocks", "ProgramServer", "Result", "blocks_of_worker"]

#: Environment variable that says where a program gets its blocks.
VARIABLE = "CYTOVOX_BLOCKS"
#: Folder that stands first on the path of programs; it has a package ``daisy``.
ON_PATH = Path(__file__).resolve().with_name("on-path")

Result = Mapping[str, Any] | None


class Blocks(Protocol):
    """Where a client gets its blocks."""

    task_id: str

    def take(self) -> Any:
        """Wait for a block and return it; None if there are no more."""

    def give_back(self, error: BaseException | None, result: Result) -> None:
        """Report how the block ended."""


class Feed(Blocks, Protocol):
    """Blocks of a loop."""

    def put_back(self, block: Any) -> None:
        """Let another one have a block."""


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


def blocks_of_worker() -> Blocks | None:
    told = os.environ.get(VARIABLE)
    return None if told is None else _BlocksOfWorker(*json.loads(told))
