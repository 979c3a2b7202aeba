"""Worker file: 1 where a volume is above a threshold, 0 elsewhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..read.volume import Volume
from . import worker_file

__all__ = ["ThresholdWork", "fit", "read_write_conflict", "spawn_worker", "start_worker"]

#: Whether blocks that overlap exclude each other.
read_write_conflict = False
#: What becomes of the ends of the volume.
fit = "shrink"


@dataclass(frozen=True, kw_only=True)
class ThresholdWork(worker_file.ArrayWork):
    """Compare a block with a threshold.

    Parameters
    ----------
    threshold
        Voxels above it, not at it, become 1; NaN becomes 0.
    below
        Voxels below it become 1 instead.

    Examples
    --------
    >>> work = ThresholdWork(input="a.npy", output="b.zarr", threshold=2)
    >>> work.compute(np.array([1, 2, 3])).tolist()
    [0, 0, 1]
    """

    threshold: float = 0.0
    below: bool = False

    def compute(self, array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Return 0 or 1 for each voxel, uint8 of the same shape."""
        limit: float = self.threshold
        if array.dtype.kind in "ui" and math.isfinite(limit):
            # as a float, an integer of more than 53 bits would be another one
            limit = math.ceil(limit) if self.below else math.floor(limit)
        mask = array < limit if self.below else array > limit
        return mask.view(np.uint8)

    def output_like(self, volume: Volume) -> dict[str, Any]:
        """Return the type of the output, and that it has the channels of the input."""
        channels = volume.shape[: volume.ndim - len(volume.spatial_shape)]
        return {"dtype": np.uint8, "channels": channels}


spawn_worker, start_worker = worker_file.worker_functions(ThresholdWork)

if __name__ == "__main__":
    start_worker()
