"""What an output will be, and how it is cut into chunks, so that a block is whole write units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UsageError
from ..read.const import MAX_CHUNK_BYTES
from ..read.volume_address import Address

__all__ = ["Layout", "VolumePlan"]

#: Length of a chunk that viewers like, by the number of axes of space.
_LIKED = {1: 4096, 2: 512, 3: 64}
_LEAST = 16


@dataclass(frozen=True, slots=True)
class Layout:
    """Voxels along each axis that are decoded together, and written together."""

    chunk: tuple[int, ...]
    unit: tuple[int, ...]

    @property
    def sharded(self) -> bool:
        """Whether several chunks are kept in one file."""
        return self.chunk != self.unit


def _best_chunk(block: int, length: int, liked: int) -> int:
    """Return a divisor of the block near to what is liked."""
    if block >= length:
        # one block along this axis: any chunk divides it
        return min(length, liked)
    if block <= liked:
        return block
    best = max(c for c in range(1, liked + 1) if block % c == 0)
    return best if best >= _LEAST else block


def _check_whole(
    block: Sequence[int], chunk: Sequence[int], shape: Sequence[int], where: str
) -> None:
    if all(b % c == 0 or b >= n for b, c, n in zip(block, chunk, shape, strict=True)):
        return
    less = tuple(max(b // c, 1) * c for b, c in zip(block, chunk, strict=True))
    more = tuple(-(-b // c) * c for b, c in zip(block, chunk, strict=True))
    raise UsageError(
        f"a block of {tuple(block)} voxels is not a whole number of chunks of {tuple(chunk)}",
        path=where,
        hint=f"blocks of {less} or {more} would do",
    )


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A volume that was checked and can be made; numbers per axis of space."""

    address: Address
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: tuple[str, ...]
    voxel_size: tuple[float, ...]
    offset: tuple[float, ...]
    units: str
    block: tuple[int, ...] | None
    chunk: tuple[int, ...] | None
    labels: bool

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Voxels along each axis of space."""
        return self.shape[-len(self.voxel_size) :]

    def layout(self, *, shards: bool) -> Layout:
        """Choose chunks, and shards where the format has them, for blocks of the size planned."""
        shape, spatial, where = self.shape, len(self.voxel_size), str(self.address)
        liked = _LIKED.get(spatial, 64)
        leading = shape[:-spatial]
        block = (2 * liked,) * spatial if self.block is None else self.block
        if len(block) == spatial:
            block = (*leading, *block)
        chunk = self.chunk
        if chunk is not None and len(chunk) == spatial:
            chunk = (*leading, *chunk)
        for sizes, what in ((block, "block"), (chunk, "chunk")):
            if sizes is not None and (len(sizes) != len(shape) or min(sizes) < 1):
                raise UsageError(f"{what} {sizes} is not a size in {len(shape)} axes", path=where)
        if chunk is None:
            chunk = tuple(
                min(b, length) if axis < len(leading) else _best_chunk(b, length, liked)
                for axis, (b, length) in enumerate(zip(block, shape, strict=True))
            )
        else:
            _check_whole(block, chunk, shape, where)
        unit = tuple(-(-min(b, n) // c) * c for b, c, n in zip(block, chunk, shape, strict=True))
        if math.prod(chunk) * self.dtype.itemsize > MAX_CHUNK_BYTES:
            better = tuple(round(b / liked) * liked or b for b in block[-spatial:])
            raise UsageError(
                f"blocks of {block} cannot be cut into chunks that fit into memory",
                path=where,
                hint=f"blocks of {better} would do",
            )
        if not shards or math.prod(unit) * self.dtype.itemsize > MAX_CHUNK_BYTES:
            unit = chunk
        return Layout(chunk, unit)
