"""What can be known before a run on a volume: what it needs, and what would fail in the end.

Labels are stored three times over while a run goes on: as blocks, as final
labels, and a seventh of that in coarser scales. They compress well, but not
more than 500-fold in all that was measured (a plain volume of large objects);
probable is 20-fold. `cytovox volume plan` tells better, from two blocks.
A worker holds at least a block with its context, once as it is read, and the
labels of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError, OptionError, StorageError
from ..kernels.block_sums import surface_directions
from ..read.volume import Volume
from ..run.folder_room import Need
from ..run.memory import cpu_count
from .grid import Grid
from .object_table import gate_rows
from .objects import no_objects
from .recipe import VolumeRecipe
from .surface import surface_weights

__all__ = ["check_gate", "check_measures", "check_table", "volume_need"]

_MOST_PACKED, _USUALLY_PACKED = 500, 20
_LABEL_BYTES = 4
#: Blocks, final labels, and their coarser scales.
_COPIES = 2 * (1 + 1 / 7)
_PROGRAM = 150 << 20


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
