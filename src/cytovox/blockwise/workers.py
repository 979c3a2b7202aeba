"""A worker: a process that calls the desk of a run and does what it is told.

Run as ``python -m cytovox.blockwise.workers HOST PORT NUMBER``. It ends when
its job is done, when the line to the desk breaks, or when the process that
has started it ends; whatever comes first, and in the middle of a block, too.
"""

from __future__ import annotations

import argparse
import errno
import faulthandler
import functools
import logging
import os
import pickle
import platform
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import StorageError, UsageError
from ..run.children import settle_child
from ..run.memory import limit_memory, peak_bytes, restart_peak
from .desk import connect
from .places import KEY_VARIABLE

__all__ = [
    "UNREACHABLE",
    "BlockLoop",
    "Line",
    "Outcome",
    "attempt",
    "call_desk",
    "describe_error",
    "failure_of",
    "main",
    "serve",
    "stillborn",
    "told_traceback",
    "told_versions",
]


#: Exit code of a worker that cannot reach its desk.
UNREACHABLE = 3
#: What the system says if there is no room.
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Outcome(NamedTuple):
    """How an attempt at a block ended.

    Parameters
    ----------
    result
        What the function returned; None if it failed.
    seconds, peak_bytes
        How long it took and how much memory the process needed at most.
    error, traceback
        What was raised, empty if nothing was.
    hopeless
        Whether another attempt would fail in the same way.
    full
        Whether it failed since the storage is full, so that all others would.
    """

    result: Any
    seconds: float
    peak_bytes: int | None
    error: str = ""
    traceback: str = ""
    hopeless: bool = False
    full: bool = False


def attempt(function: Callable[[Any], Any], block: Any) -> Outcome:
    """Do a block; what it raises becomes part of the outcome."""
    restart_peak()
    start = time.perf_counter()
    try:
        result = function(block)
    except KeyboardInterrupt:
        raise
    except SystemExit as err:  # a block may not end its worker
        seconds = time.perf_counter() - start
        error = f"the function called sys.exit({err.code!r})"
        return Outcome(None, seconds, peak_bytes(), error, told_traceback(err))
    except BaseException as err:  # compiled modules raise others than Exception, too
        seconds = time.perf_counter() - start
        return failure_of(err, seconds)
    return Outcome(result, time.perf_counter() - start, peak_bytes())


def failure_of(err: BaseException, seconds: float) -> Outcome:
    """Return the outcome of an attempt that has raised."""
    # What was asked for wrongly does not get right by asking again.
    hopeless = any(isinstance(cause, UsageError) for cause in _causes(err))
    error, text = describe_error(err), told_traceback(err)
    return Outcome(None, seconds, peak_bytes(), error, text, hopeless, _is_full(err))


def _causes(err: BaseException | None) -> Iterator[BaseException]:
    while err is not None:
        yield err
        err = err.__cause__


def _is_full(err: BaseException) -> bool:
    """Return whether there was no room for what should be written."""
    numbers = {getattr(cause, "errno", None) for cause in _causes(err)}
    return isinstance(err, StorageError) and not numbers.isdisjoint(_FULL)


def describe_error(err: BaseException) -> str:
    """Return an error in one line."""
    text = str(err).strip()
    return f"{type(err).__name__}: {text}" if text else type(err).__name__


def told_traceback(err: BaseException, limit: int = 16_000) -> str:
    """Return a traceback as text, without the frames of this module."""
    inner = err.__traceback__
    while inner is not None and inner.tb_frame.f_code.co_filename == __file__:
        inner = inner.tb_next
    text = "".join(traceback.format_exception(type(err), err, inner or err.__traceback__))
    return text if len(text) <= limit else f"...\n{text[-limit:]}"


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
        limit_memory(self.memory, in_all=True)
        line.send(("ready",))
        work = functools.partial(_on_packed, function)
        while (block := line.receive()) is not None:
            if self.timeout is not None:
                # Ends the process even if the block holds the interpreter.
                faulthandler.dump_traceback_later(self.timeout, exit=True)
            outcome = attempt(work, block)
            if self.timeout is not None:
                faulthandler.cancel_dump_traceback_later()
            try:
                line.send(outcome)
            except (pickle.PicklingError, AttributeError, TypeError, ValueError) as err:
                error = f"what the function returned cannot be sent: {describe_error(err)}"
                line.send(Outcome(None, outcome.seconds, outcome.peak_bytes, error))


def _on_packed(function: Callable[[Any], Any], block: bytes) -> Any:
    return function(pickle.loads(block))


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


def told_versions() -> dict[str, str]:
    """Return the versions that driver and worker must share."""
    from .. import __version__

    major_minor = ".".join(platform.python_version_tuple()[:2])
    return {"cytovox": __version__, "python": major_minor}


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
