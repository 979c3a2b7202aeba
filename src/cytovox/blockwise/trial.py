"""Try a few blocks before a long run: time, memory, disk, and how much context is enough."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StageError
from ..kernels.counting import count_overlap
from ..read.volume import Volume
from ..run.memory import cpu_count
from ..run.progress import Listener
from ..write.volume_creation import create_labels
from .evidence import segment_block
from .evidence_file import encode_evidence
from .grid import Block, Grid, box_shape
from .recipe import VolumeRecipe
from .volume_result import Placement

__all__ = ["Trial", "disagreement", "try_blocks"]

#: What this program takes, with the tiles that its threads join.
_PARENT_BYTES = 300 << 20


@dataclass(frozen=True, slots=True)
class Trial:
    """What two blocks tell of a whole run.

    Parameters
    ----------
    shape, block, context, blocks
        Of the volume, in voxels; and how many blocks there are.
    read_factor
        How many times each voxel is read, since blocks read their context.
    labels
        Labels in a block.
    seconds_per_block, seconds
        Time of a block, and of the run with `workers` workers.
    workers
        Number of workers.
    worker_bytes, parent_bytes
        Peak memory of a worker, and of the process that stitches.
    disk_bytes
        What is written: labels of blocks, evidence, final labels, pyramid.
    disagreement
        For each context that was tried, which share of pairs of voxels of one
        object it tells apart, or the other way round, where the largest one
        does not: adapted Rand error, 0 to 1.
    """

    shape: tuple[int, ...]
    block: tuple[int, ...]
    context: tuple[int, ...]
    blocks: int
    read_factor: float
    labels: float
    seconds_per_block: float
    seconds: float
    workers: int
    worker_bytes: int | None
    parent_bytes: int
    disk_bytes: int
    disagreement: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def try_blocks(
    recipe: VolumeRecipe,
    *,
    workers: int | None = None,
    contexts: Sequence[Sequence[int]] | None = None,
    on_event: Listener | None = None,
) -> Trial:
    """Segment two blocks, one of them with several contexts; nothing is kept."""
    with recipe.open_input() as volume, tempfile.TemporaryDirectory() as folder:
        grid = recipe.grid(volume)
        wanted = list(contexts) if contexts else _around(recipe.context)
        largest = max(wanted, key=sum)
        middle = grid.at(tuple(n // 2 for n in grid.counts))
        other = grid[len(grid) // 3]
        work = _TryOne(recipe, _Place.of(volume), folder)
        # The first one also pays for what is loaded once.
        plans = [_Piece(0, tuple(largest), middle.position)]
        plans += [
            _Piece(i, tuple(context), middle.position)
            for i, context in enumerate([c for c in wanted if tuple(c) != tuple(largest)], 1)
        ]
        timed = [
            _Piece(len(plans), recipe.context, middle.position),
            _Piece(len(plans) + 1, recipe.context, other.position),
        ]
        done = Placement(workers=1, retries=0).run(
            [*plans, *timed], work, "try", on_event=on_event
        )
        if not done:
            failure = done.failed[0]
            raise StageError("a trial block", failure.error)
        results = {piece: _load(folder, piece) for piece in plans}
        reference = results[plans[0]]
        disagree = {
            " ".join(map(str, piece.context)): disagreement(reference, labels)
            for piece, labels in results.items()
            if piece is not plans[0]
        }
        rows = [done.rows[piece.index] for piece in timed]
        peaks = [row["peak_bytes"] for row in done.rows.values() if row.get("peak_bytes")]
    return _estimate(recipe, grid, workers or cpu_count(), rows, peaks, disagree)


def disagreement(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Return the adapted Rand error between two segmentations of the same voxels.

    One minus the harmonic mean of two shares: of pairs of voxels that are one
    object in the one, those that are in the other; and the other way round
    (Arganda-Carreras et al. 2015). Voxels that are background in both do not
    count, those that are in one only count as objects of their own.
    """
    a, b, n = count_overlap(
        np.ascontiguousarray(one, np.uint32), np.ascontiguousarray(other, np.uint32)
    )
    either = (a != 0) | (b != 0)
    a, b, n = a[either], b[either], n[either].astype(np.float64)
    if not n.size:
        return 0.0
    both = (a != 0) & (b != 0)
    pairs = (n[both] ** 2).sum()
    of_one = (np.bincount(a, n)[1:] ** 2).sum() + n[a == 0].sum()
    of_other = (np.bincount(b, n)[1:] ** 2).sum() + n[b == 0].sum()
    return float(1 - 2 * pairs / (of_one + of_other))


@dataclass(frozen=True)
class _Piece:
    """A block at a position, with a context of its own."""

    index: int
    context: tuple[int, ...]
    position: tuple[int, ...]


@dataclass(frozen=True)
class _Place:
    shape: tuple[int, ...]
    voxel_size: tuple[float, ...]

    @classmethod
    def of(cls, volume: Volume) -> _Place:
        return cls(volume.spatial_shape, volume.voxel_size)


@dataclass(frozen=True)
class _TryOne:
    """Segment a piece; keep its labels for comparison, and weigh what would be written."""

    recipe: VolumeRecipe
    place: _Place
    folder: str

    def __call__(self, piece: _Piece) -> dict[str, Any]:
        from ..run.memory import peak_bytes

        recipe = self.recipe
        grid = dataclasses.replace(recipe, context=piece.context).grid_of(self.place.shape)
        block = grid.at(piece.position)
        assert recipe.function is not None
        begin = time.perf_counter()
        with recipe.open_input() as volume:
            array = volume.read(block.read)
        result = segment_block(
            array,
            block,
            recipe.function,
            recipe.parameters,
            grid,
            stitch=recipe.keeps,
            connectivity=recipe.connectivity,
            measure=recipe.measures,
        )
        seconds = time.perf_counter() - begin
        here = Path(self.folder)
        np.save(here / f"labels-{piece.index}.npy", result.labels)
        stored = here / f"stored-{piece.index}.zarr"
        _store(stored, block, result.labels)
        return {
            "seconds": seconds,
            "labels": result.evidence.count,
            "voxels": math.prod(box_shape(block.write)),
            "evidence": len(encode_evidence(result.evidence, result.sums)),
            "stored": sum(f.stat().st_size for f in stored.rglob("*") if f.is_file()),
            "peak_bytes": peak_bytes(),
        }


def _store(path: Path, block: Block, labels: npt.NDArray[np.uint32]) -> None:
    shape = labels.shape
    with create_labels(path, shape=shape, dtype=np.uint32, block=shape) as stored:
        stored.write(tuple((0, n) for n in shape), labels)


def _load(folder: str, piece: _Piece) -> npt.NDArray[np.uint32]:
    labels: npt.NDArray[np.uint32] = np.load(os.path.join(folder, f"labels-{piece.index}.npy"))
    return labels


def _around(context: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return half, once and twice a context; a little where there is none."""
    if not any(context):
        return [context, tuple(8 for _ in context)]
    return [tuple(c // 2 for c in context), context, tuple(2 * c for c in context)]


def _estimate(
    recipe: VolumeRecipe,
    grid: Grid,
    workers: int,
    rows: list[dict[str, Any]],
    peaks: list[int],
    disagree: dict[str, float],
) -> Trial:
    """Scale what two blocks took up to all."""
    volume = math.prod(grid.shape)
    tried = sum(row["voxels"] for row in rows)
    share = volume / max(tried, 1)
    seconds = sum(row["seconds"] for row in rows)
    stored = sum(row["stored"] for row in rows) * share
    evidence = sum(row["evidence"] for row in rows) * share
    labels = sum(row["labels"] for row in rows) * share
    read = sum(math.prod(box_shape(grid.inside(block.read))) for block in _sample(grid))
    written = sum(math.prod(box_shape(block.write)) for block in _sample(grid))
    return Trial(
        shape=grid.shape,
        block=recipe.block,
        context=recipe.context,
        blocks=len(grid),
        read_factor=read / max(written, 1),
        labels=labels / len(grid),
        seconds_per_block=seconds / len(rows),
        seconds=seconds * share / min(workers or 1, len(grid)),
        workers=workers,
        worker_bytes=max(peaks, default=None),
        parent_bytes=int(_PARENT_BYTES + 10 * labels),
        disk_bytes=int(2 * stored * (1 + 1 / 7) + evidence),
        disagreement=disagree,
    )


def _sample(grid: Grid) -> list[Block]:
    """Return blocks that stand for all: many, but never all of very many."""
    step = max(1, len(grid) // 5000)
    return [grid[index] for index in range(0, len(grid), step)]
