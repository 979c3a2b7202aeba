"""What happens to the blocks of a stage, as values to which anyone may listen, and what became."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..run.journal import BlockKey
from ..run.progress import ProgressEvent

__all__ = ["BlockDone", "BlockFailed", "BlockFailure", "BlockStarted", "RunResult", "WorkerLost"]


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


@dataclass(frozen=True, slots=True)
class BlockFailure:
    """A block that was given up.

    Parameters
    ----------
    block
        Its index or position.
    reason
        ``"error"``, ``"timeout"`` or ``"killed"``, of the last attempt.
    error
        What happened, in one line.
    traceback
        Where it happened, as text; empty if nobody knows.
    attempts
        How often it was tried in this run.
    exception
        What was raised, with its traceback in the worker as its cause; None if
        nobody knows.
    time
        The point in time, if the volume has several.
    """

    block: BlockKey
    reason: str
    error: str
    traceback: str
    attempts: int
    exception: Exception | None = field(default=None, repr=False, compare=False)
    time: int | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a stage went; true only if each of its blocks is done.

    Parameters
    ----------
    stage
        Name of the stage.
    total
        Number of blocks.
    done
        How many were done in this run.
    skipped
        How many were done before.
    failed
        Those that were given up, in the order of their index. If blocks from
        all over the volume fail and none works, the others are not tried.
    rows
        What each block returned, by its index; of those done before, what the
        journal could keep.
    seconds
        How long it took.
    """

    stage: str
    total: int
    done: int
    skipped: int
    failed: tuple[BlockFailure, ...]
    rows: dict[BlockKey, dict[str, Any]] = field(repr=False)
    seconds: float

    def __bool__(self) -> bool:
        return self.done + self.skipped == self.total

    @property
    def untried(self) -> int:
        """Number of blocks that were not begun, since none had worked."""
        return self.total - self.done - self.skipped - len(self.failed)
