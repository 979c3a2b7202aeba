"""Do independent blocks anywhere, tell how each went, and do no block twice."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..run.executor import Serial, TeamExecutor, Threads, UnitExecutor
from ..run.journal import Journal
from ..run.progress import Listener, StageFinished, StageStarted, announce
from ..run.unit_worker import UnitLimits
from .block_engine import BlockWork, GridSource, HasIndex, do_blocks
from .block_ledger import Ledger
from .block_result import RunResult
from .crew import Crew
from .places import Here, LocalPlace, find_place
from .threads import may_use_threads

__all__ = ["log_folder", "refuse_limits", "run_blocks"]

logger = logging.getLogger(__name__)


def run_blocks(
    blocks: Iterable[HasIndex],
    function: Callable[[Any], Mapping[str, Any] | None],
    *,
    workers: int | None = None,
    cluster: Any = None,
    host: str | None = None,
    timeout: float | None = None,
    retries: int = 2,
    memory: int | None = None,
    journal: Journal | None = None,
    stage: str = "blocks",
    on_event: Listener | None = None,
    on_rows: Callable[[Any, dict[str, Any]], None] | None = None,
    check: Callable[[Any], bool] | None = None,
    logs: Path | None = None,
) -> RunResult:
    """Call a function for each block; blocks must not depend on each other."""
    if timeout is not None and timeout <= 0:
        raise UsageError(f"a block cannot be done in {timeout} s", hint="give more, or None")
    if not isinstance(blocks, Sized):
        blocks = list(blocks)
    total = len(blocks)
    start = time.monotonic()
    announce(on_event, StageStarted(stage, total, "blocks"), logger)
    ledger = Ledger(stage, total, retries, timeout, journal, on_event, on_rows)
    skip = ledger.skip_done(blocks, check)
    work = BlockWork(function, ledger)
    source = GridSource(work, (block for block in blocks if block.index not in skip))
    count = ledger.left
    limits = UnitLimits(timeout, memory)
    with contextlib.ExitStack() as stack:
        place = find_place(workers, cluster, host)
        stack.callback(place.close)
        executor: UnitExecutor
        if isinstance(place, Here):
            refuse_limits(timeout, memory)
            executor = Serial()
        elif isinstance(place, LocalPlace) and may_use_threads(function) and not limits:
            executor = Threads(min(place.workers, count))
        elif count:
            folder = log_folder(logs)
            if logs is None:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            if isinstance(place, LocalPlace):
                executor = TeamExecutor(min(place.workers, count), limits, folder)
            else:
                crew = Crew(place, function, folder, timeout=timeout, memory=memory)
                stack.enter_context(crew).run(source, work)
                executor = Serial()
        if count:
            do_blocks(source, [work], stack.enter_context(executor))
    seconds = time.monotonic() - start
    announce(on_event, StageFinished(stage, seconds), logger)
    failed = tuple(sorted(ledger.failed, key=lambda failure: failure.block))
    return RunResult(stage, total, ledger.done, ledger.skipped, failed, ledger.rows, seconds)


def refuse_limits(timeout: float | None, memory: int | None = None) -> None:
    """Refuse limits that nobody could see to in this process."""
    if timeout is not None:
        raise UsageError(
            "a block in this process cannot be stopped",
            hint="leave the timeout out, or let a worker do it: workers=1",
        )
    if memory is not None:
        raise UsageError(
            "a block in this process cannot be kept from using more memory",
            hint="leave the limit out, or let a worker do it: workers=1",
        )


def log_folder(logs: Path | None) -> Path:
    """Return a folder for what the workers of one run print."""
    if logs is None:
        return Path(tempfile.mkdtemp(prefix="cytovox-"))
    # Workers are numbered anew in each run. Unlike a folder of mkdtemp, others may read it.
    folder = logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    return folder
