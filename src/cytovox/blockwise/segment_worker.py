"""Worker file: segment each block by itself, and keep what its neighbours need."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..read.permissions import Permissions
from ..read.volume import Volume
from ..read.volume_view import VolumeView
from . import worker_file
from .block_array import BlockArray
from .evidence_file import StitchMode
from .grid import Block, Grid
from .kept_open import keep_open
from .volume_blocks import SegmentPass

__all__ = [
    "RegionWork",
    "SegmentWork",
    "fit",
    "load_segment_function",
    "read_write_conflict",
    "spawn_worker",
    "start_worker",
]

#: Whether blocks that overlap exclude each other: what neighbours must know is
#: kept beside the labels, so they need no order.
read_write_conflict = False
#: What becomes of the ends of the volume.
fit = "shrink"


@dataclass(frozen=True, kw_only=True)
class RegionWork:
    """Work on the blocks of a part of a volume.

    Parameters
    ----------
    input
        Path or URL of the volume.
    begin
        Its voxel where the part begins.
    shape
        Voxels of the part.
    block, context
        Voxels that a block writes, and reads beyond on either side.
    stamp
        Tells runs and tables of one name apart.
    permissions
        What may be read; what the environment of a worker allows if None.
    """

    input: str
    begin: tuple[int, ...]
    shape: tuple[int, ...]
    block: tuple[int, ...]
    context: tuple[int, ...]
    stamp: str = ""
    permissions: Permissions | None = None

    @property
    def grid(self) -> Grid:
        """The blocks, in voxels of the part."""
        return Grid(self.shape, self.block, self.context)

    def block_of(self, block: Any) -> Block:
        """Return the block of the grid that daisy means.

        Parameters
        ----------
        block
            Block of daisy.
        """
        if isinstance(block, Block):
            return block
        view = VolumeView(permissions=self.permissions)
        volume = keep_open(self.input, view, stamp=self.stamp)
        _, write = worker_file.box_of(volume, block)
        steps = zip(write, self.begin, self.block, strict=True)
        return self.grid.at(tuple((start - at) // size for (start, _), at, size in steps))


@dataclass(frozen=True, kw_only=True)
class SegmentWork(RegionWork):
    """Segment a block.

    Parameters
    ----------
    function
        File with ``segment_function(input_array, block, **parameters)``, or the
        name of one that ships, such as ``"watershed"``.
    labels
        Volume that takes the labels of the blocks, of the shape of the part.
    folder
        Folder that takes their evidence.
    parameters
        Keywords of the function, over its ``default_parameters``.
    stitch, connectivity
        What evidence is needed.
    fill_value
        What is read outside of the volume.
    """

    function: str
    labels: str
    folder: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    stitch: StitchMode = "overlap"
    connectivity: int | None = None
    fill_value: float = 0

    def __call__(self, block: Any) -> dict[str, Any]:
        """Do it; return the number of labels."""
        segment, defaults = load_segment_function(self.function)
        ours = self.block_of(block)
        view = VolumeView(permissions=self.permissions)
        volume = keep_open(self.input, view, self.fill_value, stamp=self.stamp)
        box = tuple((a + at, b + at) for (a, b), at in zip(ours.read, self.begin, strict=True))
        roi = volume.grid.to_roi(box)
        work = SegmentPass(
            input=self.input,
            view=view,
            fill_value=self.fill_value,
            labels=self.labels,
            folder=self.folder,
            grid=self.grid,
            function=functools.partial(_with_block, segment, block, volume, roi),
            parameters={**defaults, **self.parameters},
            stitch=self.stitch,
            connectivity=self.connectivity,
            measures=None,
            stamp=self.stamp,
            begin=self.begin,
        )
        return work(ours)


def _with_block(
    segment: Callable[..., Any],
    block: Any,
    volume: Volume,
    roi: Any,
    array: npt.NDArray[Any],
    **parameters: Any,
) -> Any:
    labels = segment(BlockArray.of(array, volume, roi), block, **parameters)
    return np.asarray(labels) if isinstance(labels, BlockArray) else labels


def load_segment_function(function: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the function of a segment-function file, and its default parameters.

    Parameters
    ----------
    function
        Path of the file, or the name of one that ships.

    Examples
    --------
    >>> load_segment_function("label")[0].__name__
    'segment_function'
    """
    path = Path(function)
    if function.isidentifier() and not path.suffix:
        shipped = Path(__file__).with_name(f"{function}_function.py")
        path = shipped if shipped.is_file() else path
    module = worker_file.load_file(path)
    segment = getattr(module, "segment_function", None)
    if not callable(segment):
        raise UsageError("this file has no function segment_function", path=path)
    return segment, dict(getattr(module, "default_parameters", {}))


spawn_worker, start_worker = worker_file.worker_functions(SegmentWork)

if __name__ == "__main__":
    start_worker()
