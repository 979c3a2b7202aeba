"""A worker: a process that calls the desk of a run and does what it is told.

Run as ``python -m cytovox.blockwise.workers HOST PORT NUMBER``. It ends when
its job is done, when the line to the desk breaks, or when the process that
has started it ends; whatever comes first, and in the middle of a block, too.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import pickle
import platform
import queue
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..run.children import settle_child
from ..run.memory import limited_memory
from .attempt import Outcome, attempt, describe_error, told_traceback, told_versions
from .desk import connect
from .places import KEY_VARIABLE

__all__ = [
    "UNREACHABLE",
    "BlockLoop",
    "Line",
    "call_desk",
    "main",
    "serve",
    "stillborn",
]


#: Exit code of a worker that cannot reach its desk.
UNREACHABLE = 3


class BlockLoop:
    """A job: do blocks one after the other, until there are no more."""

    def __init__(self, function: bytes, timeout: float | None, memory: int | None) -> None:
        self.function = function
        self.timeout = timeout
        self.memory = memory

    def __call__(self, line: Line) -> None:
        """Do the job."""
        try:
            function = pickle.loads(self.function)
        except BaseException as err:
            line.send(("unfit", describe_error(err), told_traceback(err)))
            return
        with limited_memory(self.memory):
            self._loop(line, function)

    def _loop(self, line: Line, function: Callable[[Any], Any]) -> None:
        line.send(("ready",))
        while (block := line.receive()) is not None:
            if self.timeout is not None:
                # Ends the process even if the block holds the interpreter.
                faulthandler.dump_traceback_later(self.timeout, exit=True)
            outcome = attempt(lambda content: function(pickle.loads(content)), block)
            if self.timeout is not None:
                faulthandler.cancel_dump_traceback_later()
            try:
                line.send(outcome)
            except (pickle.PicklingError, AttributeError, TypeError, ValueError) as err:
                error = f"what the function returned cannot be sent: {describe_error(err)}"
                line.send(Outcome(None, outcome.seconds, outcome.peak_bytes, error))


class Line:
    """The worker's end of the line; if it breaks, the process ends."""

    def __init__(self, connection: Connection, context: str = "") -> None:
        self.context = context
        self._connection = connection
        self._heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, content: Any) -> None:
        """Tell the desk something."""
        try:
            with self._lock:
                self._connection.send(content)
        except OSError:
            os._exit(0)  # nobody waits for it any more

    def receive(self) -> Any:
        """Wait for what the desk says."""
        return self._heard.get()

    def _listen(self) -> None:
        try:
            while True:
                self._heard.put(self._connection.recv())
        except (EOFError, OSError):
            os._exit(0)  # even in the middle of a block
        except BaseException as err:  # what cannot be unpickled
            self.send(("unfit", describe_error(err), told_traceback(err)))
            os._exit(1)


def stillborn(count: int, how: str) -> str:
    """Tell of workers that have ended one after the other, and how the last one did."""
    return f"{count} workers in a row ended before they could begin; the last one {how}"


def main(arguments: list[str] | None = None) -> int:
    """Be a worker; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cytovox.blockwise.workers")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("number", type=int)
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--lifeline", action="store_true")
    parser.add_argument("--context", default="")
    asked = parser.parse_args(arguments)
    key = os.environ.pop(KEY_VARIABLE, "")
    if asked.key_file is not None:
        key = asked.key_file.read_text().strip()
    # What a command starts may outlive the command; a line of its own ends it.
    settle_child(os.getppid() if asked.lifeline else None)
    faulthandler.enable()
    if asked.lifeline:
        threading.Thread(target=_end_with_starter, daemon=True).start()
    logging.captureWarnings(True)
    line = call_desk(asked.host, asked.port, key, asked.number, asked.context)
    if line is None:
        return UNREACHABLE
    serve(line)
    return 0


def call_desk(
    host: str, port: int, key: str, number: int, context: str = "", **more: str
) -> Line | None:
    """Call a desk and say hello; return None if it cannot be reached."""
    hello = {
        "number": number,
        "pid": os.getpid(),
        "machine": platform.node(),
        "context": context,
        "versions": told_versions(),
        **more,
    }
    try:
        return Line(connect(host, port, key, hello), context)
    except OSError as err:
        # The run may just have ended; if not, this tells why nobody came.
        sys.stderr.write(f"cannot reach {host}:{port}: {err}\n")
        return None


def serve(line: Line) -> None:
    """Do the job that the desk gives."""
    told = line.receive()
    sys.path[:] = [*told["sys_path"], *(p for p in sys.path if p not in told["sys_path"])]
    pickle.loads(told["job"])(line)


def _end_with_starter() -> None:
    """End when the pipe from who has started this process breaks."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    # Run as a script this is another module than the one that others import.
    from cytovox.blockwise.workers import main as run_main

    code = run_main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that wait for nothing need not be waited for.
    os._exit(code)
