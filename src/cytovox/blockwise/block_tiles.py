"""Tiles: boxes of blocks that are stitched and measured at once, by whomever.

A tile needs memory for its blocks and those next to them only, however many
there are. What it comes to is kept as arrays by name; what crosses tiles is put
together afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import CytovoxError, StageError, StorageError
from ..kernels.block_seams import Steps
from ..kernels.lattice import Int64s
from ..run.progress import Listener, StageFinished, StageProgress, StageStarted, announce
from .grid import Box, Grid
from .lookup import load_mapped
from .placement import Placement

__all__ = ["Members", "Run", "Tile", "TileStore", "Tiles", "over_tiles", "run_here"]

logger = logging.getLogger(__name__)

#: Blocks in one tile at most: arrays of a tile have some hundred bytes a block.
_MOST = 4096
#: Memory that evidence and sums of a tile may take, roughly.
_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Tile:
    """A box of blocks: the first and the one behind the last along each axis."""

    index: int
    box: Box

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return math.prod(stop - start for start, stop in self.box)


@dataclass(frozen=True, slots=True)
class Tiles:
    """All tiles of a grid, in C order."""

    grid: Grid
    edge: tuple[int, ...]  # blocks of a tile along each axis

    @classmethod
    def of(cls, grid: Grid, nbytes: float = 0) -> Tiles:
        """Return tiles that are as large as memory allows, given bytes of a block."""
        most = max(1, min(_MOST, int(_BYTES // max(nbytes, 1))))
        edge = [1] * grid.ndim
        while True:
            # The axis that is shortest in blocks grows first, of equal ones the last.
            axes = [i for i in range(grid.ndim) if edge[i] < grid.counts[i]]
            if not axes:
                break
            axis = min(axes, key=lambda i: (edge[i], -i))
            if math.prod(edge) // edge[axis] * (edge[axis] + 1) > most:
                break
            edge[axis] += 1
        return cls(grid, tuple(edge))

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of tiles along each axis."""
        return tuple(-(-n // size) for n, size in zip(self.grid.counts, self.edge, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def __getitem__(self, index: int) -> Tile:
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} is not one of {len(self)}")
        at = np.unravel_index(index, self.counts)
        box = tuple(
            (int(a) * size, min((int(a) + 1) * size, n))
            for a, size, n in zip(at, self.edge, self.grid.counts, strict=True)
        )
        return Tile(index, box)

    def home(self, blocks: Int64s) -> Int64s:
        """Return the tile of each block."""
        places = np.unravel_index(blocks, self.grid.counts)
        at = tuple(place // size for place, size in zip(places, self.edge, strict=True))
        return np.asarray(np.ravel_multi_index(at, self.counts), np.int64)

    def own(self, tile: Tile) -> Int64s:
        """Return the blocks of a tile in ascending order."""
        parts = np.meshgrid(*(np.arange(*pair) for pair in tile.box), indexing="ij")
        flat = tuple(part.reshape(-1) for part in parts)
        return np.asarray(np.ravel_multi_index(flat, self.grid.counts), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """The blocks of a tile and those that follow them as neighbours."""

    blocks: Int64s  # in ascending order
    own: npt.NDArray[np.bool_]  # which of them are in the tile
    low: Int64s  # box that each writes, of shape (blocks, ndim)
    high: Int64s
    pairs: Int64s  # one in the tile, another one, and the step between them, of shape (m, 3)

    @classmethod
    def of(cls, tiles: Tiles, tile: Tile, steps: Steps) -> Members:
        """Find them."""
        grid = tiles.grid
        own = tiles.own(tile)
        counts = np.array(grid.counts)
        place = np.stack(np.unravel_index(own, grid.counts), axis=1)
        found = []
        for number, step in enumerate(steps.step):
            if steps.first[number] == steps.first[number + 1]:
                continue
            there = place + step
            inside = ((there >= 0) & (there < counts)).all(axis=1)
            other = np.ravel_multi_index(tuple(there[inside].T), grid.counts)
            found.append(np.stack([own[inside], other, np.full(len(other), number)], axis=1))
        pairs = np.concatenate(found) if found else np.empty((0, 3), np.int64)
        blocks = np.union1d(own, pairs[:, 1])
        pairs[:, :2] = np.searchsorted(blocks, pairs[:, :2])
        place = np.stack(np.unravel_index(blocks, grid.counts), axis=1)
        low = place * np.array(grid.block)
        high = np.minimum(low + np.array(grid.block), np.array(grid.shape))
        return cls(blocks, np.isin(blocks, own), low, high, pairs.astype(np.int64))


class TileStore:
    """What tiles came to: arrays by name and tile, in files or, without a folder, in memory."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._arrays: dict[tuple[str, int], npt.NDArray[Any]] = {}

    def put(self, name: str, tile: int, array: npt.NDArray[Any]) -> None:
        """Keep an array."""
        if self.folder is None:
            self._arrays[name, tile] = array
            return
        path = self.folder / f"{name}-{tile}.npy"
        with _room(path):
            np.save(path, array)  # which nobody needs after a crash

    def get(self, name: str, tile: int) -> Any:
        """Return an array; of one in a file, only what is used is read."""
        if self.folder is None:
            return self._arrays[name, tile]
        return load_mapped(self.folder / f"{name}-{tile}.npy")

    def make(self, name: str, dtype: npt.DTypeLike, size: int) -> npt.NDArray[Any]:
        """Return an array to be filled; one in a file has its room already."""
        if self.folder is None or not size:
            return np.empty(size, dtype)
        path = self.folder / f"scratch_{name}.npy"
        with _room(path):
            array = np.lib.format.open_memmap(path, "w+", dtype, (size,))
            # Without room, writing to the map would end the process by a signal.
            if hasattr(os, "posix_fallocate"):
                with open(path, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return array


@contextlib.contextmanager
def _room(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise StorageError(
            f"there is no room to join labels: {err.strerror or err}",
            path=path,
            hint="make room; the same command goes on from here",
        ) from err


@dataclass(frozen=True, slots=True)
class _TellingErrors:
    """Do a tile; return an error of ours as it is, where others would return its text."""

    work: Callable[[Tile], Mapping[str, Any]]

    uses_threads: ClassVar[bool] = True

    def __call__(self, tile: Tile) -> Mapping[str, Any]:
        """Do it."""
        try:
            return self.work(tile)
        except CytovoxError as err:
            return {"error": err}


#: Does tiles, in any order, and returns what each came to.
Run = Callable[["Tiles", Callable[[Tile], Mapping[str, Any]]], Sequence[Mapping[str, Any]]]


def run_here(
    tiles: Tiles, work: Callable[[Tile], Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Do tiles in this process, one after the other."""
    return [work(tiles[index]) for index in range(len(tiles))]


def over_tiles(placement: Placement, stage: str, on_event: Listener | None, logs: Path) -> Run:
    """Return what does tiles where blocks are done, and announces how many of their blocks are."""

    def run(
        tiles: Tiles, work: Callable[[Tile], Mapping[str, Any]]
    ) -> Sequence[Mapping[str, Any]]:
        told: list[Mapping[str, Any]] = []
        total, blocks = len(tiles.grid), 0

        def take(_tile: Tile, rows: dict[str, Any]) -> None:
            nonlocal blocks
            if "error" in rows:
                raise rows["error"]
            told.append(rows)
            blocks += int(rows["blocks"])
            announce(on_event, StageProgress(stage, blocks, total), logger)

        begin = time.perf_counter()
        announce(on_event, StageStarted(stage, total, "blocks"), logger)
        place = dataclasses.replace(placement, timeout=None, memory=None)
        every = [tiles[index] for index in range(len(tiles))]
        done = place.run(every, _TellingErrors(work), stage, on_rows=take, logs=logs)
        if done.failed:
            raise StageError(stage, done.failed[0].error)
        announce(on_event, StageFinished(stage, time.perf_counter() - begin), logger)
        return told

    return run
