"""One block: the function labels it, and its evidence is collected.

A block is segmented without knowing its neighbours. Beside its labels it
leaves evidence: who lies at its faces, what it saw in the context that it
shares with its neighbours, and sums over its objects. From the evidence of all
blocks, labels are joined and objects measured without reading a voxel again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OptionError, StageError, UsageError
from ..kernels.block_sums import BlockSums, block_sums
from ..kernels.components import label_components
from ..kernels.counting import sizes
from ..kernels.lattice import Ids, Int64s
from ..kernels.packed import pack
from ..kernels.relabel import first_appearance
from .evidence_file import STITCH_MODES, Evidence, StitchMode
from .grid import Block, Box, Grid, box_shape, slices

__all__ = ["BlockResult", "LabelsError", "Measures", "evidence_of", "segment_block"]


@dataclass(frozen=True, slots=True)
class Measures:
    """What to measure of each object."""

    intensity: bool = True
    channel: int | None = None  # if the volume has channels
    percentiles: tuple[float, ...] = (5.0, 25.0, 50.0, 75.0, 95.0)  # none for fewer data
    surface: bool = True  # in two dimensions, the perimeter

    def __post_init__(self) -> None:
        if not all(0 <= percent <= 100 for percent in self.percentiles):
            raise OptionError(
                f"the percentiles are {self.percentiles}", hint="they are from 0 to 100"
            )

    def image_of(self, array: npt.NDArray[Any], ndim: int) -> npt.NDArray[Any] | None:
        """Return the image to be measured, or None if there is none."""
        if not self.intensity or array.dtype.kind not in "buif":
            return None
        if array.ndim == ndim:
            return array
        if array.ndim == ndim + 1 and self.channel is not None:
            if not 0 <= self.channel < array.shape[0]:
                raise OptionError(
                    f"there is no channel {self.channel}",
                    hint=f"the volume has the channels 0 to {array.shape[0] - 1}",
                )
            image: npt.NDArray[Any] = array[self.channel]
            return image
        return None


class LabelsError(InputError, UsageError):
    """What a function returned are not labels of its block, which trying again does not change."""


@dataclass(frozen=True, slots=True, eq=False)
class BlockResult:
    """What segmenting a block yields."""

    labels: Ids  # 1 to n in the written box, in raster order of their first voxel
    evidence: Evidence
    sums: BlockSums | None = None  # None if nothing is measured


def segment_block(
    array: npt.NDArray[Any],
    block: Block,
    function: Callable[..., Any],
    parameters: Mapping[str, Any] | None,
    grid: Grid,
    *,
    stitch: StitchMode = "overlap",
    connectivity: int | None = None,
    measure: Measures | None = None,
) -> BlockResult:
    """Segment one block and collect its evidence."""
    if array.shape[array.ndim - grid.ndim :] != box_shape(block.read):
        raise InputError(
            f"the block reads {box_shape(block.read)} voxels, but {array.shape} were given",
            block=block.index,
        )
    image = None if measure is None else measure.image_of(array, grid.ndim)
    if image is not None:
        # The function might change what it is given.
        image = image[slices(block.write, block.read)].copy()
    try:
        labels = function(array, **dict(parameters or {}))
    except Exception as err:
        raise StageError("segment", f"{type(err).__name__}: {err}", block=block.index) from err
    checked = _check(labels, block, connectivity)
    inner, evidence = evidence_of(checked, block, grid, stitch=stitch)
    sums = None
    if measure is not None:
        origin = tuple(start for start, _ in block.write)
        sums = block_sums(
            inner,
            evidence.count,
            image,
            origin,
            histogram=bool(measure.percentiles),
            surface=measure.surface,
        )
    return BlockResult(inner, evidence, sums)


def _check(labels: Any, block: Block, connectivity: int | None) -> npt.NDArray[Any]:
    """Return labels that are what they should be."""
    shape = box_shape(block.read)
    if not isinstance(labels, np.ndarray):
        raise LabelsError(
            f"the function returned a {type(labels).__name__}, not an array of labels",
            block=block.index,
        )
    if labels.shape != shape:
        raise LabelsError(
            f"the function returned labels of shape {labels.shape} for a block of {shape}",
            hint="return one label for each voxel that was given, context included",
            block=block.index,
        )
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise LabelsError(
            "the function returned NaN",
            hint="labels are integers, 0 is background",
            block=block.index,
        )
    if labels.dtype.kind not in "bui":
        raise LabelsError(
            f"the function returned values of type {labels.dtype}, which are not labels",
            hint="return integers, with 0 for background",
            block=block.index,
        )
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise LabelsError(
            f"the function returned a negative label ({labels.min()})",
            hint="0 is background, objects are 1 and more",
            block=block.index,
        )
    return label_components(labels, connectivity)[0] if labels.dtype.kind == "b" else labels


def evidence_of(
    labels: npt.NDArray[Any], block: Block, grid: Grid, *, stitch: StitchMode = "overlap"
) -> tuple[Ids, Evidence]:
    """Give the labels of a block numbers, and collect what its neighbours need to know."""
    if stitch not in STITCH_MODES:
        raise OptionError(f"unknown way to stitch '{stitch}'", hint=f"one of {STITCH_MODES}")
    with_context = stitch in ("overlap", "owner")
    box = grid.inside(block.read) if with_context else block.write
    local = slices(block.write, box)
    inner_box = tuple((part.start, part.stop) for part in local)
    seen, count, _ = first_appearance(labels[slices(box, block.read)], inner_box)
    inner = np.ascontiguousarray(seen[local])
    faces = tuple(
        (
            _plane(inner, 0, axis) if at > 0 else None,
            _plane(inner, -1, axis) if at + 1 < grid.counts[axis] else None,
        )
        for axis, at in enumerate(block.position)
    )
    planes = [plane for pair in faces for plane in pair if plane is not None]
    ends = [
        _plane(seen, side, axis)
        for axis, (start, stop) in enumerate(box)
        for side, outer in ((0, start > 0), (-1, stop < grid.shape[axis]))
        if outer
    ]
    evidence = Evidence(
        index=block.index,
        count=count,
        sizes=sizes(inner, count),
        at_seam=_occur(planes, count),
        clipped=_occur(ends, count),
        faces=faces,
        box=box,
        shell=pack(_shell(seen, block, grid, box)) if with_context else None,
        centres=_centres(seen, count, box) if stitch == "owner" else None,
    )
    return inner, evidence


def _plane(labels: Ids, at: int, axis: int) -> Ids:
    return np.asarray(labels.take(at, axis), np.uint32)


def _occur(planes: list[Ids], count: int) -> npt.NDArray[np.bool_]:
    """Tell which labels occur in planes."""
    found = np.zeros(count + 1, np.bool_)
    for plane in planes:
        found[plane[plane <= count]] = True
    return found[1:]


def _shell(seen: Ids, block: Block, grid: Grid, box: Box) -> Ids:
    """Return the labels with those removed that no neighbour looks at."""
    hidden = list(box)
    for axis, (start, stop) in enumerate(block.write):
        low, high = box[axis]
        if start > 0:
            low = max(low, start + grid.context[axis])
        if stop < grid.shape[axis]:
            high = min(high, stop - grid.context[axis])
        hidden[axis] = (low, high)
    if any(start >= stop for start, stop in hidden):
        return seen
    shell = seen.copy()
    shell[slices(tuple(hidden), box)] = 0
    return shell


def _centres(seen: Ids, count: int, box: Box) -> Int64s:
    """Return the voxel nearest to the centre of each label, the same for all who see it whole."""
    sums = block_sums(np.where(seen <= count, seen, 0), count, surface=False)
    total = sums.count[:, None]
    start = np.array([pair[0] for pair in box], np.int64)
    centres: Int64s = (2 * (sums.first + start * total) + total) // (2 * np.maximum(total, 1))
    return centres
