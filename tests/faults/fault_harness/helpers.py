"""Processes that last, in which faults are injected without a start of the program each time."""

from __future__ import annotations

import contextlib
import io
import multiprocessing as mp
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import util
from typing import Any

__all__ = ["Said", "apart", "in_helper", "meet", "say", "together"]

_SPAWN = mp.get_context("spawn")
#: Seconds that threads of a run get to end after it.
_THREADS = 5.0
#: Threads that stay on purpose, until the process ends.
_LASTING = ("cytovox-starter", "QueueFeederThread", "zarr_io", "asyncio_")
_barrier: Any = None


class _Helpers:
    """Processes that do what they are told until nobody can tell them any more."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[tuple[Any, Any]] = []
        self._barrier: Any = None
        # Also at the end of a process of a pool, unlike what `atexit` knows.
        util.Finalize(None, self.end, exitpriority=100)

    def do(self, work: Callable[..., Any], each: Sequence[tuple[Any, ...]], limit: float) -> Any:
        """Let each process do the work with arguments of its own; return what comes."""
        if not self._processes:
            self._start()
        end = time.monotonic() + limit
        for (_, pipe), arguments in zip(self._processes, each, strict=True):
            pipe.send((work, arguments))
        try:
            return [self._answer(process, pipe, end) for process, pipe in self._processes]
        except BaseException:
            self.end()
            raise

    def _start(self) -> None:
        barrier = self._barrier = _SPAWN.Barrier(self._count)
        for _ in range(self._count):
            ours, theirs = _SPAWN.Pipe()
            process = _SPAWN.Process(target=_serve, args=(theirs, barrier))
            process.start()
            theirs.close()
            self._processes.append((process, ours))

    def _answer(self, process: Any, pipe: Any, end: float) -> Any:
        if not pipe.poll(max(0.0, end - time.monotonic())):
            raise AssertionError("it hangs")
        try:
            good, answer = pipe.recv()
        except (EOFError, OSError):
            process.join(5)
            raise AssertionError(f"the process crashed ({process.exitcode})") from None
        assert good, answer
        return answer

    def end(self) -> None:
        """End the processes; they are started again when they are needed."""
        for process, pipe in self._processes:
            pipe.close()
            process.join(0.5)
            if process.is_alive():
                process.kill()
                process.join(5)
        self._processes.clear()


def _serve(pipe: Any, barrier: Any) -> None:
    global _barrier
    _barrier = barrier
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            work, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, work(*arguments)
        except BaseException:  # noqa: BLE001 - it is told
            answer = False, traceback.format_exc()
        with contextlib.suppress(OSError):  # nobody wants to know any more
            pipe.send(answer)


@cache
def _helpers(count: int, name: str) -> _Helpers:
    return _Helpers(count)


def apart(work: Callable[..., Any], *arguments: Any, limit: float = 600, name: str = "") -> Any:
    """Do some work in a process that lasts, so that a crash there is only a failure here.

    Parameters
    ----------
    work
        Function of a module.
    *arguments
        For it.
    limit
        Seconds after which it is taken to hang.
    name
        Of the process, if it is not one for all.
    """
    (answer,) = _helpers(1, name).do(work, [arguments], limit)
    return answer


def in_helper(work: Callable[[Any], str], name: str = "") -> Callable[[Any], str]:
    """Return a function that injects a fault in a process that lasts.

    Parameters
    ----------
    work
        Injects it.
    name
        Of the process, if it is not one for all.
    """

    def run(case: Any) -> str:
        answer: str = apart(work, case, name=name)
        return answer

    return run


def together(
    work: Callable[..., Any], each: Sequence[tuple[Any, ...]], limit: float = 600
) -> list[Any]:
    """Do some work in as many processes at the same time; they can `meet` there.

    Parameters
    ----------
    work
        Function of a module.
    each
        Arguments for each process.
    limit
        Seconds after which they are taken to hang.
    """
    answers: list[Any] = _helpers(len(each), "").do(work, each, limit)
    return answers


def meet() -> None:
    """Wait until all processes are here."""
    _barrier.wait(30)


@dataclass(frozen=True)
class Said:
    """How a command ended within this process."""

    code: int
    out: str
    seconds: float


def say(*words: object) -> Said:
    """Run a command of the program in this process; see that no thread stays.

    Parameters
    ----------
    *words
        Its words.
    """
    from cytovox.cli.main import main

    before = set(threading.enumerate())
    out = io.StringIO()
    begin = time.perf_counter()
    with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
        code = main([os.fspath(w) if isinstance(w, os.PathLike) else str(w) for w in words])
    seconds = time.perf_counter() - begin
    end = time.monotonic() + _THREADS
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith(_LASTING):
            thread.join(max(0.0, end - time.monotonic()))
            assert not thread.is_alive(), f"thread {thread.name} is left: {out.getvalue()}"
    text = out.getvalue()
    assert "Traceback" not in text, text
    return Said(code, text, seconds)
