"""One attempt at a block: what it returned, or why it failed, and what it took."""

from __future__ import annotations

import errno
import functools
import pickle
import platform
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..errors import StorageError, UsageError
from ..run.executor import WorkerError
from ..run.memory import peak_bytes, restart_peak
from ..run.team_worker import WorkerTraceback, shortened
from ..run.unit_worker import worker_name
from .pickling import pickled

__all__ = [
    "Outcome",
    "PackedAttempt",
    "attempt",
    "describe_error",
    "failure_of",
    "packed",
    "told_traceback",
    "told_versions",
]

#: What the system says if there is no room.
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
#: Characters of an error that are told and kept in the journal for each attempt.
_MOST_ERROR = 2_000


class Outcome(NamedTuple):
    """How an attempt at a block ended."""

    result: Any
    seconds: float
    peak_bytes: int | None
    error: str = ""
    traceback: str = ""
    hopeless: bool = False  # another attempt would fail in the same way
    full: bool = False  # the storage is full, so that all others would fail
    raised: WorkerTraceback | None = None
    worker: str = ""


def attempt(function: Callable[[Any], Any], block: Any) -> Outcome:
    """Do a block; what it raises becomes part of the outcome."""
    restart_peak()
    worker = worker_name()
    start = time.perf_counter()
    try:
        result = function(block)
    except (KeyboardInterrupt, WorkerError):
        raise
    except SystemExit as err:  # a block may not end its worker
        seconds = time.perf_counter() - start
        error = f"the function called sys.exit({err.code!r})"
        trace = told_traceback(err)
        return Outcome(None, seconds, peak_bytes(), error, trace, worker=worker)
    except BaseException as err:  # compiled modules raise others than Exception, too
        seconds = time.perf_counter() - start
        return failure_of(err, seconds)
    return Outcome(result, time.perf_counter() - start, peak_bytes(), worker=worker)


def failure_of(err: BaseException, seconds: float) -> Outcome:
    """Return the outcome of an attempt that has raised."""
    # What was asked for wrongly does not get right by asking again.
    hopeless = any(isinstance(cause, UsageError) for cause in _causes(err))
    raised = WorkerTraceback.of(err)
    return Outcome(
        None,
        seconds,
        peak_bytes(),
        describe_error(err),
        told_traceback(err),
        hopeless,
        _is_full(err),
        raised,
        worker_name(),
    )


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
    text = shortened(str(err).strip(), _MOST_ERROR)
    return f"{type(err).__name__}: {text}" if text else type(err).__name__


def told_traceback(err: BaseException, limit: int = 16_000) -> str:
    """Return a traceback as text, without the frames of this module."""
    inner = err.__traceback__
    while inner is not None and inner.tb_frame.f_code.co_filename == __file__:
        inner = inner.tb_next
    text = "".join(traceback.format_exception(type(err), err, inner or err.__traceback__))
    return text if len(text) <= limit else f"...\n{text[-limit:]}"


class PackedAttempt:
    """`attempt` for other processes: function, block (as `packed`) and outcome are bytes."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = pickled(function)
        self.versions = told_versions()

    def load(self) -> Callable[[bytes], bytes]:
        """Return what does a block; the function is loaded once by a process."""
        if self.versions != told_versions():
            raise WorkerError(
                f"the worker {worker_name()} has {told_versions()}, "
                f"but the process that started the run {self.versions}",
                hint="install the same versions everywhere",
            )
        return functools.partial(_attempt_packed, _loaded(self.function))

    def __call__(self, block: bytes) -> bytes:
        """Do a block."""
        return self.load()(block)


@functools.lru_cache(maxsize=4)
def _loaded(function: bytes) -> Any:
    try:
        return pickle.loads(function)
    except BaseException as err:
        raise WorkerError(
            f"a worker cannot load the function: {describe_error(err)}",
            worker_traceback=told_traceback(err),
            hint="what it needs must be importable in a new process",
        ) from err


def packed(block: Any) -> bytes:
    """Return a block as bytes."""
    content = pickle.dumps(block)
    # What a script defines, a worker cannot import.
    return pickled(block) if b"__main__" in content else content


def _attempt_packed(function: Callable[[Any], Any], block: bytes) -> bytes:
    outcome = attempt(lambda content: function(pickle.loads(content)), block)
    try:
        return pickle.dumps(outcome)
    except (pickle.PicklingError, AttributeError, TypeError, ValueError) as err:
        error = f"what the function returned cannot be sent: {describe_error(err)}"
        failed = Outcome(None, outcome.seconds, outcome.peak_bytes, error, worker=outcome.worker)
        return pickle.dumps(failed)


def told_versions() -> dict[str, str]:
    """Return the versions that driver and worker must share."""
    from .. import __version__

    major_minor = ".".join(platform.python_version_tuple()[:2])
    return {"cytovox": __version__, "python": major_minor}
