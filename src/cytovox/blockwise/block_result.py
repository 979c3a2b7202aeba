"""What became of the blocks of a stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..run.journal import BlockKey

__all__ = ["BlockFailure", "RunResult"]


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
