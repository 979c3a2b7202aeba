"""What happens to blocks, as values to which anyone may listen."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..run.journal import BlockKey
from ..run.progress import ProgressEvent

__all__ = ["BlockDone", "BlockFailed", "BlockStarted", "WorkerLost"]


@dataclass(frozen=True, slots=True)
class BlockStarted(ProgressEvent):
    """A worker begins with a block."""

    stage: str
    block: BlockKey
    attempt: int
    """1 for the first."""
    worker: str = ""


@dataclass(frozen=True, slots=True)
class BlockDone(ProgressEvent):
    """A block is done; of `total` blocks, `done` are, with those done before."""

    stage: str
    block: BlockKey
    seconds: float
    peak_bytes: int | None
    done: int
    failed: int
    total: int


@dataclass(frozen=True, slots=True)
class BlockFailed(ProgressEvent):
    """An attempt at a block has failed; the block is given up if `final`."""

    stage: str
    block: BlockKey
    error: str
    traceback: str
    attempt: int
    final: bool
    exception: Exception | None = field(default=None, repr=False, compare=False)
    """What was raised; None if nobody knows."""


@dataclass(frozen=True, slots=True)
class WorkerLost(ProgressEvent):
    """A worker has ended without being asked to."""

    worker: str
    how: str
    block: BlockKey | None
    """What it was working on, if anything."""
