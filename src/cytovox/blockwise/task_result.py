"""What became of a blockwise run, and what no block covers."""

from __future__ import annotations

from dataclasses import dataclass

from funlib.geometry import Coordinate, Roi

from ..errors import UsageError
from .block_result import BlockFailure

__all__ = ["BlockwiseResult", "leftovers"]


@dataclass(frozen=True, slots=True)
class BlockwiseResult:
    """What became of a blockwise run; true only if every block is done.

    Parameters
    ----------
    total, done, skipped
        Numbers of blocks: all, done in this run, done before.
    failed
        Blocks that were given up.
    undone
        Number of blocks that were given up or never begun, for example since
        a block that they needed failed.
    leftovers
        Regions that no block covers, for each task, in world units.
    seconds
        How long it took.
    stages
        Names of the tasks, in the order in which they depend on each other.
    objects
        Number of objects, if they were counted.
    """

    total: int
    done: int
    skipped: int
    failed: tuple[BlockFailure, ...]
    undone: int
    leftovers: dict[str, tuple[Roi, ...]]
    seconds: float
    stages: tuple[str, ...] = ()
    objects: int | None = None

    def __bool__(self) -> bool:
        return not (self.failed or self.undone)

    def __str__(self) -> str:
        """Return a sentence for people."""
        told = [f"{self.done + self.skipped} of {self.total} blocks done"]
        if self.failed:
            told.append(f"{len(self.failed)} failed, the first with {self.failed[0].error}")
        if self.undone > len(self.failed):
            told.append(f"{self.undone - len(self.failed)} never begun")
        if voxels := sum(int(roi.size or 0) for rois in self.leftovers.values() for roi in rois):
            told.append(f"{voxels} units of volume not covered by whole blocks")
        return ", ".join(told)


def leftovers(total: Roi, read: Roi, write: Roi, fit: str) -> tuple[Roi, ...]:
    """Return the regions that should be written but lie in no block.

    Parameters
    ----------
    total
        All that is read.
    read, write
        What one block reads and writes.
    fit
        ``"valid"`` leaves what is not a whole block, the others leave nothing.

    Raises
    ------
    UsageError
        If nothing is to be written at all.

    Examples
    --------
    >>> block = Roi((10,), (10,))
    >>> leftovers(Roi((0,), (95,)), block, block, "valid")
    ([90:95] (5),)
    >>> leftovers(Roi((0,), (95,)), block, block, "shrink")
    ()
    """
    start = total.begin + (write.begin - read.begin)
    stop = total.end - (read.end - write.end)
    if any(b <= a for a, b in zip(start, stop, strict=True)):
        raise UsageError(
            f"the total {total} has no room for anything beside the context of a block",
            hint="the total region includes the context",
        )
    if fit != "valid":
        return ()
    covered = [a + (b - a) // w * w for a, b, w in zip(start, stop, write.shape, strict=True)]
    left = []
    low, high = list(start), list(stop)
    for axis, edge in enumerate(covered):
        if edge < stop[axis]:
            begin = [*low[:axis], edge, *low[axis + 1 :]]
            end = [*high[:axis], stop[axis], *high[axis + 1 :]]
            left.append(Roi(Coordinate(begin), Coordinate(end) - Coordinate(begin)))
            high[axis] = edge
        if edge == start[axis]:
            break  # there is no block at all, and nothing of what is left is left
    return tuple(left)
