"""Units done by any executor of `concurrent.futures`, whose workers may die unseen.

Such an executor tells little of how a worker ended, and some do a unit again by
themselves. So a worker notes beside the run what it begins: a small file with
its name, which is removed at the end of the unit and into which Python writes
where it crashed or hung. If the file is still there, the unit has cost a worker.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from pathlib import Path
from typing import Any, Self, TextIO

from ..errors import StorageError
from .executor import UnitExecutor, WorkerError
from .team import LostWorkerError
from .unit_worker import UnitLimits, do_unit, worker_name

__all__ = ["PoolExecutor"]

#: So many workers beyond one for each slot may be lost in a row before they began anything.
_FAILED_STARTS = 4
#: Units are done one at a time in a process, as their functions expect.
_one_unit = threading.Lock()


class PoolExecutor(UnitExecutor):
    """An executor of a user, with one worker for each slot; it is not shut down.

    All workers must be able to write into the folder.
    """

    def __init__(
        self, pool: Executor | None, slots: int, folder: Path, limits: UnitLimits | None = None
    ) -> None:
        super().__init__(slots)
        self._pool = pool
        self._limits = limits or UnitLimits()
        self._notes = folder / "units"
        self._number = itertools.count()
        self._failed_starts = 0
        self._failure: WorkerError | None = None
        self._waiting: set[Future[Any]] = set()
        self._lock = threading.RLock()

    def submit(
        self,
        function: Callable[[Any], Any],
        unit: Any,
        requires: Mapping[str, float] | None = None,
    ) -> Future[Any]:
        """Let a unit be done, see `UnitExecutor`."""
        answer: Future[Any] = Future()
        with self._lock:
            self._waiting.add(answer)
            if self._failure is not None:
                self.fail(self._failure)
            else:
                self._begin(answer, function, unit, requires)
        return answer

    def fail(self, error: WorkerError) -> None:
        """End all units, since no worker can do any."""
        with self._lock:
            self._failure = self._failure or error
            for answer in list(self._waiting):
                self._answer(answer, error=self._failure)

    def count_failed_start(self, how: str, log: str = "") -> None:
        """Take note of a worker that was lost before it could begin; after many, end all."""
        with self._lock:
            self._failed_starts += 1
            if self._failed_starts >= _FAILED_STARTS + self._slots:
                text = f"{self._failed_starts} workers in a row ended before they could begin"
                self.fail(WorkerError(f"{text}; {how}", worker_traceback=log))

    def __enter__(self) -> Self:
        self._notes.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of units that have not begun; what is being worked on elsewhere is finished."""
        with self._lock:
            self._waiting.clear()
        shutil.rmtree(self._notes, ignore_errors=True)

    def _begin(self, answer: Future[Any], *work: Any) -> None:
        function, unit, requires = work
        note = self._notes / str(next(self._number))
        call = (_do_noted, str(note), function, unit, self._limits)
        try:
            future = self._submitted(requires, *call)
        except Exception as err:  # noqa: BLE001 - it is shut down, broken, or its scheduler gone
            self.fail(WorkerError(f"the executor takes no units: {err}"))
            return
        future.add_done_callback(lambda ended: self._end(answer, note, ended, work))

    def _submitted(self, requires: Mapping[str, float] | None, *call: Any) -> Future[Any]:
        assert self._pool is not None
        return self._pool.submit(*call)

    def _end(self, answer: Future[Any], note: Path, future: Future[Any], work: Any) -> None:
        """Pass on how a unit ended; let it be done by another worker if it never began."""
        error = CancelledError() if future.cancelled() else future.exception()
        with self._lock:
            if answer not in self._waiting:
                return
            if error is None:
                self._failed_starts = 0
                self._answer(answer, future.result())
            elif reason := self._gone(error):
                self.fail(reason)
            elif not self._is_loss(error):
                self._answer(answer, error=error)
            elif (lost := _read(note)) is not None:
                self._failed_starts = 0
                self._answer(answer, error=lost)
            else:
                self.count_failed_start(f"the last one was lost: {error}")
                if self._failure is None:
                    self._begin(answer, *work)

    def _answer(
        self, answer: Future[Any], result: Any = None, error: BaseException | None = None
    ) -> None:
        self._waiting.discard(answer)
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    def _gone(self, error: BaseException) -> WorkerError | None:
        """Return why nothing can be done any more, if an error means that."""
        if isinstance(error, BrokenExecutor):
            return WorkerError(f"the executor is broken: {error}")
        return None

    def _is_loss(self, error: BaseException) -> bool:
        """Return whether an error means that a worker was lost."""
        return isinstance(error, CancelledError)


def _do_noted(note: str, function: Callable[[Any], Any], unit: Any, limits: UnitLimits) -> Any:
    """Do a unit in a worker, with a note as long as that lasts."""
    with _one_unit, _noted(Path(note), limits) as late:
        return do_unit(function, unit, limits, late)


@contextlib.contextmanager
def _noted(note: Path, limits: UnitLimits) -> Iterator[TextIO | None]:
    late = note.with_suffix(".late")
    try:
        file = open(note, "x", encoding="utf-8")  # noqa: SIM115 - closed below
    except FileExistsError:  # the executor has given the unit to a second worker
        raise _read(note) or LostWorkerError("it cannot be told", unit=note.name) from None
    except OSError as err:
        raise StorageError(
            f"{worker_name()} cannot write here: {err.strerror or err}",
            path=note.parent,
            hint="the output must be on a file system that all machines share",
        ) from err
    was_enabled = faulthandler.is_enabled()
    try:
        with file, contextlib.ExitStack() as stack:
            file.write(f"{worker_name()}\n")
            file.flush()
            faulthandler.enable(file, all_threads=False)
            stack.callback(faulthandler.enable if was_enabled else faulthandler.disable)
            report = None
            if limits.seconds is not None:
                report = stack.enter_context(open(late, "w", encoding="utf-8"))
            yield report
    finally:
        for path in (late, note):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _read(note: Path) -> LostWorkerError | None:
    """Return what became of a worker that left a note; None if none has begun."""
    try:
        worker, _, report = note.read_text("utf-8", "replace").partition("\n")
    except OSError:
        return None
    late = ""
    with contextlib.suppress(OSError):
        late = note.with_suffix(".late").read_text("utf-8", "replace")
    how = "crashed" if report else "died, or has lost its line to the scheduler"
    return LostWorkerError(
        f"the worker {worker} {how}",
        unit=note.name,
        worker=worker,
        how=how,
        log=(late or report).strip(),
        is_late=bool(late),
    )
