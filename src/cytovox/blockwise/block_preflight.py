"""What can be known before a run on a volume: what it needs, and what would fail in the end.

Labels are stored three times over while a run goes on: as blocks, as final
labels, and a seventh of that in coarser scales. They compress well, but not
more than 500-fold in all that was measured (a plain volume of large objects);
probable is 20-fold. A worker holds at least a block with its context, once as
it is read, and the labels of it. A trial of two blocks tells better, and how
much context is enough.
"""

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

from ..errors import InputError, OptionError, StageError, StorageError
from ..kernels.block_sums import surface_directions
from ..kernels.counting import count_overlap
from ..read.volume import Volume
from ..run.folder_room import Need
from ..run.memory import cpu_count, peak_bytes
from ..run.progress import Listener
from ..write.volume_creation import create_labels
from .evidence import segment_block
from .evidence_file import encode_evidence
from .grid import Grid, box_shape
from .object_table import gate_rows
from .objects import no_objects
from .placement import Placement
from .recipe import VolumeRecipe
from .surface import surface_weights

__all__ = [
    "Trial",
    "check_gate",
    "check_measures",
    "check_table",
    "disagreement",
    "try_blocks",
    "volume_need",
]

_MOST_PACKED, _USUALLY_PACKED = 500, 20
_LABEL_BYTES = 4
#: Blocks, final labels, and their coarser scales.
_COPIES = 2 * (1 + 1 / 7)
_PROGRAM = 150 << 20
#: What this program takes, with the tiles that its threads join.
_PARENT_BYTES = 300 << 20


def volume_need(
    volume: Volume, block: Sequence[int], context: Sequence[int], workers: int | None = None
) -> Need:
    """Return what a run will need."""
    grid = Grid(volume.spatial_shape, tuple(block), tuple(context))
    labels = _LABEL_BYTES * math.prod(grid.shape) * _COPIES
    inner = tuple(min(b + 2 * c, n) for b, c, n in zip(block, context, grid.shape, strict=True))
    voxels = math.prod(inner)
    channels = math.prod(volume.shape) // max(1, math.prod(volume.spatial_shape))
    held = voxels * (channels * volume.dtype.itemsize + _LABEL_BYTES)
    number = min(cpu_count() if workers is None else max(1, workers), max(1, len(grid)))
    return Need(
        least_bytes=int(labels / _MOST_PACKED),
        likely_bytes=int(labels / _USUALLY_PACKED),
        memory_bytes=int(_PROGRAM + number * held),
        advice="choose a folder on another disk",
    )


def check_measures(recipe: VolumeRecipe, volume: Volume) -> None:
    """Check that objects can be measured and gated as asked."""
    measures = recipe.measures
    if measures is None:
        return
    ndim = len(volume.spatial_shape)
    if measures.surface and ndim in (2, 3):
        try:
            surface_weights(surface_directions(ndim), np.asarray(volume.voxel_size))
        except OptionError as err:
            raise InputError(err.what, path=recipe.input, hint=err.hint) from err
    channels = volume.shape[: volume.ndim - ndim]
    nothing = np.empty((*channels, *(0,) * ndim), volume.dtype)
    check_gate(recipe, ndim, measures.image_of(nothing, ndim) is not None)


def check_gate(recipe: VolumeRecipe, ndim: int, measured: bool) -> None:
    """Check that there will be all columns that the gate names."""
    if recipe.gate is not None and recipe.measures is not None:
        gate_rows(no_objects(ndim, measured, recipe.measures).columns, recipe.gate)


def check_table(table: Path | None) -> None:
    """Check that a table can be written in its folder."""
    if table is None:
        return
    folder = table.parent
    if table.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StorageError(
            "the table of objects cannot be written there",
            path=table,
            hint="name a file in a folder that exists and is writable",
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """What is estimated for a whole run from two of its blocks."""

    shape: tuple[int, ...]
    block: tuple[int, ...]
    context: tuple[int, ...]
    blocks: int
    #: How many times each voxel is read, since blocks read their context.
    read_factor: float
    #: In a block.
    labels: float
    seconds_per_block: float
    #: Of the run with so many workers.
    seconds: float
    workers: int
    #: Peak memory of a worker, and of the process that stitches.
    worker_bytes: int | None
    parent_bytes: int
    #: Labels of blocks, evidence, final labels, pyramid.
    disk_bytes: int
    #: For each context that was tried: in which share of pairs of voxels of one object it
    #: differs from the largest one (adapted Rand error, 0 to 1).
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
        work = _TryOne(recipe, volume.spatial_shape, folder)
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
        results = {piece: np.load(f"{folder}/labels-{piece.index}.npy") for piece in plans}
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
class _TryOne:
    """Segment a piece; keep its labels for comparison, and weigh what would be written."""

    recipe: VolumeRecipe
    shape: tuple[int, ...]
    folder: str

    def __call__(self, piece: _Piece) -> dict[str, Any]:
        recipe = self.recipe
        grid = dataclasses.replace(recipe, context=piece.context).grid_of(self.shape)
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
        shape = result.labels.shape
        with create_labels(stored, shape=shape, dtype=np.uint32, block=shape) as volume:
            volume.write(tuple((0, n) for n in shape), result.labels)
        return {
            "seconds": seconds,
            "labels": result.evidence.count,
            "voxels": math.prod(box_shape(block.write)),
            "evidence": len(encode_evidence(result.evidence, result.sums)),
            "stored": sum(f.stat().st_size for f in stored.rglob("*") if f.is_file()),
            "peak_bytes": peak_bytes(),
        }


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
    names = ("voxels", "seconds", "stored", "evidence", "labels")
    tried = {name: sum(row[name] for row in rows) for name in names}
    share = math.prod(grid.shape) / max(tried["voxels"], 1)
    labels = tried["labels"] * share
    # Blocks that stand for all: many, but never all of very many.
    step = max(1, len(grid) // 5000)
    sample = [grid[index] for index in range(0, len(grid), step)]
    read = sum(math.prod(box_shape(grid.inside(block.read))) for block in sample)
    written = sum(math.prod(box_shape(block.write)) for block in sample)
    return Trial(
        shape=grid.shape,
        block=recipe.block,
        context=recipe.context,
        blocks=len(grid),
        read_factor=read / max(written, 1),
        labels=labels / len(grid),
        seconds_per_block=tried["seconds"] / len(rows),
        seconds=tried["seconds"] * share / min(workers or 1, len(grid)),
        workers=workers,
        worker_bytes=max(peaks, default=None),
        parent_bytes=int(_PARENT_BYTES + 10 * labels),
        disk_bytes=int((tried["stored"] * _COPIES + tried["evidence"]) * share),
        disagreement=disagree,
    )
