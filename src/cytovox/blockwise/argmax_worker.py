"""Worker file: the channel that is largest, at each voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..read.volume import Volume
from . import worker_file

__all__ = ["ArgmaxWork", "fit", "read_write_conflict", "spawn_worker", "start_worker"]

#: Whether blocks that overlap exclude each other.
read_write_conflict = False
#: What becomes of the ends of the volume.
fit = "shrink"


@dataclass(frozen=True, kw_only=True)
class ArgmaxWork(worker_file.ArrayWork):
    """Find the largest channel; the first one where several are. NaN is the least value.

    Examples
    --------
    >>> work = ArgmaxWork(input="a.zarr", output="b.zarr")
    >>> work.compute(np.array([[1, 5, 2], [4, 0, 2]])).tolist()
    [1, 0, 0]
    """

    def compute(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the index along the first axis, uint8 or uint16 of shape ``array.shape[1:]``."""
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), -np.inf, array)
        largest: npt.NDArray[Any] = np.argmax(array, axis=0)
        return largest.astype(_dtype(len(array)))

    def output_like(self, volume: Volume) -> dict[str, Any]:
        """Return the type of the output, which has no channels."""
        if volume.ndim != len(volume.spatial_shape) + 1:
            raise InputError("there are no channels to compare", path=volume.url)
        return {"dtype": _dtype(volume.shape[0]), "channels": ()}


def _dtype(channels: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if channels <= 256 else np.uint16


spawn_worker, start_worker = worker_file.worker_functions(ArgmaxWork)

if __name__ == "__main__":
    start_worker()
