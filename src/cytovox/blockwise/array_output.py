"""Labels written into an array that somebody has made for them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from ..errors import InputError, UsageError
from ..read.open_volume import open_volume
from ..read.volume import Volume
from .grid import Box, intersect, slices
from .segment_worker import RegionWork

__all__ = ["check_array", "copy_into", "is_plain_array"]


def is_plain_array(path: Path) -> bool:
    """Return whether there is an array that is not a scale of an image."""
    try:
        with open_volume(path) as volume:
            return not volume.format.startswith(("ome-zarr", "precomputed"))
    except InputError:
        return False


def check_array(path: Path, source: Volume, region: RegionWork) -> None:
    """Check that labels of a region can be written into an array."""
    with open_volume(path, writable=True) as array:
        box = _box_in(array, source, region)
        whole = tuple((0, n) for n in array.shape)
        if array.dtype.kind not in "iu" or intersect(box, whole) != box:
            raise UsageError(
                f"an array of {array.dtype} and {array.shape} voxels cannot hold the labels of "
                f"voxels {box}",
                path=path,
                hint="make it of uint64, with the voxel size and offset of the input",
            )


def _box_in(array: Volume, source: Volume, region: RegionWork) -> Box:
    """Return the voxels of an array that a region of another one is."""
    box = tuple((b, b + n) for b, n in zip(region.begin, region.shape, strict=True))
    if array.voxel_size != source.voxel_size or array.ndim != len(box):
        raise UsageError(
            f"it has voxels of {array.voxel_size} and {array.ndim} axes, but the input voxels of "
            f"{source.voxel_size} and {len(box)} axes of space",
            path=array.url,
        )
    steps = zip(source.offset, array.offset, array.voxel_size, strict=True)
    shifts = [round((o - a) / v) for o, a, v in steps]
    return tuple((a + shift, b + shift) for (a, b), shift in zip(box, shifts, strict=True))


def copy_into(made: Path, path: Path, region: RegionWork) -> None:
    """Write labels into an array, whole write units at once."""
    with (
        open_volume(made) as labels,
        open_volume(region.input, permissions=region.permissions) as source,
        open_volume(path, writable=True) as array,
    ):
        box = _box_in(array, source, region)
        ranges = [
            range(a // unit * unit, b, unit)
            for (a, b), unit in zip(box, array.write_unit, strict=True)
        ]
        for start in itertools.product(*ranges):
            steps = zip(start, array.write_unit, array.shape, strict=True)
            unit = tuple((a, min(a + u, n)) for a, u, n in steps)
            part = intersect(unit, box)
            if part is None:
                continue
            corner = [a for a, _ in box]
            read = tuple((a - c, b - c) for (a, b), c in zip(part, corner, strict=True))
            new = labels.read(read)
            if new.size and int(new.max()) > np.iinfo(array.dtype).max:
                raise UsageError(
                    f"{array.dtype} cannot hold the label {new.max()}",
                    path=path,
                    hint="make the array of uint64",
                )
            kept = array.read(unit)  # what is outside of the region
            kept[slices(part, unit)] = new
            array.write(unit, kept)
