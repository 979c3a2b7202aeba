"""A volume that is in memory, done block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from cytovox.blockwise.evidence import BlockResult, Measures, segment_block
from cytovox.blockwise.grid import Box, Grid, box_shape, intersect, slices
from cytovox.blockwise.lookup import Lookup
from cytovox.blockwise.objects import objects_table
from cytovox.blockwise.stitch import relabel_block, stitch
from cytovox.blockwise.table import ObjectTable


@dataclass
class InMemory:
    """The passes over a volume, one after the other."""

    volume: np.ndarray
    grid: Grid
    done: list[BlockResult]
    lookup: Lookup

    @property
    def labels(self) -> np.ndarray:
        out = np.zeros(self.grid.shape, self.lookup.dtype)
        for block, result in zip(self.grid, self.done, strict=True):
            where = tuple(slice(*pair) for pair in block.write)
            out[where] = relabel_block(result.labels, self.lookup.slice(block.index))
        return out

    def load(self, index: int) -> Any:
        return self.done[index].evidence

    def again(self, mode: Any, **how: Any) -> InMemory:
        return InMemory(
            self.volume, self.grid, self.done, stitch(mode, self.load, self.grid, **how)
        )

    def table(self, **how: Any) -> ObjectTable:
        return objects_table(
            self.grid, self.lookup, lambda i: self.done[i].sums, evidence=self.load, **how
        )


def read(volume: np.ndarray, box: Box) -> np.ndarray:
    lead = volume.shape[: volume.ndim - len(box)]
    out = np.zeros((*lead, *box_shape(box)), volume.dtype)
    whole = tuple((0, size) for size in volume.shape[-len(box) :])
    inside = intersect(box, whole)
    if inside is not None:
        source = tuple(slice(*pair) for pair in inside)
        out[(..., *slices(inside, box))] = volume[(..., *source)]
    return out


def _in_memory(
    volume: np.ndarray,
    function: Callable[..., Any],
    block: Sequence[int],
    context: Sequence[int] | int = 0,
    mode: Any = "overlap",
    *,
    connectivity: int | None = None,
    measure: Measures | None = None,
    order: Sequence[int] | None = None,
    **how: Any,
) -> InMemory:
    ndim = len(block)
    margin = (context,) * ndim if isinstance(context, int) else tuple(context)
    grid = Grid(volume.shape[-ndim:], tuple(block), margin)
    done: list[Any] = [None] * len(grid)
    for index in range(len(grid)) if order is None else order:
        one = grid[index]
        done[index] = segment_block(
            read(volume, one.read),
            one,
            function,
            {},
            grid,
            stitch=mode,
            connectivity=connectivity,
            measure=measure,
        )
    load = [result.evidence for result in done].__getitem__
    if mode == "touch":
        how["connectivity"] = connectivity
    return InMemory(volume, grid, done, stitch(mode, load, grid, **how))


@pytest.fixture(scope="session")
def in_memory() -> Callable[..., InMemory]:
    """The function that does a volume block by block."""
    return _in_memory


def _same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    width = int(b.max(initial=0)) + 1
    pairs = np.unique(a.ravel().astype(np.int64) * width + b.ravel())
    one_to_one = all(len(np.unique(ids)) == len(pairs) for ids in np.divmod(pairs, width))
    return one_to_one and bool(np.array_equal(a == 0, b == 0))


@pytest.fixture(scope="session")
def same_partition() -> Callable[[np.ndarray, np.ndarray], bool]:
    """Whether labels differ in nothing but their names."""
    return _same_partition
