"""What a run on a volume will need of disk and memory, from its size alone.

Labels are stored three times over while a run goes on: as blocks, as final
labels, and a seventh of that in coarser scales. They compress well, but not
more than 500-fold in all that was measured (a plain volume of large objects);
probable is 20-fold. `cytovox volume plan` tells better, from two blocks.
A worker holds at least a block with its context, once as it is read, and the
labels of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..read.volume import Volume
from ..run.resources import cpu_count
from ..run.room import Need
from .grid import Grid

__all__ = ["volume_need"]

_MOST_PACKED, _USUALLY_PACKED = 500, 20
_LABEL_BYTES = 4
#: Blocks, final labels, and their coarser scales.
_COPIES = 2 * (1 + 1 / 7)
_PROGRAM = 150 << 20


def volume_need(
    volume: Volume, block: Sequence[int], context: Sequence[int], workers: int | None = None
) -> Need:
    """Return what a run will need.

    Parameters
    ----------
    volume
        The input.
    block, context
        Voxels that a block writes, and that it reads beyond on either side.
    workers
        Number of workers; one a core if None.

    Examples
    --------
    >>> import numpy as np
    >>> from cytovox.read.open_volume import open_volume
    >>> path = getfixture("tmp_path") / "a.npy"
    >>> np.save(path, np.zeros((100, 100, 100), np.uint8))
    >>> with open_volume(path) as volume:
    ...     volume_need(volume, (50, 50, 50), (8, 8, 8), 2).likely_bytes
    457142
    """
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
