"""How a volume is divided: blocks, what they read, what they write.

Everything here is in voxels, in the order of the axes of the array (z, y, x).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import OptionError
from ..read.volume_limits import Box, box_shape, intersect, slices

__all__ = ["Block", "Box", "Grid", "box_shape", "intersect", "slices"]


@dataclass(frozen=True, slots=True)
class Block:
    """One part of a volume."""

    index: int  # in C order of its position
    position: tuple[int, ...]  # in the grid of blocks
    read: Box  # with the context; may reach outside the volume if that is filled
    write: Box  # those of all blocks tile the volume


@dataclass(frozen=True, slots=True)
class Grid:
    """The blocks of a volume, in C order; those at its far ends may be smaller."""

    shape: tuple[int, ...]
    block: tuple[int, ...]  # may be larger than the volume
    context: tuple[int, ...]  # voxels that are read beyond the block on either side
    #: Whether what is read ends where the volume ends, so that a function sees the end
    #: as it would in the whole; otherwise there is something to fill.
    clipped: bool = False
    counts: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("shape", "block", "context"):
            object.__setattr__(self, name, tuple(int(size) for size in getattr(self, name)))
        lengths = {len(self.shape), len(self.block), len(self.context)}
        if len(lengths) != 1 or not self.shape:
            raise OptionError(
                f"volume {self.shape}, block {self.block} and context {self.context} must have "
                "the same number of axes"
            )
        if min(self.block) < 1 or min(self.context) < 0 or min(self.shape) < 0:
            raise OptionError(
                f"there are no blocks of {self.block} voxels with a context of {self.context}",
                hint="a block has at least one voxel, a context at least none",
            )
        counts = tuple(-(-size // step) for size, step in zip(self.shape, self.block, strict=True))
        object.__setattr__(self, "counts", counts)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return math.prod(self.counts)

    def __iter__(self) -> Iterator[Block]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Block:
        if not 0 <= index < len(self):
            raise IndexError(f"block {index} is not one of {len(self)}")
        position = []
        rest = index
        for count in reversed(self.counts):
            position.append(rest % count)
            rest //= count
        return self.at(tuple(reversed(position)))

    def at(self, position: tuple[int, ...]) -> Block:
        """Return the block at a position."""
        index = 0
        write, read = [], []
        for at, count, size, step, context in zip(
            position, self.counts, self.shape, self.block, self.context, strict=True
        ):
            index = index * count + at
            start, stop = at * step, min((at + 1) * step, size)
            write.append((start, stop))
            read.append((start - context, stop + context))
        seen = self.inside(tuple(read)) if self.clipped else tuple(read)
        return Block(index, tuple(position), seen, tuple(write))

    def inside(self, box: Box) -> Box:
        """Return the part of a box that is in the volume."""
        return tuple(
            (min(max(start, 0), size), max(min(stop, size), 0))
            for (start, stop), size in zip(box, self.shape, strict=True)
        )
