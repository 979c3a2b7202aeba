"""Where blocks are done: in this process, in threads, in processes or on other machines."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..run.cluster import check_placement, find_executor
from ..run.executor import UnitExecutor
from ..run.journal import Journal
from ..run.progress import Listener, StageFinished, StageStarted, announce
from ..run.unit_worker import UnitLimits
from .block_engine import BlockWork, GridSource, HasIndex, do_blocks
from .block_ledger import Ledger
from .block_result import RunResult
from .threads import may_use_threads

__all__ = ["Placement", "WorkerPool", "log_folder"]

logger = logging.getLogger(__name__)


class WorkerPool:
    """The workers of a run, which live on from one stage to the next; to be used with ``with``."""

    def __init__(self, placement: Placement, logs: Path | None) -> None:
        self._placement = placement
        self._logs = logs
        self._executors: dict[bool, UnitExecutor] = {}
        self._held = contextlib.ExitStack()

    def executor(self, *, threads: bool) -> UnitExecutor:
        """Return who does units; `threads` of this process may be it where nobody else works."""
        place = self._placement
        threads = threads and place.cluster is None and False not in self._executors
        if threads not in self._executors:
            if self._logs is None:
                scratch = tempfile.TemporaryDirectory("", "cytovox-", ignore_cleanup_errors=True)
                folder = Path(self._held.enter_context(scratch))
            else:
                folder = _new_folder(self._logs)
            executor = find_executor(
                place.workers,
                place.cluster,
                place.host,
                folder,
                threads=threads,
                limits=place.limits,
            )
            self._executors[threads] = self._held.enter_context(executor)
        return self._executors[threads]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        """End the workers, in the middle of their units if there is an error."""
        self._held.__exit__(*error)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where blocks are done, and how patiently."""

    workers: int | None = None
    cluster: Any = None
    host: str | None = None
    timeout: float | None = None
    retries: int = 2
    memory: int | None = None

    #: Workers that live on; if None, each call of `run` has workers of its own.
    pool: WorkerPool | None = None

    @property
    def limits(self) -> UnitLimits:
        """What a block may take."""
        return UnitLimits(self.timeout, self.memory)

    def run(
        self,
        blocks: Iterable[HasIndex],
        function: Callable[[Any], Mapping[str, Any] | None],
        stage: str = "blocks",
        *,
        journal: Journal | None = None,
        on_event: Listener | None = None,
        on_rows: Callable[[Any, dict[str, Any]], None] | None = None,
        check: Callable[[Any], bool] | None = None,
        logs: Path | None = None,
    ) -> RunResult:
        """Call a function for each block; blocks must not depend on each other."""
        check_placement(self.workers, self.cluster, self.limits)
        if not isinstance(blocks, Sized):
            blocks = list(blocks)
        total = len(blocks)
        start = time.monotonic()
        announce(on_event, StageStarted(stage, total, "blocks"), logger)
        ledger = Ledger(stage, total, self.retries, self.timeout, journal, on_event, on_rows)
        skip = ledger.skip_done(blocks, check)
        left = (block for block in blocks if block.index not in skip)
        with contextlib.ExitStack() as stack:
            if ledger.left:
                pool = self.pool or stack.enter_context(WorkerPool(self, logs))
                executor = pool.executor(threads=may_use_threads(function))
                work = BlockWork(function, ledger, executor)
                do_blocks(GridSource(work, left), [work])
        seconds = time.monotonic() - start
        announce(on_event, StageFinished(stage, seconds), logger)
        failed = tuple(sorted(ledger.failed, key=lambda failure: failure.block))
        return RunResult(stage, total, ledger.done, ledger.skipped, failed, ledger.rows, seconds)

    @contextlib.contextmanager
    def kept(self, logs: Path) -> Iterator[Placement]:
        """Yield the same with workers that live on until the end, and print to files in `logs`."""
        with WorkerPool(self, logs) as pool:
            yield dataclasses.replace(self, pool=pool)


def log_folder(logs: Path | None) -> Path:
    """Return a folder for what the workers of one run print."""
    if logs is None:
        return Path(tempfile.mkdtemp(prefix="cytovox-"))
    folder = _new_folder(logs)
    folder.mkdir(parents=True)
    return folder


def _new_folder(logs: Path) -> Path:
    return logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
