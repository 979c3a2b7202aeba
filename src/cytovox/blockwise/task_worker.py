"""What a worker of a daisy task does: the worker file's loop, with a guard.

Daisy starts the process and hands out the blocks. The guard tells the desk of
the run what becomes of each, so that the journal knows every error and the
process ends with the run.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import CytovoxError
from ..run.children import SINGLE_THREAD_VARIABLES, settle_child
from ..run.memory import peak_bytes, restart_peak
from .attempt import Outcome, describe_error, failure_of, told_traceback
from .engine import guarded, loop_over_blocks, positional_arity, set_context
from .pickling import pickled
from .places import Place
from .workers import UNREACHABLE, Line, call_desk, serve

__all__ = ["AloneLoop", "TaskJob", "block_key", "make_slot", "outcome_of"]

logger = logging.getLogger(__name__)


def block_key(block: Any) -> tuple[int, ...]:
    """Return what tells a block of a task from the others: where it writes."""
    return tuple(int(v) for v in block.write_roi.begin)


def outcome_of(
    error: BaseException | str | None, seconds: float, result: Mapping[str, Any] | None = None
) -> Outcome:
    """Return how an attempt ended."""
    if error is None:
        return Outcome(result, seconds, peak_bytes())
    if isinstance(error, str):
        return Outcome(None, seconds, peak_bytes(), error)
    if isinstance(error, SystemExit):
        text = f"the function called sys.exit({error.code!r})"
        return Outcome(None, seconds, peak_bytes(), text, told_traceback(error))
    return failure_of(error, seconds)


class LineGuard:
    """Tells the desk about blocks."""

    def __init__(self, line: Line, check_after: Callable[[Any], bool] | None) -> None:
        self.line = line
        self.check_after = check_after
        self.blocks = 0
        self._start = 0.0
        self._asking = threading.Lock()

    def begin(self, block: Any) -> bool:
        """Tell that a block begins; return whether it shall be done now."""
        self.blocks += 1
        with self._asking:
            self.line.send(("begin", block_key(block)))
            if not self.line.receive():
                return False
        restart_peak()
        self._start = time.perf_counter()
        return True

    def check(self, block: Any) -> bool:
        """Ask the worker file."""
        return self.check_after is None or bool(self.check_after(block))

    def end(
        self,
        block: Any,
        error: BaseException | str | None,
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell how it ended."""
        outcome = outcome_of(error, time.perf_counter() - self._start, result)
        self.line.send(("end", block_key(block), outcome))


class TaskJob:
    """A job: the loop of a worker file, as often as daisy starts it."""

    def __init__(self, work: bytes, check_after: bytes | None) -> None:
        self.work = work
        self.check_after = check_after

    def __call__(self, line: Line) -> None:
        """Do the job."""
        set_context(line.context)
        guard = LineGuard(line, None)
        with guarded(guard, everywhere=True):
            refused = line.receive()  # None, or why no worker can do this work
            try:
                if refused is not None:
                    loop_over_blocks(_Refuse(str(refused)))
                    return
                if self.check_after is not None:
                    guard.check_after = pickle.loads(self.check_after)
                work = pickle.loads(self.work)
                if positional_arity(work):
                    loop_over_blocks(work)
                else:
                    work()
            except (Exception, SystemExit) as err:
                if isinstance(err, SystemExit) and not err.code:
                    return  # a command that has ended well
                line.send(("unfit", describe_error(err), told_traceback(err), guard.blocks))
                raise


class _Refuse:
    """Fails each block, so that a run ends of which no worker is capable."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __call__(self, block: Any) -> None:
        raise RuntimeError(self.reason)


def make_slot(
    address: tuple[str, int], key: str, number: int, place: Place | None, folder: Path
) -> Callable[..., None]:
    """Return what daisy runs in a process of its own for each worker."""
    host, port = address
    # It goes through cloudpickle, and a client cannot.
    packed = None if place is None else pickled(place)
    starter = os.getpid()

    def slot(*, context: Any) -> None:
        settle_child(starter)
        text = str(context.to_env())
        if packed is None:
            for name in SINGLE_THREAD_VARIABLES:
                os.environ.setdefault(name, "1")
            line = call_desk(host, port, key, number, text)
            if line is None:
                sys.exit(UNREACHABLE)
            serve(line)
            return
        call = [host, str(port), str(number), "--context", text]
        log = folder / f"worker-{number}-{os.getpid()}.log"
        how = _work_there(packed, call, key, log)
        if how != "ended with exit code 0":
            # Nobody may ever come from there; then this process tells it of each block.
            line = call_desk(host, port, key, number, text, lost=how)
            if line is not None:
                _hear_of_loss(line)
            raise subprocess.SubprocessError(f"the worker {how}")

    return slot


def _work_there(packed: bytes, call: list[str], key: str, log: Path) -> str:
    """Let a worker at a place do the work; return how it ended."""
    try:
        there = pickle.loads(packed)
        try:
            how = there.start(call, key, log).wait()
        finally:
            there.close()
    except CytovoxError as err:
        return f"could not be started: {err}"
    return str(how)


def _hear_of_loss(line: Line) -> None:
    """Fail all blocks if the desk says that there is no use in another worker."""
    line.receive()  # what workers are welcomed with
    refused = line.receive()
    if refused is None:
        return
    set_context(line.context)
    with guarded(LineGuard(line, None)):
        loop_over_blocks(_Refuse(str(refused)))


class AloneLoop:
    """What a worker does if daisy itself runs the task, without this package's runner."""

    def __init__(
        self,
        work: Callable[..., Any],
        check_after: Callable[[Any], bool] | None = None,
        sent: Any = None,
    ) -> None:
        self.work = work
        self.check_after = check_after
        self.sent = sent

    def __reduce__(self) -> tuple[type[AloneLoop], tuple[Any, ...]]:
        """Return how workers make it."""
        return AloneLoop, (self.sent or self.work, self.check_after)

    def __call__(self) -> None:
        """Do the work."""
        with guarded(self):
            if positional_arity(self.work):
                loop_over_blocks(self.work)
            else:
                self.work()

    def begin(self, block: Any) -> bool:
        """Return True; daisy keeps account."""
        return True

    def check(self, block: Any) -> bool:
        """Ask the worker file."""
        return self.check_after is None or bool(self.check_after(block))

    def end(
        self,
        block: Any,
        error: BaseException | str | None,
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """Log what went wrong."""
        if error is not None:
            raised = error if isinstance(error, BaseException) else None
            logger.error("block %s failed: %s", block_key(block), error, exc_info=raised)
