"""What a process does with one unit: within limits, and so that its end can be explained."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..errors import UsageError
from .memory import limited_memory

__all__ = ["Member", "UnitLimits", "do_unit", "log_of", "unit_timeout", "worker_name"]

#: Seconds, unless the variable is set.
_TIMEOUT = 1800.0
#: Environment variable that sets another limit.
_VARIABLE = "CYTOVOX_UNIT_TIMEOUT"


def unit_timeout() -> float | None:
    """Return how many seconds a worker may take for one piece of work.

    It is a matter of the machine, not of the result, so no recipe contains it:
    the environment variable ``CYTOVOX_UNIT_TIMEOUT`` sets it, 0 for no limit.
    """
    text = os.environ.get(_VARIABLE, "").strip() or str(_TIMEOUT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(
            f"{_VARIABLE}={text} is not a number of seconds",
            hint="give seconds, or 0 for no limit",
        )
    return seconds or None


@dataclass(frozen=True, slots=True)
class UnitLimits:
    """What a unit may take; None for no limit.

    `seconds` end the process, even if the unit holds the interpreter. More than
    `memory` bytes are refused with a `MemoryError`, which only Linux does.
    """

    seconds: float | None = None
    memory: int | None = None

    def __bool__(self) -> bool:
        return self.seconds is not None or self.memory is not None


def worker_name() -> str:
    """Return what tells this process from others: machine and number."""
    return f"{platform.node()}:{os.getpid()}"


def do_unit(
    function: Callable[[Any], Any], unit: Any, limits: UnitLimits, report: TextIO | None = None
) -> Any:
    """Do a unit within limits; if the process dies of it, `report` tells where.

    A function with a method ``load`` is loaded first, which no limit counts.
    """
    load = getattr(function, "load", None)
    call = function if load is None else load()
    with _watched(limits.seconds, report or sys.stderr), limited_memory(limits.memory):
        return call(unit)


@contextlib.contextmanager
def _watched(seconds: float | None, report: TextIO) -> Iterator[None]:
    if seconds is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=report)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


class Member:
    """What a process of a team does; units come with the function, or none if it is the same."""

    def __init__(self, logs: Path | None, limits: UnitLimits) -> None:
        self._limits = limits
        self._function: Any = None
        if logs is not None:
            path = log_of(logs, worker_name())
            log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
        faulthandler.enable()

    def __call__(self, unit: tuple[Any, Any], _: Any) -> Any:
        """Do a unit."""
        function, content = unit
        if function is not None:
            self._function = function
        return do_unit(self._function, content, self._limits)


def log_of(logs: Path, worker: str) -> Path:
    """Return the file for what a worker prints."""
    return logs / f"worker-{worker.replace(':', '-')}.log"
