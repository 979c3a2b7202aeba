"""Do independent blocks anywhere, tell how each went, and do no block twice."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

from ..run.cluster import check_placement, find_executor
from ..run.journal import Journal
from ..run.progress import Listener, StageFinished, StageStarted, announce
from ..run.unit_worker import UnitLimits
from .block_engine import BlockWork, GridSource, HasIndex, do_blocks
from .block_ledger import Ledger
from .block_result import RunResult
from .threads import may_use_threads

__all__ = ["log_folder", "run_blocks"]

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
    limits = UnitLimits(timeout, memory)
    check_placement(workers, cluster, limits)
    if not isinstance(blocks, Sized):
        blocks = list(blocks)
    total = len(blocks)
    start = time.monotonic()
    announce(on_event, StageStarted(stage, total, "blocks"), logger)
    ledger = Ledger(stage, total, retries, timeout, journal, on_event, on_rows)
    skip = ledger.skip_done(blocks, check)
    left = (block for block in blocks if block.index not in skip)
    count = ledger.left
    with contextlib.ExitStack() as stack:
        if logs is None:
            scratch = tempfile.TemporaryDirectory(prefix="cytovox-", ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(scratch))
        else:
            folder = _new_folder(logs)
        threads = may_use_threads(function)
        executor = find_executor(
            workers, cluster, host, folder, limits=limits, threads=threads, units=count
        )
        if count:
            work = BlockWork(function, ledger, stack.enter_context(executor))
            do_blocks(GridSource(work, left), [work])
    seconds = time.monotonic() - start
    announce(on_event, StageFinished(stage, seconds), logger)
    failed = tuple(sorted(ledger.failed, key=lambda failure: failure.block))
    return RunResult(stage, total, ledger.done, ledger.skipped, failed, ledger.rows, seconds)


def log_folder(logs: Path | None) -> Path:
    """Return a folder for what the workers of one run print."""
    if logs is None:
        return Path(tempfile.mkdtemp(prefix="cytovox-"))
    folder = _new_folder(logs)
    folder.mkdir(parents=True)
    return folder


def _new_folder(logs: Path) -> Path:
    return logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
