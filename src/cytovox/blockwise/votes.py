"""Votes: what two neighbouring blocks say about the voxels that both have seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..kernels.faces import count_overlap
from ..kernels.lattice import Int64s
from ..kernels.packed import unpack
from .evidence_file import Evidence
from .grid import Box, Grid, intersect

__all__ = [
    "Load",
    "Votes",
    "block_votes",
    "is_best",
    "shared_labels",
]

#: Returns the evidence of a block by its index.
Load = Callable[[int], Evidence]


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """What a block and its later neighbours saw in the context that they share.

    One entry for each pair of labels that coincide somewhere. From this,
    labels can be joined by other thresholds without segmenting again.

    Parameters
    ----------
    other
        Index of the neighbouring block, int64 of shape (k,).
    a, b
        Label of the block and of its neighbour, uint32 of shape (k,).
    common
        Voxels where they coincide, int64 of shape (k,).
    size_a, size_b
        Voxels of either in what both blocks read, int64 of shape (k,).
    """

    other: Int64s
    a: npt.NDArray[np.uint32]
    b: npt.NDArray[np.uint32]
    common: Int64s
    size_a: Int64s
    size_b: Int64s


def block_votes(index: int, grid: Grid, load: Load, reach: tuple[int, ...] | None = None) -> Votes:
    """Count the votes of a block and its later neighbours."""
    reach = tuple(-(-c // 8) for c in grid.context) if reach is None else reach
    evidence = load(index)
    parts: list[tuple[Any, ...]] = []
    for _, neighbour in grid.neighbours(grid[index].position, later=True):
        near = _near_seam(grid[index].write, neighbour.write, reach)
        counted = shared_labels(evidence, load(neighbour.index), near)
        if counted is not None:
            other = np.full(counted[0].size, neighbour.index, np.int64)
            parts.append((other, *counted))
    if not parts:
        empty = np.empty(0, np.int64)
        return Votes(empty, empty.astype(np.uint32), empty.astype(np.uint32), empty, empty, empty)
    return Votes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _near_seam(one: Box, two: Box, reach: tuple[int, ...]) -> Box:
    """Return the box around the seam of two blocks, where what they write meets."""
    return tuple(
        a if a == b else (max(a[0], b[0]) - r, max(a[0], b[0]) + r)
        for a, b, r in zip(one, two, reach, strict=True)
    )


def shared_labels(one: Evidence, two: Evidence, near: Box | None = None) -> tuple[Any, ...] | None:
    """Return which labels two blocks have at the same places."""
    common = intersect(one.box, two.box)
    if common is not None and near is not None:
        common = intersect(common, near)
    if common is None or one.count == 0 or two.count == 0:
        return None
    seen = []
    for evidence in (one, two):
        if evidence.shell is None:
            raise UsageError(
                "the block did not keep what it saw in its context",
                block=evidence.index,
                hint="segment with stitch='overlap' or 'owner'",
            )
        local = tuple(
            (start - low, stop - low)
            for (start, stop), (low, _) in zip(common, evidence.box, strict=True)
        )
        seen.append(unpack(evidence.shell, local))
    a, b, n = count_overlap(*seen)
    size_a = np.bincount(a, weights=n).astype(np.int64)[a]
    size_b = np.bincount(b, weights=n).astype(np.int64)[b]
    both = (a != 0) & (b != 0)
    return a[both], b[both], n[both], size_a[both], size_b[both]


def is_best(group: Int64s, of: Any, among: Any, common: Int64s) -> npt.NDArray[np.bool_]:
    """Tell which pair has the most in common for its first label; the smaller id wins a draw."""
    order = np.lexsort((among, -common, of, group))
    of, group = of[order], group[order]
    best = np.ones(order.size, np.bool_)
    best[1:] = (of[1:] != of[:-1]) | (group[1:] != group[:-1])
    out = np.empty(order.size, np.bool_)
    out[order] = best
    return out
