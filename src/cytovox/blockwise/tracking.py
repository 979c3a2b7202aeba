"""What daisy itself keeps about blocks, for workers that tell this package nothing.

A worker file may start programs of its own, which ask daisy for blocks. Nobody
there tells the run what becomes of each, but daisy notes it in small files, and
what such a program prints is in a log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..run.journal import BlockKey

__all__ = ["TrackedBlock", "logged_error", "tracked_blocks"]

#: So much of a log is kept as a traceback.
_MOST = 16_000


@dataclass(frozen=True, slots=True)
class TrackedBlock:
    """What daisy noted of a block.

    Parameters
    ----------
    key
        Where it writes.
    number
        Daisy's number of the block if it has failed, else None.
    failures
        How often it has failed.
    seconds, peak_bytes
        Of the last attempt, None if there is none.
    """

    key: BlockKey
    number: int | None
    failures: int
    seconds: float | None
    peak_bytes: int | None


def tracked_blocks(
    task: Any, folder: Path, wanted: Callable[[BlockKey], bool]
) -> Iterator[TrackedBlock]:
    """Yield the blocks that were done or given up, of those that are wanted."""
    import zarr

    store = zarr.open_group(folder, mode="r")
    noted: dict[str, Any] = {name: np.asarray(array) for name, array in store.arrays()}
    numbers = {_key(block): int(block.block_id[1]) for block in task.failed_blocks()}
    context = task.write_roi.begin - task.read_roi.begin
    first = tuple(task.total_roi.begin + context)
    step = tuple(task.write_roi.shape)
    begun = (noted["done"] != 0) | (noted["failures"] != 0)
    for index in np.argwhere(begun):
        key = tuple(int(a + i * n) for a, i, n in zip(first, index, step, strict=True))
        if not wanted(key) or not (noted["done"][tuple(index)] or key in numbers):
            continue
        seconds = float(noted["wall_seconds"][tuple(index)])
        peak = int(noted["peak_rss_bytes"][tuple(index)])
        yield TrackedBlock(
            key,
            None if noted["done"][tuple(index)] else numbers[key],
            int(noted["failures"][tuple(index)]),
            seconds if seconds > 0 else None,  # neither 0 nor NaN
            peak or None,
        )


def _key(block: Any) -> BlockKey:
    return tuple(int(v) for v in block.write_roi.begin)


def logged_error(folder: Path, task: str, number: int) -> tuple[str, str]:
    """Return what workers have printed about a block that failed."""
    told = re.compile(rf"^block \('{re.escape(task)}', {number}\) failed: ?(.*)$", re.M)
    for log in sorted(folder.rglob("*")):
        if not log.is_file():
            continue
        text = log.read_text("utf-8", "replace")
        if match := told.search(text):
            rest = text[match.end() :].lstrip("\n")
            # Behind its traceback is that of who waited for it.
            following = rest.find("\nTraceback (most recent call last)")
            traceback = rest if following < 0 else rest[: following + 1]
            raised = [line for line in traceback.splitlines() if match[1] and match[1] in line]
            error = raised[-1].strip() if raised else match[1]
            return f"{error} (see {log})", traceback[:_MOST]
    return f"its worker was lost, or marked it as failed (see {folder})", ""
